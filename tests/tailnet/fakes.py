"""Time that passes only when it is slept through, and servers made of a function."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx2


class FakeClock:
    def __init__(self) -> None:
        self.time = 1000.0
        self.slept: list[float] = []

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.time)

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds
        await asyncio.sleep(0)


type Answer = tuple[int, object] | httpx2.Response | Exception


class FakeServer:
    """Answers `METHOD /path` from a table (a value, or a list that is used up to its last) and keeps what it saw."""

    def __init__(self, table: dict[str, Answer | list[Answer] | Callable[[httpx2.Request], Answer]]) -> None:
        self.table = table
        self.seen: list[httpx2.Request] = []

    @property
    def lines(self) -> list[str]:
        return [f"{request.method} {request.url.path}" for request in self.seen]

    def body(self, line: str) -> object:
        """The JSON body of the last such request."""
        return json.loads([r for r in self.seen if f"{r.method} {r.url.path}" == line][-1].content)

    @property
    def transport(self) -> httpx2.MockTransport:
        return httpx2.MockTransport(self._answer)

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        self.seen.append(request)
        answer = self.table.get(f"{request.method} {request.url.path}")
        if answer is None:
            return httpx2.Response(404, text="404 page not found")
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if callable(answer) and not isinstance(answer, httpx2.Response):
            answer = answer(request)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx2.Response):
            return answer
        status, body = answer
        return (
            httpx2.Response(status, text=body)
            if isinstance(body, str)
            else httpx2.Response(status, json=body)
        )
