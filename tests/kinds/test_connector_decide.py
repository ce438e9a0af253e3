"""Decisions about a Connector, world by world, in a cluster in memory: each changes one thing and looks at what follows."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest

from tailrace import errors
from tailrace.api import kube
from tailrace.fleet import refusal
from tailrace.kinds.connector import place
from tailrace.kube import resources
from tailrace.kube.resource import Key
from tailrace.plan import ops
from tailrace.tailnet.memory import ALL, MemoryPlane
from tailrace.tailnet.port import Capability
from tests.support.world import HOME, World, build_class, open_world

pytestmark = pytest.mark.anyio
KEY = Key("", "home")
BASE = place.build_base("home")
NET = "10.1.0.0/24"


def put(world: World[Any], name: str = "home", *, approve: bool = True, **spec: Any) -> None:
    notes = {"tailrace.dev/approve-routes": "true" if approve else "false"}
    asked = spec or {"subnetRouter": {"advertiseRoutes": [NET]}}
    world.cluster.put(
        resources.CONNECTORS,
        {"metadata": {"name": name, "annotations": notes, "generation": 1}, "spec": asked},
    )


def edit(world: World[Any], **spec: Any) -> None:
    world.cluster.edit(resources.CONNECTORS, "", "home", {"spec": spec})


def said(world: World[Any], kind: str) -> tuple[str, str, str]:
    return world.conditions("home", "", "Connector")[kind]


def status(world: World[Any]) -> dict[str, Any]:
    found: dict[str, Any] = world.cluster.objects["Connector", "", "home"]["status"]
    return found


def workloads(plan: ops.Plan) -> list[str]:
    """Names of the StatefulSets that a plan writes."""
    applied = [op.manifest for op in plan.ops if isinstance(op, ops.Apply)]
    return [m["metadata"]["name"] for m in applied if m["kind"] == "StatefulSet"]


def router(**spec: Any) -> dict[str, Any]:
    return {"subnetRouter": {"advertiseRoutes": [NET]}, **spec}


# --- status ----------------------------------------------------------------------------------------------------


async def test_the_official_fields_are_written_and_taken_back() -> None:
    """Roles that are given up are no longer shown."""
    async with open_world() as world:
        put(world, **router(exitNode=True, replicas=2))
        await world.settle(KEY)
        shown = status(world)
        assert (shown["subnetRoutes"], shown["isExitNode"], shown["isAppConnector"]) == (NET, True, False)
        assert [d["hostname"] for d in shown["devices"]] == [
            "home-connector.tailnet.test",
            "home-connector-1.tailnet.test",
        ]
        assert shown["hostname"] == "home-connector.tailnet.test"
        assert said(world, "ConnectorReady")[:2] == ("True", "ConnectorCreated")
        assert said(world, "Online")[2].startswith("2 of 2 connected")
        edit(world, subnetRouter=None, exitNode=None, appConnector={})
        await world.settle(KEY)
        shown = status(world)
        assert (shown["isExitNode"], shown["isAppConnector"]) == (False, True)
        assert "subnetRoutes" not in shown
        assert "RoutesApproved" not in world.conditions("home", "", "Connector")
        assert said(world, "Ready")[0] == "True"


async def test_no_replicas_are_no_proxy_at_all() -> None:
    """And it is said that nothing is routed."""
    async with open_world() as world:
        put(world, **router(replicas=2))
        await world.settle(KEY)
        edit(world, replicas=0)
        await world.settle(KEY)
        assert world.ours() == []
        assert world.plane.devices == ()
        assert said(world, "Ready")[:2] == ("False", "NoReplicas")
        assert "devices" not in status(world)


async def test_one_of_two_that_is_away_is_named() -> None:
    async with open_world() as world:
        put(world, **router(replicas=2))
        await world.settle(KEY)
        world.plane.set_online(world.plane.devices[1].id, False)
        await world.reconcile(KEY)
        told = said(world, "Online")
        assert told[:2] == ("False", "Disconnected")
        assert "1 of 2 connected" in told[2]
        assert f"pod {HOME}/{BASE}-1-0" in told[2]
        assert said(world, "RoutesApproved")[0] == "True"


# --- refusals --------------------------------------------------------------------------------------------------


async def test_what_is_wrong_is_told_and_what_runs_keeps_running() -> None:
    async with open_world() as world:
        put(world)
        await world.settle(KEY)
        before = world.snapshot()["children"]
        edit(world, subnetRouter={"advertiseRoutes": ["10.1.0.1/24"]}, hostname="a", hostnamePrefix="b")
        await world.settle(KEY)
        told = said(world, "ConnectorReady")
        assert told[:2] == ("False", "ConnectorInvalid")
        assert told[2].startswith("Connector is invalid: ")
        assert "expected 10.1.0.0/24" in told[2]
        assert "mutually exclusive" in told[2]
        assert world.snapshot()["children"] == before
        assert status(world)["subnetRoutes"] == NET


async def test_a_class_that_is_missing_is_waited_for_and_named() -> None:
    """The operator's default one does not count."""
    async with open_world() as world:
        put(world, **router(proxyClass="routes"))
        await world.settle(KEY)
        assert said(world, "Accepted")[1] == "ProxyClassNotReady"
        assert '"routes"' in said(world, "Accepted")[2]
        assert said(world, "ConnectorReady")[1] == "ConnectorCreating"
        assert world.plane.calls["mint_key"] == 0
        world.cluster.put(resources.PROXY_CLASSES, build_class())
        await world.settle(KEY)
        assert said(world, "Ready")[0] == "True"


async def test_a_tailnet_that_is_missing_is_waited_for_and_named() -> None:
    async with open_world() as world:
        put(world, **router(tailnet="lab"))
        await world.settle(KEY)
        assert said(world, "Accepted")[1] == "TailnetNotReady"
        assert "lab" in said(world, "Accepted")[2]


async def test_a_taken_name_stops_only_the_replica_that_wants_it() -> None:
    async with open_world() as world:
        world.plane.add("home-connector-1", user="somebody")
        put(world, **router(replicas=2))
        await world.settle(KEY)
        assert said(world, "Accepted")[1] == "NameConflict"
        assert [d.name for d in world.plane.devices if d.tags] == ["home-connector"]


# --- mode ------------------------------------------------------------------------------------------------------


async def test_a_cluster_without_privileged_pods_routes_in_userspace() -> None:
    """Unless the kernel was asked for: then it says what to do."""
    async with open_world() as world:
        world.cluster.privileged = False
        put(world)
        await world.settle(KEY)
        assert said(world, "Accepted")[2].startswith("mode userspace")
        world.cluster.edit(
            resources.CONNECTORS, "", "home", {"metadata": {"annotations": {"tailrace.dev/mode": "kernel"}}}
        )
        await world.settle(KEY)
        assert said(world, "Accepted")[1] == "ModeRefused"


# --- changes ---------------------------------------------------------------------------------------------------


async def test_other_routes_restart_nothing_and_make_no_device_anew() -> None:
    async with open_world() as world:
        put(world)
        await world.settle(KEY)
        [before], pod = world.plane.devices, world.cluster.objects["Pod", HOME, f"{BASE}-0-0"]
        edit(world, subnetRouter={"advertiseRoutes": ["10.2.0.0/24"]}, exitNode=True)
        plan = await world.reconcile(KEY)
        assert workloads(plan) == []
        await world.settle(KEY)
        [after] = world.plane.devices
        assert (after.id, after.enabled_routes) == (before.id, ("0.0.0.0/0", "10.2.0.0/24", "::/0"))
        assert world.cluster.objects["Pod", HOME, f"{BASE}-0-0"]["metadata"]["uid"] == pod["metadata"]["uid"]


async def test_a_new_class_rolls_one_replica_at_a_time() -> None:
    """The next only once the one before is back, and never while another is away."""
    async with open_world() as world:
        put(world, **router(replicas=3))
        await world.settle(KEY)
        world.cluster.put(resources.PROXY_CLASSES, build_class())
        body = {"statefulSet": {"pod": {"labels": {"team": "net"}}}}
        world.cluster.edit(resources.PROXY_CLASSES, "", "routes", {"spec": body})
        edit(world, proxyClass="routes")
        turns = []
        for _ in range(8):
            turns += workloads(await world.reconcile(KEY))
            assert workloads(await world.reconcile(KEY)) == [], "its pod has not been made anew yet"
            world.cluster.run_machinery()
        assert turns == [f"{BASE}-0", f"{BASE}-1", f"{BASE}-2"]
        await world.settle(KEY)
        assert said(world, "Ready")[0] == "True"


async def test_nothing_is_rolled_while_another_is_away_except_the_one_that_is() -> None:
    """It may be the one that the change mends."""
    async with open_world() as world:
        put(world, **router(replicas=2))
        await world.settle(KEY)
        world.plane.set_online(world.plane.devices[1].id, False)
        world.cluster.put(resources.PROXY_CLASSES, build_class())
        body = {"statefulSet": {"pod": {"labels": {"team": "net"}}}}
        world.cluster.edit(resources.PROXY_CLASSES, "", "routes", {"spec": body})
        edit(world, proxyClass="routes")
        assert workloads(await world.reconcile(KEY)) == [f"{BASE}-1"]
        assert workloads(await world.reconcile(KEY)) == []
        await world.settle(KEY)
        assert said(world, "Ready")[0] == "True"


async def test_fewer_replicas_take_the_last_devices_away_and_no_other() -> None:
    async with open_world() as world:
        put(world, **router(replicas=3))
        await world.settle(KEY)
        first = world.plane.devices[0]
        assert ("PodDisruptionBudget", HOME, BASE) in world.ours()
        edit(world, replicas=1)
        assert (await world.reconcile(KEY)).result.waiting_on == "the proxy's end"
        await world.settle(KEY)
        assert [d.id for d in world.plane.devices] == [first.id]
        assert {p[2] for p in world.ours()} == {f"{BASE}-0", f"{BASE}-0-0"}


async def test_recreate_takes_one_device_at_a_time() -> None:
    """All are new in the end, and one was there all the time."""
    async with open_world() as world:
        put(world, **router(replicas=2))
        await world.settle(KEY)
        before = {d.id for d in world.plane.devices}
        world.cluster.edit(
            resources.CONNECTORS, "", "home", {"metadata": {"annotations": {"tailrace.dev/recreate": "1"}}}
        )
        for _ in range(12):
            await world.reconcile(KEY)
            assert any(d.online for d in world.plane.devices)
            world.cluster.run_machinery()
        await world.settle(KEY)
        assert not before & {d.id for d in world.plane.devices}
        assert len(world.plane.devices) == 2


# --- routes ----------------------------------------------------------------------------------------------------


async def test_routes_wait_for_somebody_to_approve_them() -> None:
    """Nothing is approved unasked; the message has the lines for the policy."""
    async with open_world() as world:
        put(world, approve=False, **router(exitNode=True))
        await world.settle(KEY)
        told = said(world, "RoutesApproved")
        assert told[:2] == ("False", "RoutesNotApproved")
        assert '"autoApprovers": {"routes":{"10.1.0.0/24":["tag:k8s"]},"exitNode":["tag:k8s"]}' in told[2]
        assert world.plane.calls["approve_routes"] == 0
        [device] = world.plane.devices
        world.plane.approve(device.id, ["0.0.0.0/0", "::/0", NET])
        await world.settle(KEY)
        assert said(world, "Ready")[0] == "True"


async def test_a_refused_approval_is_told_with_the_scope_and_tried_again() -> None:
    async with open_world() as world:
        missing = errors.Denied(
            "token is missing the required scope devices:routes", missing="devices:routes"
        )
        world.plane.fail("approve_routes", *[missing] * 8)
        put(world)
        for _ in range(6):
            world.cluster.run_machinery()
            await world.reconcile(KEY)
        told = said(world, "RoutesApproved")
        assert told[:2] == ("False", "RoutesNotApproved")
        assert "devices:routes" in told[2]
        assert said(world, "Provisioned")[0] == said(world, "Online")[0] == "True"
        writes = world.cluster.writes
        await world.reconcile(KEY)
        assert world.cluster.writes == writes, "the same refusal is told once"
        await world.settle(KEY)
        assert said(world, "Ready")[0] == "True"


async def test_what_is_no_longer_wanted_loses_its_approval() -> None:
    """Exactly what is asked for is approved, where that was asked for."""
    async with open_world() as world:
        put(world)
        await world.settle(KEY)
        [device] = world.plane.devices
        world.plane.approve(device.id, [NET, "10.9.0.0/24"])
        await world.settle(KEY)
        assert world.plane.devices[0].enabled_routes == (NET,)


async def test_an_app_connector_keeps_the_routes_that_it_has_found_by_itself() -> None:
    async with open_world() as world:
        put(world, appConnector={"routes": [NET]})
        await world.settle(KEY)
        [device] = world.plane.devices
        world.plane.approve(device.id, [NET, "10.9.0.0/24"])
        await world.settle(KEY)
        assert set(world.plane.devices[0].enabled_routes) == {NET, "10.9.0.0/24"}


async def test_after_a_while_nobody_is_asked_any_more_whether_routes_were_approved() -> None:
    """The device list is asked often for those who expect something soon."""
    async with open_world() as world:
        put(world, approve=False)
        await world.settle(KEY)
        assert (await world.reconcile(KEY)).interest
        long_ago = [{**c, "lastTransitionTime": "2026-01-01T00:00:00Z"} for c in status(world)["conditions"]]
        world.cluster.edit(resources.CONNECTORS, "", "home", {"status": {"conditions": long_ago}})
        plan = await world.reconcile(KEY)
        assert not plan.interest
        assert plan.result.requeue_after is None


async def test_a_connector_that_names_another_tailnet_leaves_the_one_that_it_is_in() -> None:
    """Its device goes there before a key is made here; an identity is worth nothing elsewhere."""
    async with open_world() as world:
        put(world)
        await world.settle(KEY)
        lab = MemoryPlane()
        world.fleet.tailnets.put("lab", lab)
        edit(world, tailnet="lab")
        for _ in range(4):
            world.cluster.run_machinery()
            await world.reconcile(KEY)
            assert not (world.plane.devices and lab.calls["mint_key"])
        assert world.plane.devices == ()


async def test_who_may_not_ask_about_routes_says_so() -> None:
    async with open_world(MemoryPlane(capabilities=ALL - {Capability.ROUTES})) as world:
        put(world)
        await world.settle(KEY)
        assert said(world, "RoutesApproved")[:2] == ("Unknown", "RoutesUnknown")
        assert said(world, "Ready")[0] == "Unknown"
        assert (
            await world.reconcile(KEY)
        ).result.requeue_after == refusal.RECHECK  # nobody tells of a new scope


async def test_routes_that_run_into_something_are_told_and_no_hindrance() -> None:
    """In the condition and by events, once."""
    async with open_world() as world:
        world.cluster.put(resources.NODES, {"metadata": {"name": "n"}, "spec": {"podCIDRs": ["10.1.0.0/25"]}})
        put(world, "other")
        put(world)
        await world.settle(KEY, Key("", "other"))
        assert "this cluster's pods" in said(world, "Accepted")[2]
        assert "Connector other" in said(world, "Accepted")[2]
        assert said(world, "Ready")[0] == "True"
        told = [e.message for e in world.events if e.ref.name == "home" and e.reason == "RoutesOverlap"]
        assert len(told) == len(set(told)) == 2


async def test_a_device_that_stands_in_the_network_is_told_and_that_it_moves_wakes_nobody() -> None:
    """Who is woken for something else tells the newest."""
    async with open_world() as world:
        nas = world.plane.add("nas", endpoints=["10.1.0.5"])
        put(world)
        await world.settle(KEY)
        assert "nas (10.1.0.5) in 10.1.0.0/24" in said(world, "Accepted")[2]
        assert said(world, "Ready")[0] == "True"
        woken: list[Any] = []
        world.fleet.tailnets.subscribe(lambda *told: woken.append(told))
        world.plane.move(nas.id, ["10.9.0.5"])
        await world.listing.refresh()
        assert not woken
        await world.settle(KEY)
        assert "nas" not in said(world, "Accepted")[2]


# --- adoption --------------------------------------------------------------------------------------------------


async def test_the_official_operators_devices_are_kept() -> None:
    """One StatefulSet for all replicas stops first; its Secrets, and so devices and names, stay."""
    async with open_world() as world:
        put(world, **router(replicas=2))
        await world.settle(KEY)
        make_official(world, "ts-home-x7k2p")
        before = {d.id: d.name for d in world.plane.devices}
        await world.settle(KEY)
        assert {d.id: d.name for d in world.plane.devices} == before
        assert said(world, "Ready")[0] == "True"
        sets = {p[2] for p in world.ours() if p[0] == "StatefulSet"}
        assert sets == {"ts-home-x7k2p-0", "ts-home-x7k2p-1"}
        edit(world, replicas=1)
        await world.settle(KEY)
        assert len(world.plane.devices) == 1


def make_official(world: World[Any], base: str) -> None:
    """What ours made, in the official operator's shape: Secrets by number under a random base, one workload."""
    labels = {}
    for kind, namespace, name in world.ours():
        obj = world.cluster.objects[kind, namespace, name]
        labels = {k: v for k, v in obj["metadata"]["labels"].items() if k.startswith("tailscale.com/p")}
        if kind == "Secret":
            copied = copy.deepcopy(obj)
            number = name.rpartition("-")[2]
            copied["metadata"] = {
                "name": f"{base}-{number}",
                "namespace": namespace,
                "labels": obj["metadata"]["labels"],
            }
            world.cluster.put(resources.SECRETS, copied)
    for where in world.ours():
        if where[2].startswith(BASE):
            world.cluster.remove(where)
    first = world.cluster.objects["Secret", HOME, f"{base}-0"]
    env = [{"name": "TS_KUBE_SECRET", "value": f"{base}-0"}]
    template = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"env": env}]}}
    world.cluster.put(
        resources.STATEFUL_SETS,
        {
            "metadata": {
                "name": base,
                "namespace": HOME,
                "labels": {**first["metadata"]["labels"], **labels},
            },
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "x"}}, "template": template},
        },
    )
    assert msgspec.convert(first, kube.ProxySecret).data.device_id
