"""Somebody's machine on the tailnet: a real tailscaled with a TUN device, in a network of its own beside the node.

It reaches the node by the pods' bridge, as a machine in the same building would; what it is asked comes from there.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.rig import binaries, tailnet
from tests.rig.apiserver import Server
from tests.rig.machine import settings
from tests.rig.machine.node import Machine

ADDRESS = "10.244.0.250"  # outside of what pods get


@dataclass(frozen=True, kw_only=True, slots=True)
class Laptop:
    """It has joined; `ask` runs a command on it."""

    folder: Path
    pid: int  # of what holds its network
    environment: dict[str, str]

    @property
    def network(self) -> tuple[str, ...]:
        """Prefix of a command that runs in its network."""
        return ("nsenter", f"--net=/proc/{self.pid}/ns/net", "--")

    @property
    def socket(self) -> Path:
        return self.folder / "tailscaled.sock"

    def tailscale(self, *arguments: str) -> bytes:
        """Ask its tailscaled."""
        (program,) = binaries.find(["tailscale"]).values()
        return self.ask(program, f"--socket={self.socket}", *arguments)

    def ask(self, *command: str, limit: float = 120.0) -> bytes:
        """The output of a command in its network.

        Raises:
            AssertionError: it failed; the message has what it said.
        """
        line = [*self.network, *command]
        done = subprocess.run(line, env=self.environment, capture_output=True, timeout=limit, check=False)
        said = done.stderr.decode(errors="replace")
        assert done.returncode == 0, f"{' '.join(command)} ({done.returncode}): {said}"
        return done.stdout

    def curl(self, *arguments: str, limit: int = 10) -> bytes:
        """What a URL has. `limit`: seconds, of the whole answer."""
        return self.ask("curl", "-sSf", "--max-time", str(limit), *arguments, limit=limit + 10)

    def eventually(self, *arguments: str) -> bytes:
        """The same as soon as it is there: a session with a proxy that was killed stalls for some seconds."""
        deadline = time.monotonic() + 120
        while True:
            try:
                return self.curl(*arguments, limit=3)
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.3)


@contextlib.contextmanager
def start_laptop(folder: Path, machine: Machine, login_server: str, auth_key: str) -> Iterator[Laptop]:
    """A machine that has joined; it ends with the context."""
    with open_network(folder, machine) as laptop:
        connect(machine, laptop.network, laptop.pid)
        with join(laptop, machine, login_server, auth_key, "laptop", "--netfilter-mode=off"):
            yield laptop


@contextlib.contextmanager
def open_network(folder: Path, machine: Machine) -> Iterator[Laptop]:
    """A network without cables; all in it ends with the context."""
    folder.mkdir()
    environment = {**tailnet.environment(), "PATH": machine.environment["PATH"]}
    hold = ["unshare", "--net", "--", "sleep", "infinity"]
    holder = Server(command=[*machine.space.network, *hold], log=folder / "network.log")
    try:
        holder.start()
        yield Laptop(folder=folder, pid=wait_apart(holder, machine), environment=environment)
    finally:
        holder.end(kill=True)


@contextlib.contextmanager
def join(
    laptop: Laptop, machine: Machine, login_server: str, auth_key: str, hostname: str, *more: str
) -> Iterator[None]:
    """It is on the tailnet. `more`: settings of `tailscale up`."""
    found = binaries.find(tailnet.BINARIES)
    quiet = (f"{name}={value}" for name, value in tailnet.QUIET.items())
    command = [*laptop.network, "env", *quiet, found["tailscaled"]]
    command += [
        f"--statedir={laptop.folder}",
        f"--socket={laptop.socket}",
        "--tun=tailscale0",
        "--port=0",
    ]
    daemon = Server(command=command, log=laptop.folder / "tailscaled.log")
    daemon.start()
    try:
        machine.wait("tailscaled listens", "test", "-S", str(laptop.socket))
        up = [f"--login-server={login_server}", f"--auth-key={auth_key}", f"--hostname={hostname}"]
        laptop.tailscale("up", *up, "--accept-dns=false", "--timeout=90s", *more)
        yield
    finally:
        daemon.end(kill=True)


def wait_apart(holder: Server, machine: Machine) -> int:
    """The process that holds the network, once it has left the node's."""
    node = Path(f"/proc/{machine.space.pid}/ns/net").readlink()
    home = Path("/proc/self/ns/net").readlink()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            for pid in Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split():
                if Path(f"/proc/{pid}/ns/net").readlink() not in (node, home):
                    return int(pid)
        time.sleep(0.02)
    raise AssertionError(f"no network: {holder.log.read_text()}")


def connect(machine: Machine, network: tuple[str, ...], pid: int) -> None:
    """A cable to the pods' bridge."""
    machine.ask("ip", "link", "add", "laptop", "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    machine.ask("ip", "link", "set", "laptop", "master", "cni0", "up")
    for words in (
        ("link", "set", "lo", "up"),
        ("address", "add", f"{ADDRESS}/24", "dev", "eth0"),
        ("link", "set", "eth0", "up"),
        ("route", "add", "default", "via", settings.GATEWAY),
    ):
        subprocess.run([*network, "ip", *words], check=True, capture_output=True)
