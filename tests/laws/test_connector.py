"""The four laws for a Connector: settles, idempotent, history-free, tidy; with faults at any single write, to the cluster
and to the tailnet. Many histories on the memory twin, fewer over HTTP against each emulated dialect."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from hypothesis import given

from tailrace import errors
from tailrace.kube import resources
from tailrace.kube.resource import Key
from tailrace.sandbox.controlplane.records import Dialect
from tailrace.tailnet import port
from tests.laws.histories import (
    Edit,
    Trouble,
    change,
    examples,
    faults,
    histories,
    live_through,
    refusals,
    remove_devices,
    spoil,
)
from tests.laws.test_dialects import check_keys, every_control_plane
from tests.support.faults import UNDONE, UNHEARD, Fault, scripts
from tests.support.tailnets import open_emulated
from tests.support.world import World, build_class, open_world, open_world_on

pytestmark = pytest.mark.anyio
HOME = Key("", "home")
ROUTE = "10.1.0.0/24"


def build_connector(name: str = "home", /, **spec: Any) -> dict[str, Any]:
    """A Connector that routes one network and has its routes approved."""
    return {
        "metadata": {"name": name, "annotations": {"tailrace.dev/approve-routes": "true"}},
        "spec": {"subnetRouter": {"advertiseRoutes": [ROUTE]}, **spec},
    }


def edit(**spec: Any) -> Edit:
    return change({"spec": spec}, resources.CONNECTORS, HOME)


def annotate(key: str, value: str) -> Edit:
    return change({"metadata": {"annotations": {key: value}}}, resources.CONNECTORS, HOME)


EDITS: dict[str, Edit] = {
    "two": edit(replicas=2),
    "three": edit(replicas=3),
    "one": edit(replicas=1),
    "none": edit(replicas=0),
    "routes": edit(subnetRouter={"advertiseRoutes": ["10.2.0.0/24", "10.3.0.0/24"]}),
    "exit node": edit(exitNode=True),
    "app connector": edit(subnetRouter=None, exitNode=None, appConnector={"routes": ["10.4.0.0/24"]}),
    "prefix": edit(hostnamePrefix="gate"),
    "tags": edit(tags=["tag:a", "tag:b"]),
    "wrong": edit(subnetRouter={"advertiseRoutes": ["10.2.0.1/24"]}),
    "class": edit(proxyClass="routes"),
    "userspace": annotate("tailrace.dev/mode", "userspace"),
    "recreate": annotate("tailrace.dev/recreate", "1"),
    "device deleted": remove_devices,
}

edits = histories(EDITS)


def mend(world: World[Any]) -> None:
    """A Connector that is not valid keeps what runs, so where it ends depends on what was: it ends valid."""
    live = world.cluster.objects["Connector", "", "home"]["spec"]
    if live.get("appConnector"):
        EDITS["app connector"](world)
    elif live.get("subnetRouter") == {"advertiseRoutes": ["10.2.0.1/24"]}:
        EDITS["routes"](world)
    world.cluster.put(resources.PROXY_CLASSES, build_class())


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


slow = examples(40)


@slow
@given(history=edits, trouble=faults, refused=refusals)
def test_any_history_settles_and_is_as_after_a_clean_start(
    history: list[str], trouble: list[errors.TailraceError | None], refused: Trouble
) -> None:
    """Laws 1, 2 and 3: it comes to rest, writes nothing then, and what it says now decides."""

    async def run() -> None:
        async with open_world() as world:
            world.cluster.put(resources.CONNECTORS, build_connector())
            world.cluster.faults.extend(trouble)
            spoil(world.plane, refused)
            await live_through(world, history, EDITS, HOME)
            mend(world)
            await world.settle(HOME, turns=60)
            writes = world.cluster.writes
            assert (await world.reconcile(HOME)).ops == ()
            assert world.cluster.writes == writes
            assert world.snapshot() == await build_clean_start(world)

    anyio.run(run)


async def build_clean_start(world: World[Any]) -> dict[Any, Any]:
    """What the Connector as it is now comes to where nothing ever happened."""
    live = world.cluster.objects["Connector", "", "home"]
    async with open_world() as clean:
        meta = {"name": "home", "annotations": live["metadata"].get("annotations", {})}
        clean.cluster.put(resources.CONNECTORS, {"metadata": meta, "spec": live["spec"]})
        clean.cluster.put(resources.PROXY_CLASSES, build_class())
        await clean.settle(HOME)
        return clean.snapshot()


@slow
@given(history=edits, trouble=faults, refused=refusals)
def test_a_deleted_connector_leaves_nothing(
    history: list[str], trouble: list[errors.TailraceError | None], refused: Trouble
) -> None:
    """Law 4: nothing in the cluster, nothing in the tailnet, no key; what is foreign stays."""

    async def run() -> None:
        async with open_world() as world:
            stranger = world.plane.add("laptop", user="somebody")
            world.cluster.put(resources.CONNECTORS, build_connector())
            world.cluster.faults.extend(trouble)
            spoil(world.plane, refused)
            await live_through(world, [e for e in history if e != "device deleted"], EDITS, HOME)
            world.cluster.remove(("Connector", "", "home"))
            await world.settle(HOME, turns=60)
            assert world.ours() == []
            assert [d.id for d in world.plane.devices] == [stranger.id]
            assert len(world.plane.usable_keys) <= sum(method == "revoke_key" for method, _ in refused)
            assert ("Connector", "", "home") not in world.cluster.objects

    anyio.run(run)


spoilt = scripts(*UNDONE, *UNHEARD, most=12)


@every_control_plane
@examples(8, shrink=False)
@given(history=histories(EDITS, 4), trouble=faults, before=spoilt, after=spoilt)
def test_the_four_laws_on_every_control_plane(
    dialect: Dialect,
    names: tuple[str, ...],
    history: list[str],
    trouble: list[Any],
    before: list[Fault | None],
    after: list[Fault | None],
) -> None:
    """The real drivers over HTTP, with calls that are spoilt."""

    async def run() -> None:
        async with (
            open_emulated(dialect, names) as tailnet,
            open_world_on(tailnet, tailnet.edge) as world,
        ):
            world.cluster.put(resources.CONNECTORS, build_connector())
            world.cluster.faults.extend(trouble)
            tailnet.faults.script.extend(before)
            await live_through(world, history, EDITS, HOME)
            mend(world)
            while not tailnet.edge.has(port.Capability.ROUTES):
                await tailnet.edge.probe()  # a spoilt one is made again half a minute later
            await world.settle(HOME, turns=60)
            writes = world.cluster.writes
            assert (await world.reconcile(HOME)).ops == ()
            assert world.cluster.writes == writes
            assert world.snapshot() == await build_clean_start(world)

            world.cluster.remove(("Connector", "", "home"))
            tailnet.faults.script.extend(after)
            await world.settle(HOME, turns=60)
            assert world.ours() == []
            assert tailnet.devices == ()
            check_keys(tailnet)

    anyio.run(run)
