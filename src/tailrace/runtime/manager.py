"""The manager: one task group owns everything that runs.

Order: watches sync; then the lease is won (a standby is warm: its stores are full and its queues wait); then the
workers begin. A lost lease ends the process at once, since somebody else may be writing already.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import structlog

from tailrace.kube.watch import Watch
from tailrace.runtime.controller import Controller
from tailrace.runtime.leader import Leader

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Manager:
    """Add what belongs together, then `run` until `stop` is set."""

    leader: Leader | None = None
    watches: list[Watch[Any]] = field(default_factory=list)
    controllers: list[Controller] = field(default_factory=list)
    tasks: list[tuple[str, Callable[[], Coroutine[Any, Any, None]]]] = field(default_factory=list)
    synced: asyncio.Event = field(default_factory=asyncio.Event)
    leading: asyncio.Event = field(default_factory=asyncio.Event)

    def add_task(self, name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """A task that runs beside the watches, on a standby too."""
        self.tasks.append((name, run))

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop`; leave no task behind.

        Raises:
            LostLease: another process leads now.
        """
        gc.set_threshold(50_000, 50, 100)  # the first sync makes many objects that live for ever
        async with asyncio.TaskGroup() as group:
            started = [group.create_task(run(), name=name) for name, run in self.tasks]
            started += [group.create_task(w.run(), name=f"watch-{w.name}") for w in self.watches]
            started.append(group.create_task(self._lead(), name="lead"))
            await stop.wait()
            for controller in self.controllers:
                controller.queue.close()
            for task in started:
                task.cancel()
            if self.leader is not None:
                await self.leader.release()

    async def _lead(self) -> None:
        for watch in self.watches:
            await watch.synced.wait()
        gc.collect()
        gc.freeze()
        self.synced.set()
        log.info("synced", watches=len(self.watches))
        async with asyncio.TaskGroup() as group:
            if self.leader is not None:
                await self.leader.acquire()
                group.create_task(self.leader.keep(), name="lease")
            self.leading.set()
            for controller in self.controllers:
                group.create_task(controller.run(), name=controller.name)
