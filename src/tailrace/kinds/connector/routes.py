"""Routes: whether they are written well, what of them is approved and served, and how to have the rest approved. Pure.

Facts: a control plane keeps for each device what it advertises and what is approved of that; of several connected devices
with the same approved route one serves it, and another takes over when that one goes. An exit node is the pair of the
default routes; Headscale approves both when it is given either. A 4via6 route is an IPv6 prefix that holds a site's number
and an IPv4 network, so that the same network can be at several sites.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network

from tailrace.api import names
from tailrace.api.conditions import Reason
from tailrace.fleet import approval
from tailrace.fleet.claims import Claim
from tailrace.fleet.ranges import read_network
from tailrace.tailnet import port

VIA = IPv6Network("fd7a:115c:a1e0:b1a::/64")
SITES = 1 << 16


def sort(routes: Iterable[str]) -> tuple[str, ...]:
    """In the order in which control planes' drivers list them, each once; what is no route comes last."""

    def rank(route: str) -> tuple[int, int, int, str]:
        network = read_network(route)
        if network is None:
            return 9, 0, 0, route
        return network.version, int(network.network_address), network.prefixlen, route

    return tuple(sorted({normalize(route) for route in routes}, key=rank))


def normalize(route: str) -> str:
    """As control planes write it; what is no route, or has bits too many, stays as it is."""
    try:
        return str(ipaddress.ip_network(route))
    except ValueError:
        return route


def check_route(route: str) -> list[str]:
    """What is wrong with it, in the official operator's words."""
    network = read_network(route) if "/" in route else None
    if network is None:
        return [f"route {route} is no network: write address and length, for example 10.0.0.0/24"]
    if not is_exact(route):
        return [f"route {route} has non-address bits set; expected {network}"]
    if isinstance(network, IPv6Network) and network.subnet_of(VIA):
        return check_via(network)
    return []


def is_exact(route: str) -> bool:
    try:
        ipaddress.ip_network(route)
    except ValueError:
        return False
    return True


def check_via(network: IPv6Network) -> list[str]:
    """A 4via6 prefix has a site's number below 65536 and at least the 96 bits before the IPv4 address."""
    if network.prefixlen < 96:
        return [f"route {network} is no 4via6 prefix: its length is at least 96"]
    site = (int(network.network_address) >> 32) & 0xFFFF_FFFF
    if site >= SITES:
        return [f"route {network} is no 4via6 prefix: its site {site} is over {SITES - 1}"]
    return []


def build_via(site: int, network: IPv4Network) -> IPv6Network:
    """The 4via6 prefix of an IPv4 network at a site (0 to 65535)."""
    address = int(VIA.network_address) | site << 32 | int(network.network_address)
    return IPv6Network((address, 96 + network.prefixlen))


# --- approval --------------------------------------------------------------------------------------------------


def find_unapproved(wanted: Sequence[str], device: port.Device) -> tuple[str, ...]:
    """Routes of ours that nobody has approved on this device."""
    enabled = {normalize(route) for route in device.enabled_routes}
    return tuple(route for route in wanted if route not in enabled)


def needs_approval(wanted: Sequence[str], device: port.Device) -> bool:
    """Whether what is approved differs from what is wanted: also a route that is wanted no longer counts."""
    return sort(device.enabled_routes) != tuple(wanted)


def judge(
    wanted: Sequence[str],
    own: Sequence[port.Device],
    others: Sequence[port.Device],
    *,
    can_approve: bool,
    approve: bool = False,
) -> Claim:
    """Whether every route is approved on every device of ours and served by one of them, or by another device that it
    shares the route with. `own` are the devices that have joined, `others` the rest of the tailnet."""
    missing = {device.id: find_unapproved(wanted, device) for device in own}
    if any(missing.values()):
        return Claim(
            status=False,
            reason=Reason.ROUTES_NOT_APPROVED,
            message=describe_missing(wanted, own, can_approve=can_approve, approve=approve),
        )
    connected = [device for device in own if device.online]
    for device in connected:
        late = [r for r in wanted if r not in sort(device.advertised_routes)]
        if late:
            text = f"{device.name} does not advertise {', '.join(late)} yet"
            return Claim(status=False, reason=Reason.ROUTES_NOT_SERVED, message=text)
    if not connected:
        return Claim(status=False, reason=Reason.ROUTES_NOT_SERVED, message="no device is connected")
    served, by_others = split_served(wanted, connected, others)
    nobody = [route for route in wanted if route not in served and route not in by_others]
    if nobody:
        text = f"approved, and served by nobody: {', '.join(nobody)}"
        return Claim(status=False, reason=Reason.ROUTES_NOT_SERVED, message=text)
    return Claim(
        status=True, reason=Reason.ROUTES_SERVED, message=describe_served(wanted, connected, by_others)
    )


def split_served(
    wanted: Sequence[str], connected: Sequence[port.Device], others: Sequence[port.Device]
) -> tuple[set[str], dict[str, str]]:
    """The routes that devices of ours serve, and those that another one does, with its name. A control plane that does
    not tell who serves is taken at its word: what is approved on a connected device is served."""
    served: set[str] = set()
    for device in connected:
        serving = device.enabled_routes if device.serving_routes is None else device.serving_routes
        served |= set(wanted) & {*sort(serving)}
    elsewhere = {
        route: device.name
        for device in others
        if device.online
        for route in sort(device.serving_routes or ())
        if route in wanted and route not in served
    }
    return served, elsewhere


def describe_served(
    wanted: Sequence[str], connected: Sequence[port.Device], by_others: Mapping[str, str]
) -> str:
    standing = [f"{route} is served by {name}, ours stand by" for route, name in sorted(by_others.items())]
    ours = [route for route in wanted if route not in by_others]
    by = " or ".join(device.name for device in connected)
    return "; ".join([*([f"{', '.join(ours)} served by {by}"] if ours else []), *standing])


def describe_missing(
    wanted: Sequence[str], own: Sequence[port.Device], *, can_approve: bool, approve: bool
) -> str:
    """What is not approved on which device, and every way to have it approved."""
    missing = [(device, find_unapproved(wanted, device)) for device in own]
    where = "; ".join(f"{', '.join(lacks)} on {device.name}" for device, lacks in missing if lacks)
    routes = sort(route for _, lacks in missing for route in lacks)
    tags = sorted({tag for device, lacks in missing if lacks for tag in device.tags})
    if approve and can_approve:
        return f"not approved: {where}; Tailrace approves them"
    ways = [f"put into the tailnet's policy {approval.encode_approvers(routes, tags)}"] if tags else []
    commands = [approval.build_command(device, wanted) for device, lacks in missing if lacks]
    if any(commands):
        ways.append(f"on Headscale run {' and '.join(f'`{command}`' for command in commands if command)}")
    if can_approve and not approve:
        ways.append(f'set {names.APPROVE_ROUTES} to "true" on the Connector')
    return f"not approved: {where}; {', or '.join(ways) or 'approve them on the control plane'}"
