"""A lab in a shed: one Connector leads people into its network, to programs that no manifest exposes. Its size, the approval
of its routes, and an old router that nobody turned off are what can be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tailrace.api import names
from tailrace.sandbox.controlplane.records import Dialect
from tailrace.sandbox.world import SERVICE_CIDR
from tests.scenarios.stage import DIALECTS, Device, Stage, raise_stage

pytestmark = pytest.mark.anyio

LAN, RESOLVER, GATEWAY = "10.60.20.0/24", "10.60.20.53", "10.60.20.80"
GATE = "connector/shed"
POLICY = {
    "tagOwners": {"tag:k8s-operator": [], "tag:k8s": ["tag:k8s-operator"], "tag:shed": ["tag:k8s-operator"]},
    "acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}],
}


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_phone_reaches_a_lab_through_one_connector(tmp_path: Path, dialect: Dialect) -> None:
    async with raise_stage(tmp_path, dialect, policy=json.dumps(POLICY)) as stage:
        stage.world.host(RESOLVER, lan="cluster", name="resolver", http=(80, 3000), udp=(53,))
        stage.world.host(GATEWAY, lan="cluster", name="gateway")
        stage.join("old-gate", routes=[LAN], lan="cluster")
        stage.approve("old-gate", LAN)
        phone = stage.join("phone")
        phone.accept_routes = True
        await wait_for_the_class(stage)
        await approve_by_hand(stage, phone)
        await turn_the_old_router_off(stage, phone)
        await approve_for_ever(stage, phone)
        await keep_it_small(stage, phone)
        await scale_down_and_remove(stage)


async def wait_for_the_class(stage: Stage) -> None:
    """The Connector names a class that is not there yet: that is said, nothing is made, and then it goes on by itself."""
    await stage.apply("shed", "namespace/shed", "pod/shed/portal", "service/shed/portal", GATE)
    await stage.says(GATE, "Accepted", "ProxyClassNotReady", '"shed-small"')
    assert not stage.nodes()
    await stage.apply("shed", "proxyclass/shed-small")
    await stage.says(GATE, "Online", "Connected", "shed-gate")
    [pod] = stage.children(GATE, "pod")
    assert pod["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "40m", "memory": "48Mi"},
        "limits": {"cpu": "160m", "memory": "96Mi"},
    }


async def approve_by_hand(stage: Stage, phone: Device) -> None:
    """What is advertised and not approved leads nowhere; the message has the line for the policy, with the device's own
    tag, and the command where there is one."""
    message = await stage.says(
        GATE, "RoutesApproved", "RoutesNotApproved", f"not approved: {LAN} on shed-gate"
    )
    assert find_approvers(message) == {"routes": {LAN: ["tag:shed"]}}
    if stage.world.plane.dialect != "tailscale":
        assert f"--identifier {stage.node('shed-gate').id} --routes {LAN}" in message
    assert stage.condition(GATE).status == "False"
    stage.approve("shed-gate", LAN)
    await stage.settled(GATE)


async def turn_the_old_router_off(stage: Stage, phone: Device) -> None:
    """A machine that did the same before still does: two routers are a stand-by, not a sum, and both are named. What else
    may hang on the one that is left is told when somebody asks."""
    await stage.says(GATE, "Accepted", "Accepted", LAN, "old-gate", "do not add up")
    await stage.told(GATE, "RoutesOverlap", LAN, "old-gate")
    await stage.answered("host: resolver", RESOLVER, 3000, by=phone)
    stage.world.outside.get("old-gate").remove()
    await stage.until(
        lambda: "old-gate" not in stage.condition(GATE, "Accepted").message, lambda: stage.conditions(GATE)
    )
    await stage.settled(GATE)
    assert "names stop resolving for every device" in await stage.explain(GATE)
    for ip, name in ((RESOLVER, "resolver"), (GATEWAY, "gateway")):
        await stage.answered(f"host: {name}", ip, by=phone)


async def approve_for_ever(stage: Stage, phone: Device) -> None:
    """Another route, into the cluster itself. Told what to write into the policy, somebody does; and the device is the
    same as before."""
    device, cluster_ip = stage.node("shed-gate").id, stage.get("service/shed/portal")["spec"]["clusterIP"]
    routes = [LAN, SERVICE_CIDR]
    stage.change(GATE, spec={"subnetRouter": {"advertiseRoutes": routes}})
    message = await stage.says(
        GATE, "RoutesApproved", "RoutesNotApproved", f"not approved: {SERVICE_CIDR} on"
    )
    await stage.answered("host: resolver", RESOLVER, by=phone)
    assert await stage.ask(cluster_ip, by=phone) == ""
    await stage.says(GATE, "Accepted", "Accepted", SERVICE_CIDR, "this cluster's Services")

    stage.world.plane.tailnet.set_policy(json.dumps(POLICY | {"autoApprovers": find_approvers(message)}))
    if stage.world.plane.dialect == "tailscale":  # where a policy decides when a route is advertised
        stage.change(GATE, spec={"subnetRouter": {"advertiseRoutes": [LAN]}})
        await stage.until(lambda: stage.node("shed-gate").advertised == (LAN,))
        stage.change(GATE, spec={"subnetRouter": {"advertiseRoutes": routes}})
    await stage.says(GATE, "RoutesApproved", "RoutesServed", LAN, SERVICE_CIDR)
    await stage.answered("pod: portal", cluster_ip, by=phone)
    assert stage.node("shed-gate").id == device


async def keep_it_small(stage: Stage, phone: Device) -> None:
    """A change of the class rolls the pod and keeps the device."""
    device, [before] = stage.node("shed-gate").id, stage.children(GATE, "pod")
    limits = {"limits": {"cpu": "160m", "memory": "64Mi"}}
    stage.change(
        "proxyclass/shed-small", spec={"statefulSet": {"pod": {"tailscaleContainer": {"resources": limits}}}}
    )
    pods = await stage.until(
        lambda: [p for p in stage.children(GATE, "pod") if p["metadata"]["uid"] != before["metadata"]["uid"]]
    )
    assert pods[0]["spec"]["containers"][0]["resources"]["limits"]["memory"] == "64Mi"
    await stage.answered("host: gateway", GATEWAY, by=phone)
    await stage.settled(GATE)
    assert stage.node("shed-gate").id == device


async def scale_down_and_remove(stage: Stage) -> None:
    """To none, which is not ready and says so; then everything goes."""
    stage.change(GATE, spec={"replicas": 0})
    await stage.says(GATE, "Online", "NoReplicas", "spec.replicas is 0")
    await stage.nothing_left(f"connectors /shed: {names.FINALIZER}")
    stage.delete(GATE, "proxyclass/shed-small")
    await stage.nothing_left()
    assert stage.find(GATE) is None


def find_approvers(message: str) -> dict[str, object]:
    """The policy's lines that a message has."""
    start = message.index('"autoApprovers": ') + len('"autoApprovers": ')
    found: dict[str, object] = json.JSONDecoder().raw_decode(message, start)[0]
    return found
