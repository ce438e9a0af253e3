"""A clock that stands still until the test moves it; sleepers wake when their time has come, in steps of a quarter second."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta


class HeldClock:
    """`wire.clock.Clock` in the hand of a test."""

    def __init__(self) -> None:
        self.time = 1_000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.time)

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.time + seconds, done))
        await done

    async def pass_time(self, seconds: float) -> None:
        """Let time go by, everybody acting as it does."""
        end = self.time + seconds
        while True:
            for _ in range(20):
                await asyncio.sleep(0)
            if self.time >= end - 1e-9:
                return
            self.time = min(end, self.time + 0.25)
            for until, done in self._sleepers:
                if until <= self.time + 1e-9 and not done.done():
                    done.set_result(None)
            self._sleepers = [entry for entry in self._sleepers if not entry[1].done()]
