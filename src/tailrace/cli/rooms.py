"""What each room of the operator sees of one object and decides about it, in words: a function a kind.

A kind that comes later is one more function here and one more row in `ROOMS`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tailrace import errors
from tailrace.api import kube, names
from tailrace.api.connector import Connector
from tailrace.api.proxyclass import ProxyClass
from tailrace.api.tailnet import Tailnet as TailnetObject
from tailrace.cli.look import NOT_ASKED, OTHER_NOT_ASKED, Sight, decide_tailnet
from tailrace.fleet.world import Children, Class, Place, Tailnet, find_place, is_egress
from tailrace.kinds.connector import decide as connector_decide
from tailrace.kinds.connector import mode as connector_mode
from tailrace.kinds.connector import overlap as connector_overlap
from tailrace.kinds.connector import place as connector_place
from tailrace.kinds.connector import request as connector_request
from tailrace.kinds.connector import truth as connector_truth
from tailrace.kinds.connector.inputs import Inputs as ConnectorInputs
from tailrace.kinds.egress import decide as egress_decide
from tailrace.kinds.egress import request as egress_request
from tailrace.kinds.egress import target as egress_target
from tailrace.kinds.egress.inputs import Inputs as EgressInputs
from tailrace.kinds.proxyclass import decide as class_decide
from tailrace.kinds.service import decide as service_decide
from tailrace.kinds.service import request as service_request
from tailrace.kinds.service.inputs import Inputs as ServiceInputs
from tailrace.kinds.tailnet.view import OWN_SERVER
from tailrace.kube.resource import key_of
from tailrace.plan import ops
from tailrace.proxy import names as proxy_names
from tailrace.proxy import spec
from tailrace.tailnet import port

type Rows = Iterator[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Explained:
    """What was seen, and the plan. `blind` when a control plane has a say and was not heard."""

    rows: tuple[tuple[str, str], ...]
    plan: ops.Plan
    blind: bool = False


# --- Services --------------------------------------------------------------------------------------------------


async def explain_service(sight: Sight, service: kube.Service) -> Explained:
    """By the room whose it is: a Service that leads out, or did until now, is another one's than one that is exposed."""
    key = key_of(service)
    proxies = sight.fleet.gather_proxies("svc", key)
    if is_egress(service) or any(found.leads_out for found in proxies.values()):
        leading = await sight.egresses.gather(key, service, proxies)
        rows = (*describe_egress(sight, leading, service), *describe_unseen(sight))
        return Explained(rows, egress_decide.decide(leading), not leading.tailnet.known)
    world = await sight.services.gather(key, service, proxies)
    rows = (*describe_exposure(sight, world, service), *describe_unseen(sight))
    return Explained(rows, service_decide.decide(world), not world.tailnet.known)


def describe_exposure(sight: Sight, i: ServiceInputs, service: kube.Service) -> Rows:
    wish = service_request.read_request(service, i.install.defaults)
    yield "exposed", "yes" if wish.exposed else "no"
    if wish.exposed:
        yield "hostname", wish.hostname
        yield "tags", ", ".join(wish.tags)
        yield "mode asked for", str(wish.mode)
        yield from describe_choices(sight, service, wish.proxy_class, i.proxy_class, wish.tailnet)
    place = find_place(i.proxies, proxy_names.build_child_name("svc", i.namespace, i.name))
    yield from describe_proxy(i.install.namespace, place, i.tailnet, wish.tailnet)
    yield "ready endpoints", str(count_ready(service, i.slices))
    for sentence in (*wish.violations, *wish.later, *wish.unknown):
        yield "wrong", sentence


def count_ready(service: kube.Service, slices: Iterable[kube.EndpointSlice]) -> int:
    """Those of the Service's first family: a pod with addresses of both has an endpoint of each. Where somebody wrote
    endpoints of other sorts alone, the sort that has the most."""
    counts: Counter[str] = Counter()
    for found in slices:
        counts[found.addressType] += sum(e.conditions.ready is not False for e in found.endpoints or ())
    first = next(iter(service.spec.ipFamilies), "IPv4")
    return counts[first] if first in counts else max(counts.values(), default=0)


def describe_egress(sight: Sight, i: EgressInputs, service: kube.Service) -> Rows:
    """Where it leads, whether that can be reached, and through which proxy."""
    if not is_egress(service):
        yield "leads to", "nowhere any more: it is given back as it was"
        return
    wish = egress_request.read_request(service, i.install.defaults)
    case = egress_decide.build_case(i, service, wish)
    match wish.target:
        case spec.TailnetName(fqdn=end) | spec.TailnetAddress(ip=end):
            yield "leads to", end
            yield "target", egress_target.judge(case).message
    yield "hostname", wish.hostname
    yield "tags", ", ".join(wish.tags)
    yield "mode", f"{spec.Mode.KERNEL}: egress works in no other"
    yield from describe_choices(sight, service, wish.proxy_class, i.proxy_class, wish.tailnet)
    yield from describe_proxy(i.install.namespace, case.world.place, i.tailnet, wish.tailnet)
    for sentence in (*wish.violations, *wish.later, *wish.unknown):
        yield "wrong", sentence


# --- Connectors ------------------------------------------------------------------------------------------------


async def explain_connector(sight: Sight, connector: Connector) -> Explained:
    world = await sight.connectors.gather(key_of(connector), connector)
    nameservers = await ask_nameservers(sight, world.tailnet, connector.spec.tailnet)
    rows = (*describe_connector(sight, world, connector, nameservers), *describe_unseen(sight))
    blind = any(not tailnet.known for tailnet in world.tailnets)
    return Explained(rows, connector_decide.decide(world), blind)


async def ask_nameservers(sight: Sight, tailnet: Tailnet, name: str) -> Sequence[port.Nameserver] | str:
    """Those of the tailnet, or why they are not known."""
    if tailnet.problem or not tailnet.known:
        return describe_control_plane(tailnet, "", name)
    plane = sight.fleet.tailnets.find_plane(name)
    try:
        found = await plane.list_nameservers()
    except errors.TailraceError as error:
        return str(error)
    return f"{plane.name} does not tell them" if found is None else found


def describe_connector(
    sight: Sight, i: ConnectorInputs, connector: Connector, nameservers: Sequence[port.Nameserver] | str
) -> Rows:
    wish = connector_request.read_request(connector, i.install.defaults)
    yield "routes", ", ".join(wish.routes) or "those of the policy's domains"
    yield "tags", ", ".join(wish.tags)
    yield "mode asked for", str(wish.mode)
    chosen = f"{wish.proxy_class}, by spec.proxyClass" if wish.proxy_class else "none"
    yield "proxy class", i.proxy_class.problem or chosen
    yield from describe_membership(sight, wish.tailnet)
    places = connector_place.find_places(i.proxies, i.name, wish.replicas).replicas
    for place, tailnet, hostname in zip(places, i.tailnets, wish.hostnames, strict=False):
        yield "replica", hostname
        yield from describe_proxy(i.install.namespace, place, tailnet, wish.tailnet)
        if tailnet.device is not None:
            yield "routes of it", describe_routes(tailnet.device)
    choice = connector_mode.choose_mode(i, wish)
    if not wish.violations and not isinstance(choice, str):
        case = connector_decide.build_case(i, connector, wish, choice)
        for sentence in connector_truth.describe_overlaps(case):
            yield "note", sentence
        for sentence in connector_overlap.describe_dns(wish.routes, nameservers):
            yield "DNS", sentence
    for sentence in wish.violations:
        yield "wrong", sentence


def describe_routes(device: port.Device) -> str:
    """What it advertises, what of that is approved, what goes through it now."""
    told = {
        "advertised": device.advertised_routes,
        "approved": device.enabled_routes,
        "served": device.serving_routes,
    }
    return "; ".join(
        f"{what}: the control plane does not tell"
        if routes is None
        else f"{what} {', '.join(routes) or 'none'}"
        for what, routes in told.items()
    )


# --- ProxyClasses and Tailnets ---------------------------------------------------------------------------------


async def explain_class(sight: Sight, given: ProxyClass) -> Explained:
    plan = class_decide.decide(await sight.classes.gather(key_of(given)))
    return Explained((*describe_users(sight, given.metadata.name), *describe_unseen(sight)), plan)


def describe_users(sight: Sight, name: str) -> Rows:
    """The proxies that have it now."""
    default = sight.fleet.install.defaults.proxy_class
    yield "default", "yes, where nothing else is said" if default == name else "no"
    stores = sight.fleet.stores
    for service in sorted(stores.services.list(), key=key_of):
        meta = service.metadata
        if meta.labels.get(names.MANAGED) != "true" and name in (
            meta.labels.get(names.PROXY_CLASS),
            meta.annotations.get(names.PROXY_CLASS),
        ):
            yield "named by", f"service/{key_of(service)}"
    for connector in sight.connectors.store.list():
        if connector.spec.proxyClass == name:
            yield "named by", f"connector/{connector.metadata.name}"


async def explain_tailnet(sight: Sight, tailnet: TailnetObject) -> Explained:
    name = tailnet.metadata.name
    rows = (*describe_tailnet(sight, tailnet), *describe_unseen(sight))
    return Explained(rows, decide_tailnet(sight, name).plan, blind=True)


def describe_tailnet(sight: Sight, tailnet: TailnetObject) -> Rows:
    secret = tailnet.spec.credentials.secretName
    found = sight.tailnets.secrets.find(secret)
    yield "server", tailnet.spec.loginUrl or OWN_SERVER
    there = "complete" if found.known else "not seen"
    yield "Secret", f"{secret}, {found.explain(secret, sight.operator.namespace) or there}"
    yield "control plane", OTHER_NOT_ASKED
    yield "used by", ", ".join(sight.fleet.list_users(tailnet.metadata.name)) or "nothing yet"


# --- what they share -------------------------------------------------------------------------------------------


def describe_choices(sight: Sight, service: kube.Service, name: str, found: Class, tailnet: str) -> Rows:
    """ProxyClass and tailnet of a Service, and where they were chosen."""
    meta = service.metadata
    where = (
        f"label {names.PROXY_CLASS}"
        if names.PROXY_CLASS in meta.labels
        else f"annotation {names.PROXY_CLASS}"
        if names.PROXY_CLASS in meta.annotations
        else "the operator's default"
    )
    yield "proxy class", found.problem or (f"{name}, by {where}" if name else "none")
    yield from describe_membership(sight, tailnet)


def describe_membership(sight: Sight, tailnet: str) -> Rows:
    if tailnet:
        yield "tailnet", sight.fleet.tailnets.explain(tailnet) or tailnet


def describe_proxy(home: str, place: Place, tailnet: Tailnet, name: str) -> Rows:
    """Proxy, device, and what the control plane says."""
    children: Children = place.children
    state = children.state
    yield "proxy", f"{home}/{place.name}" if children.statefulset is not None else "none"
    yield "device", f"{state.device_id} {state.fqdn}".strip() if state and state.device_id else "none"
    yield "control plane", describe_control_plane(tailnet, state.device_id if state else "", name)


def describe_control_plane(tailnet: Tailnet, own: str, name: str) -> str:
    if tailnet.problem:
        return tailnet.problem
    if not tailnet.known:
        return OTHER_NOT_ASKED if name else NOT_ASKED
    device = tailnet.device
    if device is None:
        return f"has no device {own}: it was deleted there" if own else "has no device of it yet"
    seen = "connected" if device.online else "not connected"
    return f"sees {device.name} ({', '.join(device.addresses)}), {seen}"


def describe_unseen(sight: Sight) -> Rows:
    for sentence in sight.unseen:
        yield "not seen", sentence


ROOMS: Mapping[str, Callable[[Sight, Any], Awaitable[Explained]]] = {
    "Service": explain_service,
    "Connector": explain_connector,
    "ProxyClass": explain_class,
    "Tailnet": explain_tailnet,
}
