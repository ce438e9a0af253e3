"""The client: sends a `Call`, returns a `Reply`, raises only errors of `tailrace.errors`."""

from __future__ import annotations

import asyncio
import random as chance
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx2

import tailrace
from tailrace import errors
from tailrace.wire import call as calls
from tailrace.wire import clock as clocks
from tailrace.wire import redact, retry

type Observer = Callable[[str, str, int, float], None]
"""Told of every exchange: method, route template, status (0: no answer), seconds."""

type Translate = Callable[[Http, calls.Call, calls.Reply], errors.TailraceError]
"""A reply with a status of 400 and more, in the words of `tailrace.errors`; see `Http.explain`."""

WAIT_WHEN_LIMITED = 5.0
"""Seconds to stay away after a 429 that does not say for how long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`concurrency` bounds the calls at once: a server that hashes passwords for each key is not to be flooded.
    Time-outs are seconds; waiting for one's turn is not timed."""

    concurrency: int = 8
    connect_timeout: float = 5.0
    read_timeout: float = 30.0
    total_timeout: float = 120.0
    max_body: int = 64 << 20
    policy: retry.Policy = field(default_factory=retry.Policy)


class _Unanswered(Exception):
    def __init__(self, failure: retry.Failure, error: errors.TailraceError) -> None:
        super().__init__(str(error))
        self.failure = failure
        self.error = error


class Http:
    def __init__(
        self,
        base_url: str,
        *,
        authorizer: calls.Authorizer | None = None,
        translate: Translate | None = None,
        tls: ssl.SSLContext | None = None,
        options: Options | None = None,
        clock: clocks.Clock | None = None,
        random: Callable[[], float] = chance.random,
        observer: Observer | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._options = options or Options()
        self._authorizer = authorizer
        self._authorizing = asyncio.Lock()
        self._translate = translate or (lambda http, call, reply: http.explain(call, reply, reply.text))
        self._clock = clock or clocks.SystemClock()
        self._random = random
        self._observe = observer or (lambda *_: None)
        self._gate = asyncio.Semaphore(self._options.concurrency)
        self._client = httpx2.AsyncClient(
            base_url=self.base_url,
            verify=tls if tls is not None else self.base_url.startswith("https:"),
            transport=transport,
            # The gate above does the queueing, so the pool never makes anybody wait.
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=self._options.concurrency),
            timeout=httpx2.Timeout(
                self._options.read_timeout, connect=self._options.connect_timeout, pool=None
            ),
            headers={"User-Agent": f"tailrace/{tailrace.__version__}", "Accept": "application/json"},
        )

    async def send(self, call: calls.Call) -> calls.Reply:
        """The reply, if its status is below 400. Repeats what `retry` allows within its small budget."""
        attempt, spent = 1, 0.0
        while True:
            retry_after: float | None = None
            status: int | None = None
            try:
                reply = await self._authorized(call)
            except _Unanswered as unanswered:
                failure, error = unanswered.failure, unanswered.error
                retry_after = error.after if isinstance(error, errors.RateLimited) else None
            else:
                if reply.status < 400:
                    return reply
                failure, status, error = (
                    retry.Failure.STATUS,
                    reply.status,
                    self._translate(self, call, reply),
                )
                retry_after = self.retry_after(reply)
            if not retry.may_repeat(failure, status, repeatable=call.may_repeat):
                raise error
            delay = retry.next_delay(
                attempt,
                chance=self._random(),
                spent=spent,
                retry_after=retry_after,
                policy=self._options.policy,
            )
            if delay is None:
                raise error
            await self._clock.sleep(delay)
            attempt, spent = attempt + 1, spent + delay

    async def fetch[T](self, call: calls.Call, shape: type[T]) -> T:
        """Send, and decode the reply."""
        return (await self.send(call)).decode(shape)

    def retry_after(self, reply: calls.Reply) -> float | None:
        return retry.parse_retry_after(reply.headers.get("retry-after"), self._clock.now())

    def explain(self, call: calls.Call, reply: calls.Reply, message: str) -> errors.TailraceError:
        """The error that a status means to everybody; `message` is what the server said about it."""
        said = f"{call.method} {call.route}: {reply.status} {redact.excerpt(message) or 'without a message'}"
        match reply.status:
            case 401 | 403:
                return errors.Denied(said)
            case 404:
                return errors.NotFound(said)
            case 409 | 412:
                return errors.Conflict(said)
            case 410:
                return errors.Expired(said)
            case 429:
                after = self.retry_after(reply)
                return errors.RateLimited(said, after=WAIT_WHEN_LIMITED if after is None else after)
            case 503 if (after := self.retry_after(reply)) is not None:
                return errors.RateLimited(said, after=after)
            case 408 | 425 | 500 | 502 | 503 | 504:
                return errors.Transient(said)
            case status if status >= 500:
                return errors.Transient(said)
            case _:
                return errors.Terminal(said, reason=call.refusal)

    async def close(self) -> None:
        await self._client.aclose()

    async def _authorized(self, call: calls.Call) -> calls.Reply:
        if self._authorizer is None or call.anonymous:
            return await self._exchange(call, None)
        value = await self._authorization(self._authorizer)
        reply = await self._exchange(call, value)
        if reply.status != 401:
            return reply
        # A 401 was not processed, so even a mint may follow it with another token. Once.
        other = await self._authorization(self._authorizer, refused=value)
        return reply if other == value else await self._exchange(call, other)

    async def _authorization(self, authorizer: calls.Authorizer, refused: str | None = None) -> str:
        """Drive a flow. The lock makes it one at a time: whoever comes second finds the first one's token."""
        async with self._authorizing:
            flow = authorizer.authorize(now=self._clock.monotonic(), refused=refused)
            try:
                step = next(flow)
                while True:
                    try:
                        reply = await self._exchange(step, None)
                    except _Unanswered as lost:
                        step = flow.throw(lost.error)  # the flow may know better, e.g. a token still valid
                    else:
                        step = flow.send(reply)
            except StopIteration as done:
                return str(done.value)
            except errors.Transient as error:
                # Whatever became of the token, the call itself has not been sent.
                raise _Unanswered(retry.Failure.UNSENT, error) from error
            finally:
                flow.close()

    async def _exchange(self, call: calls.Call, authorization: str | None) -> calls.Reply:
        headers = dict(call.headers)
        if call.json is not None:
            headers.setdefault("Content-Type", "application/json")
        if authorization is not None:
            headers["Authorization"] = authorization
        request = self._client.build_request(
            call.method,
            call.target,
            params=dict(call.query) or None,
            content=call.content,
            data=None if call.form is None else dict(call.form),
            headers=headers,
        )
        async with self._gate:
            started = self._clock.monotonic()
            status = 0
            try:
                async with asyncio.timeout(self._options.total_timeout):
                    reply = await self._read(request)
                status = reply.status
                return reply
            except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as cause:
                raise self._unanswered(retry.Failure.UNSENT, call, cause) from cause
            except (httpx2.RequestError, TimeoutError) as cause:
                raise self._unanswered(retry.Failure.LOST, call, cause) from cause
            finally:
                self._observe(call.method, call.route, status, self._clock.monotonic() - started)

    async def _read(self, request: httpx2.Request) -> calls.Reply:
        response = await self._client.send(request, stream=True)
        try:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > self._options.max_body:
                    raise errors.Transient(
                        f"The answer of {self.base_url} is longer than {self._options.max_body >> 20} MiB."
                    )
            return calls.Reply(
                status=response.status_code,
                body=bytes(body),
                headers={name.lower(): value for name, value in response.headers.items()},
            )
        finally:
            await response.aclose()

    def _unanswered(self, failure: retry.Failure, call: calls.Call, cause: Exception) -> _Unanswered:
        server = redact.redact(self.base_url)
        error = errors.Transient(f"{server} does not answer {call.method} {call.route}: {_say(cause)}.")
        error.__cause__ = cause
        return _Unanswered(failure, error)


def _say(cause: BaseException) -> str:
    """Why there was no answer, for a person."""
    link: BaseException | None = cause
    while link is not None:
        if isinstance(link, ssl.SSLCertVerificationError):
            return (
                f"its certificate is not trusted ({link.verify_message}); "
                "a private CA can be given as a bundle in TAILRACE_CA_BUNDLE"
            )
        link = link.__cause__ or link.__context__
    match cause:
        case httpx2.ConnectTimeout() | httpx2.ReadTimeout() | httpx2.WriteTimeout() | TimeoutError():
            return "timed out"
        case _:
            return redact.excerpt(str(cause), 120).rstrip(".") or type(cause).__name__
