"""What exposing and egress share because a Service asks for both. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tailrace.api import kube, names
from tailrace.api.conditions import ConditionType, EventReason, Reason
from tailrace.fleet import claims, provision, removal, truth
from tailrace.fleet.claims import Claim, Named
from tailrace.fleet.install import Install
from tailrace.fleet.refusal import Refusal
from tailrace.fleet.wish import ServiceWish
from tailrace.fleet.world import (
    Admission,
    Children,
    Class,
    Place,
    Tailnet,
    World,
    find_place,
    root_of_service,
)
from tailrace.plan import ops
from tailrace.proxy import names as proxy_names
from tailrace.proxy import spec

INVALID = "unable to provision proxy resources: invalid Service: "
PENDING = "no Tailscale hostname known yet, waiting for proxy pod to finish auth"


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceInputs:
    """One world of one Service. Each room adds what it alone must know."""

    namespace: str
    name: str
    install: Install
    service: kube.Service | None
    proxies: Mapping[str, Children] = field(default_factory=dict)  # by name of their Secret
    tailnet: Tailnet
    admission: Admission
    proxy_class: Class = Class()
    rivals: tuple[kube.Service, ...] = ()  # others of the same sort that ask for the same hostname
    now: datetime

    @property
    def place(self) -> Place:
        return find_place(self.proxies, proxy_names.build_child_name("svc", self.namespace, self.name))


def build_world(i: ServiceInputs, service: kube.Service, wish: ServiceWish, mode: spec.Mode) -> World:
    """The world of the one proxy that a Service has."""
    return World(
        install=i.install,
        root=root_of_service(service),
        wish=wish,
        mode=mode,
        place=i.place,
        tailnet=i.tailnet,
        proxy_class=i.proxy_class.found,
        now=i.now,
    )


# --- refusals --------------------------------------------------------------------------------------------------


def find_unserved(wish: ServiceWish) -> Refusal | None:
    if not wish.later:
        return None
    return Refusal(reason=Reason.NOT_SERVED, message="; ".join(wish.later), event=EventReason.NOT_SERVED)


def find_invalid(wish: ServiceWish) -> Refusal | None:
    if not wish.violations:
        return None
    message = INVALID + ", ".join(wish.violations)
    return Refusal(reason=Reason.INVALID_SERVICE, message=message, event=EventReason.INVALID_SERVICE)


def find_rival(i: ServiceInputs, service: kube.Service, hostname: str) -> Refusal | None:
    """An older Service has the hostname."""
    rival = find_older(service, i.rivals)
    if rival is None:
        return None
    message = (
        f'the hostname "{hostname}" belongs to the older Service {rival.metadata.namespace}/'
        f"{rival.metadata.name}: set another {names.HOSTNAME} on one of the two"
    )
    return Refusal(reason=Reason.HOSTNAME_TAKEN, message=message, event=EventReason.NAME_CONFLICT)


def find_older(service: kube.Service, rivals: Sequence[kube.Service]) -> kube.Service | None:
    """The Service that has a better claim to the hostname: the oldest, then by namespace and name."""

    def rank(s: kube.Service) -> tuple[float, str, str]:
        made = s.metadata.creationTimestamp
        return (made.timestamp() if made else 0.0, s.metadata.namespace, s.metadata.name)

    oldest = min((*rivals, service), key=rank)
    return None if oldest is service else oldest


# --- what is said ----------------------------------------------------------------------------------------------


def judge_official(w: World) -> Named:
    """The official operator's condition: its success is a device with a name."""
    created = Claim(status=True, reason=Reason.PROXY_CREATED, message=str(Reason.PROXY_CREATED))
    pending = Claim(status=False, reason=Reason.PROXY_PENDING, message=PENDING)
    return ConditionType.PROXY_READY, created if truth.is_named(w) else pending


def judge_accepted(mode: spec.Mode, why: str, wish: ServiceWish) -> Claim:
    """With what on the Service looks like ours and has no effect: it is news whenever it comes."""
    said = (f"mode {mode}: {why}", *wish.unknown)
    return Claim(status=True, reason=Reason.ACCEPTED, message="; ".join(said))


def decide_events(w: World, wish: ServiceWish, accepted: Claim) -> list[ops.Op]:
    """Told when something changes, never again for the same world."""
    news = claims.changed(ConditionType.ACCEPTED, accepted, w.root)
    unknown = wish.unknown if news else ()
    told = [claims.emit(w.root, EventReason.UNKNOWN_ANNOTATION, text) for text in unknown]
    return [*told, *provision.decide_events(w)]


# --- removal ---------------------------------------------------------------------------------------------------


def decide_removal(i: ServiceInputs, service: kube.Service) -> ops.Plan:
    """The Service is being deleted, or no longer wants a proxy."""
    root, deleting = root_of_service(service), service.metadata.deletionTimestamp
    clear = None if deleting else claims.decide_clear(root)
    leaving = build_leaving(i, tuple(i.proxies.values()), deleting)
    return removal.decide_removal(leaving, last=[clear], final=removal.decide_unfinalize(root))


def decide_leftovers(i: ServiceInputs, proxies: Sequence[Children]) -> ops.Plan:
    """Proxies without a Service that wants them: it went without us, or has another one."""
    return removal.decide_removal(build_leaving(i, proxies, None))


def build_leaving(i: ServiceInputs, proxies: Sequence[Children], since: datetime | None) -> removal.Leaving:
    return removal.Leaving(
        install=i.install,
        label=f"Service {i.namespace}/{i.name}",
        owner=proxy_names.build_labels("svc", i.namespace, i.name),
        proxies=proxies,
        tailnet=removal.find_tailnet(proxies),
        since=since,
        now=i.now,
    )
