"""A real tailnet on loopback: Headscale with its own DERP, and real tailscaled nodes in userspace, without root.

A node's way in is what it serves; its way out is a SOCKS5 door. `binaries` finds the programs.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import secrets
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import yaml

from tests.rig import binaries
from tests.rig.apiserver import Server, free_port

PATIENCE = 120.0  # seconds for a server to come up on a busy machine
QUIET = {
    "TS_DEBUG_USE_DERP_HTTP": "1",
    "TS_DISABLE_PORTMAPPER": "1",
    "TS_NO_LOGS_NO_SUPPORT": "true",
}
"""A tailscaled's environment: loopback without TLS, and nothing that looks for the world outside."""
BINARIES = ("headscale", "tailscaled", "tailscale")
RELEASES = {"0.27": "headscale-0.27", "0.28": "headscale-0.28", "0.29": "headscale"}
"""Minor versions of Headscale, and the binary of each."""
POLICY = {
    "tagOwners": {"tag:k8s": [], "tag:k8s-operator": []},
    "acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}],
}


@dataclass(kw_only=True)
class Headscale:
    """A running server with a policy that knows `tag:k8s`."""

    folder: Path
    program: str
    port: int
    host: str = "127.0.0.1"
    network: tuple[str, ...] = ()  # prefix of a command that runs where the host is
    api_key: str = field(default="", repr=False)
    _server: Server | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / "headscale.log"

    def up(self) -> None:
        """Start it (again); its database stays."""
        command = [*self.network, self.program, "serve", "-c", self._config()]
        self._server = Server(command=command, log=self.log)
        self._server.start()
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(AssertionError):
                self.cli("health")
                return
            time.sleep(0.05)
        raise AssertionError(f"Headscale did not come up:\n{self.log.read_text()[-2000:]}")

    def down(self) -> None:
        if self._server is not None:
            self._server.end()
            self._server = None

    def cli(self, *arguments: str) -> str:
        command = [self.program, "-c", self._config(), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
        assert done.returncode == 0, f"headscale {' '.join(arguments[:2])}: {done.stderr}"
        return done.stdout.strip()

    def read_host(self, device: str) -> dict[str, object]:
        """What a device has told of itself, which no command shows."""
        ask = "SELECT host_info FROM nodes WHERE given_name = ? AND deleted_at IS NULL"
        with contextlib.closing(sqlite3.connect(self.folder / "db.sqlite", timeout=30)) as rows:
            (told,) = rows.execute(ask, (device,)).fetchone()
        found: dict[str, object] = json.loads(told)
        return found

    def _config(self) -> str:
        return str(self.folder / "config.yaml")


@contextlib.contextmanager
def start_headscale(
    folder: Path,
    binary: str = "headscale",
    *,
    policy: Literal["database", "empty", "file"] = "database",
    host: str = "127.0.0.1",
    network: tuple[str, ...] = (),
) -> Iterator[Headscale]:
    """A fresh server; it and its folder's database are this session's alone. `binary`: one of `RELEASES`; `policy`:
    stored, not stored yet, or in a file of the server; `network`: where `host` is an address."""
    port, stun = free_port(), free_port()
    folder.mkdir(parents=True, exist_ok=True)
    program = binaries.find([binary])[binary]
    config, rules = _configure(folder, host, port, stun), folder / "policy.json"
    rules.write_text(json.dumps(POLICY))
    if policy == "file":
        config["policy"] = {"mode": "file", "path": str(rules)}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    server = Headscale(folder=folder, program=program, host=host, port=port, network=network)
    server.up()
    try:
        if policy == "database":
            server.cli("policy", "set", "-f", str(rules))
        server.api_key = server.cli("apikeys", "create", "--expiration", "2h").splitlines()[-1]
        _cheapen(folder / "db.sqlite", server.api_key)
        yield server
    finally:
        server.down()


def _cheapen(database: Path, api_key: str) -> None:
    """Store the key's hash anew with bcrypt's least cost: the usual one takes Headscale a tenth of a second of every
    request, on purpose, and tests make thousands. The C library hashes; without it everything is slower and no more.
    """
    prefix, secret = (
        (api_key[10:22], api_key[23:]) if api_key.startswith("hskey-api-") else api_key.split(".", 1)
    )
    try:
        crypt = ctypes.CDLL("libcrypt.so.1").crypt
    except OSError:
        return
    crypt.restype = ctypes.c_char_p
    cheap: bytes | None = crypt(secret.encode(), b"$2a$04$" + secrets.token_hex(11).encode())
    if cheap is not None and len(cheap) == 60:
        with contextlib.closing(sqlite3.connect(database, timeout=30)) as rows, rows:
            changed = rows.execute("UPDATE api_keys SET hash = ? WHERE prefix = ?", (cheap, prefix)).rowcount
        assert changed == 1, "Headscale keeps its keys elsewhere now"


def _configure(folder: Path, host: str, port: int, stun: int) -> dict[str, object]:
    derp = {
        "enabled": True,
        "region_id": 999,
        "region_code": "rig",
        "region_name": "rig",
        "verify_clients": True,
        "stun_listen_addr": f"{host}:{stun}",
        "private_key_path": str(folder / "derp.key"),
        "automatically_add_embedded_derp_region": True,
        "ipv4": host,
    }
    return {
        "server_url": f"http://{host}:{port}",
        "listen_addr": f"{host}:{port}",
        "metrics_listen_addr": "",
        "grpc_listen_addr": f"127.0.0.1:{free_port()}",
        "noise": {"private_key_path": str(folder / "noise.key")},
        "prefixes": {"v4": "100.64.0.0/10", "v6": "fd7a:115c:a1e0::/48", "allocation": "sequential"},
        "derp": {"server": derp, "urls": [], "paths": [], "auto_update_enabled": False},
        "disable_check_updates": True,
        "database": {
            "type": "sqlite",
            "sqlite": {"path": str(folder / "db.sqlite"), "write_ahead_log": True},
        },
        "policy": {"mode": "database"},
        "dns": {
            "magic_dns": True,
            "base_domain": "rig.internal",
            "override_local_dns": False,
            "nameservers": {"global": []},
            "search_domains": [],
        },
        "unix_socket": str(folder / "headscale.sock"),
        "unix_socket_permission": "0700",
        "logtail": {"enabled": False},
        "tuning": {"node_store_batch_size": 1},  # each write at once, not in half a second (from 0.28 on)
        "log": {"level": "info"},
    }


def make_request(release: str) -> str:
    """A name for a login that waits for somebody's yes, which is all that a node without a client has."""
    return ("hskey-authreq-" if release == "0.29" else "") + secrets.token_hex(12)


@dataclass(kw_only=True)
class Node:
    """A tailscaled that has joined. `socks` is the way out into the tailnet."""

    folder: Path
    socks: str
    program: str

    @property
    def log(self) -> Path:
        return self.folder / "tailscaled.log"

    def cli(self, *arguments: str, check: bool = True) -> str:
        command = [self.program, f"--socket={self.folder / 'tailscaled.sock'}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
        assert done.returncode == 0 or not check, f"tailscale {arguments[0]}: {done.stderr}"
        return done.stdout

    def describe(self) -> str:
        """Which way it has to each peer and to the relay, for a test that failed."""
        return f"{self.cli('status', check=False)}\n{self.cli('netcheck', check=False)}"


@contextlib.contextmanager
def start_node(folder: Path, login_server: str, auth_key: str, hostname: str, *more: str) -> Iterator[Node]:
    """A node in userspace, joined and running."""
    folder.mkdir(parents=True, exist_ok=True)
    found = binaries.find(BINARIES)
    socks = f"127.0.0.1:{free_port()}"
    command = [
        *("env", *(f"{name}={value}" for name, value in QUIET.items())),
        *(found["tailscaled"], "--tun=userspace-networking", "--port=0"),
        *(f"--statedir={folder}", f"--socket={folder / 'tailscaled.sock'}", f"--socks5-server={socks}"),
    ]
    node = Node(folder=folder, socks=socks, program=found["tailscale"])
    daemon = Server(command=command, log=node.log)
    try:
        daemon.start()
        deadline = time.monotonic() + PATIENCE
        while not (folder / "tailscaled.sock").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        up = [
            f"--login-server={login_server}",
            f"--auth-key={auth_key}",
            f"--hostname={hostname}",
            "--accept-dns=false",
        ]
        node.cli("up", *up, "--timeout=60s", *more)
        yield node
    finally:
        daemon.end()


def environment() -> dict[str, str]:
    return {**os.environ, **QUIET}
