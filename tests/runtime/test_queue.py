"""The queue against a plain model: a key waits once, runs once at a time, comes back if dirty, earliest delay wins."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tailrace.runtime.queue import Backoff, Queue

KEYS = st.sampled_from("abcd")


class Model(RuleBasedStateMachine):
    """What must hold, said in sets: `ready`, `running`, `dirty`, and the earliest due time of each key."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.queue: Queue[str] = Queue(backoff=Backoff(), chance=lambda: 0.5)
        self.ready: set[str] = set()
        self.running: set[str] = set()
        self.dirty: set[str] = set()
        self.due: dict[str, float] = {}

    def wake(self) -> None:
        for key, due in sorted(self.due.items()):
            if due <= self.now:
                del self.due[key]
                self.want(key)

    def want(self, key: str) -> None:
        if key in self.running:
            self.dirty.add(key)
        else:
            self.due.pop(key, None)
            self.ready.add(key)

    @rule(key=KEYS, low=st.booleans())
    def add(self, key: str, low: bool) -> None:
        self.queue.add(key, self.now, low=low)
        self.want(key)

    @rule(key=KEYS, delay=st.floats(0.1, 10))
    def add_after(self, key: str, delay: float) -> None:
        self.queue.add_after(key, delay, self.now)
        if key not in self.ready:
            self.due[key] = min(self.now + delay, self.due.get(key, float("inf")))

    @rule(seconds=st.floats(0.0, 5))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def take(self) -> None:
        self.wake()
        taken = self.queue.take(self.now)
        if taken is None:
            assert not self.ready
            return
        key, waited = taken
        assert key in self.ready
        assert key not in self.running
        assert waited >= 0
        self.ready.remove(key)
        self.running.add(key)
        self.due.pop(key, None)

    @rule(key=KEYS)
    def done(self, key: str) -> None:
        if key in self.running:
            self.queue.done(key, self.now)
            self.running.remove(key)
            if key in self.dirty:
                self.dirty.remove(key)
                self.want(key)

    @invariant()
    def it_agrees(self) -> None:
        assert self.queue.depth == len(self.ready)
        assert self.queue.next_due() == (min(self.due.values()) if self.due else None)


TestQueue = Model.TestCase


def test_backoff_grows_and_is_bounded() -> None:
    backoff = Backoff(first=1.0, longest=60.0)
    pauses = [backoff.pause(n, 1.0) for n in range(10)]
    assert pauses[:4] == [1.0, 2.0, 4.0, 8.0]
    assert max(pauses) == 60.0
    assert backoff.pause(3, 0.0) == 4.0


def test_neither_priority_starves() -> None:
    queue: Queue[str] = Queue(backoff=Backoff(), chance=lambda: 0.5)
    for number in range(40):
        queue.add(f"high-{number}", 0.0)
        queue.add(f"low-{number}", 0.0, low=True)
    first = [taken[0] for _ in range(20) if (taken := queue.take(0.0))]
    assert sum(key.startswith("low") for key in first) == 5


def test_a_success_forgets_the_failures() -> None:
    queue: Queue[str] = Queue(backoff=Backoff(first=1.0), chance=lambda: 1.0)
    assert [queue.retry("a", 0.0) for _ in range(3)] == [1.0, 2.0, 4.0]
    queue.forget("a")
    assert queue.retry("a", 0.0) == 1.0
