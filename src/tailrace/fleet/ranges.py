"""This cluster's own pod and service ranges, and which routes of a tailnet lead into them. Pure.

A proxy that accepts such a route sends what is meant for a pod beside it out to the tailnet, and answers never come
back. Who advertises one should be told as well.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from tailrace.api import kube

type Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Range:
    """Some addresses of this cluster."""

    cidr: str
    what: str  # "pods" or "Services"


@dataclass(frozen=True, slots=True)
class Overlap:
    """A route that covers some of a range, or lies in it."""

    route: str
    range: Range

    def __str__(self) -> str:
        return f"{self.route} overlaps the range of this cluster's {self.range.what} ({self.range.cidr})"


def list_own_ranges(nodes: Iterable[kube.Node], cidrs: Iterable[kube.ServiceCIDR]) -> tuple[Range, ...]:
    """The ranges of pods, those of neighbouring nodes as one, then those of Services. Clusters whose network gives out
    pod addresses by itself do not tell them."""
    pods = collapse(cidr for node in nodes for cidr in node.spec.podCIDRs)
    services = collapse(cidr for found in cidrs for cidr in found.spec.cidrs)
    return (*(Range(cidr, "pods") for cidr in pods), *(Range(cidr, "Services") for cidr in services))


def find_overlaps(routes: Iterable[str], ranges: Iterable[Range]) -> tuple[Overlap, ...]:
    """Each route with the first range that it overlaps. Exit routes are no such routes: nobody accepts them unasked."""
    known = [(found, network) for found in ranges if (network := read_network(found.cidr)) is not None]
    overlaps = []
    for route in routes:
        network = read_network(route)
        if network is None or network.prefixlen == 0:
            continue
        first = next((found for found, own in known if touch(network, own)), None)
        if first is not None:
            overlaps.append(Overlap(route, first))
    return tuple(overlaps)


def collapse(cidrs: Iterable[str]) -> list[str]:
    """As few ranges as say the same, IPv4 first; what is no range is left out."""
    networks = [network for cidr in cidrs if (network := read_network(cidr)) is not None]
    old = ipaddress.collapse_addresses(n for n in networks if isinstance(n, IPv4Network))
    new = ipaddress.collapse_addresses(n for n in networks if isinstance(n, IPv6Network))
    return [*map(str, old), *map(str, new)]


def read_network(cidr: str) -> Network | None:
    try:
        return ipaddress.ip_network(cidr, strict=False)
    except ValueError:
        return None


def touch(one: Network, other: Network) -> bool:
    """Whether they share an address."""
    if isinstance(one, IPv4Network):
        return isinstance(other, IPv4Network) and one.overlaps(other)
    return isinstance(other, IPv6Network) and one.overlaps(other)
