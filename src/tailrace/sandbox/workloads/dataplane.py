"""How connections get from one address to the next: forwarding with or without a PROXY header, and the routes of
Services, as kube-proxy would make them.

`build_routes` is pure; `Forwards` keeps listeners in step with a wanted set. `kubelet`'s proxies use it for tailnet
addresses, the Service side for ClusterIPs.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, NamedTuple

from tailrace.sandbox.workloads import proxyprotocol, relay
from tailrace.sandbox.workloads.network import Address, Network, Target, TcpListener, UdpListener

Doc = Mapping[str, Any]
Connect = Callable[[str, int], Awaitable[socket.socket]]


class Door(NamedTuple):
    """One listening address."""

    protocol: str  # "tcp" or "udp"
    ip: str
    port: int


@dataclass(frozen=True, slots=True)
class Way:
    """Where a door leads. Equal ways are the same way: an open door is left alone."""

    targets: tuple[Address, ...]  # taken in turn
    proxy_protocol: int = 0


class Forwards:
    """Open doors, made to match what is wanted; untouched ones keep their connections."""

    def __init__(
        self,
        network: Network,
        *,
        cut: bool,
        resolve: Callable[[str], str | None] = lambda host: host,
        connect: Connect | None = None,
    ) -> None:
        """`cut`: a door that closes breaks its connections. `resolve`: host of a target → IP, None if unknown.
        `connect` goes there, straight if it is not given."""
        self._network, self._cut, self._resolve = network, cut, resolve
        self._connect = connect or network.connect
        self._open: dict[Door, TcpListener | UdpListener] = {}
        self._ways: dict[Door, Way] = {}

    def match(self, wanted: Mapping[Door, Way]) -> None:
        for door in [
            d for d, way in self._ways.items() if wanted.get(d) != way and not self._turns(d, wanted)
        ]:
            del self._ways[door]
            self._open.pop(door).close(cut=self._cut)
        for door, way in wanted.items():
            if door not in self._open:
                self._open[door] = self._listen(door, way)
            self._ways[door] = way

    def close(self) -> None:
        self.match({})

    def _turns(self, door: Door, wanted: Mapping[Door, Way]) -> bool:
        """Whether an open door may lead elsewhere from now on: who knocks meanwhile is not turned away."""
        way = wanted.get(door)
        same = way is not None and way.proxy_protocol == self._ways[door].proxy_protocol
        return same and door.protocol == "tcp" and not self._cut

    def _listen(self, door: Door, way: Way) -> TcpListener | UdpListener:
        turns = count()

        def pick() -> Address | None:
            targets = self._ways[door].targets
            if not targets:
                return None
            host, port = targets[next(turns) % len(targets)]
            ip = self._resolve(host)
            return None if ip is None else (ip, port)

        if door.protocol == "udp":
            return self._network.listen_udp(door.ip, door.port, pick)
        return self._network.listen_tcp(
            door.ip, door.port, partial(forward, self._connect, pick, way.proxy_protocol)
        )


async def forward(
    connect: Connect, pick: Target, proxy_protocol: int, client: socket.socket, address: Address
) -> None:
    """Carry one accepted connection to what `pick` says; reset it when nobody answers there."""
    target = pick()
    if target is None:
        relay.reset(client)
        return
    try:
        backend = await connect(*target)
    except OSError:
        relay.reset(client)
        return
    preface = proxyprotocol.encode(proxy_protocol, address, target) if proxy_protocol else b""
    await relay.relay(client, backend, preface=preface)


def build_routes(service: Doc, slices: Iterable[Doc]) -> dict[Door, Way]:
    """The doors of a Service's ClusterIPs; a port without a ready endpoint has none, so it refuses."""
    spec = service["spec"]
    addresses = [
        ip
        for ip in spec.get("clusterIPs") or (spec.get("clusterIP"),)
        if ip and ip != "None" and ":" not in ip
    ]
    if not addresses or spec.get("type") == "ExternalName":
        return {}
    found = list(slices)
    routes: dict[Door, Way] = {}
    for port in spec.get("ports") or ():
        protocol = port.get("protocol", "TCP").lower()
        targets = tuple(sorted(_ready_targets(found, port.get("name") or "", protocol)))
        if targets and protocol in ("tcp", "udp"):
            routes |= {Door(protocol, ip, port["port"]): Way(targets) for ip in addresses}
    return routes


def _ready_targets(slices: Iterable[Doc], name: str, protocol: str) -> set[Address]:
    targets = set()
    for slice_ in slices:
        ports = [
            p["port"]
            for p in slice_.get("ports") or ()
            if (p.get("name") or "") == name
            and p.get("protocol", "TCP").lower() == protocol
            and p.get("port")
        ]
        for endpoint in slice_.get("endpoints") or ():
            if (endpoint.get("conditions") or {}).get("ready") is not False:
                targets |= {(ip, port) for ip in endpoint["addresses"] for port in ports}
    return targets
