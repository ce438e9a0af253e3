"""The sandbox's network: who listens on which address, and the way there.

A device of the tailnet has a loopback address, so that anything on this machine reaches it. Pods and ClusterIPs have
addresses as every cluster has them, and listen at a loopback twin (`Network.twin`). Where the machine does not allow
that (ports under 1024 without the right to bind them, a system whose loopback has one address only, a second sandbox
that holds the address) the listener sits on a free port of 127.0.0.1 and everything inside the sandbox still finds it
under its own address. So does every host of another network, written `192.168.1.20%office`: the part behind the sign
says in whose network the address is meant, and only who names it gets there. Inside, an address of the sandbox on
which nobody listens refuses, whatever else this machine runs there.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Self

Address = tuple[str, int]
Serve = Callable[[socket.socket, Address], Coroutine[Any, Any, None]]
"""Takes an accepted connection, which it closes, and the client's address."""
Target = Callable[[], Address | None]
"""Says where the next datagram flow goes; None when there is nowhere to go."""

_BACKLOG = 1024
_ACCEPTS_PER_TURN = 64
_DATAGRAM = 65_535
_DATAGRAMS_PER_TURN = 64
_MAX_FLOWS = 1024
FLOW_IDLE = 30.0  # seconds after which a silent UDP flow is forgotten
_ELSEWHERE = frozenset({errno.EACCES, errno.EADDRNOTAVAIL, errno.EADDRINUSE})


class Network:
    """Listeners by address, connections between them, and the tasks that serve them."""

    def __init__(self, own: Iterable[str] = (), twins: Mapping[str, str] | None = None) -> None:
        """`own`: the networks (CIDR) that belong to this sandbox. `twins`: more of them, and where those listen."""
        pairs = (
            (ipaddress.IPv4Network(shown), ipaddress.IPv4Network(at)) for shown, at in (twins or {}).items()
        )
        self._twins = tuple(pairs)
        self._own = (*(ipaddress.ip_network(cidr) for cidr in own), *(shown for shown, _ in self._twins))
        self._places: dict[
            tuple[str, str, int], Address
        ] = {}  # (protocol, ip, port) → where it really listens
        self._listeners: set[_Listener] = set()
        self._watchers: dict[str, list[Callable[[], None]]] = {}  # by ip
        self._tasks: asyncio.TaskGroup | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for listener in tuple(self._listeners):
            listener.close(cut=True)
        for task in self._serving:  # also those whose listener went before
            task.cancel()
        if self._tasks is not None:
            await self._tasks.__aexit__(None, None, None)  # what ends the world is no connection's error

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a connection's work as a task of this network."""
        if self._tasks is None:
            raise RuntimeError("the network is not open")
        task = self._tasks.create_task(work)
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        return task

    def listen_tcp(self, ip: str, port: int, serve: Serve) -> TcpListener:
        """Accept connections at ip:port. OSError when another listener of this sandbox is there already."""
        return TcpListener(self, ip, port, serve)

    def listen_udp(self, ip: str, port: int, target: Target) -> UdpListener:
        """Forward datagrams that come to ip:port, a flow for each client."""
        return UdpListener(self, ip, port, target)

    def echo_udp(self, ip: str, port: int) -> UdpEcho:
        """Send back every datagram that comes to ip:port."""
        return UdpEcho(self, ip, port)

    async def connect(self, ip: str, port: int, *, source: str | None = None) -> socket.socket:
        """A TCP connection to ip:port, from the address `source` where this machine allows it."""
        place = self.place("tcp", ip, port)
        family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        sock.setblocking(False)
        try:
            if source is not None:
                with suppress(OSError):
                    sock.bind((self.twin(source) or "127.0.0.1", 0))
            await asyncio.get_running_loop().sock_connect(sock, place)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            sock.close()
            raise
        return sock

    def place(self, protocol: str, ip: str, port: int) -> Address:
        """Where ip:port really is. ConnectionRefusedError when it is ours and nobody listens there."""
        place = self._places.get((protocol, ip, port))
        if place is not None:
            return place
        if "%" in ip or any(ipaddress.ip_address(ip) in network for network in self._own):
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"nobody listens on {ip}:{port}")
        return (ip, port)

    def twin(self, ip: str) -> str | None:
        """The loopback address that stands for `ip`, which may be itself; None when there is none."""
        if "%" in ip:
            return None
        address = ipaddress.ip_address(ip)
        for shown, at in self._twins:
            if address in shown:
                return str(at[int(address) - int(shown.network_address)])
        return ip if address.is_loopback else None

    def listening(self, ip: str) -> frozenset[tuple[str, int]]:
        """(protocol, port) of everything that answers at an address: what a whole-address forward leads to."""
        found = (listener for listener in self._listeners if listener.ip == ip)
        return frozenset((listener.protocol, listener.port) for listener in found)

    def watch(self, ip: str, callback: Callable[[], None]) -> Callable[[], None]:
        """Tell when `listening(ip)` changes; the answer ends it."""
        self._watchers.setdefault(ip, []).append(callback)
        return partial(self._unwatch, ip, callback)

    def _unwatch(self, ip: str, callback: Callable[[], None]) -> None:
        self._watchers[ip].remove(callback)
        if not self._watchers[ip]:
            del self._watchers[ip]

    def _tell(self, ip: str) -> None:
        for callback in tuple(self._watchers.get(ip, ())):
            callback()

    def _bind(self, listener: _Listener, sock: socket.socket) -> None:
        key = (listener.protocol, listener.ip, listener.port)
        if key in self._places:
            raise OSError(errno.EADDRINUSE, f"{listener.ip}:{listener.port} is taken")
        try:
            twin = self.twin(listener.ip)
            sock.bind(("127.0.0.1", 0) if twin is None else (twin, listener.port))
        except OSError as error:
            if error.errno not in _ELSEWHERE:
                raise
            sock.bind(("127.0.0.1", 0))
        self._places[key] = sock.getsockname()[:2]
        self._listeners.add(listener)
        self._tell(listener.ip)

    def _forget(self, listener: _Listener) -> None:
        self._listeners.discard(listener)
        self._places.pop((listener.protocol, listener.ip, listener.port), None)
        self._tell(listener.ip)


class TcpListener:
    """One listening address. Connections that it accepted live on after `close()` unless they are cut."""

    protocol = "tcp"

    def __init__(self, network: Network, ip: str, port: int, serve: Serve) -> None:
        self.ip, self.port = ip, port
        self._network, self._serve = network, serve
        self._connections: set[asyncio.Task[None]] = set()
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            self._sock.setblocking(False)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            network._bind(self, self._sock)
        except BaseException:
            self._sock.close()
            raise
        self._sock.listen(_BACKLOG)
        asyncio.get_running_loop().add_reader(self._sock, self._accept)

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                connection, peer = self._sock.accept()
            except (
                OSError
            ):  # nobody waits any more, or the client is gone, or no descriptor is left: next turn
                return
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = self._network.spawn(self._serve(connection, peer[:2]))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
            task.add_done_callback(partial(_close, connection))

    def close(self, *, cut: bool = False) -> None:
        """Stop listening; with `cut` also break what is connected."""
        if self._sock.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._sock)
            self._sock.close()
            self._network._forget(self)
        if cut:
            for task in self._connections:
                task.cancel()


class UdpListener:
    """One listening address for datagrams; remembers which client goes to which target while it talks."""

    protocol = "udp"

    def __init__(self, network: Network, ip: str, port: int, target: Target) -> None:
        self.ip, self.port = ip, port
        self._network, self._target = network, target
        self._flows: dict[Address, _Flow] = {}
        self._sock = _datagram_socket()
        try:
            network._bind(self, self._sock)
        except BaseException:
            self._sock.close()
            raise
        loop = asyncio.get_running_loop()
        loop.add_reader(self._sock, self._receive)
        self._sweeper = loop.call_later(FLOW_IDLE, self._sweep)

    def _receive(self) -> None:
        for _ in range(_DATAGRAMS_PER_TURN):
            try:
                data, client = self._sock.recvfrom(_DATAGRAM)
            except OSError:
                return
            flow = self._flows.get(client) or self._open(client)
            if flow is not None:
                flow.send(data)

    def _open(self, client: Address) -> _Flow | None:
        target = self._target()
        if target is None:
            return None
        try:
            place = self._network.place("udp", *target)
            if len(self._flows) >= _MAX_FLOWS:
                self._flows.pop(next(iter(self._flows))).close()
            flow = self._flows[client] = _Flow(self, client, place)
        except OSError:
            return None
        return flow

    def answer(self, client: Address, data: bytes) -> None:
        with suppress(OSError):  # a full buffer drops the datagram, as any network may
            self._sock.sendto(data, client)

    def drop(self, client: Address) -> None:
        flow = self._flows.pop(client, None)
        if flow is not None:
            flow.close()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        for client, flow in tuple(self._flows.items()):
            if loop.time() - flow.used > FLOW_IDLE:
                self.drop(client)
        self._sweeper = loop.call_later(FLOW_IDLE, self._sweep)

    def close(self, *, cut: bool = False) -> None:
        """Stop; the flows end with their listener, `cut` or not, since answers need its socket."""
        if self._sock.fileno() < 0:
            return
        self._sweeper.cancel()
        for client in tuple(self._flows):
            self.drop(client)
        asyncio.get_running_loop().remove_reader(self._sock)
        self._sock.close()
        self._network._forget(self)


class UdpEcho:
    """Answers each datagram with itself."""

    protocol = "udp"

    def __init__(self, network: Network, ip: str, port: int) -> None:
        self.ip, self.port = ip, port
        self._network = network
        self._sock = _datagram_socket()
        try:
            network._bind(self, self._sock)
        except BaseException:
            self._sock.close()
            raise
        asyncio.get_running_loop().add_reader(self._sock, self._receive)

    def _receive(self) -> None:
        for _ in range(_DATAGRAMS_PER_TURN):
            try:
                data, client = self._sock.recvfrom(_DATAGRAM)
                self._sock.sendto(data, client)
            except OSError:
                return

    def close(self, *, cut: bool = False) -> None:
        if self._sock.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._sock)
            self._sock.close()
            self._network._forget(self)


type _Listener = TcpListener | UdpListener | UdpEcho


class _Flow:
    """One client's way to one target, and back."""

    def __init__(self, listener: UdpListener, client: Address, place: Address) -> None:
        self._listener, self._client = listener, client
        self._sock = _datagram_socket()
        self._sock.connect(place)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._sock, self._receive)
        self.used = loop.time()

    def send(self, data: bytes) -> None:
        self.used = asyncio.get_running_loop().time()
        with suppress(BlockingIOError):
            try:
                self._sock.send(data)
            except ConnectionRefusedError:  # the target went away: the next datagram asks for a new one
                self._listener.drop(self._client)

    def _receive(self) -> None:
        for _ in range(_DATAGRAMS_PER_TURN):
            try:
                data = self._sock.recv(_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:
                self._listener.drop(self._client)
                return
            self._listener.answer(self._client, data)

    def close(self) -> None:
        if self._sock.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._sock)
            self._sock.close()


def _datagram_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    return sock


def _close(sock: socket.socket, _: object) -> None:
    """Close a connection whose task ended, also one that was cut before its first step."""
    sock.close()
