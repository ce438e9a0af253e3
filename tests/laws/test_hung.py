"""A proxy that hangs is told, whatever asked for it, and told no more once it is back. The control plane notices nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tailrace.kube import resources
from tailrace.kube.resource import Key, Resource
from tailrace.tailnet.memory import MemoryPlane
from tests.laws.histories import WEB
from tests.laws.kinds import HOME, build_connector
from tests.support.clock import HeldClock
from tests.support.world import World, build_egress, build_service, open_world

pytestmark = pytest.mark.anyio

DB = "db.tailnet.test"
EVERY_KIND = pytest.mark.parametrize(
    ("resource", "root", "key"),
    [
        pytest.param(resources.SERVICES, build_service(), WEB, id="service"),
        pytest.param(
            resources.SERVICES, build_egress(**{"tailscale.com/tailnet-fqdn": DB}), WEB, id="egress"
        ),
        pytest.param(resources.CONNECTORS, build_connector(), HOME, id="connector"),
        pytest.param(resources.CONNECTORS, build_connector(replicas=2), HOME, id="two replicas"),
    ],
)


def report(world: World[Any], *, ready: bool, since: float) -> str:
    """What the kubelet says of the first proxy's pod from `since` seconds ago on; gives the pod's name."""
    _, namespace, name = min(place for place in world.cluster.objects if place[0] == "Pod")
    changed = (datetime.now(UTC) - timedelta(seconds=since)).strftime("%Y-%m-%dT%H:%M:%SZ")
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": changed}
    body = {"status": {"conditions": [condition]}}
    world.cluster.edit(resources.PODS, namespace, name, body)
    return name


@EVERY_KIND
async def test_a_proxy_that_hangs_is_told_until_it_is_back(
    resource: Resource[Any], root: dict[str, Any], key: Key
) -> None:
    """By one write when it is sure, none before, and by one when it is over."""
    async with open_world(MemoryPlane(clock=HeldClock())) as world:  # everybody has joined long ago
        world.plane.add("db", user="somebody")
        world.cluster.put(resource, root)
        await world.settle(key)
        before, writes = world.conditions(key.name, key.namespace, resource.kind), world.cluster.writes
        assert before["Online"][0] == "True"

        report(world, ready=False, since=1)
        await world.settle(key)
        assert world.cluster.writes == writes

        pod = report(world, ready=False, since=60)
        await world.settle(key)
        said = world.conditions(key.name, key.namespace, resource.kind)
        assert said["Online"][:2] == said["Ready"][:2] == ("False", "ProxyNotReady")
        assert pod in said["Ready"][2]
        assert world.cluster.writes == writes + 1

        report(world, ready=True, since=0)
        await world.settle(key)
        assert world.conditions(key.name, key.namespace, resource.kind) == before
        assert world.cluster.writes == writes + 2
