"""One kind's loop: keys from watches into the queue, a worker for each turn, and what each outcome means.

| a reconcile ends with            | then                                                              |
| -------------------------------- | ----------------------------------------------------------------- |
| a result                         | forgotten, or a turn after `requeue_after`                        |
| `Waiting`                        | nothing: a watch brings the key back                              |
| `Conflict`, `NotFound`, `Expired`| again at once, the next ones after growing pauses                 |
| `RateLimited`                    | after the pause that was asked for                                |
| `Transient`                      | after a growing pause                                             |
| `Denied`                         | after a minute or more; somebody has to mend it                   |
| `Terminal`                       | nothing until the object changes                                  |
| anything else                    | a bug: counted, logged with its traceback, after a growing pause  |

All but the first three are also handed to `on_error`, so that the kind can tell it on the object.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from tailrace.api.kube import Object
from tailrace.errors import (
    Bug,
    Conflict,
    Denied,
    Expired,
    NotFound,
    RateLimited,
    TailraceError,
    Terminal,
    Transient,
    Waiting,
)
from tailrace.kube.resource import Key as Key
from tailrace.kube.store import Event, Store
from tailrace.observe import logs, metrics
from tailrace.runtime.clock import Clock, SystemClock, wait_event
from tailrace.runtime.queue import Backoff, Queue

log = logs.get_logger("runtime.controller")

DENIED_PAUSE = 60.0
TURN_LIMIT = 300.0
"""Seconds that one reconcile may take: what hangs longer is cut off and tried again."""


class Result(Protocol):
    """How a reconcile ended: settled, or to be looked at again after some seconds."""

    @property
    def requeue_after(self) -> float | None: ...


async def ignore_error(key: Key, error: Exception) -> None:
    """Tell nobody."""


class Controller:
    """Reconciles keys, several at once, one turn of a key at a time.

    Args:
        name: short, for logs and metrics.
        reconcile: brings the world of one key a step nearer to what is wanted.
        on_error: tells a failure on the object; what it raises is only logged.
    """

    def __init__(
        self,
        name: str,
        reconcile: Callable[[Key], Awaitable[Result]],
        *,
        workers: int = 8,
        on_error: Callable[[Key, Exception], Awaitable[None]] = ignore_error,
        backoff: Backoff | None = None,
        clock: Clock | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self._reconcile, self._on_error = reconcile, on_error
        self._workers = workers
        self._clock = clock if clock is not None else SystemClock()
        self._chance = chance
        self._queue: Queue[Key] = Queue(backoff=backoff if backoff is not None else Backoff(), chance=chance)
        self._wake = asyncio.Event()
        self._running: set[Key] = set()
        self._stopping = False

    def watch[T: Object](self, store: Store[T], mapper: Callable[[Event[T]], Iterable[Key]]) -> None:
        """Let changes in a store wake the keys that `mapper` names. It is pure and reads indexes, nothing else."""

        def on_event(event: Event[T]) -> None:
            try:
                for key in mapper(event):
                    self.enqueue(key, low=event.initial)
            except Exception:
                metrics.RECONCILES.labels(self.name, "bug").inc()
                log.exception("a mapper failed", controller=self.name, key=str(event.key))

        store.on_event(on_event)

    def enqueue(self, key: Key, *, low: bool = False) -> None:
        """Give a key a turn; also for sources that are no store, such as the shared device list."""
        self._queue.add(key, self._clock.monotonic(), low=low)
        self._woken()

    def enqueue_after(self, key: Key, seconds: float) -> None:
        """Give a key a turn after some time, unless it gets one earlier."""
        self._queue.add_after(key, seconds, self._clock.monotonic())
        self._woken()

    @property
    def depth(self) -> int:
        return self._queue.depth

    @property
    def idle(self) -> bool:
        """Whether nothing is ready and nothing runs; delayed keys do not count."""
        return not self._queue.depth and not self._running

    async def run(self) -> None:
        """Work until `stop`, which lets running reconciles end, or until cancelled, which does not."""
        async with asyncio.TaskGroup() as turns:
            while not self._stopping:
                self._wake.clear()
                self._start_turns(turns)
                due = self._queue.next_due() if len(self._running) < self._workers else None
                await wait_event(
                    self._clock, self._wake, None if due is None else due - self._clock.monotonic()
                )

    def stop(self) -> None:
        """Start no more turns; `run` returns when those under way have ended."""
        self._stopping = True
        self._wake.set()

    def _start_turns(self, turns: asyncio.TaskGroup) -> None:
        # A task for each turn: the loop breathes in between even if no reconcile ever waits.
        while len(self._running) < self._workers:
            taken = self._queue.take(self._clock.monotonic())
            if taken is None:
                break
            key, waited = taken
            metrics.QUEUE_WAIT.labels(self.name).observe(waited)
            self._running.add(key)
            turns.create_task(self._turn(key), name=f"{self.name} {key}")
        self._measure()

    def _woken(self) -> None:
        self._wake.set()
        self._measure()

    def _measure(self) -> None:
        metrics.QUEUE_DEPTH.labels(self.name).set(self._queue.depth)
        metrics.RECONCILES_RUNNING.labels(self.name).set(len(self._running))

    async def _turn(self, key: Key) -> None:
        started = self._clock.monotonic()
        with logs.unit_of_work(controller=self.name, key=str(key)) as line:
            try:
                outcome = await self._attempt(key)
            finally:
                self._running.remove(key)
                self._queue.done(key, self._clock.monotonic())
                self._woken()
            seconds = self._clock.monotonic() - started
            metrics.RECONCILES.labels(self.name, outcome).inc()
            metrics.RECONCILE_SECONDS.labels(self.name).observe(seconds)
            # A turn in which nobody did or noted anything is not worth a line in production.
            worth = "operations" in line or "error" in line
            (log.info if worth else log.debug)(
                "reconciled", outcome=outcome, seconds=round(seconds, 4), **line
            )

    async def _attempt(self, key: Key) -> str:
        """One reconcile and what follows from its end; gives the outcome's name."""
        try:
            async with asyncio.timeout(TURN_LIMIT):
                result = await self._reconcile(key)
        except TimeoutError:
            return await self._failed(
                key, Transient(f"The reconcile took longer than {TURN_LIMIT:.0f} seconds.")
            )
        except Exception as error:  # noqa: BLE001 - the boundary at which everything gets a name
            return await self._failed(key, find_leaf(error))
        self._queue.forget(key)
        if result.requeue_after is None:
            return "settled"
        self._queue.add_after(key, result.requeue_after, self._clock.monotonic())
        return "requeued"

    async def _failed(self, key: Key, error: Exception) -> str:
        logs.annotate(error=str(error) if isinstance(error, TailraceError) else type(error).__name__)
        match error:
            case Waiting():
                logs.annotate(waiting_on=error.on)
                self._queue.forget(key)
                return "waiting"
            case Conflict() | NotFound() | Expired():
                self._again(key, at_once=self._queue.failures(key) == 0)
                return "conflict"
            case RateLimited():
                self._again(key, at_least=error.after * (1 + self._chance() / 5))
                outcome = "limited"
            case Transient():
                self._again(key)
                outcome = "transient"
            case Denied():
                self._again(key, at_least=DENIED_PAUSE * (1 + self._chance()))
                outcome = "denied"
            case Terminal():
                self._queue.forget(key)
                outcome = "terminal"
            case _:
                self._again(key)
                outcome = "bug"
                log.error("a fault of ours", controller=self.name, key=str(key), exc_info=error)
        await self._tell(key, error if isinstance(error, TailraceError) else _as_bug(error))
        return outcome

    def _again(self, key: Key, *, at_least: float = 0.0, at_once: bool = False) -> None:
        metrics.QUEUE_RETRIES.labels(self.name).inc()
        now = self._clock.monotonic()
        self._queue.retry(key, now, at_least=at_least)
        if at_once:
            self._queue.add(key, now)

    async def _tell(self, key: Key, error: TailraceError) -> None:
        try:
            async with asyncio.timeout(TURN_LIMIT):
                await self._on_error(key, error)
        except TailraceError as problem:
            logs.annotate(untold=str(problem))
        except Exception:
            log.exception("a failure could not be told on its object", controller=self.name, key=str(key))


def _as_bug(error: Exception) -> Bug:
    bug = Bug(f"A fault of Tailrace itself ({type(error).__name__}); its log has the details.")
    bug.__cause__ = error
    return bug


def find_leaf(error: Exception) -> Exception:
    """The error that decides, out of what concurrent operations raised together: a bug before all, else the first."""
    if not isinstance(error, ExceptionGroup):
        return error
    leaves = [find_leaf(inner) for inner in error.exceptions]
    return next((leaf for leaf in leaves if not isinstance(leaf, TailraceError)), leaves[0])
