"""What a Connector comes to on the memory twin. The laws that hold for every history are in `test_laws`."""

from __future__ import annotations

import pytest

from tailrace.kube import resources
from tests.laws.kinds import HOME, ROUTE, build_connector
from tests.support.world import open_world

pytestmark = pytest.mark.anyio


async def test_a_connector_becomes_a_device_that_routes() -> None:
    """From nothing to Ready, with its routes approved, in at most twelve writes and with one key."""
    async with open_world() as world:
        world.cluster.put(resources.CONNECTORS, build_connector())
        await world.settle(HOME)
        said = world.conditions("home", "", "Connector")
        assert said["Ready"][0] == said["ConnectorReady"][0] == "True", said
        assert said["RoutesApproved"][:2] == ("True", "RoutesServed")
        [device] = world.plane.devices
        assert (device.name, device.enabled_routes) == ("home-connector", (ROUTE,))
        assert world.plane.calls["mint_key"] == 1
        assert world.cluster.writes + len(world.events) <= 12
        assert world.plane.usable_keys == ()
