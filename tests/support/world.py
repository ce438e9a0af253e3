"""One world for a law: a memory cluster, a tailnet, and the real rooms, executor and device list between them.

Every room that a key may concern works on it, as in the operator: `World.rooms` has them by the kind of their roots.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol, cast

from tailrace import errors
from tailrace.fleet import admission, gather, stores
from tailrace.fleet.install import Defaults, Install
from tailrace.kinds.connector.controller import Connectors
from tailrace.kinds.egress.controller import Egresses
from tailrace.kinds.orphan import decide as orphan_decide
from tailrace.kinds.service.controller import Services
from tailrace.kube import resources
from tailrace.kube.client import Kube
from tailrace.kube.resource import Key, Resource
from tailrace.kube.store import Store
from tailrace.plan import ops
from tailrace.plan.executor import Executor
from tailrace.proxy import spec
from tailrace.settings import Mode
from tailrace.tailnet import devices, port, registry
from tailrace.tailnet.memory import MemoryPlane
from tests.support.cluster import MemoryCluster, owned
from tests.support.tailnets import Tailnet

HOME = "tailscale"

INSTALL = Install(
    namespace=HOME,
    defaults=Defaults(tags=("tag:k8s",), mode=Mode.AUTO, load_balancer=False),
    image=spec.Image(image="tailscale/tailscale:v1", login_server="https://control.test"),
    cluster_name="test",
    cluster_domain="cluster.local",
    key_ttl=timedelta(hours=1),
    delete_deadline=timedelta(minutes=5),
)


def build_service(name: str = "web", namespace: str = "demo", **notes: str) -> dict[str, Any]:
    """An exposed Service with one TCP port."""
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "annotations": {
                "tailscale.com/expose": "true",
                **{k.replace("__", "/"): v for k, v in notes.items()},
            },
        },
        "spec": {
            "clusterIP": "10.96.0.7",
            "ports": [{"port": 80, "name": "http"}],
            "selector": {"app": name},
        },
    }


def build_egress(name: str = "web", namespace: str = "demo", **notes: str) -> dict[str, Any]:
    """A Service with all that it loses while it leads out of the cluster; `notes` say where to."""
    service = build_service(name, namespace, **notes)
    del service["metadata"]["annotations"]["tailscale.com/expose"]
    service["spec"] |= {
        "type": "ClusterIP",
        "clusterIPs": ["10.96.0.7"],
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
        "internalTrafficPolicy": "Cluster",
    }
    return service


def build_class(name: str = "routes", *, accepts: bool = True) -> dict[str, Any]:
    """A ProxyClass that was judged and is good."""
    ready = {
        "type": "ProxyClassReady",
        "status": "True",
        "reason": "ProxyClassValid",
        "observedGeneration": 1,
    }
    return {
        "metadata": {"name": name, "generation": 1},
        "spec": {"tailscale": {"acceptRoutes": accepts}},
        "status": {"conditions": [ready]},
    }


class Room(Protocol):
    """What works on keys."""

    async def reconcile(self, key: Key) -> ops.Result: ...


@dataclass
class World[P: Tailnet = MemoryPlane]:
    """`settle` lets everybody act until nobody has anything to do."""

    plane: P
    cluster: MemoryCluster
    fleet: gather.Fleet
    rooms: Mapping[str, Sequence[Room]]  # by the kind of their roots
    listing: devices.DeviceList
    events: list[ops.Emit] = field(default_factory=list)

    def find_rooms(self, key: Key) -> Sequence[Room]:
        """Services have a namespace, Connectors none."""
        return self.rooms["Service" if key.namespace else "Connector"]

    async def reconcile(self, key: Key, *, room: Room | None = None) -> ops.Plan:
        """One decision carried out, as the controllers would, of all rooms of the key's kind or of one; faults are
        swallowed, since it would be called again."""
        with contextlib.suppress(errors.TailraceError):
            await self.listing.refresh()
        seen: list[ops.Plan] = []
        run = self.fleet.executor.run

        async def watch(plan: ops.Plan) -> ops.Result:
            seen.append(plan)
            return await run(plan)

        self.fleet.executor.run = watch  # type: ignore[method-assign]
        try:
            for each in [room] if room else self.find_rooms(key):
                with contextlib.suppress(errors.TailraceError):
                    await each.reconcile(key)
        finally:
            self.fleet.executor.run = run  # type: ignore[method-assign]
        return seen[0] if seen else ops.Plan()

    async def settle(self, *keys: Key, turns: int = 25) -> ops.Plan:
        """Reconcile and let the machinery run until a turn changes nothing; gives the last plan of the last key.

        Raises:
            AssertionError: it does not come to rest.
        """
        for _ in range(turns):
            before = (self.cluster.writes, str(self.plane.devices), len(self.cluster.objects))
            self.cluster.run_machinery()
            plans = [await self.reconcile(key) for key in keys]
            await self.sweep()
            after = (self.cluster.writes, str(self.plane.devices), len(self.cluster.objects))
            acted = before != after or any(plan.ops for plan in plans)
            if not acted and self.knows_all(plans):
                return plans[-1]
        raise AssertionError(
            f"it does not settle: {[type(op).__name__ for plan in plans for op in plan.ops]}"
        )

    def knows_all(self, plans: list[ops.Plan]) -> bool:
        """Whether nobody waits for word from the control plane: such a pause, after a fault, is no rest."""
        waits = any("device list" in (plan.result.waiting_on or "") for plan in plans)
        return self.listing.snapshot().error is None and not waits

    async def sweep(self) -> None:
        """What the room for orphans does."""
        record = self.cluster.objects.get(("ConfigMap", HOME, "tailrace-orphans"))
        if record and record.get("data"):
            found = await self.cluster.get(resources.CONFIG_MAPS, "tailrace-orphans", HOME)
            with contextlib.suppress(errors.TailraceError):
                await self.fleet.executor.run(orphan_decide.decide(found, ""))

    def conditions(
        self, name: str = "web", namespace: str = "demo", kind: str = "Service"
    ) -> Mapping[str, tuple[str, str, str]]:
        status = self.cluster.objects[kind, namespace, name].get("status", {})
        return {c["type"]: (c["status"], c["reason"], c["message"]) for c in status.get("conditions", [])}

    def ours(self) -> list[Any]:
        return list(owned(self.cluster.objects))

    def snapshot(self) -> dict[Any, Any]:
        """The world without what may differ between two histories: ids, versions, times, addresses, digests."""
        found: dict[Any, Any] = {}
        for place in self.ours():
            obj = self.cluster.objects[place]
            found[place] = (
                obj["metadata"].get("labels"),
                sorted(obj.get("data", {})),
                drop_volatile(obj.get("spec")),
            )
        roots = {
            place: (
                obj.get("spec"),
                sorted(
                    (c["type"], c["status"], c["reason"]) for c in obj.get("status", {}).get("conditions", [])
                ),
            )
            for place, obj in self.cluster.objects.items()
            if place[0] in ROOTS and place not in found
        }
        tailnet = sorted((d.name, d.tags, d.online) for d in self.plane.devices)
        return {"children": found, "roots": roots, "tailnet": tailnet}


ROOTS = {"Service", "Connector"}
VOLATILE = {
    "tailrace.dev/replaces-device",
    "tailrace.dev/refresh",
    "tailrace.dev/target-addresses",
    "digest",
    "app",
    "booted",
}


def drop_volatile(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {k: drop_volatile(v) for k, v in value.items() if k not in VOLATILE}
        return {k: v for k, v in kept.items() if v not in ({}, None)}
    if isinstance(value, list):
        return [drop_volatile(v) for v in value]
    return value


@contextlib.asynccontextmanager
async def open_world(plane: MemoryPlane | None = None, **changes: Any) -> AsyncIterator[World]:
    """A fresh world around the memory twin; `changes` replace fields of the installation."""
    twin = plane or MemoryPlane()
    async with open_world_on(twin, twin, **changes) as world:
        yield world


@contextlib.asynccontextmanager
async def open_world_on[P: Tailnet](
    tailnet: P, edge: port.ControlPlane, **changes: Any
) -> AsyncIterator[World[P]]:
    """A fresh cluster around a tailnet that is there already, with `edge` as the operator's way to it."""
    cluster = MemoryCluster(tailnet)
    install = dataclasses.replace(INSTALL, **changes)
    listing = devices.DeviceList(
        edge, schedule=devices.Schedule(fast=0.001, hurry=0.0, hurry_cap=0.0, slow=600)
    )
    tailnets = registry.Tailnets(registry.Membership(name="", plane=listing.plane, devices=listing))
    shared = stores.Stores()
    events: list[ops.Emit] = []
    faked = cast(Kube, cluster)
    executor = Executor(
        cluster=faked,
        planes=tailnets.find_plane,
        namespace=HOME,
        record=lambda event: events.append(event),
        written=shared.note,
    )
    fleet = gather.Fleet(
        install=install,
        stores=shared,
        tailnets=tailnets,
        executor=executor,
        admission=admission.Prober(faked, HOME, install.image),
    )
    services, connectors = Services(fleet), Connectors(fleet)
    rooms: dict[str, Sequence[Room]] = {
        "Service": (services, Egresses(fleet)),
        "Connector": (connectors,),
    }
    feeds: tuple[tuple[Resource[Any], Store[Any]], ...] = (
        (resources.SERVICES, shared.services),
        (resources.SECRETS, shared.secrets),
        (resources.STATEFUL_SETS, shared.statefulsets),
        (resources.SERVICE_ACCOUNTS, shared.accounts),
        (resources.ROLES, shared.roles),
        (resources.ROLE_BINDINGS, shared.bindings),
        (resources.PODS, shared.pods),
        (resources.POD_DISRUPTION_BUDGETS, shared.budgets),
        (resources.SERVICE_MONITORS, shared.monitors),
        (resources.ENDPOINT_SLICES, services.slices),
        (resources.NAMESPACES, shared.namespaces),
        (resources.PROXY_CLASSES, shared.classes),
        (resources.CONNECTORS, connectors.store),
        (resources.NODES, shared.nodes),
        (resources.SERVICE_CIDRS, shared.service_cidrs),
    )
    for resource, store in feeds:
        cluster.feed(resource, store)
    task = asyncio.create_task(listing.run())
    try:
        yield World(plane=tailnet, cluster=cluster, fleet=fleet, rooms=rooms, listing=listing, events=events)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
