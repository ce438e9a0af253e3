"""The simulated entrypoint of the proxy image: reads what containerboot reads, does what it does, fails as it fails.

Written after `cmd/containerboot` 1.102 (`main.go`, `serve.go`, `tailscaled.go`), in its words. The client itself is
`proxynode`, its Secret `proxystate`, its connections `proxydoors`, its pages `proxypages`. `kubelet` runs one `Proxy`
for each start of a container, and tells it when mounted files were refreshed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NoReturn

from tailrace.sandbox.controlplane.nodes import NodePort
from tailrace.sandbox.controlplane.records import ChangeKind, LoginRefused, Node
from tailrace.sandbox.workloads import bootconfig, proxynode, proxypages
from tailrace.sandbox.workloads.network import Network
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

__all__ = ["Crash", "Proxy", "StateSecret", "Surroundings"]

REISSUE_WAIT = 600.0  # seconds for the operator to bring another key
RESOLVE_PERIOD = 600.0  # seconds between two looks at a DNS name; after failures 1, 2, 4 and so on


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
    pod_ip: str
    resolve: Callable[[str], Sequence[str]]  # DNS: the addresses of a name, none when it is unknown
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
            with ExitStack() as stack:
                self._container = _Container(self._around, self._bell, stack)
                await self._container.main()
        except _Exit:
            pass
        finally:
            self._container = None
            self._ended.set()

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
        if self._over:
            raise _Exit


class _Container:
    """A container that has started: the two processes in it, and what it has open."""

    def __init__(self, around: Surroundings, bell: _Bell, stack: ExitStack) -> None:
        """Everything up to tailscaled's start. What is opened goes onto `stack`. Raises Crash."""
        self._around, self._bell = around, bell
        self.healthy = False
        try:
            self._settings = bootconfig.read_settings(around.env)
            pages = proxypages.read_pages(around.env, self._settings, around.pod_ip)
            self._config_path = self._find_config()
            self._config_data = b"" if self._config_path is None else around.read_file(self._config_path)
            self._wanted, locked = self._read_preferences(self._config_data)
        except bootconfig.Refused as refused:
            raise Crash(f"invalid configuration: {refused}") from refused
        self._locked = locked
        self._store = Store(
            around.state,
            self._settings.kube_secret,
            in_cluster=bool(around.env.get("KUBERNETES_SERVICE_HOST")),
            log=around.log,
        )
        self._store.reset(self._settings.pod_uid, self._wanted.auth_key if self._config_path else None)
        identity = proxynode.read_identity(self._store.data)
        self._store.put(
            "failed to bring up tailscale", {proxynode.MACHINE_KEY: identity.private_key.encode()}
        )
        self._daemon = proxynode.Daemon(around.nodes, identity, bell.ring)
        stack.callback(self._daemon.stop)
        self._doors = Doors(
            around.network, resolve=self._resolve_one, changed=bell.ring, taken=proxypages.doors(pages)
        )
        stack.callback(self._doors.close)
        try:
            proxypages.open_pages(around.network, pages, self._answer_page, stack)
        except OSError as error:
            raise Crash(f"failed to listen: {error}") from error
        self._lookup = _Lookup(around, bell)
        stack.callback(self._lookup.close)
        stack.callback(around.nodes.subscribe(self._peer_changed))
        self._serve: bootconfig.Serve | None = None
        self._serve_data: bytes | None = None
        self._announced = False

    async def main(self) -> NoReturn:
        """Log in, then follow every change. Raises _Exit or Crash."""
        await self._log_in()
        if self._settings.serve_config and self._locked:
            raise Crash(
                "failed to unset serve config: can't reconfigure tailscaled when using a config file; "
                "config file is locked"
            )
        while True:
            self._reload()
            self._daemon.look()
            if self._daemon.state != "Running":
                raise Crash(
                    f"tailscaled left running state (now in state {json.dumps(self._daemon.state)}), exiting"
                )
            self._apply()
            await self._bell.wait()

    # Configuration

    def _find_config(self) -> str | None:
        directory = self._settings.config_dir
        if directory is None:
            return None
        root = directory.rstrip("/")
        return bootconfig.config_path(root, {f"{root}/{name}": b"" for name in self._around.list_dir(root)})

    def _read_preferences(self, data: bytes | None) -> tuple[proxynode.Preferences, bool]:
        """And whether the file is locked. Raises bootconfig.Refused."""
        settings, env = self._settings, self._around.env
        default = env.get("HOSTNAME") or env.get("POD_NAME") or "localhost"
        if self._config_path is None:
            wanted = proxynode.Preferences(
                hostname=settings.hostname or default,
                server=settings.server or bootconfig.DEFAULT_SERVER,
                auth_key=settings.auth_key,
                tags=settings.advertise_tags,
                routes=settings.routes or (),
            )
            return wanted, False
        if data is None:
            raise bootconfig.Refused(
                f"error reading configfile: open {self._config_path}: no such file or directory"
            )
        config = bootconfig.parse_config(data)
        wanted = proxynode.Preferences(
            hostname=config.hostname or default,
            server=config.server,
            auth_key=config.auth_key,
            routes=config.routes,
            enabled=config.enabled,
        )
        return wanted, config.locked

    def _reload(self) -> None:
        """Take over a changed configuration file. A key in it is of no interest to a client that is logged in."""
        if self._config_path is None:
            return
        data = self._around.read_file(self._config_path)
        if data is not None and data == self._config_data:
            return
        try:
            self._wanted, self._locked = self._read_preferences(data)
        except bootconfig.Refused as refused:
            raise Crash(f"failed to watch tailscaled config: {refused}") from refused
        self._config_data = data
        self._daemon.configure(self._wanted)
        self._around.log("tailscaled config watch: config was reloaded")

    # Logging in

    async def _log_in(self) -> None:
        """Reach Running, and keep who we are."""
        self._daemon.resume(self._wanted)
        if self._daemon.state == "NeedsLogin":
            await (self._log_in_by_file() if self._config_path else self._log_in_by_arguments())
        try:
            async with asyncio.timeout(self._settings.boot_timeout):
                while self._daemon.state != "Running":
                    self._say_waiting()
                    await self._bell.wait()
        except TimeoutError as late:
            raise Crash("reading tailscaled IPN bus: context deadline exceeded") from late
        profile = proxynode.encode_profile(self._daemon.identity, self._node, self._wanted)
        self._store.put("failed to bring up tailscale", profile)
        if self._settings.auth_once and self._config_path is None:
            self._store.put("deleting authkey from Kubernetes Secret", {"authkey": None})

    def _say_waiting(self) -> None:
        if self._daemon.state == "NeedsMachineAuth":
            self._around.log("machine authorization required, please visit the admin panel")
        else:
            self._around.log(f"tailscaled in state {json.dumps(self._daemon.state)}, waiting")

    async def _log_in_by_file(self) -> None:
        """With the file's key; without one that works, ask the operator for another and exit when it comes."""
        key, log = self._wanted.auth_key, self._around.log
        what = "Auth key missing or invalid (NeedsLogin state)"
        if key:
            try:
                self._daemon.login(key, self._wanted)
            except LoginRefused as refused:
                log(f"Received error: {refused}")
                what = "Auth key failed to authenticate (may be expired or single-use)"
            else:
                return
        if self._store.kept:
            log(f"{what}, disconnecting from control and requesting new key from operator")
            await self._await_other_key(key or "")
            log("Successfully received new auth key, restarting to apply configuration")
            raise _Exit
        if not key:
            raise Crash(
                "invalid state: tailscaled daemon started with a config file, but tailscale is not logged in: "
                "ensure you pass a valid auth key in the config file"
            )

    async def _await_other_key(self, failed: str) -> None:
        asking = "failed to get a reissued authkey: "
        self._store.put(
            f"{asking}failed to set reissue_authkey in Kubernetes Secret", {REISSUE: failed.encode()}
        )
        self._around.log("Waiting for operator to provide new auth key (max wait: 10m0s)")
        try:
            async with asyncio.timeout(REISSUE_WAIT):
                while self._read_key() in ("", failed):
                    await self._bell.wait()
        except TimeoutError as late:
            raise Crash(
                f"{asking}failed to receive new auth key: timeout waiting for auth key reissue after 10m0s"
            ) from late
        self._store.forget_device()

    def _read_key(self) -> str:
        """The key in the file now; none in a file that is gone or broken."""
        try:
            wanted, _ = self._read_preferences(self._around.read_file(self._config_path or ""))
        except bootconfig.Refused:
            return ""
        return wanted.auth_key or ""

    async def _log_in_by_arguments(self) -> None:
        """As `tailscale up` does; without a key it prints an address for a browser, and nobody comes."""
        key = self._wanted.auth_key or self._store.data.get("authkey", b"").decode()
        if key.startswith("file:"):
            key = (self._around.read_file(key.removeprefix("file:")) or b"").decode().strip()
        if not key:
            self._around.log(f"To authenticate, visit: {self._wanted.server}/a/")
            return
        try:
            self._daemon.login(key, self._wanted)
        except LoginRefused as refused:
            self._around.log(f"backend error: {refused}")
            failed = "failed to auth tailscale"
            raise Crash(f"{failed}: {failed}: tailscale up failed: exit status 1") from refused

    # Running

    @property
    def _node(self) -> Node:
        node = self._daemon.node
        if node is None:
            raise Crash("tailscaled has no network map")
        return node

    def _apply(self) -> None:
        """Bring forwarding, serve configuration and Secret into line, in the order in which the operator relies on it:
        the device's id before its forwarding works, its addresses only after."""
        node, store = self._node, self._store
        store.put("storing device ID in Kubernetes Secret", {DEVICE_ID: node.id.encode()})
        if not self._forward():
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
            self._around.log("Startup complete, waiting for shutdown signal")

    def _forward(self) -> bool:
        """False: there is nowhere to forward to yet."""
        if self._daemon.dropped:  # its peers have forgotten it, which this side does not notice
            self._doors.match((), (), None)
            return True
        targets = self._find_targets()
        if targets is None:
            return False
        entrances = (self._around.pod_ip,) if self._settings.tailnet_target else self._node.addresses
        try:
            self._doors.match(entrances, targets, self._serve)
        except OSError as error:
            raise Crash(f"installing proxy rules: {error}") from error
        return True

    def _find_targets(self) -> Sequence[str] | None:
        """The addresses that all ports lead to; None while a name is not known."""
        if self._settings.dest_ip:
            return (self._settings.dest_ip,)
        if self._settings.dest_dns_name:
            return self._lookup.find(self._settings.dest_dns_name) or None
        if not self._settings.tailnet_target:
            return ()
        if ip := self._around.env.get("TS_TAILNET_TARGET_IP"):
            return (ip,)
        name = self._target_name
        for peer in self._around.nodes.all():
            if peer.fqdn.casefold() == name:
                return peer.addresses
        self._around.log(
            f"could not find Tailscale node, service or 4via6 address {json.dumps(name)}; "
            "it either does not exist, or not reachable because of ACLs"
        )
        if not self._announced:
            raise _Exit
        return None

    @property
    def _target_name(self) -> str:
        return self._around.env.get("TS_TAILNET_TARGET_FQDN", "").rstrip(".").casefold()

    def _peer_changed(self, kind: ChangeKind, node: Node) -> None:
        if self._target_name and node.fqdn.casefold() == self._target_name:
            self._bell.ring()

    def _resolve_one(self, host: str) -> str | None:
        """The IPv4 address of a serve target."""
        if host.replace(".", "").isdigit() or ":" in host:
            return host
        return next((ip for ip in self._around.resolve(host) if ":" not in ip), None)

    def _apply_serve(self) -> None:
        """Take over a changed serve file. The tailnet has no certificates, so one with HTTPS is not applied."""
        path, log = self._settings.serve_config, self._around.log
        data = None if path is None else self._around.read_file(path)
        if path is None or data == self._serve_data:
            return
        self._serve_data = data
        try:
            serve = bootconfig.parse_serve(data)
        except bootconfig.Refused as refused:
            raise Crash(str(refused)) from refused
        if serve is None:
            log(f"serve proxy: no serve config at {json.dumps(path)}, skipping")
            return
        if serve.https:
            log("serve proxy: an HTTPS endpoint is configured, but this node is not able to issue TLS certs")
        else:
            log("serve proxy: applying serve config")
            self._serve = serve
            self._forward()
        doing = "serve proxy: error storing HTTPS endpoint"
        self._store.put(doing, {HTTPS_ENDPOINT: bootconfig.NO_HTTPS.encode()})

    def _answer_page(self, path: str) -> proxypages.Page:
        if path == proxypages.METRICS:
            return proxypages.build_metrics(self._daemon.node)
        return proxypages.build_health(self.healthy, self._settings.pod_ip)


class _Lookup:
    """A DNS name and its addresses, looked at again from time to time."""

    def __init__(self, around: Surroundings, bell: _Bell) -> None:
        self._around, self._bell = around, bell
        self._found: Sequence[str] = ()
        self._failures, self._due = 0, True
        self._timer: asyncio.TimerHandle | None = None

    def find(self, name: str) -> Sequence[str]:
        """The addresses as last seen; none when it never resolved."""
        if self._due:
            self._due = False
            found = self._around.resolve(name)
            delay = RESOLVE_PERIOD if found else min(2.0**self._failures, RESOLVE_PERIOD)
            self._failures = 0 if found else self._failures + 1
            self._found = found or self._found
            if not found:
                self._around.log(
                    f"[unexpected] error resolving DNS name {name}: no IPv4 or IPv6 addresses found for host: {name}"
                )
            self._timer = asyncio.get_running_loop().call_later(delay, self._ring)
        return self._found

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _ring(self) -> None:
        self._due = True
        self._bell.ring()
