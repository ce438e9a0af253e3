"""What a Connector's routes run into: told, since nobody sees it from the routes themselves. Pure.

Most of it works and surprises: two routers of one route take over from each other and do not add up, and a client in a
network of the same addresses never asks the tailnet. Which machines accept routes no control plane tells, and where they
stand only Tailscale does.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from tailrace.fleet.approval import EXIT
from tailrace.fleet.ranges import find_overlaps, read_network, touch
from tailrace.kinds.connector import routes as routing
from tailrace.kinds.connector.inputs import Surroundings
from tailrace.tailnet import port

HOMES = tuple(
    IPv4Network(net)
    for net in (
        "10.0.0.0/24",
        "10.1.1.0/24",
        "192.168.0.0/24",
        "192.168.1.0/24",
        "192.168.2.0/24",
        "192.168.8.0/24",
        "192.168.10.0/24",
        "192.168.50.0/24",
        "192.168.86.0/24",
        "192.168.88.0/24",
        "192.168.100.0/24",
        "192.168.178.0/24",
    )
)
"""What the commonest home routers give out."""

TAILNET = (IPv4Network("100.64.0.0/10"), IPv6Network("fd7a:115c:a1e0::/48"))
SHOWN = 3  # devices of a network that are named
NARROW = 20  # bits; a wider route is no copy of a home network, though it may hold one


def describe(
    name: str, wanted: Sequence[str], around: Surroundings, others: Sequence[port.Device]
) -> tuple[str, ...]:
    """A sentence for each. `wanted` are the Connector's routes, `others` the tailnet's devices that are not its own."""
    plain = tuple(route for route in wanted if route not in EXIT)
    return (
        *describe_cluster(plain, around),
        *describe_neighbours(plain, around),
        *describe_devices(plain, around, others),
        *describe_inhabitants(plain, around, others),
        *describe_tailnet(plain),
        *describe_homes(name, plain),
    )


def describe_cluster(wanted: Sequence[str], around: Surroundings) -> Iterable[str]:
    """Into this cluster: wanted as a rule, and a trap for proxies of this cluster that accept routes."""
    for overlap in find_overlaps(wanted, around.ranges):
        yield f"{overlap}: no proxy of this cluster may accept it"
        for found in around.accepting:
            yield (
                f"{found.user} accepts routes by ProxyClass {found.proxy_class} and would send to this cluster's "
                f"{overlap.range.what} by way of {overlap.route}: answers would not come back. Take acceptRoutes from "
                "that class, or the route from this Connector"
            )


def describe_neighbours(wanted: Sequence[str], around: Surroundings) -> Iterable[str]:
    for neighbour in around.neighbours:
        for route in wanted:
            for theirs in neighbour.routes:
                if route == theirs:
                    yield (
                        f"{route} is advertised by Connector {neighbour.name} too: one of the two serves it and the "
                        "other takes over, they do not add up"
                    )
                elif theirs not in EXIT and overlaps(route, theirs):
                    yield (
                        f"{route} overlaps {theirs} of Connector {neighbour.name}: where both apply the narrower one wins"
                    )


def describe_devices(
    wanted: Sequence[str], around: Surroundings, others: Sequence[port.Device]
) -> Iterable[str]:
    told = {device for neighbour in around.neighbours for device in neighbour.devices}
    for device in others:
        shared = [route for route in wanted if route in routing.sort(device.enabled_routes)]
        if shared and device.id not in told:
            yield (
                f"{', '.join(shared)} is approved for device {device.name} too: one of the two serves it and the other "
                "takes over, they do not add up"
            )


def describe_inhabitants(
    wanted: Sequence[str], around: Surroundings, others: Sequence[port.Device]
) -> Iterable[str]:
    """Devices that stand in a network of a route themselves. No proxies, which accept routes by their ProxyClass alone: not
    this cluster's, and nothing with an address of its ranges, which other clusters give out too."""
    cluster = [network for found in around.ranges if (network := read_network(found.cidr)) is not None]
    for route in wanted:
        network = read_network(route)
        if network is None:
            continue
        found = sorted(
            (device.name, address)
            for device in others
            if device.id not in around.proxies
            for address in device.endpoints
            if (own := read_private(address)) is not None
            and own in network
            and not any(own in pods for pods in cluster)
        )
        if found:
            shown = ", ".join(f"{name} ({address})" for name, address in found[:SHOWN])
            more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
            yield (
                f"{shown}{more} in {route}: a device that stands there and accepts routes sends even to its neighbours by "
                "way of this Connector; run tailscale set --accept-routes=false on it"
            )


def read_private(address: str) -> IPv4Address | IPv6Address | None:
    """A public endpoint is mostly that of a router in front of the device."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return None
    return found if found.is_private else None


def describe_tailnet(wanted: Sequence[str]) -> Iterable[str]:
    """Into the tailnet's own addresses, where devices' own routes are narrower and win."""
    for route in wanted:
        network = read_network(route)
        if network is None or (isinstance(network, IPv6Network) and network.subnet_of(routing.VIA)):
            continue
        if any(touch(network, own) for own in TAILNET):
            yield f"{route} has addresses of the tailnet itself, which belong to its devices"


def describe_homes(name: str, wanted: Sequence[str]) -> Iterable[str]:
    """Networks that clients are likely to sit in themselves, with the prefix that does not collide."""
    for route in wanted:
        network = read_network(route)
        if not isinstance(network, IPv4Network) or network.prefixlen < NARROW:
            continue
        if any(network.overlaps(home) for home in HOMES):
            site = suggest_site(name)
            yield (
                f"{route} is what many home networks have: a client in one of them does not get here. The 4via6 route "
                f"{routing.build_via(site, network)} (site {site}) has no such neighbour"
            )


REDUNDANCY = "Give the tailnet a second nameserver, or this Connector two replicas"


def describe_dns(wanted: Sequence[str], nameservers: Sequence[port.Nameserver] | str) -> Iterable[str]:
    """What goes down with the Connector and shows nowhere in the cluster; nothing where it leads to no network. Instead of
    the tailnet's nameservers the reason why they are not known."""
    plain = [route for route in wanted if route not in EXIT]
    if not plain:
        return
    if isinstance(nameservers, str):
        yield (
            f"the tailnet's nameservers are not known: {nameservers}. If one of them is behind these routes, names stop "
            f"resolving for every device when this Connector goes or is away. {REDUNDANCY}"
        )
        return
    behind = {
        found: route
        for found in nameservers
        if (route := next((route for route in plain if overlaps(found.address, route)), None)) is not None
    }
    if not behind:
        listed = ", ".join(dict.fromkeys(found.address for found in nameservers)) or "there is none"
        yield f"no nameserver of the tailnet is behind these routes ({listed})"
    for domain in dict.fromkeys(found.domain for found in behind):
        here = [f"{f.address} (behind {route})" for f, route in behind.items() if f.domain == domain]
        left = [f.address for f in nameservers if f.domain == domain and f not in behind]
        names = f"names under {domain}" if domain else "names"
        so = (
            f"only {', '.join(left)} answers"
            if left
            else f"{names} stop resolving for every device. {REDUNDANCY}"
        )
        yield f"{names} are asked of {', '.join(here)}: when this Connector goes or is away, {so}"


def suggest_site(name: str) -> int:
    """A number for a site, 1 to 65535, the same each time."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) % (routing.SITES - 1) + 1


def overlaps(one: str, other: str) -> bool:
    try:
        return touch(ipaddress.ip_network(one), ipaddress.ip_network(other))
    except ValueError:
        return False
