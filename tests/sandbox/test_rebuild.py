"""A cluster is lost with all that it knew, the control plane stays: the same manifests in a new cluster give the same names."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tailrace.cli import sandbox
from tailrace.sandbox.controlplane.control import ControlPlane
from tailrace.sandbox.controlplane.records import Dialect
from tailrace.sandbox.kubernetes.resources import Ref
from tailrace.sandbox.world import Options, World

pytestmark = pytest.mark.anyio

SERVICES, CONNECTORS = Ref("", "v1", "services"), Ref("tailscale.com", "v1alpha1", "connectors")
OPTIONS = {"TAILRACE_METRICS_ADDRESS": "127.0.0.1:0", "TAILRACE_DEVICE_REFRESH": "1s"}
PATIENCE = 25.0

ROOTS = {
    ("web", "default"): (SERVICES, "TailscaleProxyReady"),
    ("out", "default"): (SERVICES, "TailscaleProxyReady"),
    ("routes", ""): (CONNECTORS, "ConnectorReady"),
}


def build_manifests() -> list[dict[str, Any]]:
    """A Service that is exposed, one that leads out, and a Connector of two replicas."""
    ports = [{"port": 80}]
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": "web",
                "namespace": "default",
                "annotations": {"tailscale.com/expose": "true"},
            },
            "spec": {"ports": ports, "selector": {"app": "web"}},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": "out",
                "namespace": "default",
                "annotations": {"tailscale.com/tailnet-ip": "100.64.77.1"},
            },
            "spec": {"type": "ExternalName", "externalName": "placeholder", "ports": ports},
        },
        {
            "apiVersion": "tailscale.com/v1alpha1",
            "kind": "Connector",
            "metadata": {"name": "routes"},
            "spec": {
                "replicas": 2,
                "hostnamePrefix": "routes",
                "subnetRouter": {"advertiseRoutes": ["192.168.50.0/24"]},
            },
        },
    ]


def has_condition(world: World, place: tuple[str, str]) -> bool:
    ref, condition = ROOTS[place]
    found = world.cluster.get(ref, place[0], namespace=place[1])
    conditions = found.get("status", {}).get("conditions", [])
    return any(c["type"] == condition and c["status"] == "True" for c in conditions)


async def live(
    folder: Path, dialect: Dialect, plane: ControlPlane | None
) -> tuple[ControlPlane, dict[str, str]]:
    """A cluster's whole life from these manifests on, and the devices, id by name, as they were when all was there."""
    async with await World.start(folder, Options(dialect=dialect, pace=0.05), plane) as world:
        await sandbox.fill(world, build_manifests())
        async with sandbox.run_operator(world, **OPTIONS):
            async with asyncio.timeout(PATIENCE):
                while not all(has_condition(world, place) for place in ROOTS):
                    await asyncio.sleep(0.05)
            found = {node.name: node.id for node in world.plane.tailnet.nodes.all()}
            assert all(node.online for node in world.plane.tailnet.nodes.all())
        return world.plane, found


@pytest.mark.parametrize("dialect", ["tailscale", "headscale-0.29"])
async def test_a_rebuilt_cluster_has_the_same_devices_by_name(tmp_path: Path, dialect: Dialect) -> None:
    """Each dead device gave its name to its successor; none is left beside."""
    plane, before = await live(tmp_path / "first", dialect, None)
    assert not any(node.online for node in plane.tailnet.nodes.all())
    _, after = await live(tmp_path / "second", dialect, plane)
    assert before.keys() == after.keys()
    assert len(before) == 4
    assert not {*before.values()} & {*after.values()}
