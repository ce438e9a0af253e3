"""The demo: the Services of five clusters on an emulated tailnet, with the real operator and real bytes.

Everything happens in one process (`tailrace sandbox` does the same and stays): the Services become devices, each is
asked over the tailnet, a device is deleted behind the operator's back, and one Service leaves again. Then the ways beyond
the cluster: from a pod to a machine behind a router elsewhere, and from a laptop to a machine beside the cluster.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tailrace.api import names
from tailrace.cli import files, output, sandbox, status
from tailrace.fleet import view
from tailrace.sandbox.controlplane.records import Node
from tailrace.sandbox.kubernetes.resources import Ref
from tailrace.sandbox.workloads.outside import Device
from tailrace.sandbox.world import Options, World

EXAMPLES = Path(__file__).resolve().parent.parent / "deploy" / "examples"
REPAIRED, GONE = ("solar", "grafana"), ("media", "jellyfin")
DEADLINE = 60.0  # seconds
REFRESH = (
    "3s"  # how often the operator lists devices while nothing is expected; a minute unless told otherwise
)

HOUSE, INVERTER, ALIAS = "192.168.47.0/24", "192.168.47.20", "inverter.solar.svc.cluster.local"
OFFICE, PRINTER = "172.20.7.0/24", "172.20.7.20"
OURS = "tailscale.com/v1alpha1"
EGRESS: list[dict[str, Any]] = [
    {
        "apiVersion": OURS,
        "kind": "ProxyClass",
        "metadata": {"name": "accept-routes"},
        "spec": {"tailscale": {"acceptRoutes": True}},
    },
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "inverter",
            "namespace": "solar",
            "annotations": {names.TAILNET_IP: INVERTER},
            "labels": {names.PROXY_CLASS: "accept-routes"},
        },
        "spec": {"type": "ExternalName", "externalName": "unset", "ports": [{"name": "http", "port": 80}]},
    },
]
CONNECTOR: dict[str, Any] = {
    "apiVersion": OURS,
    "kind": "Connector",
    "metadata": {"name": "office"},
    "spec": {"subnetRouter": {"advertiseRoutes": [OFFICE]}},
}


async def main(dialect: sandbox.Dialect) -> None:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tailrace-demo-") as folder:
        options = Options(dialect=dialect, metrics=sandbox.free_address())
        async with await World.start(Path(folder), options) as world:
            documents = files.read_documents([EXAMPLES / "five-clusters"])
            await sandbox.fill(world, documents)
            title(f"The Services of five clusters, beside an emulated control plane ({dialect})")
            show_services(world)
            async with sandbox.run_operator(world, TAILRACE_DEVICE_REFRESH=REFRESH) as running:
                rows = await sandbox.wait_settled(world, running, asyncio.Event())
                title("are devices of the tailnet")
                show_devices(rows)
                title("which answer: a request through the tailnet to each, by its name")
                await ask_all(world)
                title(
                    f"One device is deleted behind the operator's back; it looks every {REFRESH} here, and repairs it"
                )
                await repair(world, device_of(rows, REPAIRED))
                title("One Service is taken off the tailnet, and nothing of it stays")
                await unexpose(world, GONE, device_of(rows, GONE))
                title(
                    "Out of the cluster: a pod asks a machine behind a router that is elsewhere on the tailnet"
                )
                await lead_out(world, running)
                title(
                    "Into a network beside the cluster: a Connector routes, as soon as somebody approves it"
                )
                await route(world, running)
    print(
        f"\nAll of it took {time.monotonic() - began:.0f} seconds. `tailrace sandbox` keeps such a cluster running."
    )


def title(text: str) -> None:
    print(f"\n{text}\n")


def show_services(world: World) -> None:
    rows = [
        (f"{meta['namespace']}/{meta['name']}", describe_ask(doc), describe_ports(doc))
        for doc in services(world)
        for meta in (doc["metadata"],)
    ]
    output.print_table(("SERVICE", "ASKS FOR", "PORTS"), sorted(rows), empty="")


def services(world: World) -> list[dict[str, Any]]:
    return [stored.doc for stored in world.cluster.store.all(("", "services")).values()]


def describe_ask(doc: dict[str, Any]) -> str:
    """What on a Service makes it ours, without the words that all share."""
    annotations = doc["metadata"].get("annotations") or {}
    if doc["spec"].get("loadBalancerClass"):
        return "loadBalancerClass=tailscale"
    own = {k: v for k, v in annotations.items() if k.startswith(("tailscale.com/", "tailrace.dev/"))}
    return " ".join(f"{k.partition('/')[2]}={v}" for k, v in own.items())


def describe_ports(doc: dict[str, Any]) -> str:
    return ",".join(f"{p['port']}/{p['protocol'].lower()}" for p in doc["spec"]["ports"])


def show_devices(rows: Sequence[view.Row]) -> None:
    shown = (
        (r.object.removeprefix("service/"), r.device, r.addresses[0], r.mode, r.ready, r.reason) for r in rows
    )
    output.print_table(("SERVICE", "DEVICE", "ADDRESS", "MODE", "READY", "REASON"), shown, empty="")
    if any(row.ready != "True" for row in rows):
        raise SystemExit("demo: not every Service became ready")


def device_of(rows: Sequence[view.Row], service: tuple[str, str]) -> str:
    return next(row.device for row in rows if row.object == f"service/{'/'.join(service)}")


async def ask_all(world: World) -> None:
    rows = []
    for node in sorted(world.plane.tailnet.nodes.all(), key=lambda node: node.name):
        found = await ask(world, node)
        if found is None:
            raise SystemExit(f"demo: {node.fqdn} does not answer")
        rows.append((f"GET {found[0]}", found[1]))
    output.print_table(("REQUEST", "ANSWER"), rows, empty="")


async def ask(world: World, node: Node) -> tuple[str, str] | None:
    """URL and answer of the first port that speaks HTTP; None when none does."""
    for port in http_ports(world, node):
        with contextlib.suppress(OSError):
            code, body = await world.fetch(node.fqdn, port)
            return f"http://{node.fqdn}:{port}/", f"{code} {body.decode().splitlines()[0]}"
    return None


def http_ports(world: World, node: Node) -> Iterable[int]:
    open_ports = sorted(
        port for protocol, port in world.network.listening(node.addresses[0]) if protocol == "tcp"
    )
    return (port for port in open_ports if port != 53)


async def repair(world: World, device: str) -> None:
    before = find_node(world, device)
    assert before is not None
    print(f"deleted   {before.fqdn} (id {before.id})")
    world.plane.tailnet.delete_node(before.id)
    began = time.monotonic()
    while (after := find_node(world, device)) is None or not (found := await ask(world, after)):
        await wait_a_little(began, f"{device} does not come back")
    print(f"back      {after.fqdn} (id {after.id}) after {time.monotonic() - began:.1f} s: {found[1]}")


def find_node(world: World, fqdn: str) -> Node | None:
    return next((node for node in world.plane.tailnet.nodes.all() if node.fqdn == fqdn), None)


async def wait_a_little(since: float, complaint: str) -> None:
    if time.monotonic() - since > DEADLINE:
        raise SystemExit(f"demo: {complaint}")
    await asyncio.sleep(0.1)


async def unexpose(world: World, service: tuple[str, str], device: str) -> None:
    namespace, name = service
    print(f"$ kubectl annotate service {name} -n {namespace} {names.EXPOSE}-")
    patch = {"metadata": {"annotations": {names.EXPOSE: None}}}
    world.cluster.patch(Ref("", "v1", "services"), name, patch, "merge", namespace=namespace)
    began = time.monotonic()
    while left := leftovers(world, service, device):
        await wait_a_little(began, f"what stays is {', '.join(left)}")
    print(
        f"device {device} is gone, and of Secret, StatefulSet, Pod, Role, finalizer and conditions 0 are left"
    )


async def lead_out(world: World, running: sandbox.Running) -> None:
    """An egress: the router's route is approved, and the proxy accepts it by its ProxyClass."""
    world.host(INVERTER, lan="house", name="inverter")
    router = world.join("attic", routes=[HOUSE], lan="house")
    world.plane.tailnet.approve_routes(router.id, [HOUSE])
    world.apply(EGRESS)
    show_row(await wait_row(running, "service/solar/inverter", "Ready"))
    print(f"\npod$ curl http://{ALIAS}/\n{await answer(world, ALIAS)}")


async def route(world: World, running: sandbox.Running) -> None:
    """A Connector that nobody has approved says so, and how; then a laptop gets through it."""
    world.host(PRINTER, lan="cluster", name="printer")
    world.apply([CONNECTOR])
    waits = await wait_row(running, "connector/office", "RoutesNotApproved")
    show_row(waits)
    print(f"\n{waits.message}\n\n$ kubectl annotate connector office {names.APPROVE_ROUTES}=true")
    patch = {"metadata": {"annotations": {names.APPROVE_ROUTES: "true"}}}
    world.cluster.patch(Ref("tailscale.com", "v1alpha1", "connectors"), "office", patch, "merge")
    print((await wait_row(running, "connector/office", "Ready")).message)
    laptop = world.join("laptop")
    laptop.accept_routes = True
    print(f"\nlaptop$ curl http://{PRINTER}/\n{await answer(laptop, PRINTER)}")


async def wait_row(running: sandbox.Running, name: str, reason: str) -> view.Row:
    """The row of `tailrace status`, as soon as it says this."""
    began = time.monotonic()
    while True:
        rows = {row.object: row for row in await status.gather_rows(running.admin, None)}
        if name in rows and rows[name].reason == reason:
            return rows[name]
        said = f", but {rows[name].reason}: {rows[name].message}" if name in rows else ""
        await wait_a_little(began, f"{name} is not {reason}{said}")


def show_row(row: view.Row) -> None:
    where = ", ".join(row.urls or row.routes)
    cells = (row.object, row.device.partition(".")[0], where, row.mode, row.ready, row.reason)
    head = ("OBJECT", "DEVICE", "URL OR ROUTES", "MODE", "READY", "REASON")
    output.print_table(head, [cells], empty="")


async def answer(asker: World | Device, host: str) -> str:
    began = time.monotonic()
    while True:
        with contextlib.suppress(OSError):
            code, body = await asker.fetch(host)
            return f"{code} {body.decode().splitlines()[0]}"
        await wait_a_little(began, f"{host} does not answer")


def leftovers(world: World, service: tuple[str, str], device: str) -> list[str]:
    """Everything that was made for a Service and is still there."""
    mine = {names.PARENT_NAMESPACE: service[0], names.PARENT_NAME: service[1]}
    left = [f"device {device}"] if find_node(world, device) else []
    for kind in world.cluster.store.kinds():
        for key, stored in world.cluster.store.all(kind).items():
            if mine.items() <= (stored.doc["metadata"].get("labels") or {}).items():
                left.append(f"{kind[1]} {key[1]}")
    doc = next(d for d in services(world) if (d["metadata"]["namespace"], d["metadata"]["name"]) == service)
    left += [f"finalizer {f}" for f in doc["metadata"].get("finalizers") or ()]
    return left + [f"condition {c['type']}" for c in doc["status"].get("conditions") or ()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--control-plane", default="tailscale", help="tailscale, headscale-0.29 or headscale-0.30"
    )
    asyncio.run(main(parser.parse_args().control_plane))
