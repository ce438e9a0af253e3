"""Egress from end to end: the real operator in the sandbox, and bytes through the names that it makes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tailrace.cli.sandbox import fill, free_address, run_operator
from tailrace.sandbox.controlplane.records import Dialect
from tailrace.sandbox.world import POD_CIDR, Options, World

pytestmark = pytest.mark.anyio
LAN, PRINTER = "192.168.1.0/24", "192.168.1.20"
CLASS = "tailscale.com/proxy-class"
NAME = "tailscale.com/parent-resource"

type Doc = dict[str, Any]


def egress(name: str, labels: dict[str, str] | None = None, **notes: str) -> Doc:
    """A Service as users write it: with a placeholder for the name."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": labels or {},
            "annotations": {f"tailscale.com/{key.replace('_', '-')}": value for key, value in notes.items()},
        },
        "spec": {
            "type": "ExternalName",
            "externalName": "placeholder",
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        },
    }


def proxy_class(name: str) -> Doc:
    return {
        "apiVersion": "tailscale.com/v1alpha1",
        "kind": "ProxyClass",
        "metadata": {"name": name},
        "spec": {"tailscale": {"acceptRoutes": True}},
    }


@asynccontextmanager
async def working(folder: Path, dialect: Dialect = "tailscale") -> AsyncIterator[World]:
    """A sandbox with the operator at work."""
    async with await World.start(
        folder, Options(dialect=dialect, metrics=free_address(), pace=0.05)
    ) as world:
        await fill(world, [])
        async with run_operator(world, TAILRACE_DEVICE_REFRESH="1s"):
            yield world


def find(world: World, name: str) -> Doc:
    stored = world.cluster.store.get(("", "services"), ("default", name))
    assert stored is not None
    return stored.doc


def condition(world: World, name: str, kind: str) -> tuple[str, str, str]:
    for found in find(world, name).get("status", {}).get("conditions", ()):
        if found["type"] == kind:
            return found["status"], found["reason"], found["message"]
    return "", "", ""


async def until(world: World, holds: Callable[[], Any], name: str) -> None:
    try:
        async with asyncio.timeout(25):
            while not holds():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"it stays so: {find(world, name)}") from None


async def says(world: World, name: str, kind: str, reason: str) -> str:
    """Wait for a reason, and give its message."""
    await until(world, lambda: condition(world, name, kind)[1] == reason, name)
    return condition(world, name, kind)[2]


async def heard(world: World, name: str, expected: str) -> None:
    """Wait until that is who answers a pod that asks for the Service by its name."""
    async with asyncio.timeout(25):
        while (answer := await ask(world, name)) != expected:
            await asyncio.sleep(0.02)
    assert answer == expected


async def ask(world: World, name: str) -> str:
    try:
        status, body = await world.fetch(f"{name}.default.svc.cluster.local")
    except OSError:
        return ""
    return body.decode().splitlines()[0] if status == 200 else ""


@pytest.mark.parametrize("dialect", ["tailscale", "headscale-0.30"])
async def test_a_pod_reaches_a_device_by_name_and_by_address(tmp_path: Path, dialect: Dialect) -> None:
    """And a change of target moves the same name to another device; taken back, the Service is what it was."""
    async with working(tmp_path, dialect) as world:
        database, files = world.join("db"), world.join("nas")
        world.apply(
            [
                egress("by-name", tailnet_fqdn=database.node.fqdn),
                egress("by-address", tailnet_ip=files.address),
            ]
        )
        await says(world, "by-name", "Ready", "Ready")
        await says(world, "by-address", "Ready", "Ready")
        await heard(world, "by-name", "device: db")
        await heard(world, "by-address", "device: nas")
        database.disconnect()
        await says(world, "by-name", "Ready", "TargetOffline")
        world.apply([egress("by-name", tailnet_fqdn=files.node.fqdn)])
        await says(world, "by-name", "Ready", "Ready")
        await heard(world, "by-name", "device: nas")
        world.apply([egress("by-name")])
        await until(world, lambda: not find(world, "by-name")["metadata"].get("finalizers"), "by-name")
        assert find(world, "by-name")["spec"]["externalName"] == "placeholder"
        assert not find(world, "by-name")["status"].get("conditions")
        assert {node.name for node in world.plane.tailnet.nodes.all()} == {"db", "nas", "default-by-address"}


async def test_a_pod_reaches_a_printer_behind_a_router_when_nothing_is_missing(tmp_path: Path) -> None:
    """Each thing that is missing is named, and its mending noticed, until bytes flow."""
    async with working(tmp_path) as world:
        world.host(PRINTER, lan="office", name="printer")
        world.apply([egress("printer", tailnet_ip=PRINTER)])
        told = await says(world, "printer", "TargetReady", "RouteNotAccepted")
        assert "acceptRoutes: true" in told
        assert "no device of the tailnet advertises a route" in told
        world.apply([egress("printer", {CLASS: "routes"}, tailnet_ip=PRINTER)])
        await says(world, "printer", "Accepted", "ProxyClassNotReady")
        world.apply([proxy_class("routes")])
        await says(world, "printer", "TargetReady", "NoRouter")
        router = world.join("router", routes=[LAN], lan="office")
        assert "admin console" in await says(world, "printer", "TargetReady", "RouteNotApproved")
        world.plane.tailnet.approve_routes(router.id, [LAN])
        await says(world, "printer", "Ready", "Ready")
        await heard(world, "printer", "host: printer")
        router.disconnect()
        await says(world, "printer", "Ready", "RouterOffline")
        router.connect()
        await says(world, "printer", "Ready", "Ready")
        await heard(world, "printer", "host: printer")


async def test_a_route_into_this_cluster_is_told(tmp_path: Path) -> None:
    """A proxy that accepts it would answer pods through the tailnet: both ends are named."""
    async with working(tmp_path) as world:
        router = world.join("router", routes=[LAN, POD_CIDR], lan="office")
        world.plane.tailnet.approve_routes(router.id, [LAN, POD_CIDR])
        world.apply([proxy_class("routes"), egress("printer", {CLASS: "routes"}, tailnet_ip=PRINTER)])
        told = await says(world, "printer", "TargetReady", "RouteLoops")
        assert 'ProxyClass "routes" accepts routes, and device router' in told
        assert POD_CIDR in told
        world.plane.tailnet.approve_routes(router.id, [LAN])
        await says(world, "printer", "Ready", "Ready")


async def test_a_name_is_followed_to_the_addresses_that_its_device_moves_to(tmp_path: Path) -> None:
    """A running proxy keeps to those that it found first, so its pod starts anew."""
    async with working(tmp_path) as world:
        database = world.join("db")
        world.apply([egress("by-name", tailnet_fqdn=database.node.fqdn)])
        await heard(world, "by-name", "device: db")
        moved = world.plane.tailnet.move_node(database.node.id)
        expected = ",".join(sorted(str(address) for address in moved.addresses))

        def carries() -> bool:
            found = world.cluster.store.all(("apps", "statefulsets")).values()
            notes = [s.doc["spec"]["template"]["metadata"]["annotations"] for s in found]
            return [n.get("tailrace.dev/target-addresses") for n in notes] == [expected]

        await until(world, carries, "by-name")
        await heard(world, "by-name", "device: db")
        await says(world, "by-name", "Ready", "Ready")


async def test_a_literal_target_gives_its_name_one_family_and_its_spec_survives_the_change(
    tmp_path: Path,
) -> None:
    """From a name to an address and back; one of a family that the cluster lacks is told once, and nothing is touched."""
    async with working(tmp_path) as world:
        database = world.join("db")
        _, six = (str(address) for address in database.node.addresses)

        def families() -> tuple[str, list[str]]:
            (found,) = (
                s.doc["spec"]
                for s in world.cluster.store.all(("", "services")).values()
                if s.doc["spec"].get("clusterIP") == "None"
            )
            return found["ipFamilyPolicy"], found["ipFamilies"]

        world.apply([egress("db", tailnet_fqdn=database.node.fqdn)])
        await heard(world, "db", "device: db")
        assert families() == ("PreferDualStack", ["IPv4"])
        world.apply([egress("db", tailnet_ip=database.address)])
        await until(world, lambda: families() == ("SingleStack", ["IPv4"]), "db")
        await says(world, "db", "Ready", "Ready")
        world.apply([egress("db", tailnet_ip=six)])
        told = await says(world, "db", "Provisioned", "RefusedByCluster")
        assert f"tailscale.com/tailnet-ip {six} is an IPv6 address, and this cluster has no IPv6" in told
        assert families() == ("SingleStack", ["IPv4"])
        world.apply([egress("db", tailnet_fqdn=database.node.fqdn)])
        await until(world, lambda: families() == ("PreferDualStack", ["IPv4"]), "db")
        await says(world, "db", "Ready", "Ready")
        await heard(world, "db", "device: db")
        world.apply([egress("db")])
        await until(world, lambda: not find(world, "db")["metadata"].get("finalizers"), "db")
        assert find(world, "db")["spec"]["externalName"] == "placeholder"


async def test_an_address_of_a_family_that_the_cluster_lacks_makes_nothing_and_asks_no_more(
    tmp_path: Path,
) -> None:
    """No key, no device; the refused write is not sent again until something changes."""
    async with working(tmp_path) as world:
        database, other = world.join("db"), world.join("nas")
        _, six = (str(address) for address in database.node.addresses)
        world.apply([egress("six", tailnet_ip=six)])
        await says(world, "six", "Provisioned", "RefusedByCluster")
        world.apply([egress("other", tailnet_ip=other.address)])
        await says(world, "other", "Ready", "Ready")
        asked = world.api.requests.items()
        patched = sum(n for (_, verb, what), n in asked if (verb, what) == ("patch", "services"))
        assert (
            patched <= 3 + 2
        )  # of the other: headless, finalizer, rewrite; its own status is news of the first
        labels = [
            s.doc["metadata"].get("labels", {}) for s in world.cluster.store.all(("", "secrets")).values()
        ]
        assert [found[NAME] for found in labels if NAME in found] == ["other"]
        assert {node.name for node in world.plane.tailnet.nodes.all()} == {"db", "nas", "default-other"}
