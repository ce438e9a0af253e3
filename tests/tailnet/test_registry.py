"""Several tailnets: each with its own list, all told through one subscription, and why one cannot be used."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tailrace import errors
from tailrace.observe import metrics
from tailrace.tailnet import devices, memory, registry
from tailrace.tailnet.port import ControlPlane, DeviceId
from tests.tailnet.fakes import FakeClock
from tests.tailnet.test_devices import HeldClock, settle

pytestmark = pytest.mark.anyio


class ClosingPlane(memory.MemoryPlane):
    """Tells whether it was closed."""

    closed = False

    async def close(self) -> None:
        self.closed = True


class World:
    """Memberships with lists of a clock that the test holds."""

    def __init__(self) -> None:
        self.clock = HeldClock()
        self.own = ClosingPlane(clock=self.clock)
        self.tailnets = registry.Tailnets(self.build("", self.own), build=self.build, clock=self.clock)
        self.told: list[tuple[str, frozenset[DeviceId]]] = []
        self.tailnets.subscribe(lambda name, ids: self.told.append((name, ids)))

    def build(self, name: str, plane: ControlPlane) -> registry.Membership:
        listing = devices.DeviceList(plane, tailnet=name, clock=self.clock, random=lambda: 0.5)
        return registry.Membership(name=name, plane=listing.plane, devices=listing)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.tailnets.run())
        await settle()
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self.tailnets.close()


async def test_the_operators_own_is_always_there_and_stays() -> None:
    world = World()
    assert world.tailnets.get("") is world.tailnets.own
    assert world.tailnets.explain("") == ""
    with pytest.raises(errors.Bug):
        world.tailnets.remove("")
    with pytest.raises(errors.Bug):
        world.tailnets.put("", world.own)


async def test_every_tailnet_has_its_own_devices_also_one_that_comes_later() -> None:
    """One that comes while all run is listed at once; its devices are told under its name."""
    world = World()
    mine = world.own.add("mine")
    async with world.running():
        other = ClosingPlane(clock=world.clock)
        theirs = other.add("theirs")
        membership = world.tailnets.put("other", other)
        await settle()
        assert world.told == [
            ("", frozenset({mine.id})),
            ("other", frozenset()),
            ("other", frozenset({theirs.id})),
        ]
        assert [one.name for one in world.tailnets.all()] == ["", "other"]
        assert [d.name for d in membership.devices.snapshot().devices] == ["theirs"]
        assert [d.name for d in world.tailnets.own.devices.snapshot().devices] == ["mine"]


async def test_a_membership_of_before_the_run_is_listed_with_it() -> None:
    world = World()
    membership = world.tailnets.put("early", ClosingPlane(clock=world.clock))
    async with world.running():
        assert membership.devices.snapshot().known


async def test_a_replaced_tailnet_is_listed_no_more_and_closed_later() -> None:
    """Whoever still uses the old control plane can end what was begun; nobody hears of its devices any more."""
    world = World()
    async with world.running():
        old, new = ClosingPlane(clock=world.clock), ClosingPlane(clock=world.clock)
        before = world.tailnets.put("other", old)
        await settle()
        device = old.add("late")
        after = world.tailnets.put("other", new)
        await settle()
        world.told.clear()
        await world.clock.pass_time(70)
        assert (old.calls["list_devices"], new.calls["list_devices"]) == (1, 2)
        assert world.tailnets.get("other") is after
        await before.plane.delete_device(device.id)
        assert world.told == []
        assert (old.closed, new.closed) == (False, False)
        await world.clock.pass_time(registry.LINGER)
        assert [old.closed, new.closed] == [True, False]


async def test_closing_closes_every_control_plane_also_those_that_went() -> None:
    world = World()
    planes = [ClosingPlane(clock=world.clock) for _ in range(2)]
    async with world.running():
        world.tailnets.put("kept", planes[0])
        world.tailnets.put("gone", planes[1])
        world.tailnets.remove("gone")
    assert [plane.closed for plane in (world.own, *planes)] == [True, True, True]


async def test_a_removed_tailnet_is_told_once_and_leaves_the_metrics() -> None:
    world = World()
    async with world.running():
        plane = ClosingPlane(clock=world.clock)
        plane.add("one")
        world.tailnets.put("passing", plane)
        await settle()
        assert metrics.REGISTRY.get_sample_value(
            "tailrace_devices", {"tailnet": "passing", "state": "online"}
        )
        world.told.clear()
        world.tailnets.remove("passing")
        world.tailnets.remove("passing")
        await settle()
        assert world.told == [("passing", frozenset())]
        assert not metrics.REGISTRY.get_sample_value(
            "tailrace_devices", {"tailnet": "passing", "state": "online"}
        )


async def test_why_a_tailnet_cannot_be_used_is_a_sentence_and_told_when_it_changes() -> None:
    world = World()
    world.tailnets.put("lab", memory.MemoryPlane(clock=FakeClock()), problem="its Secret is empty")
    assert world.tailnets.explain("lab") == 'tailnet "lab" is not ready: its Secret is empty'
    world.told.clear()
    world.tailnets.judge("lab", "")
    world.tailnets.judge("lab", "")
    world.tailnets.judge("unknown", "is of no interest")
    assert world.told == [("lab", frozenset())]
    assert world.tailnets.explain("lab") == ""


async def test_a_name_that_nobody_has_is_met_with_the_nearest_one() -> None:
    world = World()
    assert world.tailnets.explain("lab") == 'there is no Tailnet "lab" (there is: none)'
    world.tailnets.put("customers", memory.MemoryPlane(clock=FakeClock()))
    assert world.tailnets.explain("custmers") == 'there is no Tailnet "custmers": is "customers" meant?'
    assert world.tailnets.explain("zzz") == 'there is no Tailnet "zzz" (there is: "customers")'


async def test_a_list_that_begins_or_ceases_to_fail_is_told_once_each() -> None:
    """With no ids: nothing came or went, but who uses it has something to say."""
    world = World()
    async with world.running():
        world.told.clear()
        world.own.break_down(errors.Denied("the credential was revoked"))
        world.tailnets.own.devices.invalidate()
        await settle()
        await world.clock.pass_time(1)
        await world.clock.pass_time(2)
        assert world.told == [("", frozenset())]
        world.own.break_down(None)
        await world.clock.pass_time(70)
        assert world.told == [("", frozenset())] * 2
