"""What can go wrong with a control plane on purpose, and how often it was called."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic

from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

ADMIN_PREFIX = "/sandbox/"

HEADSCALE_LATENCY: Mapping[tuple[str, str], float] = {
    ("POST", "/api/v1/preauthkey"): 0.25,
    ("POST", "/api/v2/tailnet/{tailnet}/keys"): 0.25,
    ("DELETE", "/api/v1/node/{id}"): 1.0,
    ("DELETE", "/api/v2/device/{id}"): 1.0,
}
"""Seconds that a real Headscale takes (bcrypt, and telling every peer); for benchmarks."""


@dataclass(slots=True, kw_only=True)
class Faults:
    """Switches, all off. They concern the API, not the nodes, and never the admin surface."""

    status: int | None = None  # every call answers this: 503 is an outage, 500 a broken server
    retry_after: float | None = None  # beside `status`
    delay: float = 0.0  # seconds that every call takes longer
    latency: Mapping[tuple[str, str], float] = field(default_factory=dict)  # by method and route template
    rate: float | None = None  # calls a second that are let through; more get 429 with Retry-After
    burst: int = 10
    clock: Callable[[], float] = monotonic
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)  # answered, by method and route template
    turned_away: int = 0  # by `status`, `fail_next` and `rate`
    _fails: list[tuple[int, float | None]] = field(default_factory=list)
    _tokens: float | None = None
    _filled: float = 0.0

    def fail_next(self, status: int, *, times: int = 1, retry_after: float | None = None) -> None:
        """The next calls answer this status, whatever they ask."""
        self._fails += [(status, retry_after)] * times

    def clear(self) -> None:
        """All switches off; the counters stay."""
        self.status = self.retry_after = self.rate = self._tokens = None
        self.delay, self.latency = 0.0, {}
        self._fails.clear()

    def count(self, method: str, template: str) -> None:
        self.calls[method, template] += 1

    async def linger(self, method: str, template: str) -> None:
        """Take the time that this call takes."""
        seconds = self.delay + self.latency.get((method, template), 0.0)
        if seconds:
            await asyncio.sleep(seconds)

    def verdict(self) -> tuple[int, float | None] | None:
        """Status and Retry-After for the call that comes now; None lets it through."""
        found: tuple[int, float | None] | None = None
        if self._fails:
            found = self._fails.pop(0)
        elif self.status is not None:
            found = self.status, self.retry_after
        elif self.rate is not None:
            found = self._limit(self.rate)
        self.turned_away += found is not None
        return found

    def _limit(self, rate: float) -> tuple[int, float | None] | None:
        now = self.clock()
        stock = float(self.burst) if self._tokens is None else self._tokens + (now - self._filled) * rate
        self._filled, self._tokens = now, min(stock, float(self.burst))
        if self._tokens >= 1:
            self._tokens -= 1
            return None
        return 429, math.ceil((1 - self._tokens) / rate)


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
