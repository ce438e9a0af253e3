"""A running control plane and somebody who asks it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx2

from tailrace.sandbox.controlplane.control import ControlPlane

type Starter = Callable[..., Awaitable[Talk]]


class Talk:
    """A running control plane and somebody who asks it."""

    def __init__(self, plane: ControlPlane, http: httpx2.AsyncClient) -> None:
        self.plane = plane
        self.http = http

    async def ask(
        self, method: str, path: str, body: Any = None, *, credential: str = "", **more: Any
    ) -> httpx2.Response:
        """With the API key where there is one, unless another credential is named."""
        known = self.plane.credentials.get("api_key", "")
        headers = {"authorization": f"Bearer {credential or known}"} | more.pop("headers", {})
        sent = {"json": body} if body is not None else {}
        return await self.http.request(method, path, headers=headers, **sent, **more)

    async def token(self) -> str:
        """An access token for the OAuth client."""
        reply = await self.http.post(
            "/api/v2/oauth/token",
            data={name: self.plane.credentials[name] for name in ("client_id", "client_secret")},
        )
        return str(reply.raise_for_status().json()["access_token"])

    async def join(self, hostname: str, **more: Any) -> str:
        """A device of that hostname with `tag:k8s`: its id."""
        key = self.plane.tailnet.add_key(
            tags=("tag:k8s",), expires=self.plane.tailnet.now() + timedelta(hours=1)
        )
        machine = f"mkey:{key.id}"
        nodes = self.plane.tailnet.nodes
        return nodes.login(auth_key=key.secret, hostname=hostname, machine_key=machine, **more).id
