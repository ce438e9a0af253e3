"""Drives the reflector over HTTP and fills a store with what it tells. Runs until it is cancelled."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

from tailrace.api.kube import Object
from tailrace.errors import Denied, Expired, NotFound, RateLimited, TailraceError, Terminal
from tailrace.kube.client import Kube
from tailrace.kube.reflector import (
    Advanced,
    Change,
    Reflector,
    Replaced,
    Request,
    State,
    Undecodable,
)
from tailrace.kube.resource import Resource
from tailrace.kube.status import Silent
from tailrace.kube.store import Store
from tailrace.observe import logs, metrics

log = logs.get_logger("kube.watch")

ABSENT_PAUSE = 30.0
"""Seconds until a kind that was not installed is looked for again."""


class Watch[T: Object]:
    """Keeps `store` like the cluster. `labels` and `fields` are selectors; `namespace` None means all. Of an `optional`
    resource that the cluster does not know there are no objects; it is asked again from time to time."""

    def __init__(
        self,
        kube: Kube,
        resource: Resource[T],
        store: Store[T],
        *,
        namespace: str | None = None,
        labels: str = "",
        fields: str = "",
        optional: bool = False,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.store = store
        self.name = store.name or resource.plural
        self._kube, self._resource, self._namespace = kube, resource, namespace
        self._machine = Reflector(resource, random=chance, labels=labels, fields=fields)
        self._sleep, self._monotonic = sleep, monotonic
        self.optional = optional
        self.last_turn = monotonic()
        """When something last came, or an attempt began: what liveness looks at."""
        self.problem: str | None = None
        """Why the last attempt failed, None while all is well: what readiness tells."""

    @property
    def synced(self) -> bool:
        return self.store.synced

    async def wait_synced(self) -> None:
        await self.store.wait_synced()

    async def read(self) -> tuple[Undecodable, ...]:
        """Fill the store once by a list, for who only looks; gives what could not be read.

        Raises:
            TailraceError: what the list met; an optional kind that is not installed is no error.
        """
        self._machine.list_only()
        unread: list[Undecodable] = []
        while not self.store.synced:
            params = self._machine.request().params
            try:
                body = await self._kube.list_page(self._resource, self._namespace, params)
            except NotFound:
                if not self.optional:
                    raise
                self._empty()
                break
            for change in self._machine.receive_page(body):
                unread += [change] if isinstance(change, Undecodable) else []
                self.store.apply(change)
        return tuple(unread)

    async def run(self) -> None:
        """List and watch for ever; whatever fails is counted, told once, and tried again with growing pauses."""
        while True:
            request = self._machine.request()
            if request.pause:
                await self._sleep(request.pause)
            self.last_turn = self._monotonic()
            try:
                await self._ask(request)
            except NotFound as error:
                if self.optional:
                    await self._miss()
                else:
                    self._fail(error)
            except TailraceError as error:
                self._fail(error)
            except Exception as error:
                log.exception("watch hit a fault of ours", resource=self.name)
                self._fail(TailraceError(f"A fault in the watch of {self.name}: {type(error).__name__}."))
            else:
                self._machine.ended()

    async def _miss(self) -> None:
        """The kind is not installed: nothing of it is there. A definition that comes later is found within the pause."""
        self.problem = None
        self._empty()
        self._machine.restart()
        await self._sleep(ABSENT_PAUSE)

    def _empty(self) -> None:
        self.store.absent = True
        self.store.apply(Replaced(objects=(), unread=frozenset(), version="0"))

    async def _ask(self, request: Request) -> None:
        kind = _describe(self._machine.state)
        metrics.WATCH_STARTS.labels(self.name, kind).inc()
        if not request.watch:
            body = await self._kube.list_page(self._resource, self._namespace, request.params)
            for change in self._machine.receive_page(body):
                self._take(change)
            return
        async with self._kube.stream(
            self._resource, self._namespace, request.params, silence=request.silence
        ) as chunks:
            async for chunk in chunks:
                self.last_turn = self._monotonic()
                for change in self._machine.receive(chunk):
                    self._take(change)

    def _take(self, change: Change[T]) -> None:
        self.problem = None
        self.store.absent = False
        if isinstance(change, Undecodable):
            metrics.WATCH_UNDECODABLE.labels(self.name).inc()
            log.warning(
                "skipped an object that cannot be read",
                resource=self.name,
                key=str(change.key),
                why=change.problem,
            )
        elif not isinstance(change, Advanced):
            metrics.WATCH_EVENTS.labels(self.name).inc()
        self.store.apply(change)
        metrics.STORE_OBJECTS.labels(self.name).set(len(self.store))

    def _fail(self, error: TailraceError) -> None:
        metrics.WATCH_FAILURES.labels(self.name, _classify(error)).inc()
        if str(error) != self.problem and not isinstance(error, Expired | Silent):
            log.warning("watch interrupted", resource=self.name, error=str(error))
        self.problem = str(error)
        self._machine.failed(error)


def _describe(state: State) -> str:
    return {State.STREAMING: "streaming-list", State.LISTING: "list", State.WATCHING: "watch"}[state]


def _classify(error: TailraceError) -> str:
    match error:
        case Expired():
            return "expired"
        case Silent():
            return "silent"
        case RateLimited():
            return "limited"
        case Denied():
            return "denied"
        case Terminal():
            return "refused"
        case _ if type(error) is TailraceError:
            return "bug"
        case _:
            return "broken"
