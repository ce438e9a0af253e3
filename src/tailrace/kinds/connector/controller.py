"""Gather what may be known about one Connector, have it decided, have it done, have failures told.

A reconcile gets a key, never an event. What all proxies share is gathered by `fleet.gather`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tailrace.api import names
from tailrace.api.connector import Connector
from tailrace.fleet.gather import Fleet
from tailrace.fleet.stores import BY_DEVICE, has_new_spec, tell_device
from tailrace.fleet.world import Admission, Children, Tailnet, is_egress
from tailrace.kinds.connector import decide, failure, request, truth
from tailrace.kinds.connector.inputs import Accepting, Inputs, Neighbour, Surroundings
from tailrace.kinds.connector.place import Places, find_places
from tailrace.kube import resources
from tailrace.kube.client import Kube
from tailrace.kube.resource import Key, key_of
from tailrace.kube.store import Event, Store
from tailrace.kube.watch import Watch
from tailrace.observe import metrics
from tailrace.plan import ops
from tailrace.runtime.controller import Controller
from tailrace.tailnet import port


@dataclass(slots=True)
class Connectors:
    """The room: what it watches, and the reconcile over it."""

    fleet: Fleet
    store: Store[Connector] = field(default_factory=lambda: Store("connectors"))
    controller: Controller = field(init=False)
    workers: int = 4
    _met: dict[Key, frozenset[port.DeviceId]] = field(
        default_factory=dict
    )  # devices that a Connector's routes or names met when it was last looked at: one that went tells nothing itself

    def __post_init__(self) -> None:
        stores = self.fleet.stores
        stores.roots["Connector"] = self.store
        self.controller = Controller("connector", self.reconcile, workers=self.workers)
        self.controller.watch(self.store, self.map_connector)
        self.controller.watch(stores.namespaces, lambda event: self.list_keys())
        self.controller.watch(stores.classes, self.map_class)
        self.controller.watch(stores.nodes, self.map_range)
        self.controller.watch(stores.service_cidrs, self.map_range)
        self.fleet.serve(
            self.controller, "connector", lambda namespace: (key.name for key in self.list_keys())
        )
        self.fleet.tailnets.subscribe(self.note_devices)
        self.count()

    def build_watches(self, cluster: Kube) -> list[Watch[Any]]:
        return [Watch(cluster, resources.CONNECTORS, self.store, optional=True)]

    # --- from events to keys -----------------------------------------------------------------------------------

    def list_keys(self) -> list[Key]:
        return [key_of(found) for found in self.store.list()]

    def map_connector(self, event: Event[Connector]) -> Iterable[Key]:
        """The Connector itself; when its routes change, or it comes or goes, all, for they tell of each other."""
        self.count()
        return {key_of(event.obj), *self.list_keys()} if has_new_spec(event) else [key_of(event.obj)]

    def map_class(self, event: Event[Any]) -> Iterable[Key]:
        """Those that use the ProxyClass; and all when proxies begin or end to accept routes by it."""
        before, after = (
            found is not None and found.spec.tailscale.acceptRoutes for found in (event.old, event.new)
        )
        name = event.obj.metadata.name
        return [key_of(c) for c in self.store.list() if before != after or c.spec.proxyClass == name]

    def map_range(self, event: Event[Any]) -> Iterable[Key]:
        """This cluster's ranges are others now."""
        return self.list_keys() if has_new_spec(event) else []

    def note_devices(self, tailnet: str, changed: frozenset[port.DeviceId]) -> None:
        """Wake those that share, or shared, routes or a name with a device that changed; without devices the tailnet
        itself has changed: whoever uses it is worked on now, not when its backoff ends."""
        member = self.fleet.tailnets.get(tailnet)
        known = member.devices.snapshot().by_id if member is not None else {}
        found = [known[device] for device in changed if device in known]
        for connector in self.store.list():
            if connector.spec.tailnet != tailnet:
                continue
            key, wish = key_of(connector), request.read_request(connector, self.fleet.install.defaults)
            if not changed or changed & self._met.get(key, frozenset()) or find_met(wish, found):
                self.controller.enqueue(key, low=not changed)

    def count(self) -> None:
        """The gauges of the official operator."""
        specs = [found.spec for found in self.store.list()]
        metrics.CONNECTORS.set(len(specs))
        metrics.CONNECTOR_SUBNET_ROUTERS.set(sum(s.subnetRouter is not None for s in specs))
        metrics.CONNECTOR_EXIT_NODES.set(sum(s.exitNode for s in specs))
        metrics.CONNECTOR_APP_CONNECTORS.set(sum(s.appConnector is not None for s in specs))

    # --- reconcile ---------------------------------------------------------------------------------------------

    async def reconcile(self, key: Key) -> ops.Result:
        connector = self.store.get(*key)
        inputs = await self.gather(key, connector)
        if connector is None:
            self._met.pop(key, None)
        elif inputs.tailnets:
            wish = request.read_request(connector, self.fleet.install.defaults)
            self._met[key] = find_met(wish, inputs.tailnets[0].devices)
        root = truth.build_root(connector) if connector is not None else None
        return await self.fleet.work(
            self.controller,
            key,
            root,
            inputs.proxies,
            decide=lambda: decide.decide(inputs),
            tell=lambda plan, error: failure.decide_failure(inputs, plan, error),
        )

    async def gather(self, key: Key, connector: Connector | None) -> Inputs:
        """The world of one Connector."""
        install, proxies = self.fleet.install, self.fleet.gather_proxies("connector", key)
        wanted = request.read_request(connector, install.defaults) if connector is not None else None
        places = find_places(proxies, key.name, wanted.replicas if wanted else 0)
        return Inputs(
            name=key.name,
            install=install,
            connector=connector,
            proxies=proxies,
            tailnets=await self.gather_tailnets(wanted, places) if wanted else (),
            admission=await self.gather_admission(places) if wanted else Admission(privileged=True),
            proxy_class=self.fleet.gather_class(wanted.proxy_class if wanted else ""),
            around=self.gather_surroundings(connector) if connector is not None else Surroundings(),
            now=datetime.now(UTC),
        )

    async def gather_tailnets(self, wanted: request.Request, places: Places) -> tuple[Tailnet, ...]:
        """Of each replica what the control plane says of it; without replicas of the tailnet alone."""
        if not places.replicas:
            return (await self.fleet.gather_tailnet(wanted.tailnet, Children(), ""),)
        pairs = zip(places.replicas, wanted.hostnames, strict=True)
        return tuple(
            [await self.fleet.gather_tailnet(wanted.tailnet, where.children, name) for where, name in pairs]
        )

    async def gather_admission(self, places: Places) -> Admission:
        """Asked for the first replica: all have the same pod."""
        first = places.replicas[0].children if places.replicas else Children()
        return await self.fleet.gather_admission(first)

    # --- what routes may run into ------------------------------------------------------------------------------

    def gather_surroundings(self, connector: Connector) -> Surroundings:
        others = [
            found
            for found in self.store.list()
            if found.metadata.name != connector.metadata.name and found.metadata.deletionTimestamp is None
        ]
        return Surroundings(
            ranges=self.fleet.list_ranges(),
            neighbours=tuple(
                self.build_neighbour(found)
                for found in sorted(others, key=lambda other: other.metadata.name)
                if found.spec.tailnet == connector.spec.tailnet
            ),
            accepting=tuple(self.find_accepting(others)),
            proxies=self.find_proxies(connector.spec.tailnet),
        )

    def find_proxies(self, tailnet: str) -> frozenset[str]:
        member, secrets = self.fleet.tailnets.get(tailnet), self.fleet.stores.secrets
        listed = member.devices.snapshot().devices if member is not None else ()
        return frozenset(
            device.id for device in listed if secrets.by_index(BY_DEVICE, tell_device(tailnet, device.id))
        )

    def build_neighbour(self, connector: Connector) -> Neighbour:
        wish = request.read_request(connector, self.fleet.install.defaults)
        proxies = self.fleet.gather_proxies("connector", key_of(connector)).values()
        devices = frozenset(c.state.device_id for c in proxies if c.state is not None)
        return Neighbour(name=connector.metadata.name, routes=wish.routes, devices=devices)

    def find_accepting(self, others: Iterable[Connector]) -> Iterable[Accepting]:
        """Egress Services and other Connectors whose ProxyClass accepts routes."""
        stores = self.fleet.stores
        classes = {c.metadata.name for c in stores.classes.list() if c.spec.tailscale.acceptRoutes}
        if not classes:
            return
        for service in sorted(stores.services.list(), key=key_of):
            meta = service.metadata
            used = self.fleet.read_class(service)
            if used in classes and is_egress(service) and meta.labels.get(names.MANAGED) != "true":
                yield Accepting(user=f"Service {meta.namespace}/{meta.name}", proxy_class=used)
        for found in others:
            if found.spec.proxyClass in classes:
                yield Accepting(user=f"Connector {found.metadata.name}", proxy_class=found.spec.proxyClass)


def find_met(wish: request.Request, devices: Iterable[port.Device]) -> frozenset[port.DeviceId]:
    """The devices with whose routes or names a Connector has to do, its own among them."""
    routes, hostnames = {*wish.routes}, {*wish.hostnames}
    return frozenset(d.id for d in devices if routes & {*d.enabled_routes} or d.name.lower() in hostnames)
