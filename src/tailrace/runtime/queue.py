"""The queue of keys: each waits once, is worked on once at a time, and comes back if it got dirty meanwhile.

    idle ──add──► waiting ──time──► ready ──get──► running ──done──► idle
                     ▲  add: the earlier time wins    │ add: dirty
                     └──────────── done, when dirty ──┘

Failures of a key make its own delay grow and nobody else's. Keys of a first list are less urgent than a change that
somebody just made: there are two lanes, and of five turns the slow one gets at least one, so that neither starves.
Time is an argument; the class itself never looks at a clock, and never awaits but in `get`.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

FIRST_DELAY, LONGEST_DELAY = 0.005, 300.0
SLOW_TURN = 5


@dataclass(slots=True)
class Entry:
    """What is known of one key."""

    due: float | None = None  # waiting until then
    ready_since: float | None = None
    running: bool = False
    dirty_at: float | None = None  # to be waited for once it is done
    failures: int = 0
    slow: bool = False


@dataclass(slots=True)
class Queue[K: Hashable]:
    """`now` gives monotonic seconds, `chance` numbers in [0, 1)."""

    now: Callable[[], float]
    chance: Callable[[], float]
    _entries: dict[K, Entry] = field(default_factory=dict)
    _waiting: list[tuple[float, int, K]] = field(default_factory=list)
    _lanes: tuple[deque[K], deque[K]] = field(default_factory=lambda: (deque(), deque()))
    _turn: int = 0
    _count: itertools.count[int] = field(default_factory=itertools.count)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _closed: bool = False

    def add(self, key: K, *, delay: float = 0.0, slow: bool = False) -> None:
        """Have the key worked on after `delay` seconds; of several wishes the earliest counts."""
        entry = self._entries.setdefault(key, Entry(slow=slow))
        due = self.now() + delay
        entry.slow = entry.slow and slow
        if entry.running:
            entry.dirty_at = due if entry.dirty_at is None else min(entry.dirty_at, due)
            return
        if entry.ready_since is not None or (entry.due is not None and entry.due <= due):
            return
        if delay <= 0:
            self._make_ready(key, entry)
        else:
            entry.due = due
            heapq.heappush(self._waiting, (due, next(self._count), key))
        self._wake.set()

    def fail(self, key: K) -> float:
        """Count a failure and give the delay until the next try, jittered downwards by up to a half."""
        entry = self._entries.setdefault(key, Entry())
        delay = min(FIRST_DELAY * 2.0 ** min(entry.failures, 30), LONGEST_DELAY)
        entry.failures += 1
        return delay * (1 - self.chance() / 2)

    def forget(self, key: K) -> None:
        """The key did well: its next failure is a first one again."""
        if key in self._entries:
            self._entries[key].failures = 0

    def failures(self, key: K) -> int:
        return self._entries[key].failures if key in self._entries else 0

    def done(self, key: K) -> None:
        """The work on the key has ended."""
        entry = self._entries[key]
        entry.running = False
        due, entry.dirty_at = entry.dirty_at, None
        if due is not None:
            self.add(key, delay=max(0.0, due - self.now()), slow=False)
        elif not entry.failures:
            del self._entries[key]

    def take(self) -> K | None:
        """The next key that is ready, or None. It counts as running until `done`."""
        self._promote()
        quick, slow = self._lanes
        if not quick and not slow:
            return None
        self._turn = (self._turn + 1) % SLOW_TURN
        lane = slow if slow and (not quick or self._turn == 0) else quick
        key = lane.popleft()
        entry = self._entries[key]
        entry.ready_since, entry.running = None, True
        return key

    def pause(self) -> float | None:
        """Seconds until the next waiting key is due; None when nothing waits."""
        while self._waiting:
            due, _, key = self._waiting[0]
            entry = self._entries.get(key)
            if entry is not None and entry.due == due:
                return max(0.0, due - self.now())
            heapq.heappop(self._waiting)
        return None

    async def get(self) -> K | None:
        """Wait for the next ready key; None once the queue is closed."""
        while not self._closed:
            key = self.take()
            if key is not None:
                return key
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), self.pause())
            except TimeoutError:
                continue
        return None

    def close(self) -> None:
        """No key is handed out any more; whoever waits in `get` gets None."""
        self._closed = True
        self._wake.set()

    @property
    def depth(self) -> int:
        """Keys that are ready."""
        return len(self._lanes[0]) + len(self._lanes[1])

    @property
    def idle(self) -> bool:
        """Nothing is ready, waiting or running."""
        return not any(
            e.running or e.ready_since is not None or e.due is not None for e in self._entries.values()
        )

    def _make_ready(self, key: K, entry: Entry) -> None:
        entry.due, entry.ready_since = None, self.now()
        self._lanes[1 if entry.slow else 0].append(key)

    def _promote(self) -> None:
        while self._waiting and self._waiting[0][0] <= self.now():
            due, _, key = heapq.heappop(self._waiting)
            entry = self._entries.get(key)
            if entry is not None and entry.due == due:
                self._make_ready(key, entry)
