"""One emulated control plane, running: model, dialect, faults, listener, throw-away credentials."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from tailrace.sandbox.controlplane import admin, policy, web
from tailrace.sandbox.controlplane.faults import Faults, Front
from tailrace.sandbox.controlplane.headscale_v1 import HeadscaleV1
from tailrace.sandbox.controlplane.headscale_v2 import HeadscaleV2
from tailrace.sandbox.controlplane.model import Ids, Tailnet
from tailrace.sandbox.controlplane.records import Dialect
from tailrace.sandbox.controlplane.tailscale import Tailscale
from tailrace.sandbox.serve import Listener

OPERATOR_TAG = "tag:k8s-operator"
TAILSCALE_SCOPES = ("devices:core", "auth_keys", "services", "devices:routes")
HEADSCALE_SCOPES = ("devices:core", "auth_keys", "devices:routes", "policy_file")
_API_KEY_LIFE = timedelta(days=90)


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How a control plane starts; all of it may be left as it is."""

    port: int = 0
    base_domain: str | None = None
    policy_text: str | None = policy.DEFAULT
    policy_in_file: bool = False  # of the server: the API reads it and cannot write it
    scopes: tuple[str, ...] | None = None  # of the OAuth client
    tags: tuple[str, ...] = (OPERATOR_TAG,)  # likewise
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ids: Ids | None = None
    cert: Path | None = None  # with `key`: HTTPS
    key: Path | None = None


class ControlPlane:
    """Start one with `start`; end it with `stop`, or use it in `async with`."""

    def __init__(self, dialect: Dialect, options: Options | None = None) -> None:
        self.options = options or Options()
        self.dialect: Dialect = dialect
        ids = self.options.ids or Ids()
        self.tailnet = Tailnet(
            dialect,
            now=self.options.now,
            ids=ids,
            base_domain=self.options.base_domain,
            policy_text=self.options.policy_text,
            policy_in_file=self.options.policy_in_file,
        )
        self.faults = Faults()
        self.admin_token = f"sandbox-{ids.text(32)}"
        self.credentials: Mapping[str, str] = self._make_credentials()
        self._listener = Listener(
            build_app(self), port=self.options.port, cert=self.options.cert, key=self.options.key
        )

    @classmethod
    async def start(cls, dialect: Dialect, options: Options | None = None) -> Self:
        plane = cls(dialect, options)
        await plane._listener.start()
        return plane

    async def stop(self) -> None:
        await self._listener.stop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """Base URL for the API, and what proxies get as their login server."""
        return self._listener.url

    def address_book(self) -> dict[str, object]:
        """For `sandbox.json`. Holds secrets of this sandbox alone."""
        return {
            "dialect": self.dialect,
            "url": self.url,
            "credentials": dict(self.credentials),
            "baseDomain": self.tailnet.base_domain,
            "adminToken": self.admin_token,
        }

    async def refuse_connections(self) -> None:
        """Down: nobody listens any more. The tailnet itself stays."""
        self.tailnet.nodes.reachable = False
        await self._listener.stop()

    async def accept_connections(self) -> None:
        """Up again on the same port."""
        await self._listener.start()
        self.tailnet.nodes.reachable = True

    def revoke_credentials(self) -> None:
        """Every client, token and API key ends now."""
        for client in tuple(self.tailnet.clients):
            self.tailnet.revoke_client(client)
        for key in tuple(self.tailnet.api_keys.values()):
            self.tailnet.expire_api_key(key)

    def rotate_credentials(self) -> Mapping[str, str]:
        """The old ones end, new ones come."""
        self.revoke_credentials()
        self.credentials = self._make_credentials()
        return self.credentials

    def _make_credentials(self) -> Mapping[str, str]:
        made: dict[str, str] = {}
        if self.dialect != "headscale-0.29":
            default = HEADSCALE_SCOPES if self.tailnet.headscale else TAILSCALE_SCOPES
            client = self.tailnet.add_client(scopes=self.options.scopes or default, tags=self.options.tags)
            made |= {"client_id": client.id, "client_secret": client.secret}
        if self.tailnet.headscale:
            expires = self.tailnet.now() + _API_KEY_LIFE
            made["api_key"] = self.tailnet.add_api_key(expires=expires).secret
        return made


def build_app(plane: ControlPlane) -> ASGIApp:
    """The dialect's paths, what every server of its kind answers beside them, and the admin surface."""
    tailnet, faults = plane.tailnet, plane.faults
    routes = admin.routes(plane)
    if tailnet.headscale:
        routes += _public(plane.dialect)
        if plane.dialect == "headscale-0.30":
            routes += HeadscaleV2(tailnet, faults).routes()
        routes += HeadscaleV1(tailnet, faults).routes()
    else:
        routes += Tailscale(tailnet, faults).routes()

    def not_found(request: Request, _error: Exception) -> Response:
        return web.page_not_found(request)

    app = Starlette(routes=routes, exception_handlers={404: not_found})
    app.router.redirect_slashes = False
    return Front(app, faults)


def _public(dialect: Dialect) -> list[Route]:
    """What Headscale tells everybody. A build of 0.30 calls itself `dev`: a version decides nothing."""
    version = {
        "version": "v0.29.3" if dialect == "headscale-0.29" else "dev",
        "commit": "unknown",
        "buildTime": "unknown",
        "go": {"version": "go1.26.8", "os": "linux", "arch": "amd64"},
        "dirty": False,
    }

    async def health(_request: Request) -> Response:
        return Response('{"status":"pass"}\n', media_type="application/health+json")

    async def tell_version(_request: Request) -> Response:
        return JSONResponse(version)

    return [Route("/health", health), Route("/version", tell_version)]
