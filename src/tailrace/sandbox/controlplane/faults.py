"""A control plane's faults in front of its API: they concern neither the nodes nor the admin surface."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tailrace.sandbox.faults import Faults as Faults

ADMIN_PREFIX = "/sandbox/"

HEADSCALE_LATENCY: Mapping[tuple[str, str], float] = {
    ("POST", "/api/v1/preauthkey"): 0.25,
    ("POST", "/api/v2/tailnet/{tailnet}/keys"): 0.25,
    ("DELETE", "/api/v1/node/{id}"): 1.0,
    ("DELETE", "/api/v2/device/{id}"): 1.0,
}
"""Seconds that a real Headscale takes (bcrypt, and telling every peer); for benchmarks."""


class Front:
    """ASGI in front of a control plane: turns calls away before anything else sees them."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self._app = app
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(ADMIN_PREFIX):
            await self._app(scope, receive, send)
            return
        verdict = self._faults.verdict()
        if verdict is None:
            await self._app(scope, receive, send)
            return
        status, retry_after = verdict
        headers = {} if retry_after is None else {"retry-after": f"{retry_after:g}"}
        if status >= 500:  # what a proxy in front of a dead server says
            await PlainTextResponse("upstream error\n", status, headers)(scope, receive, send)
        else:
            message = {"message": "rate limit exceeded" if status == 429 else "refused"}
            await JSONResponse(message, status, headers)(scope, receive, send)
