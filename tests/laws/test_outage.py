"""A proxy that starts while the control plane is away comes back as the device that it was, whatever asked for it.

containerboot takes the refused login for a bad key: it asks for another one and waits. Obeyed, it would be another device.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tailrace import errors
from tailrace.api import names
from tailrace.api.conditions import EventReason
from tailrace.fleet import plea
from tailrace.kube import resources
from tailrace.kube.resource import Key, Resource
from tailrace.plan import ops
from tailrace.tailnet.port import Device
from tests.laws.histories import WEB
from tests.laws.test_hung import EVERY_KIND
from tests.support.cluster import Unheard
from tests.support.world import HOME, World, build_service, open_world

pytestmark = pytest.mark.anyio

AWAY = errors.Transient("the control plane does not answer")


def list_devices(world: World[Any]) -> dict[str, Device]:
    return {device.id: device for device in world.plane.devices}


def find(world: World[Any], kind: str) -> dict[str, Any]:
    """The first object of a kind, pods included."""
    place = min(p for p in world.cluster.objects if p[0] == kind and p[1] == HOME)
    found: dict[str, Any] = world.cluster.objects[place]
    return found


def ask_for_key(world: World[Any]) -> str:
    """What a start without control plane leads to; gives the id of the device, which is not connected then."""
    secret = find(world, "Secret")["metadata"]["name"]
    world.cluster.edit(resources.SECRETS, HOME, secret, {"data": {"reissue_authkey": ""}})
    mine = min(device.id for device in world.plane.devices if device.tags)
    world.plane.set_online(mine, False)
    return str(mine)


def let_pass(world: World[Any]) -> None:
    """The pause between two starts."""
    secret = find(world, "Secret")["metadata"]
    note = secret.get("annotations", {}).get(names.STARTED_AGAIN, "")
    earlier = [moment - plea.PAUSE for moment in plea.read_starts(note, datetime.now(UTC))]
    body = {"metadata": {"annotations": {names.STARTED_AGAIN: " ".join(m.isoformat() for m in earlier)}}}
    world.cluster.edit(resources.SECRETS, HOME, secret["name"], body)


def list_reasons(world: World[Any]) -> list[EventReason]:
    return [event.reason for event in world.events]


@EVERY_KIND
async def test_a_proxy_that_started_without_control_plane_stays_the_same_device(
    resource: Resource[Any], root: dict[str, Any], key: Key
) -> None:
    """Nothing is done while it is away. Then the pod is started again, once, and a settled operator writes nothing."""
    async with open_world() as world:
        world.plane.add("db", user="somebody")
        world.cluster.put(resource, root)
        await world.settle(key)
        before, said = list_devices(world), world.conditions(key.name, key.namespace, resource.kind)
        pod, started = find(world, "Pod")["metadata"]["uid"], len(world.events)
        world.plane.break_down(AWAY)
        ask_for_key(world)
        for _ in range(5):
            world.cluster.run_machinery()
            plan = await world.reconcile(key)
            assert not [op for op in plan.ops if not isinstance(op, ops.ApplyStatus)]
        assert find(world, "Pod")["metadata"]["uid"] == pod
        assert world.conditions(key.name, key.namespace, resource.kind)["Ready"][0] != "True"

        world.plane.break_down(None)
        await world.settle(key)
        assert list_devices(world) == before
        assert find(world, "Pod")["metadata"]["uid"] != pod
        assert "reissue_authkey" not in find(world, "Secret")["data"]
        assert world.conditions(key.name, key.namespace, resource.kind) == said
        assert list_reasons(world)[started:] == [EventReason.PROXY_RESTARTED]
        writes = world.cluster.writes
        await world.settle(key)
        assert world.cluster.writes == writes


async def test_a_list_that_is_older_than_the_outage_starts_nothing() -> None:
    """Whether the control plane answers is asked once more: a start would meet the same."""
    async with open_world() as world:
        world.cluster.put(resources.SERVICES, build_service())
        await world.settle(WEB)
        pod = find(world, "Pod")["metadata"]["uid"]
        mine = ask_for_key(world)
        world.plane.fail("get_device", AWAY)
        await world.reconcile(WEB)
        world.cluster.run_machinery()
        assert find(world, "Pod")["metadata"]["uid"] == pod
        assert "reissue_authkey" in find(world, "Secret")["data"]
        assert world.conditions()["Ready"][:2] == ("False", "Disconnected")
        assert str(AWAY) in world.conditions()["Ready"][2]
        await world.settle(WEB)
        assert find(world, "Pod")["metadata"]["uid"] != pod
        assert [*list_devices(world)] == [mine]


@EVERY_KIND
async def test_a_proxy_that_asks_whatever_is_done_gets_another_key(
    resource: Resource[Any], root: dict[str, Any], key: Key
) -> None:
    """After some starts, none of them at once after another: what it was is known no more then."""
    async with open_world() as world:
        world.plane.add("db", user="somebody")
        world.cluster.put(resource, root)
        await world.settle(key)
        count = len(world.plane.devices)
        for _ in range(plea.STARTS):
            lost = ask_for_key(world)
            await world.settle(key)
            assert lost in list_devices(world)
            pod = find(world, "Pod")["metadata"]["uid"]
            ask_for_key(world)
            await world.settle(key)
            assert (find(world, "Pod")["metadata"]["uid"], lost in list_devices(world)) == (pod, True)
            let_pass(world)
        await world.settle(key)
        assert lost not in list_devices(world)
        assert len(world.plane.devices) == count
        assert world.conditions(key.name, key.namespace, resource.kind)["Online"][0] == "True"
        told = list_reasons(world)
        assert told.count(EventReason.PROXY_RESTARTED) == plea.STARTS
        assert told.count(EventReason.DEVICE_REPLACED) == 1


@EVERY_KIND
@pytest.mark.parametrize("fault", [AWAY, Unheard("the answer was lost")], ids=["not done", "not heard"])
@pytest.mark.parametrize("number", range(4))
async def test_a_start_that_is_broken_off_goes_on(
    resource: Resource[Any], root: dict[str, Any], key: Key, number: int, fault: errors.TailraceError
) -> None:
    """Whichever of its writes fails: the device stays, and it is connected in the end."""
    async with open_world() as world:
        world.plane.add("db", user="somebody")
        world.cluster.put(resource, root)
        await world.settle(key)
        before, pod = list_devices(world), find(world, "Pod")["metadata"]["uid"]
        ask_for_key(world)
        world.cluster.faults.extend([*[None] * number, fault])
        await world.reconcile(key)
        world.cluster.faults.clear()
        await world.settle(key)
        let_pass(world)
        await world.settle(key)
        assert list_devices(world) == before
        assert find(world, "Pod")["metadata"]["uid"] != pod
        assert "reissue_authkey" not in find(world, "Secret")["data"]
