"""Gather what may be known about one Service, have it decided, have it done, have failures told.

    watches ─► mappers ─► keys ─► reconcile: gather ─► decide ─► executor ─► (failure ─► status)

A reconcile gets a key, never an event. What all proxies share is gathered by `fleet.gather`. A Service that leads out of
the cluster (egress) is another room's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tailrace.api import kube, names
from tailrace.fleet.gather import Fleet
from tailrace.fleet.world import Admission, Children, find_place, is_egress, root_of_service
from tailrace.kinds.service import decide, failure, request, watched
from tailrace.kinds.service.inputs import Inputs
from tailrace.kube import resources
from tailrace.kube.client import Kube
from tailrace.kube.resource import Key, key_of
from tailrace.kube.store import Event, Store
from tailrace.kube.watch import Watch
from tailrace.plan import ops
from tailrace.proxy import names as proxy_names
from tailrace.runtime.controller import Controller
from tailrace.tailnet import port


@dataclass(slots=True)
class Services:
    """The room: what it watches, and the reconcile over it."""

    fleet: Fleet
    slices: Store[kube.EndpointSlice] = field(default_factory=lambda: Store("slices"))
    controller: Controller = field(init=False)
    workers: int = 16

    def __post_init__(self) -> None:
        stores, defaults = self.fleet.stores, self.fleet.install.defaults
        watched.add_indexes(stores.services, self.slices, defaults)
        self.controller = Controller("service", self.reconcile, workers=self.workers)
        self.controller.watch(stores.services, self.map_service)
        self.controller.watch(self.slices, self.map_slice)
        self.controller.watch(stores.namespaces, self.map_namespace)
        self.controller.watch(stores.classes, self.map_class)
        self.fleet.serve(self.controller, "svc", self.fleet.list_services)
        self.fleet.tailnets.subscribe(self.note_devices)

    def build_watches(self, cluster: Kube) -> list[Watch[Any]]:
        return [Watch(cluster, resources.ENDPOINT_SLICES, self.slices, labels=names.SERVICE_NAME)]

    # --- from events to keys -----------------------------------------------------------------------------------

    def list_exposed(self) -> Iterable[kube.Service]:
        services = self.fleet.stores.services.list()
        return (s for s in services if request.is_exposed(s, self.fleet.install.defaults))

    def map_service(self, event: Event[kube.Service]) -> Iterable[Key]:
        """The Service itself, when it concerns us, and those that share a hostname with it before or after."""
        defaults = self.fleet.install.defaults
        names_before = watched.index_hostname(event.old, defaults) if event.old else ()
        names_after = watched.index_hostname(event.new, defaults) if event.new else ()
        if watched.concerns(event.new) or watched.concerns(event.old):
            yield key_of(event.obj)
        yield from self.fleet.map_hostname(watched.BY_HOSTNAME, names_before, names_after)

    def map_slice(self, event: Event[kube.EndpointSlice]) -> Iterable[Key]:
        for value in watched.index_service(event.obj):
            service = self.fleet.stores.services.get(*value.split("/", 1))
            if service is not None and request.is_exposed(service, self.fleet.install.defaults):
                yield key_of(service)

    def map_namespace(self, event: Event[kube.Namespace]) -> Iterable[Key]:
        """The proxies' namespace changed its labels: every mode is judged again."""
        return [key_of(s) for s in self.list_exposed()]

    def map_class(self, event: Event[Any]) -> Iterable[Key]:
        """Those that use the ProxyClass."""
        name = event.obj.metadata.name
        return [key_of(s) for s in self.list_exposed() if self.fleet.read_class(s) == name]

    def note_devices(self, tailnet: str, changed: frozenset[port.DeviceId]) -> None:
        """Wake whoever wants the name of a device that came, went or differs; without devices the tailnet itself has
        changed, came back, say: whoever uses it is worked on now, not when its backoff ends."""
        member = self.fleet.tailnets.get(tailnet)
        devices = member.devices.snapshot().by_id if member is not None else {}
        for device in changed:
            known = devices.get(device)
            for service in self.fleet.stores.services.by_index(
                watched.BY_HOSTNAME, known.name.lower() if known is not None else ""
            ):
                self.controller.enqueue(key_of(service))
        if not changed:
            for service in self.fleet.stores.services.list():
                if watched.concerns(service):
                    self.controller.enqueue(key_of(service), low=True)

    # --- reconcile ---------------------------------------------------------------------------------------------

    async def reconcile(self, key: Key) -> ops.Result:
        service = self.fleet.stores.services.get(*key)
        proxies = self.fleet.gather_proxies("svc", key)
        if (service is not None and is_egress(service)) or any(p.leads_out for p in proxies.values()):
            self.fleet.note_interest(self.controller, key, ops.Plan())
            return ops.SETTLED
        inputs = await self.gather(key, service, proxies)
        root = root_of_service(service) if service is not None else None
        return await self.fleet.work(
            self.controller,
            key,
            root,
            proxies,
            decide=lambda: decide.decide(inputs),
            tell=lambda plan, error: failure.decide_failure(inputs, plan, error),
        )

    async def gather(self, key: Key, service: kube.Service | None, proxies: dict[str, Children]) -> Inputs:
        """The world of one Service."""
        defaults = self.fleet.install.defaults
        exposed = service is not None and request.is_exposed(service, defaults)
        wanted = request.read_request(service, defaults) if service is not None and exposed else None
        hostname = wanted.hostname if wanted else ""
        children = find_place(proxies, proxy_names.build_child_name("svc", *key)).children
        return Inputs(
            namespace=key.namespace,
            name=key.name,
            install=self.fleet.install,
            service=service,
            proxies=proxies,
            tailnet=await self.fleet.gather_tailnet(wanted.tailnet if wanted else "", children, hostname),
            admission=await self.fleet.gather_admission(children) if wanted else Admission(privileged=True),
            proxy_class=self.fleet.gather_class(wanted.proxy_class if wanted else ""),
            rivals=self.fleet.find_rivals(watched.BY_HOSTNAME, hostname, key),
            slices=self.slices.by_index(watched.BY_SERVICE, f"{key.namespace}/{key.name}"),
            now=datetime.now(UTC),
        )
