"""One world of one proxy, as frozen values, and what is read out of it: every question of a decision is asked of it. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from tailrace.api import kube, names
from tailrace.api.proxyclass import ProxyClass
from tailrace.fleet import plea
from tailrace.fleet.install import Install
from tailrace.fleet.wish import Wish
from tailrace.plan import ops
from tailrace.proxy import names as proxy_names
from tailrace.proxy import secret, spec
from tailrace.tailnet import port


@dataclass(frozen=True, kw_only=True, slots=True)
class Root:
    """The object that asked, whatever its kind."""

    ref: ops.Ref
    api_version: str
    parent: str  # as the children's label says it: svc, connector
    meta: kube.ObjectMeta
    conditions: tuple[kube.Condition, ...]

    @property
    def owner(self) -> dict[str, str]:
        """The labels that every child carries."""
        return proxy_names.build_labels(self.parent, self.ref.namespace, self.ref.name)

    @property
    def held(self) -> bool:
        """Whether our finalizer holds it."""
        return names.FINALIZER in self.meta.finalizers


def root_of_service(service: kube.Service) -> Root:
    meta = service.metadata
    ref = ops.Ref(kind="Service", namespace=meta.namespace, name=meta.name)
    return Root(ref=ref, api_version="v1", parent="svc", meta=meta, conditions=service.status.conditions)


def is_egress(service: kube.Service) -> bool:
    """Whether a Service leads out of the cluster to the tailnet: the keys count by their presence."""
    notes = service.metadata.annotations
    return any(key in notes for key in (names.TAILNET_FQDN, names.TAILNET_IP, names.TAILNET_IP_OLD))


@dataclass(frozen=True, kw_only=True, slots=True)
class Children:
    """The objects of one proxy that exist now, from the stores."""

    service_account: kube.ServiceAccount | None = None
    role: kube.Role | None = None
    role_binding: kube.RoleBinding | None = None
    state: secret.State | None = None
    statefulset: kube.StatefulSet | None = None
    pod: kube.Pod | None = None
    others: tuple[tuple[str, kube.Object], ...] = ()  # kind and object: headless Service, metrics, monitors

    @property
    def objects(self) -> tuple[tuple[str, kube.Object], ...]:
        """Kind and object of each that exists, without pod and StatefulSet (which go first)."""
        pairs = (
            ("Secret", self.state.secret if self.state else None),
            ("RoleBinding", self.role_binding),
            ("Role", self.role),
            ("ServiceAccount", self.service_account),
        )
        return (*((kind, found) for kind, found in pairs if found is not None), *self.others)

    @property
    def headless(self) -> kube.Service | None:
        """The Service that an egress leads through; one that the official operator made does not count."""
        for kind, found in self.others:
            if kind == "Service" and isinstance(found, kube.Service) and found.spec.clusterIP == "None":
                return found if names.APPLIED in found.metadata.annotations else None
        return None

    @property
    def leads_out(self) -> bool:
        """Whether the proxy is that of an egress: what the Service was is remembered in one of two places."""
        return self.headless is not None or (self.state is not None and bool(self.state.note(names.ORIGINAL)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Tailnet:
    """What the control plane says that concerns one proxy."""

    known: bool  # a device list exists at all
    fresh: bool = True  # and is not older than a few refreshes
    problem: str = ""  # why it is not, in words
    denied: bool = False  # the problem is our credential
    device: port.Device | None = None  # the one whose id stands in the Secret
    gone: bool = False  # confirmed: it was deleted; False also means that we do not know yet
    namesakes: tuple[port.Device, ...] = ()  # others of the hostname asked for
    claimed: frozenset[str] = frozenset()  # ids of namesakes that belong to other proxies of ours
    can_rename: bool = True
    can_tag: bool = True
    devices: tuple[port.Device, ...] = ()  # all of them, for those who ask about targets and routes
    can_route: bool = False  # read and approve routes
    home: spec.Home | None = None  # where proxies of it log in; None: as the settings say


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """Does the operator's namespace admit a privileged pod? Asked by a dry run."""

    privileged: bool
    refusal: str = ""  # the API server's words


@dataclass(frozen=True, kw_only=True, slots=True)
class Class:
    """The ProxyClass that was asked for, or why it cannot be used yet."""

    found: ProxyClass | None = None
    problem: str = ""  # a sentence: missing, or not ready


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """The proxy's mode and the reason for it, in words."""

    mode: spec.Mode
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a root's one proxy is: names, what exists of it, and what of other proxies of the root is left over."""

    name: str
    secret_name: str
    children: Children
    leftovers: tuple[Children, ...] = ()


def find_place(proxies: Mapping[str, Children], base: str) -> Place:
    """The proxy that has an identity already, whatever its name (the official operator's has a random one), else a new
    one named `base`."""
    usual = f"{base}-0"
    with_state = [name for name, found in proxies.items() if found.state is not None]
    chosen = usual if usual in with_state or not with_state else with_state[0]
    others = next((found.others for found in proxies.values() if found.others), ())
    children = dataclasses.replace(proxies.get(chosen, Children()), others=others)
    rest = (dataclasses.replace(found, others=()) for name, found in proxies.items() if name != chosen)
    return Place(
        name=chosen.removesuffix("-0"),
        secret_name=chosen,
        children=children,
        leftovers=tuple(found for found in rest if found != Children()),
    )


def join(tags: tuple[str, ...]) -> str:
    return ",".join(tags)


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """What may be known of one proxy."""

    install: Install
    root: Root
    wish: Wish
    mode: spec.Mode
    place: Place
    tailnet: Tailnet
    proxy_class: ProxyClass | None = None
    now: datetime

    @property
    def children(self) -> Children:
        return self.place.children

    @property
    def state(self) -> secret.State | None:
        return self.children.state

    @property
    def joined(self) -> bool:
        """The proxy has, or had, a device."""
        return self.state is not None and bool(self.state.device_id)

    @property
    def device(self) -> port.Device | None:
        return self.tailnet.device

    @property
    def online(self) -> bool:
        return self.device is not None and self.device.online

    @property
    def must_recreate(self) -> bool:
        """`tailrace.dev/recreate` has a value that was not obeyed yet."""
        return (
            self.state is not None
            and self.joined
            and self.device is not None
            and bool(self.wish.recreate)
            and self.wish.recreate != self.state.note(names.RECREATED)
        )

    @property
    def lost_secret(self) -> bool:
        """The Secret was deleted under a running proxy, which does not notice: it needs a new one and a restart."""
        return self.state is None and self.children.statefulset is not None

    @property
    def moves(self) -> bool:
        """The proxy is in another tailnet than the one it shall be in: it goes and comes anew."""
        return self.state is not None and self.state.note(names.TAILNET) != self.wish.tailnet

    @property
    def outdated_key(self) -> str:
        """Id of a waiting key that was minted for other tags, or empty."""
        state = self.state
        if (
            state is None
            or self.joined
            or not state.has_key
            or state.note(names.KEY_TAGS) == join(self.wish.tags)
        ):
            return ""
        return state.note(names.KEY_ID)

    @property
    def asks(self) -> bool:
        """It wants another key although its device is there, as far as one knows: it waits, and serves nothing."""
        wants = self.state is not None and self.state.wants_key
        return wants and self.joined and not self.tailnet.gone and not self.must_recreate

    @property
    def answer(self) -> plea.Answer | None:
        """What it gets for that. Without a control plane nothing would help, and nothing is known of its device."""
        if self.state is None or not self.asks:
            return None
        if self.device is None or self.tailnet.problem:
            return plea.Answer.WAIT
        return plea.choose_answer(self.state.note(names.STARTED_AGAIN), self.now)

    @property
    def starts(self) -> str:
        """The note of its starts, with the one that is due."""
        note = "" if self.state is None else self.state.note(names.STARTED_AGAIN)
        return plea.add_start(note, self.now) if self.answer is plea.Answer.RESTART else note

    @property
    def needs_key(self) -> bool:
        state = self.state
        if state is None or self.must_recreate or self.outdated_key:
            return True
        if state.wants_key:
            return not self.asks or self.answer is plea.Answer.OBEY
        return not state.has_key and (not self.joined or self.tailnet.gone)

    @property
    def unsure(self) -> bool:
        """It has joined, and the device list is older than that."""
        return self.joined and self.device is None and not self.tailnet.gone

    @property
    def where(self) -> str:
        """The pod, for people."""
        return f"pod {self.install.namespace}/{self.place.name}-0"
