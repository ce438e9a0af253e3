"""The way to a Service: ClusterIPs lead to ready endpoints only, names to addresses, and doors close."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import Any

import pytest

from tailrace.sandbox.kubernetes.resources import Ref
from tailrace.sandbox.workloads import endpoints
from tailrace.sandbox.world import World
from tests.sandbox.workloads.living import (
    NS,
    PODS,
    SERVICES,
    find,
    give_rights,
    living,
    pod,
    proxy,
    ready,
    service,
    until,
)

pytestmark = pytest.mark.anyio
SLICES = Ref("discovery.k8s.io", "v1", "endpointslices")


def cluster_ip(world: World, name: str) -> str:
    return str((find(world, "services", name) or {})["spec"]["clusterIP"])


def opened(world: World, name: str) -> frozenset[tuple[str, int]]:
    return world.network.listening(cluster_ip(world, name))


def by_hand(name: str, address: str, port: int, of: str) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": NS, "labels": {endpoints.SERVICE_NAME: of}},
        "addressType": "IPv4",
        "ports": [{"name": "", "protocol": "TCP", "port": port}],
        "endpoints": [{"addresses": [address]}],
    }


async def hear_often(world: World, name: str) -> set[bytes]:
    """Who answers four times in a row."""
    heard: set[bytes] = set()
    for _ in range(4):
        try:
            heard.add((await world.fetch(cluster_ip(world, name)))[1].splitlines()[0])
        except OSError:
            heard.add(b"nobody")
    return heard


async def test_a_cluster_ip_leads_to_ready_pods_in_turn(world: World) -> None:
    """Both pods answer; the one that goes answers no more; without any the door is closed."""
    labels = {"app": "web"}
    world.apply([service("web"), pod("a", labels=labels), pod("b", labels=labels)])
    await until(lambda: ready(world, "a") and ready(world, "b") and opened(world, "web"))
    await until(lambda: len(world.resolve("web.default.svc.cluster.local")) == 1)
    heard: set[bytes] = set()
    async with asyncio.timeout(10):
        while len(heard) < 2:
            heard.add((await world.fetch("web.default.svc.cluster.local"))[1].splitlines()[0])
    assert heard == {b"pod: a", b"pod: b"}
    world.cluster.delete(PODS, "a", namespace=NS)
    await until(lambda: not find(world, "pods", "a"))
    async with asyncio.timeout(10):
        while await hear_often(world, "web") != {b"pod: b"}:  # the last knock at the old pod may be reset
            await asyncio.sleep(0)
    world.cluster.delete(PODS, "b", namespace=NS)
    await until(lambda: not opened(world, "web"))


async def test_pods_that_are_not_ready_get_nothing(world: World) -> None:
    """The sidecar of this pod never comes up, so its Service has no door; it opens when the sidecar may log in."""
    app = {"name": "app", "image": "a:1", "ports": [{"containerPort": 80}]}
    world.apply([service("both"), pod("both", app, proxy())])
    await until(lambda: world.kubelet.read_log(NS, "both", "proxy", None))
    await until(
        lambda: (
            "both-0" in {key[1] for key in world.cluster.store.all(("discovery.k8s.io", "endpointslices"))}
        )
    )
    assert not opened(world, "both")
    give_rights(world)
    await until(lambda: opened(world, "both"))


async def test_udp_reaches_pods_too(world: World) -> None:
    """A datagram goes through the ClusterIP and comes back."""
    echo = pod("dns")
    echo["metadata"]["annotations"] = {"sandbox.tailrace.dev/udp-echo": "53"}
    world.apply([echo, service("dns", ports=[{"port": 53, "protocol": "UDP"}])])
    await until(lambda: ("udp", 53) in opened(world, "dns"))
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        await loop.sock_connect(client, world.network.place("udp", cluster_ip(world, "dns"), 53))
        await loop.sock_sendall(client, b"hello")
        async with asyncio.timeout(10):
            assert await loop.sock_recv(client, 100) == b"hello"


async def test_doors_close_with_the_service(world: World) -> None:
    """Nobody listens on its address any more, and nothing of it is kept."""
    world.apply([service("web"), pod("web")])
    await until(lambda: opened(world, "web"))
    address = cluster_ip(world, "web")
    world.cluster.delete(SERVICES, "web", namespace=NS)
    await until(lambda: not world.network.listening(address))
    with pytest.raises(ConnectionRefusedError):
        await world.dial(address, 80)


async def test_an_endpoint_outside_the_cluster(world: World) -> None:
    """A slice by hand behind a Service without selector leads to a server of this machine."""

    def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"outside")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        world.apply([service("ext", selector=None), by_hand("ext-1", "127.0.0.1", port, "ext")])
        await until(lambda: opened(world, "ext"))
        reader, writer = await asyncio.open_connection(sock=await world.dial(cluster_ip(world, "ext"), 80))
        assert await reader.read() == b"outside"
        writer.close()
        await writer.wait_closed()
    world.cluster.delete(SLICES, "ext-1", namespace=NS)
    await until(lambda: not opened(world, "ext"))


async def test_names(world: World) -> None:
    """Services, headless ones with their pods, chains of aliases, devices, literals, and what there is not."""
    named = pod("db-0", labels={"app": "db"}, hostname="db-0", subdomain="db")
    world.apply(
        [
            named,
            service("db", clusterIP="None"),
            service("web"),
            service("one", type="ExternalName", externalName="two.default.svc.cluster.local", selector=None),
            service("two", type="ExternalName", externalName="web.default.svc.cluster.local", selector=None),
            service(
                "self", type="ExternalName", externalName="self.default.svc.cluster.local", selector=None
            ),
            service("raw", type="ExternalName", externalName="localhost", selector=None),
        ]
    )
    suffix = "default.svc.cluster.local"
    await until(lambda: ready(world, "db-0") and world.resolve(f"db.{suffix}"))
    ip = (find(world, "pods", "db-0") or {})["status"]["podIP"]
    found = {
        name: tuple(world.resolve(name))
        for name in (
            f"db.{suffix}",
            f"db-0.db.{suffix}",
            f"db-1.db.{suffix}",
            f"ONE.{suffix}.",
            f"self.{suffix}",
            f"raw.{suffix}",
            f"x.web.{suffix}",
            f"nobody.{suffix}",
            "svc.cluster.local",
            ".svc.cluster.local",
            "[::1]",
            "127.1.2.3",
            "example.com",
        )
    }
    assert found == {
        f"db.{suffix}": (ip,),
        f"db-0.db.{suffix}": (ip,),
        f"db-1.db.{suffix}": (),
        f"ONE.{suffix}.": (cluster_ip(world, "web"),),
        f"self.{suffix}": (),
        f"raw.{suffix}": ("127.0.0.1",),
        f"x.web.{suffix}": (),
        f"nobody.{suffix}": (),
        "svc.cluster.local": (),
        ".svc.cluster.local": (),
        "[::1]": ("::1",),
        "127.1.2.3": ("127.1.2.3",),
        "example.com": (),
    }


async def test_a_world_ends_although_somebody_is_connected(tmp_path: Path) -> None:
    """Also through a door that is closed already: the connection is cut."""
    async with living(tmp_path) as world:
        echo = pod("web")
        echo["metadata"]["annotations"] = {"sandbox.tailrace.dev/tcp-echo": "80"}
        world.apply([echo, service("web")])
        await until(lambda: opened(world, "web"))
        client = await world.dial(cluster_ip(world, "web"), 80)
        address = cluster_ip(world, "web")
        world.cluster.delete(SERVICES, "web", namespace=NS)
        await until(lambda: not world.network.listening(address))
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(client, b"still")
        async with asyncio.timeout(10):
            assert await loop.sock_recv(client, 100) == b"still"
        world.cluster.delete(PODS, "web", namespace=NS)
    with client:
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionResetError):
                assert await loop.sock_recv(client, 100) == b""
