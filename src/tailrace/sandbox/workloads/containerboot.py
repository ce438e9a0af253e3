"""The simulated entrypoint of the proxy image: reads what containerboot reads, does what it does, fails as it fails.

Written after `cmd/containerboot` 1.102 (`main.go`, `serve.go`, `tailscaled.go`), in its words. The other half of the
container is in `proxynode` (the client), `proxystate` (its Secret), `proxyconfig`, `proxytargets`, `proxydoors` (where
connections lead) and `proxypages` (health and metrics). `kubelet` runs one `Proxy` for each start of a container, and
tells it when mounted files were refreshed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NoReturn

from tailrace.sandbox.controlplane.nodes import NodePort
from tailrace.sandbox.controlplane.records import LoginRefused, Node
from tailrace.sandbox.workloads import bootconfig, proxynode, proxypages
from tailrace.sandbox.workloads.network import Network
from tailrace.sandbox.workloads.paths import CLUSTER, INTERNET, Paths, Traveller
from tailrace.sandbox.workloads.proxyconfig import Configuration
from tailrace.sandbox.workloads.proxydoors import Doors
from tailrace.sandbox.workloads.proxystate import (
    DEVICE_FQDN,
    DEVICE_ID,
    DEVICE_IPS,
    HTTPS_ENDPOINT,
    REISSUE,
    Crash,
    StateSecret,
    Store,
)
from tailrace.sandbox.workloads.proxytargets import Resolve, Targets

__all__ = ["Crash", "Proxy", "StateSecret", "Surroundings"]

REISSUE_WAIT = 600.0  # seconds for the operator to bring another key


class _Exit(Exception):
    """The container exits with success."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """All that the container can see and touch."""

    env: Mapping[str, str]
    read_file: Callable[[str], bytes | None]  # what is mounted at an absolute path now
    list_dir: Callable[[str], Sequence[str]]  # names of the files in a mounted directory now
    state: StateSecret
    nodes: NodePort
    network: Network
    paths: Paths
    pod_ip: str
    ip_forward: bool  # the pod's kernel forwards, or containerboot may make it do so
    resolve: Resolve
    log: Callable[[str], None]


class Proxy:
    """One run of the container. A restart is another `Proxy` with the same Secret."""

    def __init__(self, around: Surroundings) -> None:
        self._around, self._bell = around, _Bell()
        self._container: _Container | None = None
        self._ended: asyncio.Event | None = None  # from `run` on

    @property
    def healthy(self) -> bool:
        """Whether /healthz would answer 200: the device has addresses, and its forwarding works."""
        return self._container is not None and self._container.healthy

    async def run(self) -> None:
        """Boot and serve. Returns when the container exits with success; raises Crash when it fails."""
        self._ended = asyncio.Event()
        try:
            self._bell.check()
            with ExitStack() as stack:
                self._container = _Container(self._around, self._bell, stack)
                await self._container.main()
        except _Exit:
            pass
        finally:
            self._container = None
            self._ended.set()

    @property
    def shadowed(self) -> bool:
        """Whether what comes to the pod's address, probes too, is sent on to a device."""
        return self._container is not None and self._container.shadowed

    def files_changed(self) -> None:
        """The kubelet has refreshed the mounted files."""
        self._bell.ring()

    async def close(self) -> None:
        """End as on SIGTERM, and wait until every listener is gone."""
        self._bell.end()
        if self._ended is not None:
            await self._ended.wait()


class _Bell:
    """Something may have changed: everything is looked at again."""

    def __init__(self) -> None:
        self._event, self._over = asyncio.Event(), False

    def ring(self) -> None:
        self._event.set()

    def end(self) -> None:
        self._over = True
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()
        self._event.clear()
        self.check()

    def check(self) -> None:
        if self._over:
            raise _Exit


class _Container:
    """A container that has started: the two processes in it, and what they have open."""

    def __init__(self, around: Surroundings, bell: _Bell, stack: ExitStack) -> None:
        """Everything up to tailscaled's start. What is opened goes onto `stack`. Raises Crash."""
        self._around, self._bell, self._log = around, bell, around.log
        self.healthy = self.shadowed = False
        env = around.env
        try:
            self._settings = settings = bootconfig.read_settings(env)
            pages = proxypages.read_pages(env, settings, around.pod_ip)
            self._config = Configuration(settings, env, read_file=around.read_file, list_dir=around.list_dir)
        except bootconfig.Refused as refused:
            raise Crash(f"invalid configuration: {refused}") from refused
        self._check_forwarding()
        in_cluster = bool(env.get("KUBERNETES_SERVICE_HOST"))
        self._store = Store(around.state, settings.kube_secret, in_cluster=in_cluster, log=around.log)
        self._store.reset(settings.pod_uid, self._config.wanted.auth_key if settings.one_step else None)
        self._daemon = self._start_daemon(stack)
        self._pages = stack.enter_context(ExitStack())
        try:
            proxypages.open_pages(around.network, pages, self._answer_page, stack, self._pages)
        except OSError as error:
            raise Crash(f"failed to listen: {error}") from error
        self._targets = Targets(
            settings,
            env,
            nodes=around.nodes,
            resolve=around.resolve,
            changed=bell.ring,
            log=around.log,
            stack=stack,
        )
        egress = settings.tailnet_target
        self._doors = Doors(
            around.network,
            resolve=self._find_way if egress else self._resolve_host,
            changed=bell.ring,
            taken=() if egress else proxypages.doors(pages),
            connect=(lambda ip, port: around.paths.connect(self._traveller, ip, port)) if egress else None,
        )
        stack.callback(self._doors.close)
        if settings.tailnet_ip:  # behind a router, perhaps
            stack.callback(around.paths.watch(bell.ring))
        self._stack = stack
        self._led_to: Sequence[str] = ()
        self._stuck = False
        self._serve: bootconfig.Serve | None = None
        self._serve_data: bytes | None = None
        self._announced = False

    def _check_forwarding(self) -> None:
        """What containerboot itself makes the kernel do before anything starts. Raises Crash."""
        settings, forwards = self._settings, self._around.ip_forward
        if settings.userspace or not settings.forwards:
            return
        for kind, text in (("cluster", settings.dest_ip), ("tailnet", settings.tailnet_ip)):
            try:
                ipaddress.ip_address(text or "::")
            except ValueError:
                unable = f"ParseAddr({json.dumps(text)}): unable to parse IP"
                self._log(f"Failed to enable IP forwarding: invalid {kind} destination IP: {unable}")
                forwards = False
        if not forwards:
            self._log("To run tailscale as a proxy or router container, IP forwarding must be enabled.")
            raise Crash(
                "you can either set the sysctls as a privileged initContainer, or run the tailscale container "
                "with privileged=true."
            )

    def _start_daemon(self, stack: ExitStack) -> proxynode.Daemon:
        identity = proxynode.read_identity(self._store.data)
        private = {proxynode.MACHINE_KEY: identity.private_key.encode()}
        self._store.put("failed to bring up tailscale", private)
        daemon = proxynode.Daemon(self._around.nodes, identity, self._bell.ring, pod_ip=self._around.pod_ip)
        stack.callback(daemon.stop)
        return daemon

    async def main(self) -> NoReturn:
        """Log in, then follow every change. Raises _Exit or Crash."""
        await self._log_in()
        if self._settings.userspace or self._around.ip_forward:
            end = self._around.paths.carry(self._node.number, (CLUSTER, INTERNET))
            self._stack.callback(end)
        if self._settings.serve_config and self._config.locked:
            locked = "can't reconfigure tailscaled when using a config file; config file is locked"
            raise Crash(f"failed to unset serve config: {locked}")
        while True:
            self._reload()
            self._daemon.look()
            if (state := self._daemon.state) != "Running" and not self._stuck:
                raise Crash(f"tailscaled left running state (now in state {json.dumps(state)}), exiting")
            self._apply()
            await self._bell.wait()

    # Logging in

    async def _log_in(self) -> None:
        """Reach Running, and keep who we are."""
        wanted = self._config.wanted
        await (self._log_in_by_file() if self._settings.one_step else self._log_in_by_arguments())
        try:
            async with asyncio.timeout(self._settings.boot_timeout):
                while (state := self._daemon.state) != "Running":
                    if state == "NeedsMachineAuth":
                        self._log("machine authorization required, please visit the admin panel")
                    else:
                        self._log(f"tailscaled in state {json.dumps(state)}, waiting")
                    await self._bell.wait()
        except TimeoutError as late:
            raise Crash("reading tailscaled IPN bus: context deadline exceeded") from late
        profile = proxynode.encode_profile(self._daemon.identity, self._node, wanted)
        self._store.put("failed to bring up tailscale", profile)
        if self._settings.auth_once and not self._settings.one_step:
            self._store.put("deleting authkey from Kubernetes Secret", {"authkey": None})

    async def _log_in_by_file(self) -> None:
        """As who it was, else with the file's key. Where neither works, for whatever reason, ask the operator for another
        key and exit when it comes."""
        wanted, daemon = self._config.wanted, self._daemon
        trouble = "Auth key missing or invalid (NeedsLogin state)"
        try:
            daemon.resume(wanted)
            if daemon.state == "NeedsLogin" and wanted.auth_key:
                daemon.login(wanted.auth_key, wanted)
        except LoginRefused as refused:
            self._log(f"Received error: {refused}")
            trouble = "Auth key failed to authenticate (may be expired or single-use)"
        if daemon.state != "NeedsLogin":
            return
        if self._store.kept:
            self._log(f"{trouble}, disconnecting from control and requesting new key from operator")
            await self._await_other_key(wanted.auth_key or "")
            self._log("Successfully received new auth key, restarting to apply configuration")
            raise _Exit
        if not wanted.auth_key:
            raise Crash(
                "invalid state: tailscaled daemon started with a config file, but tailscale is not logged in: "
                "ensure you pass a valid auth key in the config file"
            )

    async def _await_other_key(self, failed: str) -> None:
        asking = "failed to get a reissued authkey: "
        doing = f"{asking}failed to set reissue_authkey in Kubernetes Secret"
        self._store.put(doing, {REISSUE: failed.encode()})
        self._log("Waiting for operator to provide new auth key (max wait: 10m0s)")
        try:
            async with asyncio.timeout(REISSUE_WAIT):
                while self._config.read_key() in ("", failed):
                    await self._bell.wait()
        except TimeoutError as late:
            waited = "failed to receive new auth key: timeout waiting for auth key reissue after 10m0s"
            raise Crash(f"{asking}{waited}") from late
        self._store.forget_device()

    async def _log_in_by_arguments(self) -> None:
        """As `tailscale up` does; without a key it prints an address for a browser, and nobody comes."""
        wanted, daemon = self._config.wanted, self._daemon
        key = wanted.auth_key or self._store.data.get("authkey", b"").decode()
        if key.startswith("file:"):
            key = (self._around.read_file(key.removeprefix("file:")) or b"").decode().strip()
        try:
            daemon.resume(wanted)
            if daemon.state == "NeedsLogin" and key:
                daemon.login(key, wanted)
        except LoginRefused as refused:
            self._log(f"backend error: {refused}")
            failed = "failed to auth tailscale"
            raise Crash(f"{failed}: {failed}: tailscale up failed: exit status 1") from refused
        if daemon.state == "NeedsLogin":
            self._log(f"To authenticate, visit: {wanted.server}/a/")

    # Running

    @property
    def _node(self) -> Node:
        node = self._daemon.node
        if node is None:
            raise Crash("tailscaled has no network map")
        return node

    def _reload(self) -> None:
        """Take over a changed configuration file. A key in it is of no interest to a client that is logged in."""
        try:
            changed = self._config.reload()
        except bootconfig.Refused as refused:
            raise Crash(f"failed to watch tailscaled config: {refused}") from refused
        if changed:
            self._daemon.configure(self._config.wanted)
            self._log("tailscaled config watch: config was reloaded")

    def _apply(self) -> None:
        """Bring forwarding, serve configuration and Secret into line, in the order in which the operator relies on it:
        the device's id before its forwarding works, its addresses only after."""
        node, store = self._node, self._store
        store.put("storing device ID in Kubernetes Secret", {DEVICE_ID: node.id.encode()})
        if not self._forward() or self._stuck:
            return
        endpoints = {
            DEVICE_FQDN: f"{node.fqdn}.".encode(),
            DEVICE_IPS: json.dumps(node.addresses, separators=(",", ":")).encode(),
        }
        store.put("storing device IPs and FQDN in Kubernetes Secret", endpoints)
        self.healthy = True
        self._apply_serve()
        if not self._announced:
            self._announced = True
            self._log("Startup complete, waiting for shutdown signal")

    def _forward(self) -> bool:
        """False: there is nowhere to forward to yet."""
        if self._daemon.dropped:  # its peers have forgotten it, which this side does not notice
            self._doors.match((), (), None)
            return True
        egress = self._settings.tailnet_target
        targets = self._led_to if self._stuck else self._targets.find(self._node.number)
        if targets is None:
            if not egress:
                return False
            self._leave_loop()
            targets = self._led_to
        self._led_to = targets
        if egress and not self.shadowed:
            self.shadowed = True
            self._pages.close()
        entrances = (self._around.pod_ip,) if egress else self._node.addresses
        try:
            self._doors.match(entrances, targets, self._serve)
        except OSError as error:
            raise Crash(f"installing proxy rules: {error}") from error
        return True

    def _leave_loop(self) -> None:
        """The target's name is no peer's. containerboot stops to follow the tailnet: before its start was complete it
        exits, later it waits for tailscaled to end, with the rules that it installed. Raises _Exit."""
        if not self._announced:
            raise _Exit
        self._stuck = True

    def _apply_serve(self) -> None:
        """Take over a changed serve file. The tailnet has no certificates, so one with HTTPS is not applied."""
        path = self._settings.serve_config
        data = None if path is None else self._around.read_file(path)
        if path is None or data == self._serve_data:
            return
        self._serve_data = data
        try:
            serve = bootconfig.parse_serve(data)
        except bootconfig.Refused as refused:
            raise Crash(str(refused)) from refused
        if serve is None:
            self._log(f"serve proxy: no serve config at {json.dumps(path)}, skipping")
            return
        if serve.https:
            self._log("serve proxy: HTTPS is asked for, but this node is not able to issue TLS certs")
        else:
            self._log("serve proxy: applying serve config")
            self._serve = serve
            self._forward()
        doing = "serve proxy: error storing HTTPS endpoint"
        self._store.put(doing, {HTTPS_ENDPOINT: bootconfig.NO_HTTPS.encode()})

    @property
    def _traveller(self) -> Traveller:
        wanted = self._config.wanted
        return Traveller(self._node.number, wanted.accept_routes, wanted.exit_node)

    def _find_way(self, ip: str) -> str | None:
        """Where an address of the tailnet, or of a route in it, really is."""
        hop = self._around.paths.find(self._traveller, ip)
        return None if hop is None else hop.ip

    def _resolve_host(self, host: str) -> str | None:
        """The IPv4 address of a serve target, which may be an address already."""
        try:
            return str(ipaddress.ip_address(host))
        except ValueError:
            return next((ip for ip in self._around.resolve(host) if ":" not in ip), None)

    def _answer_page(self, path: str) -> proxypages.Page:
        if path == proxypages.METRICS:
            return proxypages.build_metrics(self._daemon.node)
        return proxypages.build_health(self.healthy, self._settings.pod_ip)
