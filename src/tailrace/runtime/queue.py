"""When each key has its turn. Pure: time and chance are arguments, nothing here waits.

A key is in at most one of these, apart from a delay that may run beside:

| where      | how it gets there                         | how it leaves                                 |
| ---------- | ----------------------------------------- | --------------------------------------------- |
| ready      | `add`, or a delay that ran out            | `take`, first come first served per priority  |
| processing | `take`                                    | `done`: to ready if dirty, else out           |
| dirty      | `add` or a delay that ran out, processing | `done`                                        |
| delayed    | `add_after`, `retry`; the earliest wins   | ran out, `add`, or `take` (its run decides anew) |
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Pause before attempt n+1: `first` x 2^n up to `longest`, of which the upper half is chance. Seconds."""

    first: float = 0.005
    longest: float = 300.0

    def pause(self, failures: int, chance: float) -> float:
        return min(self.first * 2.0 ** min(failures, 60), self.longest) * (0.5 + chance / 2)


LOW_TURN = 4
"""Each fourth turn goes to the low priority while both wait, so that neither starves."""


class Queue[K: Hashable]:
    """Keys and their turns. Low priority is for first lists and resyncs; somebody may be waiting for the others."""

    def __init__(self, *, backoff: Backoff, chance: Callable[[], float]) -> None:
        self._backoff, self._chance = backoff, chance
        self._high: deque[K] = deque()
        self._low: deque[K] = deque()
        self._ready: dict[K, float] = {}  # since when
        self._is_low: set[K] = set()
        self._processing: set[K] = set()
        self._dirty: set[K] = set()
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []  # entries that `_due` does not confirm are stale
        self._pushed = 0
        self._turn = 0
        self._failures: dict[K, int] = {}

    @property
    def depth(self) -> int:
        """How many keys are ready."""
        return len(self._ready)

    def add(self, key: K, now: float, *, low: bool = False) -> None:
        """The key wants a turn. One that waits at low priority is raised by a high `add`."""
        if key in self._processing:
            self._dirty.add(key)
        elif key not in self._ready:
            self._due.pop(key, None)
            self._ready[key] = now
            if low:
                self._is_low.add(key)
            (self._low if low else self._high).append(key)
        elif key in self._is_low and not low:
            self._is_low.discard(key)  # its place in the low line is stale from here on
            self._high.append(key)

    def add_after(self, key: K, delay: float, now: float) -> None:
        """The key wants a turn in `delay` seconds; an earlier one that is already sure wins."""
        if delay <= 0:
            self.add(key, now)
        elif key not in self._ready and now + delay < self._due.get(key, float("inf")):
            self._due[key] = now + delay
            self._pushed += 1
            heapq.heappush(self._heap, (now + delay, self._pushed, key))

    def retry(self, key: K, now: float, *, at_least: float = 0.0) -> float:
        """The key failed: back off, longer each time in a row. Gives the pause in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        pause = max(self._backoff.pause(failures, self._chance()), at_least)
        self.add_after(key, pause, now)
        return pause

    def forget(self, key: K) -> None:
        """The key succeeded: the next failure is the first."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        """How often the key has failed in a row."""
        return self._failures.get(key, 0)

    def take(self, now: float) -> tuple[K, float] | None:
        """The key whose turn it is and how long it waited, or None. `done` must follow."""
        self._wake(now)
        key = self._pop()
        if key is None:
            return None
        waited = now - self._ready.pop(key)
        self._is_low.discard(key)
        self._due.pop(key, None)
        self._processing.add(key)
        return key, waited

    def done(self, key: K, now: float) -> None:
        """The key's turn is over; if it got dirty meanwhile it is ready again."""
        self._processing.discard(key)
        if key in self._dirty:
            self._dirty.discard(key)
            self.add(key, now)

    def next_due(self) -> float | None:
        """When the earliest delay runs out, None when nothing is delayed."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def _wake(self, now: float) -> None:
        while (due := self.next_due()) is not None and due <= now:
            key = heapq.heappop(self._heap)[2]
            del self._due[key]
            self.add(key, now)

    def _pop(self) -> K | None:
        while self._low and self._low[0] not in self._is_low:
            self._low.popleft()
        if not self._high and not self._low:
            return None
        self._turn += 1
        low = not self._high or (bool(self._low) and self._turn % LOW_TURN == 0)
        return (self._low if low else self._high).popleft()
