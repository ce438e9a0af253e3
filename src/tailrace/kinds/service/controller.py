"""Gather what may be known about one Service, have it decided, have it done, have failures told.

    watches ─► mappers ─► keys ─► reconcile: gather ─► decide ─► executor ─► (failure ─► status)

A reconcile gets a key, never an event, and reads stores only: no live LIST, and of the control plane the one shared
device list. The single exception is a device that the list lacks: it is asked for by id once before it counts as gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tailrace import errors
from tailrace.api import kube
from tailrace.kinds.service import admission, decide, failure, request, watched
from tailrace.kinds.service.inputs import Admission, Children, Inputs, Install, Tailnet
from tailrace.kube.resource import Key
from tailrace.kube.store import Event
from tailrace.observe import logs
from tailrace.plan import ops
from tailrace.plan.executor import Executor
from tailrace.proxy import names as proxy_names
from tailrace.proxy import secret
from tailrace.runtime.controller import Controller
from tailrace.tailnet import devices, port

log = logs.get_logger("kinds.service")

STALE_AFTER = 180.0  # seconds after which an unanswered device list no longer counts as the truth
POLICY_RECHECK = (
    120.0  # seconds; a tag that is refused is mended in the tailnet's policy, which nobody watches
)
REFUSED_AFTER = timedelta(seconds=10)  # a StatefulSet without a pod for that long has had its pod refused


@dataclass(slots=True)
class Services:
    """The room: stores, edges, and the reconcile over them."""

    install: Install
    stores: watched.Stores
    executor: Executor
    plane: port.ControlPlane
    devices: devices.DeviceList
    admission: admission.Prober
    controller: Controller = field(init=False)
    workers: int = 16
    _confirmed_gone: set[port.DeviceId] = field(default_factory=set)

    def __post_init__(self) -> None:
        stores = self.stores
        stores.add_indexes(self.install.defaults)
        self.controller = Controller("service", self.reconcile, workers=self.workers)
        self.controller.watch(stores.services, self.map_service)
        for store in stores.children:
            self.controller.watch(store, self.map_child)
        self.controller.watch(stores.slices, self.map_slice)
        self.controller.watch(stores.namespaces, self.map_namespace)
        self.devices.subscribe(self.note_devices)

    # --- from events to keys -----------------------------------------------------------------------------------

    def map_service(self, event: Event[kube.Service]) -> Iterable[Key]:
        """The Service itself, when it concerns us, and those that share a hostname with it before or after."""
        names_before = watched.index_hostname(event.old, self.install.defaults) if event.old else ()
        names_after = watched.index_hostname(event.new, self.install.defaults) if event.new else ()
        if watched.concerns(event.new) or watched.concerns(event.old):
            yield watched.key_of(event.obj)
        for hostname in {*names_before} ^ {*names_after}:
            for rival in self.stores.services.by_index(watched.BY_HOSTNAME, hostname):
                yield watched.key_of(rival)

    def map_child(self, event: Event[Any]) -> Iterable[Key]:
        for value in watched.index_parent(event.obj):
            namespace, _, label = value.partition("/")
            name = self.find_parent(namespace, label)
            if name:
                yield Key(namespace, name)

    def find_parent(self, namespace: str, label: str) -> str:
        """The parent's name from its label, which is cut when it is long."""
        if len(label) < proxy_names.LABEL_LIMIT:
            return label
        fits = (
            s.metadata.name
            for s in self.stores.services.list()
            if s.metadata.namespace == namespace and proxy_names.truncate_label(s.metadata.name) == label
        )
        return next(fits, label)

    def map_slice(self, event: Event[kube.EndpointSlice]) -> Iterable[Key]:
        for value in watched.index_service(event.obj):
            service = self.stores.services.get(*value.split("/", 1))
            if service is not None and request.is_exposed(service, self.install.defaults):
                yield watched.key_of(service)

    def map_namespace(self, event: Event[kube.Namespace]) -> Iterable[Key]:
        """The proxies' namespace changed its labels: every mode is judged again."""
        return [
            watched.key_of(s)
            for s in self.stores.services.list()
            if request.is_exposed(s, self.install.defaults)
        ]

    def note_devices(self, changed: frozenset[port.DeviceId]) -> None:
        """Devices came, went or differ: wake whoever has them, wants their name, or waits for the first list."""
        self._confirmed_gone -= changed
        snapshot = self.devices.snapshot()
        for device in changed:
            for found in self.stores.secrets.by_index(watched.BY_DEVICE, device):
                for key in self.map_child(Event(old=None, new=found)):
                    self.controller.enqueue(key)
            known = snapshot.by_id.get(device)
            if known is not None:
                for service in self.stores.services.by_index(watched.BY_HOSTNAME, known.name.lower()):
                    self.controller.enqueue(watched.key_of(service))

    async def wake_on_recovery(self) -> None:
        """Run for ever: when the control plane answers again, whoever waited for it is worked on now, not when its
        backoff ends."""
        broken = False
        while True:
            was, broken = broken, self.devices.snapshot().error is not None
            if was and not broken:
                for service in self.stores.services.list():
                    if watched.concerns(service):
                        self.controller.enqueue(watched.key_of(service), low=True)
            await asyncio.sleep(1.0)

    # --- reconcile ---------------------------------------------------------------------------------------------

    async def reconcile(self, key: Key) -> ops.Result:
        inputs = await self.gather(key)
        plan = decide.decide(inputs)
        if plan.interest:
            self.devices.expect(key)
        else:
            self.devices.settle(key)
        try:
            result = await self.executor.run(plan)
        except errors.TailraceError as error:
            await self.tell_failure(inputs, plan, error)
            self.watch_deadline(key, inputs)
            if isinstance(error, errors.Terminal) and failure.needs_control_plane(plan):
                self.controller.enqueue_after(key, POLICY_RECHECK)
            raise
        if plan.ops:
            logs.annotate(operations=len(plan.ops), waiting_on=result.waiting_on or "")
        unlisted = plan.interest and result.requeue_after is None
        return ops.Result(waiting_on=result.waiting_on, requeue_after=1.0) if unlisted else result

    def watch_deadline(self, key: Key, inputs: Inputs) -> None:
        """A deletion that failed is looked at when its deadline passes, however long its backoff has grown."""
        since = inputs.service.metadata.deletionTimestamp if inputs.service else None
        if since is not None:
            left = since + self.install.delete_deadline - inputs.now
            if left > timedelta():
                self.controller.enqueue_after(key, left.total_seconds() + 0.5)

    async def tell_failure(self, inputs: Inputs, plan: ops.Plan, error: errors.TailraceError) -> None:
        """Say it on the object; when not even that works, the log has both."""
        try:
            await self.executor.run(failure.decide_failure(inputs, plan, error))
        except errors.TailraceError as second:
            log.warning("status.failed", service=f"{inputs.namespace}/{inputs.name}", error=str(second))

    async def gather(self, key: Key) -> Inputs:
        """The world of one Service."""
        service = self.stores.services.get(key.namespace, key.name)
        children = self.gather_children(key)
        hostname = request.read_hostname(service).lower() if service else ""
        exposed = service is not None and request.is_exposed(service, self.install.defaults)
        rivals = self.stores.services.by_index(watched.BY_HOSTNAME, hostname) if exposed else ()
        return Inputs(
            namespace=key.namespace,
            name=key.name,
            install=self.install,
            service=service,
            children=children,
            tailnet=await self.gather_tailnet(children, hostname),
            admission=await self.gather_admission(children) if exposed else Admission(privileged=True),
            rivals=tuple(r for r in rivals if watched.key_of(r) != key),
            slices=self.stores.slices.by_index(watched.BY_SERVICE, f"{key.namespace}/{key.name}"),
            now=datetime.now(UTC),
        )

    def gather_children(self, key: Key) -> Children:
        parent = f"{key.namespace}/{proxy_names.truncate_label(key.name)}"
        found = first(self.stores.secrets.by_index(watched.BY_PARENT, parent))
        return Children(
            service_account=first(self.stores.accounts.by_index(watched.BY_PARENT, parent)),
            role=first(self.stores.roles.by_index(watched.BY_PARENT, parent)),
            role_binding=first(self.stores.bindings.by_index(watched.BY_PARENT, parent)),
            state=None if found is None else secret.read(found),
            statefulset=first(self.stores.statefulsets.by_index(watched.BY_PARENT, parent)),
            pod=first(self.stores.pods.by_index(watched.BY_PARENT, parent)),
        )

    async def gather_admission(self, children: Children) -> Admission:
        namespace = self.stores.namespaces.get("", self.install.namespace)
        workload = children.statefulset
        if workload is not None and children.pod is None and not workload.status.replicas:
            made = workload.metadata.creationTimestamp
            if made is not None and datetime.now(UTC) - made > REFUSED_AFTER:
                self.admission.forget()
        return await self.admission.ask(namespace.metadata.labels if namespace else {})

    async def gather_tailnet(self, children: Children, hostname: str) -> Tailnet:
        snapshot = self.devices.snapshot()
        own = port.DeviceId(children.state.device_id) if children.state else port.DeviceId("")
        namesakes = tuple(d for d in snapshot.by_name.get(hostname, ()) if d.id != own)
        problem = str(snapshot.error) if snapshot.error else ""
        age = snapshot.age(asyncio.get_running_loop().time())
        return Tailnet(
            known=snapshot.known,
            fresh=not problem or age < STALE_AFTER,
            problem=problem,
            denied=isinstance(snapshot.error, errors.Denied),
            device=snapshot.by_id.get(own),
            gone=bool(own) and snapshot.known and own not in snapshot.by_id and await self.is_gone(own),
            namesakes=namesakes,
            claimed=frozenset(
                d.id for d in namesakes if self.stores.secrets.by_index(watched.BY_DEVICE, d.id)
            ),
            can_rename=self.plane.has(port.Capability.RENAME),
            can_tag=self.plane.has(port.Capability.SET_TAGS),
        )

    async def is_gone(self, device: port.DeviceId) -> bool:
        """A list may be older than a login; a device that cannot be got by its id is gone."""
        if device in self._confirmed_gone:
            return True
        try:
            await self.plane.get_device(device)
        except errors.NotFound:
            self._confirmed_gone.add(device)
            return True
        except errors.TailraceError:
            return False
        self.devices.invalidate()
        return False


def first[T](found: tuple[T, ...]) -> T | None:
    return found[0] if found else None
