"""What each end of a reconcile means, and that one bad object never stops the queue."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from tailrace import errors
from tailrace.kube.resource import Key
from tailrace.plan.ops import Result
from tailrace.runtime.controller import Controller
from tailrace.runtime.queue import Backoff

A, B = Key("default", "a"), Key("default", "b")

pytestmark = pytest.mark.anyio


class Runner:
    """A controller under way, and what it was asked."""

    def __init__(self, reconcile: Callable[[Key], Awaitable[Result]], workers: int = 2) -> None:
        self.seen: Counter[Key] = Counter()
        self.told: list[Exception] = []

        async def counted(key: Key) -> Result:
            self.seen[key] += 1
            return await reconcile(key)

        async def tell(key: Key, error: Exception) -> None:
            self.told.append(error)

        self.controller = Controller(
            "test", counted, workers=workers, on_error=tell, backoff=Backoff(first=0.001, longest=0.002)
        )

    async def __aenter__(self) -> Runner:
        self.task = asyncio.create_task(self.controller.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.controller.stop()
        await self.task

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not done():
                await asyncio.sleep(0.001)


@pytest.mark.parametrize("error", [errors.Transient("x"), errors.Conflict("x"), RuntimeError("a bug")])
async def test_what_may_work_next_time_is_tried_again(error: Exception) -> None:
    failures = [error, error]

    async def reconcile(key: Key) -> Result:
        if failures:
            raise failures.pop()
        return Result()

    async with Runner(reconcile) as runner:
        runner.controller.enqueue(A)
        await runner.until(lambda: runner.seen[A] == 3)


@pytest.mark.parametrize("error", [errors.Terminal("x", reason="Invalid"), errors.Waiting("x", on="y")])
async def test_what_is_useless_to_repeat_waits_for_a_change(error: Exception) -> None:
    async def reconcile(key: Key) -> Result:
        if key == A:
            raise error
        return Result()

    async with Runner(reconcile) as runner:
        runner.controller.enqueue(A)
        await runner.until(lambda: runner.seen[A] == 1)
        for _ in range(3):
            runner.controller.enqueue(B)
            await asyncio.sleep(0.01)
        assert runner.seen[A] == 1
        runner.controller.enqueue(A)
        await runner.until(lambda: runner.seen[A] == 2)


async def test_a_bug_is_told_and_the_others_go_on() -> None:
    async def reconcile(key: Key) -> Result:
        if key == A:
            raise ZeroDivisionError
        return Result()

    async with Runner(reconcile) as runner:
        runner.controller.enqueue(A)
        runner.controller.enqueue(B)
        await runner.until(lambda: runner.seen[B] == 1 and bool(runner.told))
        assert isinstance(runner.told[0], errors.Bug)


async def test_a_key_is_never_worked_on_twice_at_once() -> None:
    running: Counter[Key] = Counter()
    most: list[int] = []

    async def reconcile(key: Key) -> Result:
        running[key] += 1
        most.append(running[key])
        await asyncio.sleep(0.002)
        running[key] -= 1
        return Result()

    async with Runner(reconcile, workers=4) as runner:
        for _ in range(20):
            runner.controller.enqueue(A)
            await asyncio.sleep(0.001)
        await runner.until(lambda: runner.controller.idle)
        assert max(most) == 1
        assert 2 <= runner.seen[A] < 20


async def test_a_reconcile_that_never_awaits_does_not_hold_the_loop() -> None:
    async def reconcile(key: Key) -> Result:
        runner.controller.enqueue(key)
        return Result()

    async with Runner(reconcile) as runner:
        runner.controller.enqueue(A)
        for _ in range(20):
            await asyncio.sleep(0)
        assert runner.seen[A] > 1


async def test_one_slow_key_does_not_hold_up_the_others() -> None:
    release = asyncio.Event()

    async def reconcile(key: Key) -> Result:
        if key == A:
            await release.wait()
        return Result()

    async with Runner(reconcile) as runner:
        runner.controller.enqueue(A)
        runner.controller.enqueue(B)
        await runner.until(lambda: runner.seen[B] == 1)
        release.set()


async def test_requeue_after_comes_back_by_itself() -> None:
    async def reconcile(key: Key) -> Result:
        return Result(requeue_after=0.001)

    async with Runner(reconcile) as runner:
        runner.controller.enqueue(A)
        await runner.until(lambda: runner.seen[A] >= 3)
