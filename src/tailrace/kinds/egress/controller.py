"""Gather what may be known about one egress Service, have it decided, have it done, have failures told.

Ours is a Service while it says so, and then until nothing remembers any more what it was. All others are the business of
the room for exposing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tailrace.api import kube, names
from tailrace.fleet import stores, wish
from tailrace.fleet.gather import Fleet
from tailrace.fleet.ranges import Range
from tailrace.fleet.world import Admission, Children, find_place, is_egress, root_of_service
from tailrace.kinds.egress import decide, failure, request, target
from tailrace.kinds.egress.inputs import Inputs
from tailrace.kube.resource import Key, key_of
from tailrace.kube.store import Event
from tailrace.observe import metrics
from tailrace.plan import ops
from tailrace.proxy import names as proxy_names
from tailrace.runtime.controller import Controller
from tailrace.tailnet import port

BY_HOSTNAME = "egress-hostname"
BY_EGRESS = "egress"
ALL = "all"


@dataclass(slots=True)
class Egresses:
    """The room: what wakes it, and the reconcile over it."""

    fleet: Fleet
    controller: Controller = field(init=False)
    workers: int = 16
    _led: dict[Key, frozenset[port.DeviceId]] = field(
        default_factory=dict
    )  # what the last judgement was about

    def __post_init__(self) -> None:
        shared = self.fleet.stores
        shared.services.add_index(BY_EGRESS, index_egress)
        shared.services.add_index(BY_HOSTNAME, index_hostname)
        self.controller = Controller("egress", self.reconcile, workers=self.workers)
        self.controller.watch(shared.services, self.map_service)
        self.controller.watch(shared.namespaces, self.map_all)
        self.controller.watch(shared.classes, self.map_class)
        self.controller.watch(shared.nodes, self.map_ranges)
        self.controller.watch(shared.service_cidrs, self.map_all)
        self.fleet.serve(self.controller, "svc", self.fleet.list_services)
        self.fleet.tailnets.subscribe(self.note_devices)
        metrics.EGRESS_PROXIES.set(0)

    # --- from events to keys -----------------------------------------------------------------------------------

    def list_egresses(self) -> tuple[kube.Service, ...]:
        return self.fleet.stores.services.by_index(BY_EGRESS, ALL)

    def map_service(self, event: Event[kube.Service]) -> Iterable[Key]:
        """The Service itself, when it leads out or did, and those that share a hostname with it before or after."""
        before = index_hostname(event.old) if event.old else ()
        after = index_hostname(event.new) if event.new else ()
        if bool(before) != bool(after):
            metrics.EGRESS_PROXIES.set(len(self.list_egresses()))
        # One that ceased to lead out while nobody looked is found by what was made for it.
        if before or after or is_given_back(event):
            yield key_of(event.obj)
        yield from self.fleet.map_hostname(BY_HOSTNAME, before, after)

    def map_all(self, event: Event[Any]) -> Iterable[Key]:
        """The proxies' namespace may admit privileged pods now, or the cluster has Services of another range, maybe of another
        family."""
        return [key_of(s) for s in self.list_egresses()]

    def map_class(self, event: Event[Any]) -> Iterable[Key]:
        """Those that use the ProxyClass."""
        name = event.obj.metadata.name
        return [key_of(s) for s in self.list_egresses() if self.fleet.read_class(s) == name]

    def map_ranges(self, event: Event[kube.Node]) -> Iterable[Key]:
        """This cluster's ranges are others now: whoever accepts routes may be concerned."""
        concerned = self.list_egresses() if stores.has_new_spec(event) else ()
        return [key_of(s) for s in concerned if self.accepts_routes(s)]

    def accepts_routes(self, service: kube.Service) -> bool:
        found = self.fleet.stores.classes.get("", self.fleet.read_class(service))
        return found is not None and found.spec.tailscale.acceptRoutes

    def note_devices(self, tailnet: str, changed: frozenset[port.DeviceId]) -> None:
        """Wake those whose far end is among the devices that came, went or differ, by what it was and by what it is.
        Without devices the tailnet itself has changed: whoever uses it is looked at again."""
        member = self.fleet.tailnets.get(tailnet)
        by_id = member.devices.snapshot().by_id if member is not None else {}
        devices = [by_id[device] for device in changed if device in by_id]
        for service in self.list_egresses():
            key = key_of(service)
            if service.metadata.annotations.get(names.TAILNET, "") != tailnet:
                continue
            if not changed or changed & self._led.get(key, frozenset()) or self.find_led(service, devices):
                self.controller.enqueue(key, low=True)

    def find_led(self, service: kube.Service, devices: Iterable[port.Device]) -> frozenset[port.DeviceId]:
        """The devices that decide whether the far end of a Service can be reached."""
        end = request.read_request(service, self.fleet.install.defaults).target
        found = {d.id for d in devices if end is not None and target.concerns(end, d)}
        if self.accepts_routes(service):
            found |= {d.id for d, _ in target.find_own_routes(devices, self.fleet.list_ranges())}
        return frozenset(found)

    # --- reconcile ---------------------------------------------------------------------------------------------

    async def reconcile(self, key: Key) -> ops.Result:
        service = self.fleet.stores.services.get(*key)
        leads = service is not None and is_egress(service)
        proxies = self.fleet.gather_proxies("svc", key) if leads or self.may_have_led(key) else {}
        if not leads and not any(p.leads_out for p in proxies.values()):
            self._led.pop(key, None)
            self.fleet.note_interest(self.controller, key, ops.Plan())
            return ops.SETTLED
        inputs = await self.gather(key, service, proxies)
        if service is not None and leads:
            self._led[key] = self.find_led(service, inputs.tailnet.devices)
        root = root_of_service(service) if service is not None else None
        return await self.fleet.work(
            self.controller,
            key,
            root,
            proxies,
            decide=lambda: decide.decide(inputs),
            tell=lambda plan, error: failure.decide_failure(inputs, plan, error),
        )

    def may_have_led(self, key: Key) -> bool:
        """Whether it is worth looking closer: most Services with a proxy are exposed, and come by here too."""
        shared, value = self.fleet.stores, stores.tell_parent("svc", *key)
        secrets = shared.secrets.by_index(stores.BY_PARENT, value)
        remembers = any(names.ORIGINAL in found.metadata.annotations for found in secrets)
        return remembers or bool(shared.services.by_index(stores.BY_PARENT, value))

    async def gather(self, key: Key, service: kube.Service | None, proxies: dict[str, Children]) -> Inputs:
        """The world of one Service."""
        defaults = self.fleet.install.defaults
        leads = service is not None and is_egress(service)
        wanted = request.read_request(service, defaults) if service is not None and leads else None
        hostname = wanted.hostname if wanted else ""
        children = find_place(proxies, proxy_names.build_child_name("svc", *key)).children
        tailnet = await self.fleet.gather_tailnet(wanted.tailnet if wanted else "", children, hostname)
        own = self.fleet.list_ranges()
        return Inputs(
            namespace=key.namespace,
            name=key.name,
            install=self.fleet.install,
            service=service,
            proxies=proxies,
            tailnet=tailnet,
            admission=await self.fleet.gather_admission(children) if wanted else Admission(privileged=True),
            proxy_class=self.fleet.gather_class(wanted.proxy_class if wanted else ""),
            ranges=own,
            owners=self.find_owners(wanted.tailnet if wanted else "", tailnet.devices, own),
            rivals=self.fleet.find_rivals(BY_HOSTNAME, hostname, key),
            taken=frozenset() if wanted else frozenset(self.list_taken(key)),
            now=datetime.now(UTC),
        )

    def find_owners(
        self, tailnet: str, devices: Iterable[port.Device], own: Iterable[Range]
    ) -> dict[port.DeviceId, str]:
        """What made the devices that lead into this cluster, where it was an object of it."""
        owners: dict[port.DeviceId, str] = {}
        for device, _ in target.find_own_routes(devices, own):
            index = stores.tell_device(tailnet, device.id)
            for found in self.fleet.stores.secrets.by_index(stores.BY_DEVICE, index):
                owners[device.id] = stores.describe_parent(found)
        return owners

    def list_taken(self, key: Key) -> Iterator[str]:
        """What other Services have of what is given out once: asked only when one is given back."""
        for service in self.fleet.stores.services.list():
            if key_of(service) != key:
                yield from service.spec.clusterIPs or (service.spec.clusterIP,)
                yield from (str(p.nodePort) for p in service.spec.ports if p.nodePort)


def index_egress(service: kube.Service) -> tuple[str, ...]:
    return (ALL,) if is_egress(service) else ()


def is_given_back(event: Event[kube.Service]) -> bool:
    """Whether it is what it was before it led out, maybe; what was made for it goes now."""
    old, new = event.old, event.new
    held = new is not None and names.FINALIZER in new.metadata.finalizers
    return held and old is not None and new is not None and old.spec != new.spec


def index_hostname(service: kube.Service) -> tuple[str, ...]:
    return (wish.read_hostname(service).lower(),) if is_egress(service) else ()
