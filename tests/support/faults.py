"""Faults around an HTTP edge: a transport that spoils the calls of a script and passes the others on.

It goes wherever a client takes a transport (`Kube.connect(wrap_transport=…)`, `connect.Wiring(transport=…)`). What it
does is what the same fault does over a real socket; `tests/kube/test_client_sockets.py` holds the two side by side.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Literal, override

import httpx2
from hypothesis import strategies as st


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The server answers this status and has done nothing; `retry_after` is the header as it is sent."""

    status: int
    retry_after: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """Nobody listens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedOut:
    """No answer comes in time. `done`: the server has done what was asked, only nobody hears of it."""

    done: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """The server has done what was asked, and its answer stops after `after` bytes of the body.

    `end` is a stream that ends in good order, `cut` a connection that breaks, `silent` one on which nothing comes any
    more; the time that a client would wait is not waited.
    """

    how: Literal["end", "cut", "silent"]
    after: int = 0


type Fault = Answer | Refused | TimedOut | Broken

UNDONE: tuple[Fault, ...] = (
    Answer(status=409),
    Answer(status=410),
    Answer(status=429, retry_after="0"),
    Answer(status=500),
    Answer(status=503),
    Refused(),
    TimedOut(),
)
"""The server has not done what was asked."""

UNHEARD: tuple[Fault, ...] = (TimedOut(done=True), Broken(how="cut"), Broken(how="cut", after=7))
"""It has, and the client cannot know."""


def scripts(*faults: Fault, most: int) -> st.SearchStrategy[list[Fault | None]]:
    """Up to `most` calls, each spoilt in one of these ways or not at all."""
    return st.lists(st.one_of(st.none(), st.sampled_from(faults)), max_size=most)


class FaultyTransport(httpx2.AsyncBaseTransport):
    """Around `inner`. Each call that `hits` takes the next entry of `script`; None, and its end, let it through."""

    def __init__(
        self,
        inner: httpx2.AsyncBaseTransport,
        script: Iterable[Fault | None] = (),
        *,
        hits: Callable[[httpx2.Request], bool] = lambda request: True,
    ) -> None:
        self.script = deque(script)
        self.calls: Counter[str] = Counter()
        """How often each `METHOD /path` was asked, spoilt or not."""
        self.struck: list[tuple[str, Fault]] = []
        """Which calls were spoilt, and how."""
        self._inner = inner
        self._hits = hits

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        line = f"{request.method} {request.url.path}"
        self.calls[line] += 1
        fault = self.script.popleft() if self.script and self._hits(request) else None
        if fault is None:
            return await self._inner.handle_async_request(request)
        self.struck.append((line, fault))
        return await self._spoil(request, fault)

    @override
    async def aclose(self) -> None:
        await self._inner.aclose()

    async def _spoil(self, request: httpx2.Request, fault: Fault) -> httpx2.Response:
        match fault:
            case Answer():
                return build_answer(fault)
            case Refused():
                raise httpx2.ConnectError("All connection attempts failed", request=request)
            case TimedOut(done=done):
                if done:
                    await (await self._inner.handle_async_request(request)).aread()
                raise httpx2.ReadTimeout("", request=request)
            case Broken():
                answer = await self._inner.handle_async_request(request)
                assert isinstance(answer.stream, httpx2.AsyncByteStream)
                answer.stream = BrokenStream(answer.stream, fault, request)
                return answer


class BrokenStream(httpx2.AsyncByteStream):
    """The first bytes of a body, then what the fault says."""

    def __init__(self, inner: httpx2.AsyncByteStream, fault: Broken, request: httpx2.Request) -> None:
        self._inner, self._fault, self._request = inner, fault, request

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self._fault.after
        if left:
            async for chunk in self._inner:
                yield chunk[:left]
                left -= min(left, len(chunk))
                if not left:
                    break
        match self._fault.how:
            case "cut":
                raise httpx2.RemoteProtocolError(
                    "peer closed connection without sending complete message body", request=self._request
                )
            case "silent":
                raise httpx2.ReadTimeout("", request=self._request)
            case "end":
                return

    @override
    async def aclose(self) -> None:
        await self._inner.aclose()


def build_answer(fault: Answer) -> httpx2.Response:
    """A refusal that a Kubernetes client and one of a control plane can both read."""
    headers = {"Content-Type": "application/json"}
    if fault.retry_after is not None:
        headers["Retry-After"] = fault.retry_after
    return httpx2.Response(fault.status, headers=headers, content=build_refusal(fault.status))


def build_refusal(status: int) -> bytes:
    """The body of a refusal: the API server's `Status`, whose `message` control planes have as well."""
    said = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status}
    return json.dumps({**said, "message": f"refused with {status} by the test"}).encode()
