"""Ways out of the cluster and into it: egress proxies, subnet routers, exit nodes, and the world around."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from functools import partial
from typing import Any

import httpx2 as httpx
import pytest

from tailrace.sandbox.workloads.outside import Device
from tailrace.sandbox.world import POD_CIDR, SERVICE_CIDR, World
from tests.sandbox.workloads.living import (
    NS,
    Doc,
    find,
    give_rights,
    pod,
    proxy,
    ready,
    reason,
    secret,
    service,
    until,
)

pytestmark = pytest.mark.anyio
LAN, PRINTER, WEBSITE = "192.168.1.0/24", "192.168.1.20", "203.0.113.7"


def configured(name: str, env: dict[str, str], *, sysctl: bool, inside: str) -> Doc:
    """A kernel proxy pod with a configuration file, as operators make one. `inside`: the host that its probe asks there."""
    container = proxy(volumeMounts=[{"name": "config", "mountPath": "/etc/tsconfig"}])
    values = {
        "TS_USERSPACE": "false",
        "TS_KUBE_SECRET": f"{name}-state",
        "TS_EXPERIMENTAL_VERSIONED_CONFIG_DIR": "/etc/tsconfig",
        **env,
    }
    old = [e for e in container["env"] if e["name"] not in values and e["name"] != "TS_HOSTNAME"]
    container["env"] = [*old, *({"name": k, "value": v} for k, v in values.items())]
    if inside:
        command = ["wget", "-qO-", f"http://{inside}:9002/healthz"]
        container["readinessProbe"] = {"exec": {"command": command}, "periodSeconds": 1}
    initial = {
        "name": "sysctler",
        "image": "tailscale/tailscale",
        "command": ["/bin/sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"],
        "securityContext": {"privileged": True},
    }
    volumes = [{"name": "config", "secret": {"secretName": name}}]
    return pod(name, container, initContainers=[initial] if sysctl else [], volumes=volumes)


def start(world: World, name: str, config: Doc, *, sysctl: bool = True, inside: str = "", **env: str) -> None:
    """The pod with its two Secrets: configuration with a fresh key, and state."""
    expires = world.now().replace(year=world.now().year + 1)
    key = world.plane.tailnet.add_key(tags=("tag:k8s",), expires=expires, reusable=True).secret
    full = {"Version": "alpha0", "Locked": False, "Hostname": name, "AuthKey": key} | config
    world.apply(
        [
            secret(name, **{"cap-107.hujson": json.dumps(full)}),
            secret(f"{name}-state", authkey=key),
            configured(name, env, sysctl=sysctl, inside=inside),
        ]
    )


async def answers(world: World | Device, host: str, port: int = 80) -> str:
    """Who answers, in the first line; empty when nobody does."""
    try:
        return (await world.fetch(host, port))[1].decode().splitlines()[0]
    except OSError:
        return ""


async def heard(world: World | Device, host: str, expected: str, port: int = 80) -> None:
    """Wait until that is who answers."""
    async with asyncio.timeout(20):
        while await answers(world, host, port) != expected:
            await asyncio.sleep(0.003)


def gives_up(world: World, name: str) -> bool:
    return reason(world, name) == "CrashLoopBackOff"


def approve(world: World, name: str, *routes: str) -> None:
    world.plane.tailnet.approve_routes(device(world, name).id, routes)


def device(world: World, name: str) -> Any:
    return next((node for node in world.plane.tailnet.nodes.all() if node.name == name), None)


async def echoed(world: World, host: str, port: int) -> bytes:
    """What comes back for a datagram; asked again, as datagrams may be lost."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(world.network.place("udp", world.resolve(host)[0], port))
        for _ in range(5):
            await loop.sock_sendall(sock, b"ping")
            try:
                async with asyncio.timeout(4):
                    return await loop.sock_recv(sock, 100)
            except TimeoutError:
                continue
    return b""


# Egress


@pytest.mark.parametrize("by", ["address", "name"])
async def test_an_egress_proxy_carries_every_port_to_a_device(world: World, by: str) -> None:
    """TCP and UDP, through the Service that leads to the pod; gone while the device is offline."""
    give_rights(world)
    nas = world.join("nas", http=(80, 445), udp=(53,))
    if by == "address":
        start(world, "way", {}, TS_TAILNET_TARGET_IP=nas.address)
    else:
        start(world, "way", {}, TS_TAILNET_TARGET_FQDN=f"{nas.node.fqdn.upper()}.")
    world.apply(
        [
            service("way", clusterIP="None", selector={"app": "way"}, publishNotReadyAddresses=True),
            service("nas", type="ExternalName", externalName="way.default.svc.cluster.local", selector=None),
        ]
    )
    await until(lambda: world.resolve("nas.default.svc.cluster.local"))
    await heard(world, "nas.default.svc.cluster.local", "device: nas", 445)
    assert await echoed(world, "nas.default.svc.cluster.local", 53) == b"ping"
    nas.disconnect()
    assert await answers(world, "nas.default.svc.cluster.local", 445) == ""
    nas.connect()
    await heard(world, "nas.default.svc.cluster.local", "device: nas", 445)


async def test_a_name_is_followed_when_its_device_gets_another_address(world: World) -> None:
    """As containerboot sees it in the network map."""
    give_rights(world)
    nas = world.join("nas")
    start(world, "way", {}, TS_TAILNET_TARGET_FQDN=nas.node.fqdn)
    await until(lambda: (find(world, "pods", "way") or {}).get("status", {}).get("podIP"))
    ip = (find(world, "pods", "way") or {})["status"]["podIP"]
    await heard(world, ip, "device: nas")
    before = nas.address
    world.plane.tailnet.move_node(nas.id)
    assert nas.address != before
    await heard(world, ip, "device: nas")
    assert await answers(world, before) == ""


async def test_a_name_that_is_no_peers_ends_a_proxy_that_starts_and_leaves_one_that_runs_behind(
    world: World,
) -> None:
    """containerboot's loop ends: while it starts, it exits and is restarted; later it hangs, and does not see that the
    name is back at another address."""
    give_rights(world)
    fqdn = f"nas.{world.plane.tailnet.base_domain}"
    start(world, "way", {}, TS_TAILNET_TARGET_FQDN=fqdn)
    await until(partial(gives_up, world, "way"))
    log = world.kubelet.read_log(NS, "way", "proxy", None) or ""
    assert f'could not find Tailscale node, service or 4via6 address "{fqdn}"' in log
    nas = world.join("nas")
    ip = (find(world, "pods", "way") or {})["status"]["podIP"]
    await heard(world, ip, "device: nas")
    nas.remove()
    await until(lambda: not world.network.listening(ip))
    again = world.join("nas")
    assert await answers(world, again.node.fqdn) == "device: nas"
    assert await answers(world, ip) == ""
    await world.kubelet.crash(NS, "way")
    await heard(world, ip, "device: nas")


async def test_a_name_that_goes_to_another_device_is_not_followed_while_the_pod_runs(world: World) -> None:
    """For a moment nobody has it, and containerboot looks no more: it leads to the first device, which lives on under
    another name. A restart finds the one that has the name now."""
    give_rights(world)
    nas, other = world.join("nas"), world.join("other")
    fqdn = nas.node.fqdn
    start(world, "way", {}, TS_TAILNET_TARGET_FQDN=fqdn)
    await until(lambda: (find(world, "pods", "way") or {}).get("status", {}).get("podIP"))
    ip = (find(world, "pods", "way") or {})["status"]["podIP"]
    await heard(world, ip, "device: nas")
    world.plane.tailnet.rename_node(nas.id, "elsewhere")
    await until(lambda: "could not find" in (world.kubelet.read_log(NS, "way", "proxy", None) or ""))
    assert await answers(world, ip) == "device: nas"
    world.plane.tailnet.rename_node(other.id, "nas")
    assert await answers(world, fqdn) == "device: other"
    assert await answers(world, ip) == "device: nas"
    await world.kubelet.crash(NS, "way")
    await heard(world, ip, "device: other")


async def test_what_comes_to_an_egress_pod_goes_on_so_no_probe_reaches_its_page(world: World) -> None:
    """The rule takes every port of the pod's address, also that of /healthz: ready is only who asks inside the pod."""
    give_rights(world)
    nas = world.join("nas", http=(80, 9002))
    start(world, "way", {}, TS_TAILNET_TARGET_IP=nas.address)
    for name, at, asked in (
        ("loop", "127.0.0.1", "127.0.0.1"),
        ("both", "[::]", "localhost"),
        ("other", "127.0.0.1", ""),
        ("wrong", "$(POD_IP)", "127.0.0.1"),
    ):
        env = {"TS_TAILNET_TARGET_IP": nas.address, "TS_LOCAL_ADDR_PORT": f"{at}:9002"}
        start(world, name, {}, sysctl=True, inside=asked, **env)
    await until(lambda: ready(world, "loop") and ready(world, "both"))
    for name in ("way", "other", "wrong"):
        ip = (find(world, "pods", name) or {})["status"]["podIP"]
        await heard(world, ip, "device: nas", 9002)
        assert not ready(world, name), name


async def test_a_target_that_is_no_address_and_a_kernel_that_does_not_forward(world: World) -> None:
    """Both end the container before anything of it starts, in containerboot's words."""
    give_rights(world)
    start(world, "wrong", {}, TS_TAILNET_TARGET_IP="nas")
    start(world, "stiff", {}, sysctl=False, TS_TAILNET_TARGET_IP="127.64.0.9")
    for name, said in (
        ("wrong", "invalid tailnet destination IP"),
        ("stiff", "IP forwarding must be enabled"),
    ):
        await until(partial(gives_up, world, name))
        assert said in (world.kubelet.read_log(NS, name, "proxy", None) or "")


# Subnet routers


async def test_a_client_reaches_the_cluster_through_a_router(world: World) -> None:
    """Pods and Services under the addresses that the cluster shows: advertised, approved, and accepted."""
    give_rights(world)
    world.apply([pod("web"), service("web")])
    start(world, "router", {"AdvertiseRoutes": [POD_CIDR, SERVICE_CIDR]})
    await until(lambda: ready(world, "web") and ready(world, "router"))
    laptop = world.join("laptop")
    targets = [
        (find(world, "pods", "web") or {})["status"]["podIP"],
        (find(world, "services", "web") or {})["spec"]["clusterIP"],
    ]
    assert [ip.rpartition(".")[0] for ip in targets] == ["10.244.0", "10.96.0"]
    laptop.accept_routes = True
    assert [await answers(laptop, ip) for ip in targets] == ["", ""]
    approve(world, "router", POD_CIDR, SERVICE_CIDR)
    for ip in targets:
        await heard(laptop, ip, "pod: web")
    laptop.accept_routes = False
    assert [await answers(laptop, ip) for ip in targets] == ["", ""]


async def test_a_router_whose_kernel_does_not_forward_carries_nothing(world: World) -> None:
    """A configuration file does not make containerboot switch it on; in userspace there is no need to."""
    give_rights(world)
    world.apply([pod("web")])
    start(world, "stiff", {"AdvertiseRoutes": ["10.244.0.0/16"]}, sysctl=False)
    start(world, "soft", {"AdvertiseRoutes": ["10.244.0.0/24"]}, sysctl=False, TS_USERSPACE="true")
    await until(lambda: all(ready(world, name) for name in ("web", "stiff", "soft")))
    laptop = world.join("laptop")
    laptop.accept_routes = True
    ip = (find(world, "pods", "web") or {})["status"]["podIP"]
    approve(world, "stiff", "10.244.0.0/16")
    assert await answers(laptop, ip) == ""
    approve(world, "soft", "10.244.0.0/24")
    await heard(laptop, ip, "pod: web")


async def test_only_a_connected_router_serves_and_another_one_takes_over(world: World) -> None:
    """A connection through the one that went breaks; a new one goes through the other."""
    first, second = (world.join(name, routes=[LAN], lan="office") for name in ("first", "second"))
    world.host(PRINTER, lan="office", name="printer")
    laptop = world.join("laptop")
    laptop.accept_routes = True
    approve(world, "first", LAN)
    await heard(laptop, PRINTER, "host: printer")
    open_one = await laptop.dial(PRINTER, 80)
    first.disconnect()
    with open_one:
        assert await asyncio.get_running_loop().sock_recv(open_one, 1) == b""
    assert await answers(laptop, PRINTER) == ""
    approve(world, "second", LAN)
    await heard(laptop, PRINTER, "host: printer")
    second.remove()
    assert await answers(laptop, PRINTER) == ""
    assert await answers(world, PRINTER) == "", "who is not on the tailnet's way does not get there"
    first.connect()
    await heard(laptop, PRINTER, "host: printer")


async def test_a_proxy_with_accept_routes_reaches_behind_a_router(world: World) -> None:
    """An egress proxy to an address in somebody's office, as long as its configuration says so."""
    give_rights(world)
    router = world.join("router", routes=[LAN], lan="office")
    world.host(PRINTER, lan="office", name="printer", http=(80, 631), udp=(161,))
    approve(world, "router", LAN)
    for name, config in (("open", {"acceptRoutes": True}), ("shut", {"acceptRoutes": False}), ("mute", {})):
        start(world, name, config, TS_TAILNET_TARGET_IP=PRINTER)
    ips = {}
    for name in ("open", "shut", "mute"):
        await until(partial(device, world, name))
        ips[name] = (await until(partial(find, world, "pods", name)))["status"]["podIP"]
    await heard(world, ips["open"], "host: printer", 631)
    assert await echoed(world, ips["open"], 161) == b"ping"
    assert (await answers(world, ips["shut"], 631), await answers(world, ips["mute"], 631)) == ("", "")
    router.disconnect()
    assert await answers(world, ips["open"], 631) == ""
    router.connect()
    await heard(world, ips["open"], "host: printer", 631)


async def test_the_narrowest_route_wins(world: World) -> None:
    """Also when nobody answers behind it."""
    world.join("wide", routes=["192.168.0.0/16"], lan="office")
    narrow = world.join("narrow", routes=[LAN], lan="home")
    world.host(PRINTER, lan="office", name="printer")
    laptop = world.join("laptop")
    laptop.accept_routes = True
    approve(world, "wide", "192.168.0.0/16")
    assert await answers(laptop, PRINTER) == "host: printer"
    approve(world, "narrow", LAN)
    assert await answers(laptop, PRINTER) == ""
    narrow.disconnect()
    assert await answers(laptop, PRINTER) == "host: printer"


# Exit nodes


async def test_the_internet_is_behind_an_exit_node(world: World) -> None:
    """A pod that advertises both default routes, one that says AdvertiseExitNode, a device; approved, and chosen."""
    give_rights(world)
    world.host(WEBSITE, name="website")
    world.host(PRINTER, lan="cluster", name="printer")
    start(world, "routes", {"AdvertiseRoutes": ["0.0.0.0/0", "::/0"]})
    start(world, "flag", {"AdvertiseExitNode": True})
    world.join("outside", exit_node=True)
    await until(lambda: ready(world, "routes") and ready(world, "flag"))
    laptop = world.join("laptop")
    laptop.accept_routes = True
    for name in ("routes", "flag", "outside"):
        node = device(world, name)
        assert node.advertised == ("0.0.0.0/0", "::/0")
        laptop.exit_node = node.id
        assert await answers(laptop, WEBSITE) == ""
        approve(world, name, "0.0.0.0/0")
        assert await answers(laptop, WEBSITE) == "host: website"
        assert await answers(laptop, PRINTER) == "", "an exit node does not lead into private networks"
    laptop.exit_node = ""
    assert await answers(laptop, WEBSITE) == ""


# Around


async def test_an_app_connector_shows_on_its_node(world: World) -> None:
    """And in the listing of the sandbox's own hand; no control plane has a word for it."""
    give_rights(world)
    start(world, "apps", {"AppConnector": {"Advertise": True}})
    start(world, "plain", {"AppConnector": {"Advertise": False}})
    await until(lambda: ready(world, "apps") and ready(world, "plain"))
    assert [device(world, name).app_connector for name in ("apps", "plain")] == [True, False]


async def test_a_device_comes_and_goes(world: World) -> None:
    """It belongs to somebody or has tags, answers while it is online, and is gone when anybody deletes it."""
    tagged, owned = world.join("db", tags=["tag:db"]), world.join("laptop")
    assert (tagged.node.tags, tagged.node.user) == (("tag:db",), None)
    assert owned.node.tags == ()
    assert owned.node.user is not None
    assert await answers(owned, "db") == await answers(owned, tagged.node.fqdn) == "device: db"
    owned.disconnect()
    owned.disconnect()
    assert not owned.node.online
    with pytest.raises(OSError, match="offline"):
        await owned.dial("db", 80)
    owned.connect()
    world.plane.tailnet.delete_node(tagged.id)
    assert tagged.gone
    assert await answers(owned, tagged._at[0] if tagged._at else "db") == ""
    owned.remove()
    owned.remove()
    with pytest.raises(ValueError, match="is called db"):
        world.outside.get("db")


async def test_the_world_outside_is_made_over_http(world: World) -> None:
    """What a user does with `kubectl create --raw /sandbox/…`: a router, a client, a host, and a look at it."""
    trust = ssl.create_default_context(cadata=world._ca_pem)
    headers = {"authorization": f"Bearer {world.admin_token}"}
    async with httpx.AsyncClient(verify=trust, trust_env=False, base_url=world.url, headers=headers) as http:

        async def ask(method: str, path: str, **body: Any) -> tuple[int, Doc]:
            answer = await http.request(method, f"/sandbox/{path}", json=body)
            return answer.status_code, answer.json()

        code, shown = await ask("POST", "devices", hostname="router", routes=[LAN], lan="office")
        assert (code, shown["name"], shown["online"]) == (200, "router", True)
        assert shown["advertisedRoutes"] == [LAN]
        assert (await ask("POST", "hosts", ip=PRINTER, lan="office", name="printer"))[0] == 200
        assert (await ask("POST", "devices", hostname="laptop", http=[]))[0] == 200
        approve(world, "router", LAN)
        code, refused = await ask("POST", "devices/laptop/fetch", host=PRINTER)
        assert (code, refused["message"]) == (400, f"[Errno 113] no way to {PRINTER}")
        assert (await ask("PUT", "devices/laptop", acceptRoutes=True))[1]["acceptRoutes"] is True
        code, seen = await ask("POST", "devices/laptop/fetch", host=PRINTER)
        assert (code, seen["status"], seen["body"].splitlines()[0]) == (200, 200, "host: printer")
        assert (await ask("PUT", "devices/router", online=False, routes=[]))[1]["online"] is False
        assert (await ask("POST", "devices/laptop/fetch", host=PRINTER))[0] == 400
        assert (await ask("DELETE", "devices/router"))[0] == 200
        for path, body in (("devices", {}), ("devices", {"host": "x"}), ("hosts", {"ip": "x"})):
            assert (await ask("POST", path, **body))[0] == 400
        assert (await ask("DELETE", "devices/router"))[0] == 400
        assert device(world, "router") is None
