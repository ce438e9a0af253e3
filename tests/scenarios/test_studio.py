"""A single-node cluster whose operator's namespace admits no privilege: programs get names of their own instead of node
ports, each with a tag of its own; what cannot work there is named; and the way back leaves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tailrace.sandbox.controlplane.records import Dialect
from tests.scenarios.stage import DIALECTS, HOME, Stage, raise_stage

pytestmark = pytest.mark.anyio

POLICY = """{
  "tagOwners": {
    "tag:k8s-operator": [],
    "tag:k8s": ["tag:k8s-operator"],
    "tag:studio-data": ["tag:k8s-operator"],
    "tag:studio-text": ["tag:k8s-operator"],
    "tag:forbidden": ["group:bosses"],
  },
  "groups": {"group:bosses": ["boss@"]},
  "acls": [
    {"action": "accept", "src": ["group:bosses"], "dst": ["tag:studio-data:6390,6700"]},
    {"action": "accept", "src": ["*"], "dst": ["tag:studio-text:*"]},
  ],
}"""
QUEUE, VECTORS, JOURNAL, CALLS = (
    f"service/studio/{name}" for name in ("queue", "vectors", "journal", "calls")
)
ALL = (QUEUE, VECTORS, JOURNAL, CALLS)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_programs_of_a_studio_move_onto_the_tailnet_and_back(tmp_path: Path, dialect: Dialect) -> None:
    async with raise_stage(tmp_path, dialect, policy=POLICY, pod_security="restricted") as stage:
        stage.join("desk")
        await stage.apply("studio")
        before = {name: stage.get(name)["spec"] for name in ALL}
        await expose(stage)
        await name_what_is_wrong(stage)
        await refuse_datagrams(stage)
        await give_up_node_ports(stage)
        await withdraw(stage)
        assert {name: stage.get(name)["spec"] for name in ALL if name != QUEUE} == {
            name: spec for name, spec in before.items() if name != QUEUE
        }


async def expose(stage: Stage) -> None:
    """One annotation each. The namespace admits no privilege, so auto forwards in userspace, and says so."""
    stage.annotate(QUEUE, expose="true", hostname="queue", tags="tag:studio-data")
    stage.annotate(VECTORS, expose="true", hostname="vectors", tags="tag:studio-data")
    stage.annotate(JOURNAL, expose="true", hostname="journal", tags="tag:studio-text")
    await stage.settled(QUEUE, VECTORS, JOURNAL)
    await stage.says(QUEUE, "Accepted", "Accepted", "userspace", "no privileged pod")
    for name, port in (("queue", 6390), ("vectors", 6700), ("vectors", 6701), ("journal", 9700)):
        node = stage.node(name)
        await stage.answered(f"pod: {name}", node.fqdn, port)
    assert {n.name: n.tags for n in stage.nodes()} == {
        "queue": ("tag:studio-data",),
        "vectors": ("tag:studio-data",),
        "journal": ("tag:studio-text",),
    }
    for pod in stage.children(QUEUE, "pod"):
        assert pod["metadata"]["namespace"] == HOME
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True


async def name_what_is_wrong(stage: Stage) -> None:
    """A slip of the pen, a tag that is none, one that others give out, and a name that somebody has."""
    stage.annotate(JOURNAL, hostnmae="diary")
    await stage.told(JOURNAL, "UnknownAnnotation", "tailscale.com/hostnmae", "tailscale.com/hostname?")
    stage.annotate(JOURNAL, hostnmae=None, tags="studio-text")
    await stage.says(JOURNAL, "Accepted", "InvalidService", '"studio-text"', "tag:")
    await stage.told(JOURNAL, "INVALIDSERVICE", '"studio-text"')
    await stage.answered("pod: journal", stage.node("journal").fqdn, 9700)
    stage.annotate(JOURNAL, tags="tag:studio-text")
    await stage.settled(JOURNAL)

    stage.annotate(VECTORS, expose=None)
    await stage.until(lambda: "vectors" not in {n.name for n in stage.nodes()})
    if stage.world.plane.dialect == "tailscale":  # Headscale lets an API key hand out every tag
        stage.annotate(VECTORS, expose="true", tags="tag:forbidden")
        await stage.says(VECTORS, "Provisioned", "KeyRefused", "tag:forbidden")
        stage.annotate(VECTORS, expose=None)
        await stage.until(lambda: not stage.conditions(VECTORS))
    stage.annotate(VECTORS, expose="true", tags="tag:studio-data", hostname="desk")
    await stage.says(VECTORS, "Accepted", "NameConflict", '"desk"')
    await stage.told(VECTORS, "NameConflict", "desk")
    stage.annotate(VECTORS, hostname="vectors")
    await stage.settled(VECTORS)
    await stage.answered("pod: vectors", stage.node("vectors").fqdn, 6701)


async def refuse_datagrams(stage: Stage) -> None:
    """UDP needs the kernel: refused with the cluster's words and two ways out, of which the smaller one is taken. So does a
    way out of the cluster, which has no smaller one."""
    stage.annotate(CALLS, expose="true", hostname="calls")
    message = await stage.says(CALLS, "Accepted", "ModeRefused", "not TCP", "PodSecurity", "restricted")
    assert "expose the TCP ports by a Service of their own" in message
    assert "calls" not in {node.name for node in stage.nodes()}
    await stage.apply("studio-peer")
    await stage.says("service/studio/peer", "Accepted", "ModeRefused", "egress needs a privileged pod", HOME)
    stage.delete("service/studio/peer")
    stage.annotate(CALLS, expose=None, hostname=None)
    await stage.apply("studio-signal")
    await stage.settled("service/studio/signal")
    await stage.answered("pod: calls", stage.node("calls").fqdn, 7900)
    assert not stage.conditions(CALLS)


async def give_up_node_ports(stage: Stage) -> None:
    """The old way goes last, and only when the new one is there; the device does not notice."""
    device = stage.node("queue").id
    port = {"name": "queue", "port": 6390, "protocol": "TCP", "targetPort": 6390, "nodePort": None}
    stage.change(QUEUE, spec={"type": "ClusterIP", "ports": [port]})
    await stage.settled(QUEUE)
    await stage.answered("pod: queue", stage.node("queue").fqdn, 6390)
    assert stage.node("queue").id == device


async def withdraw(stage: Stage) -> None:
    """Un-annotated, or deleted: the Services are what they were, and of everything else nothing is left."""
    for name in (QUEUE, VECTORS, JOURNAL):
        stage.annotate(name, expose=None, hostname=None, tags=None)
    stage.delete("service/studio/signal")
    await stage.nothing_left()
