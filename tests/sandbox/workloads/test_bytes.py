"""Real bytes over real sockets: relaying, forwarding, PROXY headers, datagrams, many at once."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections.abc import AsyncIterator
from contextlib import closing

import pytest

from tailrace.sandbox.workloads import backends, relay, web
from tailrace.sandbox.workloads.dataplane import Door, Forwards, Way
from tailrace.sandbox.workloads.network import Network

pytestmark = pytest.mark.anyio

POD, CLUSTER, DEVICE, CLIENT = "127.10.77.1", "127.96.77.1", "127.64.77.1", "127.64.77.9"
MIB = 1024 * 1024


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    async with Network(own=("127.10.0.0/16", "127.96.0.0/16", "127.64.0.0/10")) as opened:
        yield opened


def pod(**annotations: str) -> dict[str, object]:
    keys = {f"sandbox.tailrace.dev/{name.replace('_', '-')}": value for name, value in annotations.items()}
    return {"metadata": {"name": "web-0", "annotations": keys}, "spec": {"containers": []}}


def chain(network: Network, protocol: str = "tcp", *, proxy_protocol: int = 0) -> tuple[Forwards, Forwards]:
    """Device:80 → ClusterIP:80 → pod:8080, as a tailnet client goes."""
    services = Forwards(network, cut=False)
    services.match({Door(protocol, CLUSTER, 80): Way(((POD, 8080),))})
    proxy = Forwards(network, cut=True)
    target = (POD, 8080) if proxy_protocol else (CLUSTER, 80)
    proxy.match({Door(protocol, DEVICE, 80): Way((target,), proxy_protocol)})
    return services, proxy


async def read_all(sock: socket.socket) -> bytes:
    data = bytearray()
    while more := await asyncio.get_running_loop().sock_recv(sock, relay.CHUNK):
        data += more
    return bytes(data)


async def test_64_mib_arrive_whole_both_ways_with_a_half_close(network: Network) -> None:
    """The client ends its stream, and still gets every byte of the answer."""
    backends.open_backend(network, pod(tcp_echo="8080"), POD)
    chain(network)
    payload = os.urandom(MIB) * 64
    with closing(await network.connect(DEVICE, 80)) as sock:

        async def send() -> None:
            await asyncio.get_running_loop().sock_sendall(sock, payload)
            sock.shutdown(socket.SHUT_WR)

        async with asyncio.TaskGroup() as group:
            group.create_task(send())
            answer = group.create_task(read_all(sock))
    assert hashlib.sha256(answer.result()).digest() == hashlib.sha256(payload).digest()


async def test_200_connections_at_once(network: Network) -> None:
    """Every one of 200 simultaneous requests is answered."""
    backends.open_backend(network, pod(http="8080"), POD)
    chain(network)

    async def ask(number: int) -> tuple[int, bytes]:
        return await web.get(await network.connect(DEVICE, 80), "app", f"/{number}")

    answers = await asyncio.gather(*(ask(n) for n in range(200)))
    assert [status for status, _ in answers] == [200] * 200
    assert all(f"GET /{n}".encode() in body for n, (_, body) in enumerate(answers))


@pytest.mark.parametrize("version", [1, 2])
async def test_the_backend_learns_the_client_from_the_proxy_header(network: Network, version: int) -> None:
    """The header names the client's tailnet address; its destination is the backend's port, not the served one."""
    backends.open_backend(network, pod(http="8080"), POD)
    chain(network, proxy_protocol=version)
    status, body = await web.get(await network.connect(DEVICE, 80, source=CLIENT), "app", "/")
    assert status == 200
    assert f"proxy-protocol: v{version} {CLIENT} → port 8080" in body.decode()


async def test_datagrams_find_their_way_back(network: Network) -> None:
    """Two clients talk to one UDP service through two hops and each gets its own answers."""
    backends.open_backend(network, pod(udp_echo="8080"), POD)
    chain(network, "udp")
    loop = asyncio.get_running_loop()
    for name in (b"one", b"two"):
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, network.place("udp", DEVICE, 80))
            await loop.sock_sendall(sock, name)
            assert await loop.sock_recv(sock, 100) == name


async def test_endpoints_take_turns(network: Network) -> None:
    """Connections go round robin over the ready endpoints."""
    for last, name in ((1, "a"), (2, "b")):
        document = pod(http="8080")
        document["metadata"] = {"name": name, "annotations": {backends.HTTP: "8080"}}
        backends.open_backend(network, document, f"127.10.77.{last}")
    services = Forwards(network, cut=False)
    services.match({Door("tcp", CLUSTER, 80): Way((("127.10.77.1", 8080), ("127.10.77.2", 8080)))})
    bodies = [(await web.get(await network.connect(CLUSTER, 80), "app", "/"))[1] for _ in range(4)]
    assert [body.split()[1] for body in bodies] == [b"a", b"b", b"a", b"b"]


async def test_a_closed_door_refuses_and_a_kept_one_keeps_its_connections(network: Network) -> None:
    """Changing one port of a Service does not touch connections of another."""
    backends.open_backend(network, pod(tcp_echo="8080"), POD)
    way = Way(((POD, 8080),))
    services = Forwards(network, cut=True)
    services.match({Door("tcp", CLUSTER, 80): way, Door("tcp", CLUSTER, 81): way})
    loop = asyncio.get_running_loop()
    with (
        closing(await network.connect(CLUSTER, 80)) as kept,
        closing(await network.connect(CLUSTER, 81)) as cut,
    ):
        await loop.sock_sendall(cut, b"x")
        assert await loop.sock_recv(cut, 1) == b"x"
        services.match({Door("tcp", CLUSTER, 80): way})
        with pytest.raises(ConnectionRefusedError):
            await network.connect(CLUSTER, 81)
        with pytest.raises(ConnectionResetError):
            await loop.sock_recv(cut, 1)
        await loop.sock_sendall(kept, b"y")
        assert await loop.sock_recv(kept, 1) == b"y"


async def test_nobody_behind_the_door_breaks_the_connection(network: Network) -> None:
    """A target that refuses shows as a reset, never as an empty answer."""
    chain(network)
    with closing(await network.connect(DEVICE, 80)) as sock, pytest.raises(ConnectionResetError):
        await asyncio.get_running_loop().sock_recv(sock, 1)


async def test_two_sandboxes_on_one_machine_do_not_meet(network: Network) -> None:
    """The same address in two networks leads to each one's own listener."""
    async with Network(own=("127.0.0.0/8",)) as other:
        for where, name in ((network, "first"), (other, "second")):
            document = pod(http="8080")
            document["metadata"] = {"name": name, "annotations": {backends.HTTP: "8080"}}
            backends.open_backend(where, document, POD)
        for where, said in ((network, b"first"), (other, b"second")):
            assert said in (await web.get(await where.connect(POD, 8080), "app", "/"))[1]


async def test_a_pod_that_says_nothing_answers_its_declared_ports(network: Network) -> None:
    """Manifests of users answer without any annotation."""
    document = {
        "metadata": {"name": "plain"},
        "spec": {
            "containers": [{"ports": [{"containerPort": 8080}, {"containerPort": 53, "protocol": "UDP"}]}]
        },
    }
    assert list(backends.find_services(document)) == [(backends.HTTP, 8080)]
