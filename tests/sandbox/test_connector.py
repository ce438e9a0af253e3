"""A Connector in the sandbox with the operator at work: real bytes from a client of the tailnet into cluster and LAN."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tailrace.cli.sandbox import fill, free_address, run_operator
from tailrace.kinds.connector.place import build_base
from tailrace.sandbox.controlplane.records import Dialect
from tailrace.sandbox.kubernetes.resources import Ref
from tailrace.sandbox.workloads.outside import Device
from tailrace.sandbox.world import POD_CIDR, SERVICE_CIDR, Options, World
from tests.sandbox.workloads.living import find, pod, ready, service

pytestmark = pytest.mark.anyio
CONNECTORS = Ref("tailscale.com", "v1alpha1", "connectors")
LAN, PRINTER, WEBSITE = "192.168.77.0/24", "192.168.77.20", "203.0.113.7"
APPROVE = {"tailrace.dev/approve-routes": "true"}


@asynccontextmanager
async def operated(folder: Path, dialect: Dialect, *documents: dict[str, Any]) -> AsyncIterator[World]:
    options = Options(dialect=dialect, namespace="tailscale", metrics=free_address(), pace=0.02)
    async with await World.start(folder, options) as world:
        await fill(world, documents)
        async with run_operator(world):
            yield world


def build(*, notes: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "tailscale.com/v1alpha1",
        "kind": "Connector",
        "metadata": {"name": "home", "annotations": notes or {}},
        "spec": spec,
    }


def said(world: World, kind: str) -> tuple[str, str]:
    """Status and reason of a condition."""
    stored = world.cluster.store.get(("tailscale.com", "connectors"), ("", "home"))
    conditions = (stored.doc.get("status") or {}).get("conditions") or [] if stored else []
    return next(((c["status"], c["reason"]) for c in conditions if c["type"] == kind), ("", ""))


async def until(holds: Callable[[], Any], *, tell: Callable[[], Any] = lambda: "") -> None:
    try:
        async with asyncio.timeout(20):
            while not holds():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"it stays so: {tell()}") from None


async def heard(client: Device, host: str, expected: str) -> None:
    """Wait until that is who answers; empty: nobody."""
    async with asyncio.timeout(20):
        while await answers(client, host) != expected:
            await asyncio.sleep(0.01)


async def answers(client: Device, host: str) -> str:
    try:
        return (await client.fetch(host))[1].decode().splitlines()[0]
    except OSError:
        return ""


def find_targets(world: World) -> tuple[str, str]:
    """The addresses of the pod and of its Service."""
    return (
        (find(world, "pods", "web") or {})["status"]["podIP"],
        (find(world, "services", "web") or {})["spec"]["clusterIP"],
    )


@pytest.mark.parametrize("dialect", ["tailscale", "headscale-0.29", "headscale-0.30"])
async def test_a_client_reaches_cluster_and_lan_once_the_routes_are_approved(
    tmp_path: Path, dialect: Dialect
) -> None:
    """A pod, a Service's address and a host beside the nodes; not before somebody approves, and live."""
    router = build(subnetRouter={"advertiseRoutes": [POD_CIDR, SERVICE_CIDR, LAN]})
    async with operated(tmp_path, dialect, router, pod("web"), service("web")) as world:
        world.host(PRINTER, lan="cluster", name="printer")
        laptop = world.join("laptop")
        laptop.accept_routes = True
        await until(lambda: said(world, "RoutesApproved")[1] == "RoutesNotApproved" and ready(world, "web"))
        targets = (*find_targets(world), PRINTER)
        assert [await answers(laptop, host) for host in targets] == ["", "", ""]
        [gate] = [node for node in world.plane.tailnet.nodes.all() if node.name == "home-connector"]
        world.plane.tailnet.approve_routes(gate.id, [POD_CIDR, SERVICE_CIDR, LAN])
        for host, name in zip(targets, ("pod: web", "pod: web", "host: printer"), strict=True):
            await heard(laptop, host, name)
        await until(lambda: said(world, "Ready") == ("True", "Ready"), tell=lambda: said(world, "Ready"))
        assert said(world, "ConnectorReady") == ("True", "ConnectorCreated")


async def test_tailrace_approves_and_an_exit_node_leads_to_the_internet(tmp_path: Path) -> None:
    """Other routes come into force without a restart."""
    async with operated(tmp_path, "headscale-0.29", build(notes=APPROVE, exitNode=True)) as world:
        world.host(WEBSITE, name="website")
        world.host(PRINTER, lan="cluster", name="printer")
        laptop = world.join("laptop")
        laptop.accept_routes = True
        await until(lambda: said(world, "Ready")[0] == "True", tell=lambda: said(world, "Ready"))
        assert await answers(laptop, WEBSITE) == ""
        laptop.exit_node = "home-connector"
        await heard(laptop, WEBSITE, "host: website")
        [gate] = [node for node in world.plane.tailnet.nodes.all() if node.name == "home-connector"]
        world.apply([build(notes=APPROVE, exitNode=True, subnetRouter={"advertiseRoutes": [LAN]})])
        await heard(laptop, PRINTER, "host: printer")
        assert gate.id in {node.id for node in world.plane.tailnet.nodes.all()}


async def test_of_two_replicas_one_is_killed_and_the_route_goes_on(tmp_path: Path) -> None:
    """The other one takes over; which is away is said; and when the Connector goes, nothing is left."""
    router = build(notes=APPROVE, replicas=2, subnetRouter={"advertiseRoutes": [LAN]})
    async with operated(tmp_path, "headscale-0.29", router) as world:
        world.host(PRINTER, lan="cluster", name="printer")
        laptop = world.join("laptop")
        laptop.accept_routes = True
        await until(lambda: said(world, "Ready")[0] == "True", tell=lambda: said(world, "Ready"))
        await heard(laptop, PRINTER, "host: printer")
        for number in (0, 1):
            await world.kubelet.crash("tailscale", f"{build_base('home')}-{number}-0")
            await heard(laptop, PRINTER, "host: printer")
            await until(lambda: said(world, "Online")[0] == "True", tell=lambda: said(world, "Online"))
        world.cluster.delete(CONNECTORS, "home")
        gone = ("", "")
        await until(lambda: said(world, "Ready") == gone)
        assert [node.name for node in world.plane.tailnet.nodes.all()] == ["laptop"]


async def test_a_new_class_reaches_the_replicas_one_after_the_other(tmp_path: Path) -> None:
    """One is connected at every moment."""
    router = build(replicas=2, subnetRouter={"advertiseRoutes": [LAN]})
    async with operated(tmp_path, "tailscale", router) as world:
        await until(lambda: said(world, "Online")[0] == "True", tell=lambda: said(world, "Online"))
        nodes, fewest = world.plane.tailnet.nodes, [2]
        end = nodes.subscribe(lambda kind, node: fewest.append(sum(n.online for n in nodes.all())))
        labelled = {"statefulSet": {"pod": {"labels": {"team": "net"}}}}
        meta = {"apiVersion": "tailscale.com/v1alpha1", "kind": "ProxyClass", "metadata": {"name": "team"}}
        world.apply([meta | {"spec": labelled}, router | {"spec": router["spec"] | {"proxyClass": "team"}}])
        await until(lambda: all(is_labelled(world, number) for number in (0, 1)))
        await until(lambda: said(world, "Online")[0] == "True", tell=lambda: said(world, "Online"))
        end()
        assert min(fewest) == 1


def is_labelled(world: World, number: int) -> bool:
    found = find(world, "pods", f"{build_base('home')}-{number}-0", "tailscale") or {
        "metadata": {"labels": {}}
    }
    return bool(found["metadata"]["labels"].get("team"))
