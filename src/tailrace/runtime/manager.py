"""Owns everything that runs, in one task group, and starts it in the one right order.

watches and background tasks → all stores are whole → the lease → workers. A standby goes the same way up to the
lease: its stores are whole and its queues filled, so that it acts the moment it leads. On a stop the way is walked
back: workers end their turns, the lease is given away, the rest is cancelled. Losing the lease ends `run` at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Protocol

from tailrace.observe import logs, metrics
from tailrace.runtime.controller import Controller, find_leaf
from tailrace.runtime.leader import Elector

log = logs.get_logger("runtime.manager")

DRAIN = 10.0
"""Seconds that turns under way get to end after a stop."""


class Source(Protocol):
    """What must be whole before anything is decided: a `kube.watch.Watch`, for example."""

    @property
    def name(self) -> str: ...
    @property
    def synced(self) -> bool: ...
    @property
    def problem(self) -> str | None: ...
    async def wait_synced(self) -> None: ...
    async def run(self) -> None: ...


class Manager:
    """Add what shall run, then `run`. Without an elector this process always leads."""

    def __init__(self, *, elector: Elector | None = None) -> None:
        self._elector = elector
        self._controllers: list[Controller] = []
        self._sources: list[Source] = []
        self._tasks: list[tuple[str, Callable[[], Awaitable[None]]]] = []
        self._leader_tasks: list[tuple[str, Callable[[], Awaitable[None]]]] = []
        self.leading = False

    @property
    def controllers(self) -> tuple[Controller, ...]:
        return tuple(self._controllers)

    @property
    def sources(self) -> tuple[Source, ...]:
        return tuple(self._sources)

    def check_synced(self) -> str:
        """Which sources are not whole yet, and why; empty when all are."""
        missing = [source for source in self._sources if not source.synced]
        return "; ".join(f"{source.name}: {source.problem or 'not listed yet'}" for source in missing)

    def check_role(self) -> str:
        """Empty while this process leads or stands by."""
        standing_by = self._elector is not None and self._elector.holder
        return "" if self.leading or standing_by else "the lease has not been read yet"

    def add(self, controller: Controller) -> None:
        self._controllers.append(controller)

    def add_reflector(self, source: Source) -> None:
        """Workers start only when this source is whole."""
        self._sources.append(source)

    def add_task(self, name: str, run: Callable[[], Awaitable[None]], *, leader_only: bool = False) -> None:
        """Run something beside, from the start, or only while leading; if it raises, everything ends."""
        (self._leader_tasks if leader_only else self._tasks).append((name, run))

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set.

        Raises:
            LeaseLost: at once when the lease is lost.
            Exception: what a task raised.
        """
        try:
            with _tuned_collector():
                await self._run(stop)
        except ExceptionGroup as group:
            raise find_leaf(group) from group
        finally:
            self.leading = False
            metrics.LEADER.set(0)

    async def _run(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            background = [
                *(_start(group, name, run) for name, run in self._tasks),
                *(_start(group, f"watch {source.name}", source.run) for source in self._sources),
            ]
            if await _unless(stop, self._wait_synced()) and await _unless(stop, self._acquire()):
                await self._lead(group, stop, background)
            if self._elector is not None:
                await self._elector.release()
            for task in background:
                task.cancel()

    async def _wait_synced(self) -> None:
        for source in self._sources:
            await source.wait_synced()
        # What the stores hold now stays for long: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        log.info("synced", sources=len(self._sources))

    async def _acquire(self) -> None:
        if self._elector is not None:
            log.info("standing by", holder=self._elector.holder)
            await self._elector.acquire()

    async def _lead(
        self, group: asyncio.TaskGroup, stop: asyncio.Event, background: list[asyncio.Task[None]]
    ) -> None:
        if self._elector is not None:
            background.append(_start(group, "lease", self._elector.hold))
        background += [_start(group, name, run) for name, run in self._leader_tasks]
        workers = [_start(group, controller.name, controller.run) for controller in self._controllers]
        self.leading = True
        metrics.LEADER.set(1)
        await stop.wait()
        for controller in self._controllers:
            controller.stop()
        if workers:
            _, late = await asyncio.wait(workers, timeout=DRAIN)
            for task in late:
                task.cancel()
            if late:  # none may act any more when the lease is given away
                await asyncio.wait(late)
        self.leading = False
        metrics.LEADER.set(0)


def _start(group: asyncio.TaskGroup, name: str, run: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
    async def body() -> None:
        await run()

    return group.create_task(body(), name=name)


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do `work` unless `stop` is set before it is done; tells whether it was done."""
    task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        return task.done() and not stop.is_set()
    finally:
        for each in (task, stopped):
            each.cancel()
        await asyncio.gather(task, stopped, return_exceptions=True)


@contextlib.contextmanager
def _tuned_collector() -> Generator[None]:
    """Fewer garbage collections: a first sync makes many objects and no garbage."""
    before = gc.get_threshold()
    gc.set_threshold(50_000, 20, 20)
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
