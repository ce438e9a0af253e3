"""A proxy whose Secret was deleted by hand comes back under its name, whatever asked for it.

It does not notice by itself that its state has nowhere to go: its device stays connected and keeps the name, so the proxy ends first.
"""

from __future__ import annotations

from typing import Any

import pytest

from tailrace.kube import resources
from tailrace.kube.resource import Key, Resource
from tests.laws.histories import WEB
from tests.laws.test_hung import EVERY_KIND
from tests.support.world import World, build_service, open_world

pytestmark = pytest.mark.anyio


def lose_secret(world: World[Any]) -> tuple[str, str]:
    """Of the first proxy; gives the name of its StatefulSet and the uid of its pod."""
    _, namespace, name = min(p for p in world.ours() if p[0] == "StatefulSet")
    pod = world.cluster.objects["Pod", namespace, f"{name}-0"]
    world.cluster.remove(min(p for p in world.ours() if p[0] == "Secret"))
    return name, pod["metadata"]["uid"]


@EVERY_KIND
async def test_a_proxy_whose_secret_was_deleted_comes_back_under_its_name(
    resource: Resource[Any], root: dict[str, Any], key: Key
) -> None:
    async with open_world() as world:
        world.plane.add("db", user="somebody")
        world.cluster.put(resource, root)
        await world.settle(key)
        before = sorted(device.name for device in world.plane.devices)
        name, pod = lose_secret(world)
        await world.settle(key)
        assert sorted(device.name for device in world.plane.devices) == before
        assert world.cluster.objects["Pod", "tailscale", f"{name}-0"]["metadata"]["uid"] != pod
        assert world.conditions(key.name, key.namespace, resource.kind)["Online"][0] == "True"


async def test_a_device_that_was_not_heard_of_yet_goes_with_its_secret() -> None:
    """The pod may be seen gone before its last word is: watches go their own pace, the more so after an outage."""
    async with open_world() as world:
        world.cluster.put(resources.SERVICES, build_service())
        await world.reconcile(WEB)
        await world.reconcile(WEB)
        with world.cluster.hold_back(resources.SECRETS):
            world.cluster.run_machinery()  # it joins, and writes who it is
            assert world.plane.devices
            world.cluster.remove(("Service", *WEB))
            for _ in range(4):
                await world.reconcile(WEB)
                world.cluster.run_machinery()
        await world.settle(WEB)
        assert world.plane.devices == ()
        assert world.ours() == []


async def test_a_proxy_goes_on_while_its_name_is_somebody_elses() -> None:
    """Its own device has another name then: nothing is won by ending it."""
    async with open_world() as world:
        world.cluster.put(resources.SERVICES, build_service())
        await world.settle(WEB)
        (mine,) = world.plane.devices
        await world.plane.rename_device(mine.id, "former")
        world.plane.add(mine.name, user="somebody")
        name, _ = lose_secret(world)
        await world.settle(WEB)
        assert ("StatefulSet", "tailscale", name) in world.cluster.objects
        assert world.conditions()["Accepted"][1] == "NameConflict"
