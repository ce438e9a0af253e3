"""The simulated proxy container: what it reads, what it writes, when it gives up, and the bytes that it carries."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from tailrace.api import kube
from tailrace.proxy import secret, spec, statefulset
from tailrace.sandbox.controlplane.model import Ids, Tailnet
from tailrace.sandbox.controlplane.records import Node
from tailrace.sandbox.kubernetes.status import ApiError, forbidden
from tailrace.sandbox.workloads import backends, containerboot, podfiles, proxytargets, web
from tailrace.sandbox.workloads.containerboot import Crash, Proxy, Surroundings
from tailrace.sandbox.workloads.dataplane import Door, Forwards, Way
from tailrace.sandbox.workloads.network import Network
from tailrace.sandbox.workloads.paths import Paths

pytestmark = pytest.mark.anyio

POD, BACKEND, CLUSTER = "127.10.78.1", "127.10.78.2", "127.96.78.1"
CLUSTER_CIDR = "127.96.0.0/16"
DIRECTORY, CONFIG, SERVE = (
    "/etc/tsconfig/px-0",
    "/etc/tsconfig/px-0/cap-107.hujson",
    "/etc/tsconfig/px-0/serve",
)
ENV = {
    "KUBERNETES_SERVICE_HOST": "10.96.0.1",
    "TS_USERSPACE": "true",
    "POD_IP": POD,
    "POD_NAME": "px-0",
    "POD_UID": "uid-1",
    "TS_KUBE_SECRET": "px-0",
    "TS_EXPERIMENTAL_VERSIONED_CONFIG_DIR": DIRECTORY,
    "TS_ENABLE_HEALTH_CHECK": "true",
    "TS_LOCAL_ADDR_PORT": f"{POD}:9002",
}
KERNEL = ENV | {"TS_USERSPACE": "false"}
USERSPACE = ENV | {"TS_SERVE_CONFIG": SERVE}
IDENTITY = {"_machinekey", "_current-profile", "_profiles"}


class Secret:
    """A state Secret in memory."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}
        self.rights = {"get", "update", "patch"}
        self.patches: list[dict[str, bytes | None]] = []

    def get(self) -> dict[str, bytes]:
        self._need("get")
        return dict(self.data)

    def patch(self, changes: Mapping[str, bytes | None]) -> None:
        self._need("patch")
        self.patches.append(dict(changes))
        for key, value in changes.items():
            self.data.pop(key, None)
            if value is not None:
                self.data[key] = value

    def may(self, verb: str) -> bool:
        return verb in self.rights

    def _need(self, verb: str) -> None:
        if verb not in self.rights:
            raise forbidden("", "secrets", "px-0", f"cannot {verb}")


class World:
    """One proxy pod that starts and starts again, on one tailnet."""

    def __init__(self, network: Network, stack: AsyncExitStack) -> None:
        self.network, self._stack = network, stack
        self.tailnet = Tailnet("headscale-0.29", ids=Ids(7))
        self.paths, self.ip_forward = Paths(network, self.tailnet, (CLUSTER_CIDR,)), True
        self.secret, self.files, self.names = Secret(), dict[str, bytes](), dict[str, list[str]]()
        self.lines: list[str] = []

    def key(self, *, reusable: bool = False) -> str:
        expires = self.tailnet.now() + timedelta(hours=1)
        return self.tailnet.add_key(tags=("tag:k8s",), expires=expires, reusable=reusable).secret

    def configure(self, key: str | None = None, **more: Any) -> None:
        config = {"Version": "alpha0", "Locked": False, "Hostname": "app", **more}
        self.files[CONFIG] = json.dumps(config | ({"AuthKey": key} if key else {})).encode()

    def serve(self, **ports: Any) -> None:
        tcp = {port.removeprefix("p"): handler for port, handler in ports.items()}
        self.files[SERVE] = json.dumps({"TCP": tcp}).encode()

    def proxy(self, env: Mapping[str, str]) -> Proxy:
        return Proxy(
            Surroundings(
                env=env,
                read_file=self.files.get,
                list_dir=lambda path: [
                    name.removeprefix(f"{path}/") for name in self.files if name.startswith(f"{path}/")
                ],
                state=self.secret,
                nodes=self.tailnet.nodes,
                network=self.network,
                paths=self.paths,
                pod_ip=POD,
                ip_forward=self.ip_forward,
                resolve=lambda name: self.names.get(name, []),
                log=self.lines.append,
            )
        )

    async def start(self, env: Mapping[str, str]) -> tuple[Proxy, asyncio.Task[None]]:
        """A container that runs until the test ends; crashes are the test's to see."""
        proxy = self.proxy(env)
        task = asyncio.create_task(proxy.run())
        self._stack.push_async_callback(end, proxy, task)
        await settle()
        return proxy, task

    async def up(self, env: Mapping[str, str]) -> tuple[Proxy, Node]:
        """A container that came up."""
        proxy, task = await self.start(env)
        if task.done():
            await task
        assert proxy.healthy, self.lines
        return proxy, self.node

    @property
    def node(self) -> Node:
        (node,) = self.tailnet.nodes.all()
        return node


async def end(proxy: Proxy, task: asyncio.Task[None]) -> None:
    await proxy.close()
    await asyncio.gather(task, return_exceptions=True)


async def ended(task: asyncio.Task[None]) -> None:
    """The container exits by itself: what `run` raises is raised. The limit only keeps a fault from hanging."""
    async with asyncio.timeout(10):
        await task


async def settle() -> None:
    """Let everything that was told be acted upon: nothing here waits for a clock."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with (
        Network(own=("127.10.0.0/16", "127.96.0.0/16", "127.64.0.0/10")) as network,
        AsyncExitStack() as stack,
    ):
        yield World(network, stack)


def open_backend(network: Network, *, ip: str = BACKEND, **annotations: str) -> None:
    keys = {f"sandbox.tailrace.dev/{name.replace('_', '-')}": port for name, port in annotations.items()}
    document = {"metadata": {"name": "web-0", "annotations": keys}, "spec": {"containers": []}}
    backends.open_backend(network, document, ip)


async def ask(world: World, ip: str, port: int, path: str = "/") -> tuple[int, str]:
    status, body = await web.get(await world.network.connect(ip, port), "app", path)
    return status, body.decode()


async def test_a_userspace_proxy_serves_what_its_file_says(world: World) -> None:
    """From a key in a file to bytes at the backend, with what the operator reads back in the Secret."""
    open_backend(world.network, http="8080")
    key = world.key()
    world.configure(key)
    world.serve(p80={"TCPForward": f"{BACKEND}:8080"})
    proxy, node = await world.up(USERSPACE)
    status, body = await ask(world, node.addresses[0], 80, "/hello")
    assert (status, "GET /hello" in body) == (200, True)
    told = {name: value.decode() for name, value in world.secret.data.items()}
    assert told["device_id"] == node.id
    assert told["device_fqdn"] == "app.tailnet.example."
    assert json.loads(told["device_ips"]) == list(node.addresses)
    assert (told["pod_uid"], told["tailscale_capver"], told["https_endpoint"]) == ("uid-1", "142", "no-https")
    assert json.loads(told[told["_current-profile"]])["Config"]["NodeID"] == node.id
    assert key not in "".join(world.lines)
    await proxy.close()
    assert not world.node.online
    with pytest.raises(ConnectionRefusedError):
        await world.network.connect(node.addresses[0], 80)


@pytest.mark.parametrize(
    "target",
    [spec.Address(ip=CLUSTER), spec.Forwards(ports=(spec.Forward(port=80, host=CLUSTER, target=80),))],
    ids=["kernel", "userspace"],
)
async def test_it_runs_what_the_operator_writes_and_the_operator_reads_what_it_writes(
    world: World, target: spec.Target
) -> None:
    """The operator's own pod and Secret, seen through the kubelet's eyes, become a working device."""
    open_backend(world.network, ip=CLUSTER, http="80")
    proxy = spec.ProxySpec(
        name="px",
        namespace="tailrace",
        secret_name="px-0",
        labels={},
        app="uid",
        hostname="app",
        mode=spec.Mode.KERNEL if isinstance(target, spec.Address) else spec.Mode.USERSPACE,
        target=target,
        image=spec.Image(image="tailscale/tailscale"),
    )
    kept = secret.carry_key(secret.build_secret(proxy, notes={}), world.key())
    pod = statefulset.build_pod(proxy)
    pod["metadata"]["uid"] = "uid-1"
    pod["status"] = {"podIP": POD}
    (container,) = pod["spec"]["containers"]
    base = {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}
    env = podfiles.build_environment(pod, container, lambda kind, name: {"kind": kind} | kept, base=base)
    world.files.update(podfiles.build_files(pod, container, lambda kind, name: kept))
    _, node = await world.up(env)
    assert (await ask(world, node.addresses[0], 80))[0] == 200
    encoded = {key: base64.b64encode(value).decode() for key, value in world.secret.data.items()}
    state = secret.read(msgspec.convert({**kept, "data": kept["data"] | encoded}, kube.ProxySecret))
    assert (state.device_id, state.fqdn) == (node.id, "app.tailnet.example")
    assert world.secret.data["pod_uid"] == b"uid-1"
    assert (state.addresses, state.wants_key) == (node.addresses, False)


async def test_the_id_is_written_before_forwarding_and_the_addresses_after(world: World) -> None:
    """An operator that reads the Secret in between can delete the device, and shows no address that does not work."""
    world.configure(world.key())
    await world.up(KERNEL | {"TS_DEST_IP": CLUSTER})
    order = [
        name
        for patch in world.secret.patches
        for name in sorted(patch)
        if name in IDENTITY | {"device_id", "device_ips"}
    ]
    assert order == ["_machinekey", "_current-profile", "_profiles", "device_id", "device_ips"]


async def test_a_restart_keeps_the_device_and_needs_no_key(world: World) -> None:
    world.configure(world.key())
    first, before = await world.up(ENV)
    await first.close()
    world.configure()
    _, after = await world.up(ENV)
    assert (after.id, after.addresses, after.online) == (before.id, before.addresses, True)


async def test_a_deleted_device_is_noticed_at_the_restart_only(world: World) -> None:
    """The pod stays healthy while no peer reaches it any more; a restart with an unused key is another device."""
    open_backend(world.network, http="8080")
    world.configure(world.key())
    world.serve(p80={"TCPForward": f"{BACKEND}:8080"})
    first, before = await world.up(USERSPACE)
    world.tailnet.delete_node(before.id)
    await settle()
    assert (first.healthy, await ask(world, POD, 9002, "/healthz")) == (True, (200, "ok"))
    with pytest.raises(ConnectionRefusedError):
        await world.network.connect(before.addresses[0], 80)
    world.configure(world.key())
    first.files_changed()
    await settle()
    assert world.tailnet.nodes.all() == ()
    await first.close()
    _, after = await world.up(USERSPACE)
    assert after.id != before.id
    assert world.secret.data["device_id"].decode() == after.id


async def test_a_used_key_is_asked_for_again_and_another_one_starts_anew(world: World) -> None:
    """`reissue_authkey` holds the key that failed; with another one the old identity goes and the container exits."""
    used = world.key()
    world.configure(used)
    first, before = await world.up(ENV)
    await first.close()
    world.tailnet.delete_node(before.id)
    second, task = await world.start(ENV)
    assert (second.healthy, world.secret.data["reissue_authkey"]) == (False, used.encode())
    assert (await ask(world, POD, 9002, "/healthz"))[0] == 503
    assert "Received error: authkey already used" in world.lines
    assert world.secret.data["device_id"].decode() == before.id
    world.configure(world.key())
    second.files_changed()
    await ended(task)
    assert world.secret.data.keys() == {"pod_uid", "tailscale_capver"}
    _, after = await world.up(ENV)
    assert after.id != before.id


async def test_a_request_for_a_key_lives_until_the_configuration_has_another(world: World) -> None:
    """A restart with the same broken key leaves the request; one with no key leaves it too, and asks for any."""
    broken = world.key()
    world.tailnet.expire_key(world.tailnet.key_by_secret(broken).id)  # type: ignore[union-attr]
    world.configure(broken)
    first, _ = await world.start(ENV)
    await first.close()
    again, _ = await world.start(ENV)
    await again.close()
    told = [patch["reissue_authkey"] for patch in world.secret.patches if "reissue_authkey" in patch]
    assert told == [broken.encode()] * 2
    world.configure()
    second, _ = await world.start(ENV)
    assert world.secret.data["reissue_authkey"] == b""
    await second.close()
    world.configure(world.key())
    await world.up(ENV)
    assert "reissue_authkey" not in world.secret.data


async def test_a_start_without_control_plane_asks_for_a_key_too(world: World) -> None:
    """Though who it was is in its Secret: it waits, also when the control plane is back, until it is started again."""
    world.configure(world.key())
    first, before = await world.up(ENV)
    await first.close()
    world.configure()
    world.tailnet.nodes.reachable = False
    second, task = await world.start(ENV)
    assert (second.healthy, world.secret.data["reissue_authkey"]) == (False, b"")
    assert any(line.startswith("Received error: fetch control key: ") for line in world.lines)
    world.tailnet.nodes.reachable = True
    second.files_changed()
    await settle()
    assert (second.healthy, task.done()) == (False, False)
    await second.close()
    third, after = await world.up(ENV)
    assert (third.healthy, after.id, world.secret.data["reissue_authkey"]) == (True, before.id, b"")


async def test_nobody_brings_a_key(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containerboot, "REISSUE_WAIT", 0.0)
    world.configure()
    with pytest.raises(Crash, match="timeout waiting for auth key reissue"):
        await ended((await world.start(ENV))[1])


@pytest.mark.parametrize("missing", ["get", "update"])
async def test_the_rights_that_it_cannot_do_without(world: World, missing: str) -> None:
    world.configure(world.key())
    world.secret.rights.discard(missing)
    with pytest.raises(Crash, match=f'missing {missing} permission on secret "px-0"'):
        await ended((await world.start(ENV))[1])


async def test_without_patch_it_runs_and_writes_nothing(world: World) -> None:
    """As the real one: ready, and the operator never hears of its device."""
    world.configure(world.key())
    world.secret.rights.discard("patch")
    proxy, node = await world.up(ENV)
    assert (proxy.healthy, node.online, world.secret.data) == (True, True, {})


async def test_a_failing_api_server_crashes_it_while_it_writes(world: World) -> None:
    world.configure(world.key())

    def fail(changes: object) -> None:
        raise ApiError(500, "InternalError", "etcd is gone")

    world.secret.patch = fail  # type: ignore[method-assign]
    with pytest.raises(Crash, match="error clearing previous state from Secret: etcd is gone"):
        await ended((await world.start(ENV))[1])


@pytest.mark.parametrize(
    "env, files, said",
    [
        (ENV, {}, "no tailscaled config file found"),
        (ENV, {CONFIG: b'{"version":"alpha0","Tags":[]}'}, "unknown field"),
        (ENV | {"TS_DEST_IP": CLUSTER}, {CONFIG: b"{}"}, "not supported with TS_USERSPACE"),
        (
            ENV | {"TS_HEALTHCHECK_ADDR_PORT": f"{POD}:9003"},
            {CONFIG: b'{"version":"alpha0"}'},
            "is deprecated",
        ),
    ],
)
async def test_what_is_refused_at_once(
    world: World, env: Mapping[str, str], files: dict[str, bytes], said: str
) -> None:
    world.files.update(files)
    with pytest.raises(Crash, match=said):
        await ended((await world.start(env))[1])


async def test_a_changed_configuration_is_taken_over_and_a_vanished_one_is_fatal(world: World) -> None:
    """Hostname and routes reach the control plane without a restart, the new name comes back into the Secret."""
    world.configure(world.key())
    proxy, task = await world.start(ENV)
    world.configure(Hostname="web", AdvertiseRoutes=["10.9.0.0/24"])
    proxy.files_changed()
    await settle()
    assert (world.node.hostname, world.node.advertised) == ("web", ("10.9.0.0/24",))
    assert world.secret.data["device_fqdn"] == b"web.tailnet.example."
    del world.files[CONFIG]
    proxy.files_changed()
    with pytest.raises(Crash, match=r"failed to watch tailscaled config: .*no such file"):
        await ended(task)


async def test_a_renamed_device_shows_in_the_secret(world: World) -> None:
    world.configure(world.key())
    _, node = await world.up(ENV)
    world.tailnet.rename_node(node.id, "chosen")
    await settle()
    assert world.secret.data["device_fqdn"] == b"chosen.tailnet.example."


async def test_serve_files_come_late_change_and_break(world: World) -> None:
    """A missing or empty file changes nothing, HTTPS is not applied without certificates, a broken file is fatal."""
    open_backend(world.network, http="8080")
    world.names["web.default.svc"] = [BACKEND]
    world.configure(world.key())
    proxy, task = await world.start(USERSPACE)
    ip = world.node.addresses[0]
    assert (proxy.healthy, world.network.listening(ip)) == (True, frozenset())
    for handler, open_ports in (
        ({"p80": {"TCPForward": "web.default.svc:8080", "ProxyProtocol": 2}}, {80}),
        ({}, set()),
        ({"p81": {"TCPForward": f"{BACKEND}:8080"}}, {81}),
        ({"p443": {"HTTPS": True}}, {81}),
    ):
        world.serve(**handler)
        proxy.files_changed()
        await settle()
        assert {port for _, port in world.network.listening(ip)} == open_ports
        if open_ports == {80}:
            assert "proxy-protocol: v2" in (await ask(world, ip, 80))[1]
    world.files[SERVE] = b""
    proxy.files_changed()
    await settle()
    assert (await ask(world, ip, 81))[0] == 200
    world.files[SERVE] = b"{"
    proxy.files_changed()
    with pytest.raises(Crash, match="serve proxy: failed to read serve config"):
        await ended(task)


async def test_a_locked_configuration_takes_no_serve_file(world: World) -> None:
    world.configure(world.key(), Locked=True)
    with pytest.raises(Crash, match="config file is locked"):
        await ended((await world.start(USERSPACE))[1])


async def test_a_kernel_proxy_forwards_every_port_of_its_target(world: World) -> None:
    """Ports that the Service gains and loses come and go at the device; UDP is carried as well."""
    open_backend(world.network, http="8080", udp_echo="53")
    service, way = Forwards(world.network, cut=False), Way(((BACKEND, 8080),))
    service.match({Door("tcp", CLUSTER, 80): way})
    world.configure(world.key())
    _, node = await world.up(KERNEL | {"TS_DEST_IP": CLUSTER})
    ip = node.addresses[0]
    assert (await ask(world, ip, 80))[0] == 200
    service.match({Door("tcp", CLUSTER, 81): way, Door("udp", CLUSTER, 53): Way(((BACKEND, 53),))})
    await settle()
    assert world.network.listening(ip) == {("tcp", 81), ("udp", 53)}
    assert (await ask(world, ip, 81))[0] == 200


async def test_a_dns_name_is_looked_at_until_it_resolves(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then the operator is told nothing but the id; afterwards the name is followed."""
    monkeypatch.setattr(proxytargets, "RESOLVE_PERIOD", 0.0)
    open_backend(world.network, http="8080")
    world.configure(world.key())
    proxy, task = await world.start(KERNEL | {"TS_EXPERIMENTAL_DEST_DNS_NAME": "db.example.com"})
    assert (await ask(world, POD, 9002, "/healthz"))[0] == 503
    assert world.secret.data.keys() & {"device_id", "device_ips"} == {"device_id"}
    world.names["db.example.com"] = [BACKEND]
    while not proxy.healthy:
        await asyncio.sleep(0)
    assert (await ask(world, world.node.addresses[0], 8080))[0] == 200
    assert not task.done()


async def test_an_egress_proxy_leads_from_its_pod_to_a_device(world: World) -> None:
    """Every port goes to the target, that of the proxy's own page too; a target that does not exist ends it."""
    env = KERNEL | {"TS_TAILNET_TARGET_FQDN": "nas.tailnet.example"}
    world.configure(world.key())
    await ended((await world.start(env))[1])
    assert any("could not find Tailscale node" in line for line in world.lines)
    nas = world.tailnet.nodes.login(auth_key=world.key(), hostname="nas", machine_key="m")
    open_backend(world.network, ip=nas.addresses[0], http="445,9002")
    proxy, _ = await world.start(env)
    assert (proxy.healthy, proxy.shadowed) == (True, True)
    for port in (445, 9002):
        assert (await ask(world, POD, port, "/healthz"))[1].startswith("pod: web-0")


async def test_a_device_waits_for_its_approval(world: World) -> None:
    """And crashes when that is taken back, or when its key is made to expire."""
    world.tailnet = Tailnet("tailscale", ids=Ids(7), policy_text='{"tagOwners": {"tag:k8s": []}}')
    key = world.tailnet.add_key(
        tags=("tag:k8s",), expires=world.tailnet.now() + timedelta(hours=1), preauthorized=False
    )
    world.configure(key.secret)
    _, task = await world.start(ENV)
    assert (await ask(world, POD, 9002, "/healthz"))[0] == 503
    world.tailnet.authorize_node(world.node.id, True)
    await settle()
    assert (await ask(world, POD, 9002, "/healthz"))[0] == 200
    world.tailnet.authorize_node(world.node.id, False)
    with pytest.raises(Crash, match='now in state "NeedsMachineAuth"'):
        await ended(task)
    world.tailnet.authorize_node(world.node.id, True)
    _, task = await world.start(ENV)
    world.tailnet.expire_node(world.node.id, world.tailnet.now())
    with pytest.raises(Crash, match='now in state "NeedsLogin"'):
        await ended(task)


async def test_boot_has_a_deadline(world: World) -> None:
    """A client that is switched off never gets up."""
    world.configure(world.key(), Enabled=False)
    with pytest.raises(Crash, match="context deadline exceeded"):
        await ended((await world.start(ENV | {"TS_BOOT_TIMEOUT": "1ms"}))[1])


async def test_a_container_that_is_configured_by_its_environment(world: World) -> None:
    """As people run it without an operator: key, hostname and routes as variables, or the key in the Secret."""
    plain = {name: value for name, value in ENV.items() if name != "TS_EXPERIMENTAL_VERSIONED_CONFIG_DIR"}
    key = world.key()
    proxy, node = await world.up(plain | {"TS_AUTHKEY": key, "TS_HOSTNAME": "r", "TS_ROUTES": "10.9.0.0/24"})
    assert (node.hostname, node.advertised) == ("r", ("10.9.0.0/24",))
    await proxy.close()
    world.tailnet.delete_node(node.id)
    world.secret.data = {"authkey": key.encode()}
    with pytest.raises(Crash, match="tailscale up failed"):
        await ended((await world.start(plain))[1])
    world.secret.data = {"authkey": world.key().encode()}
    await world.up(plain | {"TS_AUTH_ONCE": "true"})
    assert "authkey" not in world.secret.data


async def test_pages(world: World) -> None:
    """/metrics and /healthz answer where they were asked for, and nothing else does."""
    world.configure(world.key(), AdvertiseRoutes=["10.9.0.0/24"])
    env = ENV | {"TS_ENABLE_METRICS": "true", "TS_LOCAL_ADDR_PORT": "[::]:9005"}
    await world.up(env)
    assert await ask(world, POD, 9005, "/healthz") == (200, "ok")
    assert "tailscaled_advertised_routes 1\n" in (await ask(world, POD, 9005, "/metrics"))[1]
    assert (await ask(world, POD, 9005, "/"))[0] == 404


async def test_a_killed_container_leaves_nothing_open(world: World) -> None:
    """No SIGTERM, no word to anybody: its addresses refuse, and the control plane sees it go."""
    world.configure(world.key())
    world.serve(p80={"TCPForward": f"{BACKEND}:8080"})
    _, task = await world.start(USERSPACE)
    ip = world.node.addresses[0]
    assert world.network.listening(ip) == {("tcp", 80)}
    assert world.network.listening(POD) == {("tcp", 9002)}
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not world.network.listening(ip) | world.network.listening(POD)
    assert not world.node.online


async def test_closed_before_it_runs_it_does_not_start(world: World) -> None:
    world.configure(world.key())
    proxy = world.proxy(ENV)
    await proxy.close()
    await proxy.run()
    assert (world.tailnet.nodes.all(), world.secret.patches) == ((), [])


async def test_refreshed_files_with_nothing_new_change_nothing(world: World) -> None:
    """The kubelet tells more often than there is something to tell."""
    world.configure(world.key())
    world.serve(p80={"TCPForward": f"{BACKEND}:8080"})
    proxy, _ = await world.up(USERSPACE)
    written, said = len(world.secret.patches), len(world.lines)
    proxy.files_changed()
    await settle()
    assert (len(world.secret.patches), len(world.lines)) == (written, said)
