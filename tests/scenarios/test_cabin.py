"""A cabin's cluster is the way home: subnet router and exit node in two replicas, of which one may go. Nothing of it works
before it is approved; and a proxy of the same cluster that takes routes must not take these."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tailrace.errors import Usage
from tailrace.sandbox.controlplane.records import Dialect
from tests.scenarios.stage import DIALECTS, HOME, Device, Stage, raise_stage

pytestmark = pytest.mark.anyio

PODS, SERVICES, LAN = "10.244.0.0/16", "10.96.0.0/12", "192.168.0.0/24"
NAS, WEBSITE = "192.168.0.60", "203.0.113.9"
PARENTS, CAMERA = "172.22.5.0/24", "172.22.5.9"
HOMEWARD, WATCH = "connector/way-home", "service/cabin/camera"
ALIAS = "camera.cabin.svc.cluster.local"


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_laptop_comes_home_through_a_cabin(tmp_path: Path, dialect: Dialect) -> None:
    async with raise_stage(tmp_path, dialect) as stage:
        stage.world.host(NAS, lan="cluster", name="nas")
        stage.world.host(WEBSITE, name="website")
        laptop = stage.join("laptop")
        laptop.accept_routes = True
        await write_it_wrongly(stage)
        await approve(stage)
        await come_home(stage, laptop)
        await lose_one(stage, laptop)
        await watch_the_parents(stage)
        await scale_down(stage, laptop)
        await remove(stage)


async def write_it_wrongly(stage: Stage) -> None:
    """One name for two devices the cluster refuses itself; a network that is none is named with the right one."""
    with pytest.raises(Usage, match="hostname field cannot be specified when replicas is greater than 1"):
        await stage.apply("cabin-mistakes", "connector/one-name")
    await stage.apply("cabin-mistakes", "connector/bits")
    await stage.says("connector/bits", "Accepted", "ConnectorInvalid", "expected 10.96.0.0/12")
    await stage.told("connector/bits", "ConnectorInvalid", "expected 10.96.0.0/12")
    stage.delete("connector/bits")


async def approve(stage: Stage) -> None:
    """No tags are written, so the line for the policy has the operator's own, and the exit node has a line too."""
    await stage.apply("cabin")
    message = await stage.says(HOMEWARD, "RoutesApproved", "RoutesNotApproved", "cabin-0", "cabin-1")
    start = message.index('"autoApprovers": ') + len('"autoApprovers": ')
    assert json.JSONDecoder().raw_decode(message, start)[0] == {
        "routes": {route: ["tag:k8s"] for route in (SERVICES, PODS, LAN)},
        "exitNode": ["tag:k8s"],
    }
    for text in (
        f"{SERVICES} overlaps the range of this cluster's Services",
        f"{PODS} overlaps the range of this cluster's pods",
        f"{LAN} is what many home networks have",
        "fd7a:115c:a1e0:b1a:",
    ):
        await stage.says(HOMEWARD, "Accepted", "Accepted", text)
        await stage.told(HOMEWARD, "RoutesOverlap", text)
    assert stage.condition(HOMEWARD).status == "False"

    stage.change(HOMEWARD, metadata={"annotations": {"tailrace.dev/approve-routes": "true"}})
    await stage.settled(HOMEWARD)
    await stage.told(HOMEWARD, "RoutesApproved", "0.0.0.0/0", LAN)


async def come_home(stage: Stage, laptop: Device) -> None:
    """A pod, a Service, a machine beside the cluster, and the internet by way of the cabin, when the laptop wants that."""
    pod, service = stage.get("pod/cabin/stove"), stage.get("service/cabin/stove")
    await stage.answered("pod: stove", pod["status"]["podIP"], 8088, by=laptop)
    await stage.answered("pod: stove", service["spec"]["clusterIP"], 8088, by=laptop)
    await stage.answered("host: nas", NAS, by=laptop)
    assert await stage.ask(WEBSITE, by=laptop) == ""
    for name in ("cabin-0", "cabin-1"):
        laptop.exit_node = name
        await stage.answered("host: website", WEBSITE, by=laptop)
    laptop.exit_node = ""


async def lose_one(stage: Stage, laptop: Device) -> None:
    """The replica that serves is killed: the other one takes over, it is said while it lasts, and a drain may take no more
    than one."""
    budgets = stage.children(HOMEWARD, "poddisruptionbudget")
    assert [b["spec"]["maxUnavailable"] for b in budgets] == [1]
    first = stage.node("cabin-0")
    serving = stage.world.plane.tailnet.serving
    assert LAN in serving(first)
    assert LAN not in serving(stage.node("cabin-1"))
    pod = next(p for p in stage.children(HOMEWARD, "pod") if device_of(stage, p) == first.id)

    def is_down() -> bool:
        """Killed again whenever it comes back, until somebody has noticed."""
        if stage.node("cabin-0").online:
            stage.world.kubelet.kill(HOME, pod["metadata"]["name"])
        return "1 of 2 connected" in stage.condition(HOMEWARD, "Online").message

    await stage.until(is_down, lambda: stage.conditions(HOMEWARD))
    assert LAN in serving(stage.node("cabin-1"))
    await stage.answered("host: nas", NAS, by=laptop)
    await stage.settled(HOMEWARD)
    await stage.answered("host: nas", NAS, by=laptop)
    assert stage.node("cabin-0").id == first.id


async def watch_the_parents(stage: Stage) -> None:
    """A proxy of this cluster that takes routes would take those into this cluster: both objects say so, and name the
    other one. Without these routes the camera answers."""
    stage.world.host(CAMERA, lan="parents", name="camera")
    stage.join("parents", routes=[PARENTS], lan="parents")
    stage.approve("parents", PARENTS)
    await stage.apply("take-routes")
    await stage.apply("cabin-parents")
    await stage.says(WATCH, "TargetReady", "RouteLoops", "Connector way-home", "take-routes", PODS)
    await stage.says(HOMEWARD, "Accepted", "Accepted", "Service cabin/camera", "take-routes")
    await stage.told(HOMEWARD, "RoutesOverlap", "Service cabin/camera", "take-routes")
    stage.change(HOMEWARD, spec={"subnetRouter": {"advertiseRoutes": [LAN]}})
    await stage.says(WATCH, "TargetReady", "RouteServed", CAMERA)
    await stage.settled(WATCH, HOMEWARD)
    await stage.answered("host: camera", ALIAS)


async def scale_down(stage: Stage, laptop: Device) -> None:
    """The device that is too many goes, with its proxy and the budget; the other one is not touched."""
    kept = stage.node("cabin-0").id
    stage.change(HOMEWARD, spec={"replicas": 1})
    await stage.until(lambda: not [n for n in stage.nodes() if n.name == "cabin-1"])
    await stage.until(lambda: not stage.children(HOMEWARD, "poddisruptionbudget"))
    await stage.settled(HOMEWARD)
    await stage.answered("host: nas", NAS, by=laptop)
    assert stage.node("cabin-0").id == kept


async def remove(stage: Stage) -> None:
    stage.delete(HOMEWARD, WATCH, "proxyclass/take-routes")
    await stage.nothing_left()
    assert stage.find(HOMEWARD) is None
    assert stage.find(WATCH) is None


def device_of(stage: Stage, pod: dict[str, object]) -> str:
    """The device that a proxy's pod is."""
    meta = pod["metadata"]
    assert isinstance(meta, dict)
    name = str(meta["name"]).removesuffix("-0")
    return next(
        stage.value_of(secret, "device_id")
        for secret in stage.children(HOMEWARD, "secret")
        if secret["metadata"]["name"] == name
    )
