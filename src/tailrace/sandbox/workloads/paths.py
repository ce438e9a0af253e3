"""Ways through the tailnet that go on behind a device: subnet routes and exit nodes.

A device that runs and forwards says here which networks it stands in (`carry`). Whether anybody's traffic goes through
it is decided as clients decide it: the control plane's approved and primary routes, the client's own `acceptRoutes` and
`exitNode`. Connections live as long as their way: when the router goes, or another one takes over, they break.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

from tailrace.sandbox.controlplane.model import Tailnet
from tailrace.sandbox.controlplane.nodes import IPV4_RANGE, IPV6_RANGE
from tailrace.sandbox.controlplane.records import ChangeKind, Node
from tailrace.sandbox.workloads import relay
from tailrace.sandbox.workloads.network import Network

INTERNET = "internet"
"""Where every router stands; only an exit node leads there."""
CLUSTER = "cluster"
"""Where pods stand: their own addresses, those of Services, and hosts in the node's own network."""

_EVERYWHERE = "0.0.0.0/0"
_NEVER_BY_DEFAULT = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "224.0.0.0/4",
        "100.64.0.0/10",
        "127.0.0.0/8",
    )
)
"""What an exit node does not carry (`removeFromDefaultRoute` of tailscaled), and this machine."""


class Traveller(NamedTuple):
    """A client, as far as it decides about ways."""

    number: int  # of its node
    accept_routes: bool = False
    exit_node: str = ""  # id, address or name


class Hop(NamedTuple):
    """Where a connection goes: the address as the network knows it, and the node that carries it on."""

    ip: str
    router: int | None


class _Flow(NamedTuple):
    """A connection through a router."""

    who: Traveller
    ip: str
    hop: Hop


class Paths:
    """All ways of one tailnet."""

    def __init__(self, network: Network, tailnet: Tailnet, cluster: Iterable[str] = ()) -> None:
        """`cluster`: the ranges (CIDR) that whoever stands in the cluster reaches."""
        self._network, self._tailnet = network, tailnet
        self._cluster = tuple(ipaddress.ip_network(cidr) for cidr in cluster)
        self._carriers: dict[int, tuple[str, ...]] = {}
        self._flows: dict[asyncio.Task[None], _Flow] = {}
        self._watchers: list[Callable[[], None]] = []
        self._end = tailnet.nodes.subscribe(self._node_changed)

    def close(self) -> None:
        self._end()

    def carry(self, number: int, stands_in: Sequence[str]) -> Callable[[], None]:
        """A node's client forwards from now on into these networks; the answer ends it."""
        self._carriers[number] = mine = tuple(stands_in)
        self._changed()
        return partial(self._forget, number, mine)

    def watch(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Tell when ways may have changed; the answer ends it."""
        self._watchers.append(callback)
        return lambda: self._watchers.remove(callback)

    def find(self, who: Traveller, ip: str) -> Hop | None:
        """The way of a client to an address; None when it has none."""
        address = ipaddress.ip_address(ip)
        if address in IPV4_RANGE or address in IPV6_RANGE:
            return Hop(ip, None)
        router = self._route(who, address) or self._exit(who, address)
        if router is None or router.number not in self._carriers:
            return None
        return next((Hop(at, router.number) for at in self._places(ip, self._carriers[router.number])), None)

    async def connect(self, who: Traveller, ip: str, port: int) -> socket.socket:
        """A TCP connection of a client. OSError when there is no way, or nobody at its end."""
        ip = ip.partition("%")[0]
        hop = self.find(who, ip)
        if hop is None:
            raise OSError(errno.EHOSTUNREACH, f"no way to {ip}")
        far = await self._network.connect(hop.ip, port)
        if hop.router is None:
            return far
        near, inner = socket.socketpair()
        for end in (near, inner):
            end.setblocking(False)
        task = self._network.spawn(relay.relay(inner, far))
        self._flows[task] = _Flow(who, ip, hop)
        task.add_done_callback(partial(self._ended, (inner, far)))
        return near

    def _route(self, who: Traveller, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> Node | None:
        """The router of the narrowest route around an address."""
        if not who.accept_routes:
            return None
        found = [
            (network.prefixlen, node)
            for node in self._tailnet.nodes.all()
            if node.number != who.number
            for network in map(ipaddress.ip_network, self._tailnet.serving(node))
            if address in network
        ]
        return max(found, key=lambda pair: pair[0])[1] if found else None

    def _exit(self, who: Traveller, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> Node | None:
        if not who.exit_node or any(address in network for network in _NEVER_BY_DEFAULT):
            return None
        for node in self._tailnet.nodes.all():
            if who.exit_node in (node.id, node.name, node.fqdn, *node.addresses):
                offered = _EVERYWHERE in node.advertised and _EVERYWHERE in node.approved
                return node if node.online and offered and node.number != who.number else None
        return None

    def _places(self, ip: str, stands_in: Sequence[str]) -> Iterable[str]:
        """The address in each of these networks that has it."""
        address = ipaddress.ip_address(ip)
        for name in stands_in:
            if name == CLUSTER and any(address in network for network in self._cluster):
                yield ip
            elif self._network.listening(scoped := f"{ip}%{name}"):
                yield scoped

    def _forget(self, number: int, mine: tuple[str, ...]) -> None:
        if self._carriers.get(number) is mine:
            del self._carriers[number]
            self._changed()

    def _node_changed(self, _kind: ChangeKind, _node: Node) -> None:
        self._changed()

    def _changed(self) -> None:
        for task, flow in tuple(self._flows.items()):
            if self.find(flow.who, flow.ip) != flow.hop:
                task.cancel()
        for callback in tuple(self._watchers):
            callback()

    def _ended(self, ends: Iterable[socket.socket], task: asyncio.Task[None]) -> None:
        """Close also what was cut before its first step."""
        del self._flows[task]
        for end in ends:
            end.close()
