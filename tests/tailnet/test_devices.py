"""The shared device list: when it asks, what it tells, and that our own writes are known at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace import errors
from tailrace.tailnet import devices, memory
from tailrace.tailnet.port import Device, DeviceId
from tests.tailnet.fakes import FakeClock

pytestmark = pytest.mark.anyio


class HeldClock(FakeClock):
    """Sleeps end only when the test lets time pass."""

    def __init__(self) -> None:
        super().__init__()
        self.sleepers: list[tuple[float, asyncio.Future[None]]] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sleepers.append((self.time + seconds, done))
        await done

    async def pass_time(self, seconds: float) -> None:
        self.time += seconds
        for until, done in self.sleepers:
            if until <= self.time + 1e-9 and not done.done():
                done.set_result(None)
        await settle()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


class World:
    def __init__(self) -> None:
        self.clock = HeldClock()
        self.plane = memory.MemoryPlane(clock=self.clock)
        self.list = devices.DeviceList(self.plane, clock=self.clock, random=lambda: 0.5)
        self.told: list[frozenset[DeviceId]] = []
        self.list.subscribe(self.told.append)

    @property
    def listings(self) -> int:
        return self.plane.calls["list_devices"]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.list.run())
        await settle()
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_tells_what_came_went_and_changed() -> None:
    """Only ids that differ, and nothing when nothing does."""
    world = World()
    app = world.plane.add("app", tags=["tag:k8s"])
    assert not world.list.snapshot().known
    async with world.running():
        assert world.told == [{app.id}]
        snapshot = world.list.snapshot()
        assert (snapshot.known, snapshot.stale, snapshot.by_name["app"][0].id) == (True, False, app.id)
        await world.clock.pass_time(60)
        world.plane.set_online(app.id, False)
        await world.clock.pass_time(60)
        world.plane.remove(app.id)
        await world.clock.pass_time(60)
        assert world.told == [{app.id}] * 3
        assert world.listings == 4


async def test_a_device_that_only_moves_wakes_nobody_and_is_known_to_have_moved() -> None:
    """Endpoints change all the time."""
    world = World()
    laptop = world.plane.add("laptop", endpoints=["192.168.1.5"])
    async with world.running():
        world.plane.move(laptop.id, ["10.0.0.7"])
        await world.clock.pass_time(60)
        assert world.list.snapshot().by_id[laptop.id].endpoints == ("10.0.0.7",)
        assert world.listings == 2
        assert world.told == [{laptop.id}]


async def test_asks_often_while_somebody_waits_and_seldom_otherwise() -> None:
    """60 s when settled; 1 s growing to 5 s after a wish, which ends when taken back or over."""
    world = World()
    async with world.running():
        world.list.expect("app")
        await settle()
        for seconds in (1.0, 1.5, 2.25, 3.375, 5.0, 5.0):
            await world.clock.pass_time(seconds)
        assert world.listings == 7
        world.list.settle("app")
        await world.clock.pass_time(5.0)
        before = world.listings
        await world.clock.pass_time(50.0)
        assert world.listings == before
        world.list.expect("app", patience=3)
        await settle()
        await world.clock.pass_time(4)
        await world.clock.pass_time(4)
        assert world.listings == before + 1


async def test_a_deleted_device_is_gone_at_once_and_does_not_come_back() -> None:
    """A listing that began before the deletion cannot bring it back."""
    world = World()
    app = world.plane.add("app")
    async with world.running():
        held: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        listing = world.plane.list_devices

        async def slowly() -> tuple[Device, ...]:
            found = await listing()
            await held
            return found

        world.plane.list_devices = slowly  # type: ignore[method-assign]
        await world.clock.pass_time(60)
        await world.list.plane.delete_device(app.id)
        assert app.id not in world.list.snapshot().by_id
        held.set_result(None)
        await settle()
        assert app.id not in world.list.snapshot().by_id
        assert world.list.snapshot().stale
        await world.clock.pass_time(0.3)
        assert not world.list.snapshot().stale
        assert world.told == [{app.id}, {app.id}]


async def test_many_writes_share_one_listing() -> None:
    """A hundred deletions, one more listing."""
    world = World()
    ids = [world.plane.add(f"app{n}").id for n in range(100)]
    async with world.running():
        await asyncio.gather(*(world.list.plane.delete_device(one) for one in ids))
        await settle()
        await world.clock.pass_time(0.3)
        assert world.listings == 2
        assert world.list.snapshot().devices == ()


async def test_a_failure_keeps_what_was_known_and_backs_off() -> None:
    """The last devices with their age and the reason; 1, 2, 4 … s; as long as the server asks."""
    world = World()
    app = world.plane.add("app")
    async with world.running():
        world.plane.break_down(errors.Transient("down"))
        await world.clock.pass_time(60)
        snapshot = world.list.snapshot()
        assert (app.id in snapshot.by_id, str(snapshot.error), snapshot.age(world.clock.time)) == (
            True,
            "down",
            60.0,
        )
        world.list.invalidate()
        for _ in range(3):
            await world.clock.pass_time(world.clock.slept[-1])
        assert world.clock.slept[-3:] != [0.3] * 3
        world.plane.break_down(errors.RateLimited("slow down", after=17))
        await world.clock.pass_time(60)
        assert world.clock.slept[-1] == 17
        world.plane.break_down(None)
        await world.clock.pass_time(17)
        assert world.list.snapshot().error is None


async def test_refreshes_at_the_same_time_share_one_listing() -> None:
    """Each gets a snapshot of a listing that began after it asked."""
    world = World()
    async with world.running():
        waiting = [asyncio.create_task(world.list.refresh()) for _ in range(5)]
        await settle()
        await world.clock.pass_time(0.3)
        assert {snapshot.sequence for snapshot in await asyncio.gather(*waiting)} == {2}


@given(
    st.booleans(),
    st.integers(0, 500),
    st.integers(0, 500),
    st.floats(0, 1000),
    st.floats(0, 1, exclude_max=True),
)
def test_the_schedule_stays_in_its_bounds(
    waiting: bool, rounds: int, failures: int, after: float, random: float
) -> None:
    """Never busy, never asleep for good, never sooner than the server asked."""
    delay = devices.Schedule().delay(
        waiting=waiting, rounds=rounds, failures=failures, after=after, random=random
    )
    assert 0.5 <= delay <= max(66.0, after)
    assert not failures or delay >= after
    assert failures or not waiting or delay <= 5.0
