"""Gather what may be known of proxies from what is watched, and wake whom a change concerns.

Stores are read, no live LIST is made, and of each control plane the one shared device list. The single exception is a
device that the list lacks: it is asked for by id once before it counts as gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tailrace import errors
from tailrace.api import kube, names
from tailrace.api.conditions import ConditionType
from tailrace.fleet import admission, adoption, failure, ranges, stores, wish
from tailrace.fleet.children import group_proxies
from tailrace.fleet.install import Install
from tailrace.fleet.ranges import Range
from tailrace.fleet.world import Admission, Children, Class, Root, Tailnet
from tailrace.kube.resource import Key, key_of
from tailrace.kube.store import Event, Store
from tailrace.observe import logs
from tailrace.plan import ops
from tailrace.plan.executor import Executor
from tailrace.proxy import names as proxy_names
from tailrace.proxy import spec
from tailrace.runtime.controller import Controller
from tailrace.tailnet import port, tailscale
from tailrace.tailnet.registry import Membership, Tailnets

log = logs.get_logger("fleet")

STALE_AFTER = 180.0  # seconds after which an unanswered device list no longer counts as the truth
POLICY_RECHECK = (
    120.0  # seconds; a tag that is refused is mended in the tailnet's policy, which nobody watches
)
REFUSED_AFTER = timedelta(seconds=10)  # a StatefulSet without a pod for that long has had its pod refused

type Roots = Callable[[str], Iterable[str]]
"""Names of a kind's roots in a namespace."""


@dataclass(slots=True)
class Fleet:
    """All proxies, as the rooms see them."""

    install: Install
    stores: stores.Stores
    tailnets: Tailnets
    executor: Executor
    admission: admission.Prober
    _confirmed_gone: set[tuple[str, str]] = field(default_factory=set)

    # --- from events to keys -----------------------------------------------------------------------------------

    def serve(self, controller: Controller, parent: str, roots: Roots) -> None:
        """Wake a controller when something of its roots' proxies changes: objects, or the device."""

        def map_child(event: Event[Any]) -> Iterable[Key]:
            return list_roots(event.obj, parent, roots)

        for store in self.stores.children:
            controller.watch(store, map_child)

        def map_official(event: Event[kube.Deployment]) -> Iterable[Key]:
            """The official operator came or went: whoever has a proxy of its is looked at."""
            for child in (*self.stores.secrets.list(), *self.stores.statefulsets.list()):
                if adoption.is_foreign(child):
                    yield from list_roots(child, parent, roots)

        controller.watch(self.stores.deployments, map_official)

        def note_devices(tailnet: str, changed: frozenset[port.DeviceId]) -> None:
            for device in changed:
                self._confirmed_gone.discard((tailnet, device))
                index = stores.tell_device(tailnet, device)
                for found in self.stores.secrets.by_index(stores.BY_DEVICE, index):
                    for key in list_roots(found, parent, roots):
                        controller.enqueue(key)

        self.tailnets.subscribe(note_devices)

    def list_services(self, namespace: str) -> Iterable[str]:
        """Names of the Services that a child's label, which may be cut, can mean."""
        return (s.metadata.name for s in self.stores.services.list() if s.metadata.namespace == namespace)

    def read_class(self, service: kube.Service) -> str:
        """The name of the ProxyClass that a Service asks for."""
        meta = service.metadata
        return wish.read_proxy_class(meta.annotations, meta.labels, self.install.defaults.proxy_class)

    def map_hostname(self, index: str, before: Iterable[str], after: Iterable[str]) -> Iterable[Key]:
        """The Services that share a hostname with one of which the name was `before` and is `after`."""
        for hostname in {*before} ^ {*after}:
            yield from map(key_of, self.stores.services.by_index(index, hostname))

    # --- a world -----------------------------------------------------------------------------------------------

    def gather_proxies(self, parent: str, key: Key) -> dict[str, Children]:
        """The proxies of a root by name of their Secret; what is neither Secret nor StatefulSet nor of their name is
        with the first. A root without anything has none."""
        value = stores.tell_parent(parent, key.namespace, key.name)
        kinds: tuple[tuple[str, Store[Any]], ...] = (
            ("Secret", self.stores.secrets),
            ("StatefulSet", self.stores.statefulsets),
            ("ServiceAccount", self.stores.accounts),
            ("Role", self.stores.roles),
            ("RoleBinding", self.stores.bindings),
            ("Pod", self.stores.pods),
            ("Service", self.stores.services),
            ("PodDisruptionBudget", self.stores.budgets),
            ("ServiceMonitor", self.stores.monitors),
        )
        pairs = ((kind, obj) for kind, store in kinds for obj in store.by_index(stores.BY_PARENT, value))
        return group_proxies(parent, pairs)

    def stand_back(self, root: Root | None, proxies: Mapping[str, Children]) -> ops.Plan | None:
        """The plan for a root whose proxies are the official operator's while that runs; None when the way is free."""
        running = adoption.find_running(self.stores.deployments.list())
        if running is None or not adoption.has_foreign(proxies.values()):
            return None
        return adoption.decide_waiting(root, running, datetime.now(UTC))

    def gather_class(self, name: str) -> Class:
        """The ProxyClass of that name, when there is one and it is ready."""
        if not name:
            return Class()
        found = self.stores.classes.get("", name)
        if found is None:
            return Class(problem=f'ProxyClass "{name}" does not exist: make it, or take the name away')
        ready = kube.find_condition(found.status.conditions, ConditionType.PROXY_CLASS_READY)
        if ready is None or ready.observedGeneration != found.metadata.generation:
            return Class(problem=f'ProxyClass "{name}" has not been judged yet')
        if ready.status != "True":
            return Class(problem=f'ProxyClass "{name}" is not ready: {ready.message}')
        return Class(found=found)

    def find_rivals(self, index: str, hostname: str, key: Key) -> tuple[kube.Service, ...]:
        """Other Services that ask for the same hostname."""
        found = self.stores.services.by_index(index, hostname)
        return tuple(service for service in found if key_of(service) != key)

    def list_ranges(self) -> tuple[Range, ...]:
        """This cluster's own."""
        return ranges.list_own_ranges(self.stores.nodes.list(), self.stores.service_cidrs.list())

    async def gather_admission(self, children: Children) -> Admission:
        namespace = self.stores.namespaces.get("", self.install.namespace)
        workload = children.statefulset
        if workload is not None and children.pod is None and not workload.status.replicas:
            made = workload.metadata.creationTimestamp
            if made is not None and datetime.now(UTC) - made > REFUSED_AFTER:
                self.admission.forget()
        return await self.admission.ask(namespace.metadata.labels if namespace else {})

    async def gather_tailnet(self, name: str, children: Children, hostname: str) -> Tailnet:
        """What the control plane of tailnet `name` says of a proxy and of the name that it wants."""
        member = self.tailnets.get(name)
        if member is None:
            return Tailnet(known=False, fresh=False, problem=self.tailnets.explain(name))
        snapshot = member.devices.snapshot()
        own = port.DeviceId(children.state.device_id) if children.state else port.DeviceId("")
        namesakes = tuple(d for d in snapshot.by_name.get(hostname, ()) if d.id != own)
        problem = str(snapshot.error) if snapshot.error else self.tailnets.explain(name)
        age = snapshot.age(asyncio.get_running_loop().time())
        if not problem and own in snapshot.by_id and children.state and children.state.wants_key:
            problem = await self.find_outage(member, own)
        missing = bool(own) and snapshot.known and own not in snapshot.by_id
        return Tailnet(
            known=snapshot.known,
            fresh=not problem or age < STALE_AFTER,
            problem=problem,
            denied=isinstance(snapshot.error, errors.Denied),
            device=snapshot.by_id.get(own),
            gone=missing and await self.is_gone(name, own),
            namesakes=namesakes,
            claimed=frozenset(
                d.id
                for d in namesakes
                if self.stores.secrets.by_index(stores.BY_DEVICE, stores.tell_device(name, d.id))
            ),
            can_rename=member.plane.has(port.Capability.RENAME),
            can_tag=member.plane.has(port.Capability.SET_TAGS),
            devices=snapshot.devices,
            can_route=member.plane.has(port.Capability.ROUTES),
            home=build_home(member) if name else None,
        )

    async def find_outage(self, member: Membership, device: port.DeviceId) -> str:
        """Why the control plane does not answer now, "" when it does. A list may be older than the outage in which the
        proxy of this device could not log in."""
        try:
            await member.plane.get_device(device)
        except errors.TailraceError as error:
            member.devices.invalidate()
            return "" if isinstance(error, errors.NotFound) else str(error)
        return ""

    async def is_gone(self, tailnet: str, device: port.DeviceId) -> bool:
        """A list may be older than a login; a device that cannot be got by its id is gone."""
        if (tailnet, device) in self._confirmed_gone:
            return True
        member = self.tailnets.get(tailnet)
        if member is None:
            return False
        try:
            await member.plane.get_device(device)
        except errors.NotFound:
            self._confirmed_gone.add((tailnet, device))
            return True
        except errors.TailraceError:
            return False
        member.devices.invalidate()
        return False

    def list_users(self, tailnet: str) -> tuple[str, ...]:
        """What uses a tailnet: objects that name it, and proxies that are in it still."""
        found = {
            f"Service {s.metadata.namespace}/{s.metadata.name}"
            for s in self.stores.services.list()
            if s.metadata.annotations.get(names.TAILNET) == tailnet
            and names.FINALIZER in s.metadata.finalizers
        }
        connectors = self.stores.roots.get("Connector")
        found |= {
            f"Connector {c.metadata.name}"
            for c in (connectors.list() if connectors is not None else ())
            if tailnet and c.spec.tailnet == tailnet and c.metadata.deletionTimestamp is None
        }
        secrets = self.stores.secrets.by_index(stores.BY_TAILNET, tailnet)
        return tuple(sorted(found | {stores.describe_parent(child) for child in secrets}))

    def on_user_change(self, changed: Callable[[str], None]) -> None:
        """`changed` is told the name of a tailnet when a proxy of it, or a Connector that names it, came, went or differs."""

        def note(event: Event[kube.ProxySecret]) -> None:
            for found in (event.old, event.new):
                if found is not None and (tailnet := stores.read_tailnet(found)):
                    changed(tailnet)

        def note_root(event: Event[Any]) -> None:
            for found in (event.old, event.new):
                if found is not None and (tailnet := found.spec.tailnet):
                    changed(tailnet)

        self.stores.secrets.on_event(note)
        if (connectors := self.stores.roots.get("Connector")) is not None:
            connectors.on_event(note_root)

    # --- acting ------------------------------------------------------------------------------------------------

    async def work(
        self,
        controller: Controller,
        key: Key,
        root: Root | None,
        proxies: Mapping[str, Children],
        *,
        decide: Callable[[], ops.Plan],
        tell: Callable[[ops.Plan, errors.TailraceError], ops.Plan],
    ) -> ops.Result:
        """Have it decided and done; where a plan fails, `tell` gives the one that says so on the object.

        Raises:
            TailraceError: what failed, for the engine to decide when to try again.
        """
        plan = self.stand_back(root, proxies) or decide()
        self.note_interest(controller, key, plan)
        try:
            result = await self.executor.run(plan)
        except errors.TailraceError as error:
            await self.tell_failure(key, tell(plan, error))
            self.watch_deadline(controller, key, root.meta.deletionTimestamp if root is not None else None)
            if isinstance(error, errors.Terminal) and failure.needs_control_plane(plan):
                controller.enqueue_after(key, POLICY_RECHECK)
            raise
        if plan.ops:
            logs.annotate(operations=len(plan.ops), waiting_on=result.waiting_on or "")
        return result

    def note_interest(self, controller: Controller, key: Key, plan: ops.Plan) -> None:
        """Say to the tailnet's device list whether somebody waits for it."""
        member = self.tailnets.get(plan.tailnet)
        if member is None:
            return
        whose = (controller.name, key)
        if plan.interest:
            member.devices.expect(whose)
        else:
            member.devices.settle(whose)
        if plan.hurry:
            member.devices.invalidate()

    def watch_deadline(self, controller: Controller, key: Key, since: datetime | None) -> None:
        """A deletion that failed is looked at when its deadline passes, however long its backoff has grown."""
        if since is not None:
            left = since + self.install.delete_deadline - datetime.now(UTC)
            if left > timedelta():
                controller.enqueue_after(key, left.total_seconds() + 0.5)

    async def tell_failure(self, key: Key, plan: ops.Plan) -> None:
        """Say it on the object; when not even that works, the log has both."""
        try:
            await self.executor.run(plan)
        except errors.TailraceError as second:
            log.warning("status.failed", key=str(key), error=str(second))


def build_home(member: Membership) -> spec.Home:
    """Tailscale's own service gets the logs that it asks of its clients, any other server does not."""
    server = member.plane.login_server
    return spec.Home(login_server=server, ca_pem=member.ca_pem, private_logs=server != tailscale.LOGIN_SERVER)


def list_roots(child: kube.Object, parent: str, roots: Roots) -> Iterable[Key]:
    """The root of a child, when it is of this kind. The label is cut when the name is long."""
    for value in stores.index_parent(child):
        kind, namespace, label = value.split("/", 2)
        if kind != parent:
            continue
        if len(label) < proxy_names.LABEL_LIMIT:
            yield Key(namespace, label)
            continue
        fits = (name for name in roots(namespace) if proxy_names.truncate_label(name) == label)
        yield Key(namespace, next(fits, label))
