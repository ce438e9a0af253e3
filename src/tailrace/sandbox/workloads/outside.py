"""What is outside the cluster: devices that somebody else put on the tailnet, and hosts that no tailnet knows.

A test, a demo or a user makes them (`World.join`, `World.host`, or `/sandbox/` on the API server). A `Device` is a real
tailscaled as far as others can tell: it logs in with a key, is online or not, answers on its own address, may be a
subnet router or an exit node, and sends through the tailnet itself. A host has an address in some network and answers
there; who gets to it is decided by `paths`.
"""

from __future__ import annotations

import errno
import ipaddress
import secrets
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from datetime import timedelta
from functools import partial

from tailrace.sandbox.controlplane.model import Tailnet
from tailrace.sandbox.controlplane.records import ChangeKind, Node, User
from tailrace.sandbox.workloads import backends, web
from tailrace.sandbox.workloads.network import Network
from tailrace.sandbox.workloads.paths import INTERNET, Paths, Traveller

_OWNER = "visitor"
_KEY_LIFE = timedelta(minutes=1)
_EXIT_ROUTES = ("0.0.0.0/0", "::/0")


class Device:
    """A device outside the cluster. It is online from the start; its settings are attributes to change."""

    def __init__(self, outside: Outside, node: Node, machine_key: str, answers: Answers, lan: str) -> None:
        self.accept_routes = False
        self.exit_node = ""  # id, address or name of the exit node that it uses
        self.gone = False  # deleted on the control plane
        self._outside, self._machine_key, self._answers, self._lan = outside, machine_key, answers, lan
        self._number, self.id = node.number, node.id
        self._open = ExitStack()
        self._at: Sequence[str] = ()
        self._end = outside.tailnet.nodes.subscribe(self._told)
        self._open_doors(node)

    @property
    def node(self) -> Node:
        """What the control plane has of it now. Raises records.Refused when it was deleted."""
        return self._outside.tailnet.node(self.id)

    @property
    def address(self) -> str:
        return self.node.addresses[0]

    def disconnect(self) -> None:
        """It goes offline: nothing of it answers."""
        self._close_doors()
        self._outside.tailnet.nodes.set_connected(self.id, False)

    def connect(self) -> None:
        """It comes back. Raises records.NodeGone when the control plane does not know it any more."""
        if not self._at:
            nodes = self._outside.tailnet.nodes
            self._open_doors(nodes.reconnect(node_id=self.id, machine_key=self._machine_key))

    def advertise(self, routes: Iterable[str]) -> None:
        """Other routes than before; the control plane approves them, or somebody must."""
        self._outside.tailnet.nodes.update(self.id, routes=tuple(routes))

    def remove(self) -> None:
        """It is turned off, and deleted on the control plane."""
        if not self.gone:
            self._outside.tailnet.delete_node(self.id)

    async def dial(self, host: str, port: int) -> socket.socket:
        """A TCP connection through the tailnet, to an address or to a device by name. Raises OSError."""
        if not self._at:
            raise OSError(errno.ENETUNREACH, "this device is offline")
        who = Traveller(self._number, self.accept_routes, self.exit_node)
        return await self._outside.paths.connect(who, self._outside.look_up(host), port)

    async def fetch(self, host: str, port: int = 80, path: str = "/") -> tuple[int, bytes]:
        """Status and body of an HTTP request through the tailnet. Raises OSError."""
        return await web.get(await self.dial(host, port), host, path)

    def close(self) -> None:
        """End it without a word to anybody."""
        self._close_doors()
        self._end()

    def _told(self, kind: ChangeKind, node: Node) -> None:
        if node.number != self._number:
            return
        if kind == "deleted":
            self.gone = True
            self._outside.forget(self)
            self.close()
        elif self._at and node.addresses != self._at:
            self._close_doors()
            self._open_doors(node)

    def _open_doors(self, node: Node) -> None:
        self._at = node.addresses
        self._answers(node.name, "device", node.addresses[0], self._open)
        stands_in = (self._lan, INTERNET) if self._lan else (INTERNET,)
        self._open.callback(self._outside.paths.carry(node.number, stands_in))

    def _close_doors(self) -> None:
        self._at = ()
        self._open.close()


Answers = Callable[[str, str, str, ExitStack], None]
"""Open what answers: (name, kind, address, where to close it)."""


class Outside:
    """All of it, in one tailnet."""

    def __init__(self, network: Network, paths: Paths, tailnet: Tailnet) -> None:
        self.paths, self.tailnet = paths, tailnet
        self._network = network
        self._devices: dict[str, Device] = {}
        self._hosts = ExitStack()

    def join(
        self,
        hostname: str,
        *,
        tags: Iterable[str] = (),
        routes: Iterable[str] = (),
        exit_node: bool = False,
        lan: str = "",
        http: Iterable[int] = (80,),
        udp: Iterable[int] = (),
    ) -> Device:
        """A device logs in. `lan`: the network in which it stands, and to whose hosts it can route. It answers HTTP on
        the ports `http` with its name, and sends back datagrams on `udp`.

        Raises LoginRefused, Refused, and OSError when a port cannot be had.
        """
        tailnet, machine_key = self.tailnet, f"mkey:{secrets.token_hex(32)}"
        tags = tuple(tags)
        owner = None if tags else self._owner()
        key = tailnet.add_key(tags=tags, user=owner, expires=tailnet.now() + _KEY_LIFE)
        node = tailnet.nodes.login(
            auth_key=key.secret,
            hostname=hostname,
            machine_key=machine_key,
            routes=(*routes, *(_EXIT_ROUTES if exit_node else ())),
        )
        device = Device(self, node, machine_key, partial(self._answer, tuple(http), tuple(udp)), lan)
        self._devices[node.id] = device
        return device

    def host(
        self,
        ip: str,
        *,
        lan: str = INTERNET,
        name: str = "",
        http: Iterable[int] = (80,),
        udp: Iterable[int] = (),
    ) -> None:
        """A host that is on no tailnet answers in a network: `internet`, `cluster` (where the nodes are), or one that
        `join` named. Raises OSError when it is there already."""
        ipaddress.IPv4Address(ip)
        self._answer(tuple(http), tuple(udp), name or ip, "host", f"{ip}%{lan}", self._hosts)

    def get(self, name: str) -> Device:
        """By id or by name. Raises ValueError."""
        for device in self._devices.values():
            if name in (device.id, device.node.name, device.node.hostname):
                return device
        raise ValueError(f"no device outside the cluster is called {name}")

    def look_up(self, host: str) -> str:
        """MagicDNS: the IPv4 address of a device. Raises OSError."""
        try:
            return str(ipaddress.ip_address(host))
        except ValueError:
            name = host.rstrip(".").casefold()
        for node in self.tailnet.nodes.all():
            if name in (node.name, node.fqdn.casefold()):
                return node.addresses[0]
        raise OSError(f"no device is called {host}")

    def forget(self, device: Device) -> None:
        self._devices.pop(device.id, None)

    def close(self) -> None:
        for device in self._devices.values():
            device.close()
        self._devices.clear()
        self._hosts.close()

    def _owner(self) -> User:
        found = [user for user in self.tailnet.users.values() if user.name == _OWNER]
        return found[0] if found else self.tailnet.add_user(_OWNER)

    def _answer(
        self, http: Sequence[int], udp: Sequence[int], name: str, kind: str, ip: str, stack: ExitStack
    ) -> None:
        greet = partial(backends.greet, name, kind=kind)
        for port in http:
            stack.callback(self._network.listen_tcp(ip, port, greet).close, cut=True)
        for port in udp:
            stack.callback(self._network.echo_udp(ip, port).close)
