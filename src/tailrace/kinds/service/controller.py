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
from tailrace.api import kube, names
from tailrace.kinds.service import admission, decide, failure, request
from tailrace.kinds.service.inputs import Admission, Children, Inputs, Install, Tailnet
from tailrace.kube import resources
from tailrace.kube.client import Kube
from tailrace.kube.resource import Key, Resource
from tailrace.kube.store import Event, Store
from tailrace.kube.watch import Watch
from tailrace.observe import logs
from tailrace.plan import ops
from tailrace.plan.executor import Executor
from tailrace.proxy import names as proxy_names
from tailrace.proxy import secret
from tailrace.runtime.controller import Controller
from tailrace.tailnet import devices, port

log = logs.get_logger("kinds.service")

BY_HOSTNAME = "hostname"
BY_DEVICE = "device"
BY_PARENT = "parent"
BY_SERVICE = "service"
STALE_AFTER = 180.0  # seconds after which an unanswered device list no longer counts as the truth
POLICY_RECHECK = (
    120.0  # seconds; a tag that is refused is mended in the tailnet's policy, which nobody watches
)
REFUSED_AFTER = timedelta(seconds=10)  # a StatefulSet without a pod for that long has had its pod refused
CHILDREN = f"{names.MANAGED}=true,{names.PARENT_TYPE}=svc"


@dataclass(slots=True)
class Stores:
    """What this room watches."""

    services: Store[kube.Service] = field(default_factory=lambda: Store("services"))
    secrets: Store[kube.ProxySecret] = field(default_factory=lambda: Store("secrets"))
    statefulsets: Store[kube.StatefulSet] = field(default_factory=lambda: Store("statefulsets"))
    accounts: Store[kube.ServiceAccount] = field(default_factory=lambda: Store("accounts"))
    roles: Store[kube.Role] = field(default_factory=lambda: Store("roles"))
    bindings: Store[kube.RoleBinding] = field(default_factory=lambda: Store("bindings"))
    pods: Store[kube.Pod] = field(default_factory=lambda: Store("pods"))
    slices: Store[kube.EndpointSlice] = field(default_factory=lambda: Store("slices"))
    namespaces: Store[kube.Namespace] = field(default_factory=lambda: Store("namespaces"))

    @property
    def children(self) -> tuple[Store[Any], ...]:
        return (self.secrets, self.statefulsets, self.accounts, self.roles, self.bindings, self.pods)

    def note(self, kind: str, answer: kube.Object) -> None:
        """The answer of a write of ours."""
        match answer:
            case kube.Service():
                self.services.note_write(answer)
            case kube.ProxySecret():
                self.secrets.note_write(answer)
            case kube.StatefulSet():
                self.statefulsets.note_write(answer)
            case kube.Role():
                self.roles.note_write(answer)
            case kube.RoleBinding():
                self.bindings.note_write(answer)
            case kube.ServiceAccount():
                self.accounts.note_write(answer)
            case kube.Pod():
                self.pods.note_write(answer)
            case _:
                pass


def build_watches(stores: Stores, cluster: Kube, namespace: str) -> list[Watch[Any]]:
    """Services and their endpoints everywhere; of everything else only our own, in our own namespace."""

    def own[T: kube.Object](resource: Resource[T], store: Store[T]) -> Watch[T]:
        return Watch(cluster, resource, store, namespace=namespace, labels=CHILDREN)

    fields = f"metadata.name={namespace}"
    return [
        Watch(cluster, resources.SERVICES, stores.services),
        Watch(cluster, resources.ENDPOINT_SLICES, stores.slices, labels=names.SERVICE_NAME),
        Watch(cluster, resources.NAMESPACES, stores.namespaces, fields=fields),
        own(resources.SECRETS, stores.secrets),
        own(resources.STATEFUL_SETS, stores.statefulsets),
        own(resources.SERVICE_ACCOUNTS, stores.accounts),
        own(resources.ROLES, stores.roles),
        own(resources.ROLE_BINDINGS, stores.bindings),
        own(resources.PODS, stores.pods),
    ]


@dataclass(slots=True)
class Services:
    """The room: stores, edges, and the reconcile over them."""

    install: Install
    stores: Stores
    executor: Executor
    plane: port.ControlPlane
    devices: devices.DeviceList
    admission: admission.Prober
    controller: Controller = field(init=False)
    workers: int = 16
    _confirmed_gone: set[port.DeviceId] = field(default_factory=set)

    def __post_init__(self) -> None:
        stores, defaults = self.stores, self.install.defaults
        stores.services.add_index(BY_HOSTNAME, lambda s: index_hostname(s, defaults))
        stores.secrets.add_index(BY_DEVICE, index_device)
        for store in stores.children:
            store.add_index(BY_PARENT, index_parent)
        stores.slices.add_index(BY_SERVICE, index_service)
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
        names_before = index_hostname(event.old, self.install.defaults) if event.old else ()
        names_after = index_hostname(event.new, self.install.defaults) if event.new else ()
        if concerns(event.new) or concerns(event.old):
            yield key_of(event.obj)
        for hostname in {*names_before} ^ {*names_after}:
            for rival in self.stores.services.by_index(BY_HOSTNAME, hostname):
                yield key_of(rival)

    def map_child(self, event: Event[Any]) -> Iterable[Key]:
        for value in index_parent(event.obj):
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
        for value in index_service(event.obj):
            service = self.stores.services.get(*value.split("/", 1))
            if service is not None and request.is_exposed(service, self.install.defaults):
                yield key_of(service)

    def map_namespace(self, event: Event[kube.Namespace]) -> Iterable[Key]:
        """The proxies' namespace changed its labels: every mode is judged again."""
        return [
            key_of(s) for s in self.stores.services.list() if request.is_exposed(s, self.install.defaults)
        ]

    def note_devices(self, changed: frozenset[port.DeviceId]) -> None:
        """Devices came, went or differ: wake whoever has them, wants their name, or waits for the first list."""
        self._confirmed_gone -= changed
        snapshot = self.devices.snapshot()
        for device in changed:
            for found in self.stores.secrets.by_index(BY_DEVICE, device):
                for key in self.map_child(Event(old=None, new=found)):
                    self.controller.enqueue(key)
            known = snapshot.by_id.get(device)
            if known is not None:
                for service in self.stores.services.by_index(BY_HOSTNAME, known.name.lower()):
                    self.controller.enqueue(key_of(service))

    async def wake_on_recovery(self) -> None:
        """Run for ever: when the control plane answers again, whoever waited for it is worked on now, not when its
        backoff ends."""
        broken = False
        while True:
            was, broken = broken, self.devices.snapshot().error is not None
            if was and not broken:
                for service in self.stores.services.list():
                    if concerns(service):
                        self.controller.enqueue(key_of(service), low=True)
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
        rivals = self.stores.services.by_index(BY_HOSTNAME, hostname) if exposed else ()
        return Inputs(
            namespace=key.namespace,
            name=key.name,
            install=self.install,
            service=service,
            children=children,
            tailnet=await self.gather_tailnet(children, hostname),
            admission=await self.gather_admission(children) if exposed else Admission(privileged=True),
            rivals=tuple(r for r in rivals if key_of(r) != key),
            slices=self.stores.slices.by_index(BY_SERVICE, f"{key.namespace}/{key.name}"),
            now=datetime.now(UTC),
        )

    def gather_children(self, key: Key) -> Children:
        parent = f"{key.namespace}/{proxy_names.truncate_label(key.name)}"
        found = first(self.stores.secrets.by_index(BY_PARENT, parent))
        return Children(
            service_account=first(self.stores.accounts.by_index(BY_PARENT, parent)),
            role=first(self.stores.roles.by_index(BY_PARENT, parent)),
            role_binding=first(self.stores.bindings.by_index(BY_PARENT, parent)),
            state=None if found is None else secret.read(found),
            statefulset=first(self.stores.statefulsets.by_index(BY_PARENT, parent)),
            pod=first(self.stores.pods.by_index(BY_PARENT, parent)),
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
            claimed=frozenset(d.id for d in namesakes if self.stores.secrets.by_index(BY_DEVICE, d.id)),
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


def key_of(found: kube.Object) -> Key:
    return Key(found.metadata.namespace, found.metadata.name)


def concerns(service: kube.Service | None) -> bool:
    """Does the Service name us in any way? Everything else in the cluster is passed over at once."""
    if service is None:
        return False
    meta = service.metadata
    return (
        names.FINALIZER in meta.finalizers
        or service.spec.loadBalancerClass == names.LOAD_BALANCER_CLASS
        or (service.spec.type == "LoadBalancer" and service.spec.loadBalancerClass is None)
        or any(key.startswith(request.OURS) for key in meta.annotations)
    )


def index_hostname(service: kube.Service, defaults: request.Defaults) -> tuple[str, ...]:
    return (request.read_hostname(service).lower(),) if request.is_exposed(service, defaults) else ()


def index_device(found: kube.ProxySecret) -> tuple[str, ...]:
    device = kube.decode_key(found.data.device_id)
    return (device,) if device else ()


def index_parent(found: kube.Object) -> tuple[str, ...]:
    labels = found.metadata.labels
    name, namespace = labels.get(names.PARENT_NAME, ""), labels.get(names.PARENT_NAMESPACE, "")
    return (f"{namespace}/{name}",) if name else ()


def index_service(found: kube.EndpointSlice) -> tuple[str, ...]:
    name = found.metadata.labels.get(names.SERVICE_NAME, "")
    return (f"{found.metadata.namespace}/{name}",) if name else ()
