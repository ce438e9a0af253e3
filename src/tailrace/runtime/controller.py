"""A controller: keys in, reconciles out. Workers take keys from a queue; what a reconcile raises says what follows.

| raised or returned        | what follows                                                       |
| ------------------------- | ------------------------------------------------------------------ |
| result without more       | settled: the key is forgotten                                      |
| result with requeue_after | again after that time                                              |
| Conflict, Expired         | read again now; after several in a row like Transient              |
| Waiting                   | nothing: a watch will tell                                         |
| RateLimited(after)        | again after that time                                              |
| Terminal                  | nothing until the object changes (looked at again after ten minutes) |
| Denied                    | again, slowly: rights and credentials are mended by people         |
| Transient                 | again, with a growing delay                                        |
| anything else             | a bug: counted, logged with its trace, again with a growing delay  |
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

import structlog

from tailrace import errors
from tailrace.api.kube import Object
from tailrace.kube.resource import Key
from tailrace.kube.store import Event, Store
from tailrace.observe import metrics
from tailrace.runtime.queue import Queue

log = structlog.get_logger(__name__)

QUICK_CONFLICTS = 5
DENIED_DELAY = 15.0
TERMINAL_DELAY = 600.0


class Outcome(Protocol):
    """What a reconcile returns, as far as the engine reads it."""

    @property
    def requeue_after(self) -> float | None: ...

    @property
    def waiting_on(self) -> str | None: ...


class Controller:
    """`workers` keys are worked on at once; `bound` is how long one may take before it is cut off and tried again."""

    def __init__(
        self,
        name: str,
        reconcile: Callable[[Key], Awaitable[Outcome]],
        *,
        workers: int = 8,
        bound: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self.queue: Queue[Key] = Queue(now=clock, chance=chance)
        self._reconcile = reconcile
        self._workers = workers
        self._bound = bound
        self._clock = clock

    def watch[T: Object](self, store: Store[T], mapper: Callable[[Event[T]], Iterable[Key]]) -> None:
        """Have every change of a store mapped to the keys that it concerns."""

        def listen(event: Event[T]) -> None:
            for key in mapper(event):
                self.queue.add(key, slow=event.initial)

        store.on_event(listen)

    async def run(self) -> None:
        """Work until the queue is closed."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._workers):
                group.create_task(self._work(), name=f"{self.name}-{number}")

    async def _work(self) -> None:
        while (key := await self.queue.get()) is not None:
            metrics.QUEUE_DEPTH.labels(self.name).set(self.queue.depth)
            with metrics.RECONCILES_RUNNING.labels(self.name).track_inprogress():
                await self._work_on(key)
            self.queue.done(key)
            await asyncio.sleep(0)  # a reconcile that never awaits must not hold the loop

    async def _work_on(self, key: Key) -> None:
        began = self._clock()
        try:
            async with asyncio.timeout(self._bound):
                result = await self._reconcile(key)
        except Exception as error:  # noqa: BLE001 - one bad object never stops the queue
            outcome = self._judge(key, error)
        else:
            self.queue.forget(key)
            outcome = "waiting" if result.waiting_on else "settled"
            if result.requeue_after is not None:
                self.queue.add(key, delay=result.requeue_after)
        seconds = self._clock() - began
        metrics.RECONCILES.labels(self.name, outcome).inc()
        metrics.RECONCILE_SECONDS.labels(self.name).observe(seconds)

    def _judge(self, key: Key, error: Exception) -> str:
        """Put the key back as its failure asks for, log one line, and name the outcome."""
        delay = self.queue.fail(key)
        outcome = "bug"
        match error:
            case errors.Conflict() | errors.Expired():
                outcome = "conflict"
                delay = 0.0 if self.queue.failures(key) <= QUICK_CONFLICTS else delay
            case errors.Waiting():
                self.queue.forget(key)
                return "waiting"
            case errors.RateLimited(after=after):
                outcome, delay = "limited", max(after, delay)
            case errors.Terminal():
                outcome, delay = "terminal", TERMINAL_DELAY
            case errors.Denied():
                outcome, delay = "denied", max(DENIED_DELAY, delay)
            case errors.Transient() | TimeoutError():
                outcome = "transient"
            case _:
                pass
        self.queue.add(key, delay=delay)
        metrics.QUEUE_RETRIES.labels(self.name).inc()
        if outcome == "bug":
            log.error("reconcile.bug", controller=self.name, key=str(key), exc_info=error)
        elif outcome != "conflict":
            log.warning(
                "reconcile.failed", controller=self.name, key=str(key), outcome=outcome, error=str(error)
            )
        return outcome
