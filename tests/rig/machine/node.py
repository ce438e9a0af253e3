"""One node, made and started: the API server's side, the container runtime, the kubelet, kube-proxy and names.

`start_machine` gives a cluster whose one node is Ready and has the images of `images`; nothing is ever pulled.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.rig import apiserver, binaries, needs
from tests.rig.machine import images, programs, settings, space

PATIENCE = 180.0  # seconds, on a machine that others use
_CAME_UP = binaries.CACHE / "node-came-up"
_NETWORK = f"""
ip link set lo up
ip link add node0 type bridge
ip address add {settings.ADDRESS}/24 dev node0
ip link set node0 up
ip link add cni0 address 02:00:0a:f4:00:01 type bridge
ip address add {settings.GATEWAY}/24 dev cni0
ip link set cni0 up
ip route add {settings.SERVICES} dev cni0
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables || true
"""
_NETWORK6 = f"""
ip address add {settings.ADDRESS6}/64 dev node0 nodad
ip address add {settings.GATEWAY6}/64 dev cni0 nodad
ip route add {settings.SERVICES6} dev cni0
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """A running node."""

    space: space.Space
    folder: Path
    environment: dict[str, str] = field(repr=False)
    commands: dict[str, list[str]] = field(repr=False)

    def start(self, name: str) -> None:
        """Start one of the servers (again)."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.space.spawn(self.commands[name], self.environment, log)

    def kubectl(self, *arguments: str) -> str:
        """Run the real kubectl as administrator; its output.

        Raises:
            AssertionError: it failed; the message has what it said.
        """
        return self.ask("kubectl", f"--kubeconfig={self.folder / 'admin.kubeconfig'}", *arguments)

    def ask(self, *command: str) -> str:
        """Run a command in the node's network, outside of all else; its output.

        Raises:
            AssertionError: it failed; the message has what it said.
        """
        line = [*self.space.network, *command]
        done = subprocess.run(
            line, env=self.environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def ctr(self, *arguments: str) -> str:
        """Ask containerd itself."""
        ctr = programs.find("ctr")
        return self.space.run(ctr, f"--address={settings.SOCKET}", "--namespace=k8s.io", *arguments)

    def write_kubeconfig(self, name: str, token: str) -> Path:
        return settings.write_kubeconfig(self.folder / f"{name}.kubeconfig", token)

    def wait(self, what: str, *command: str) -> None:
        """Until this command succeeds.

        Raises:
            AssertionError: it did not; with what it said, and the ends of the servers' logs.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.ask(*command)
            except AssertionError as error:
                if time.monotonic() > deadline:
                    raise AssertionError(f"{what}: {error}\n{self.read_logs()}") from None
                time.sleep(0.2)
            else:
                return

    def read_logs(self) -> str:
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in logs)


@contextlib.contextmanager
def start_machine(folder: Path) -> Iterator[Machine]:
    """A node that is Ready; all of it ends with the context, and with the tests.

    Raises:
        needs.Forbidden: it does not come up, and never has on this machine: a kernel forbids much that is not foreseen.
        AssertionError: it does not come up any more.
    """
    apiserver.make_keys(folder / "sa.key", folder / "sa.pub")
    found = binaries.find((*programs.BUILT, *binaries.PACKAGED))
    environment = {
        "PATH": binaries.build_path(),
        "LD_LIBRARY_PATH": binaries.build_library_path(),
        "PYTHONPATH": os.pathsep.join([str(space.ROOT), str(space.ROOT / "src")]),
        "HOME": str(folder),
    }
    with space.open_space(folder) as inside:
        settings.write_all(folder, choose_snapshotter(inside))
        commands = settings.build_commands(folder, found)
        commands["names"] = [
            *(sys.executable, "-m", "tests.rig.machine.names"),
            *(settings.API, "rig-admin", str(folder / "hosts")),
        ]
        machine = Machine(space=inside, folder=folder, environment=environment, commands=commands)
        try:
            bring_up(machine)
        except AssertionError as error:
            if _CAME_UP.exists():
                raise
            raise needs.Forbidden(f"a node, which has never come up here: {error}") from None
        _CAME_UP.parent.mkdir(parents=True, exist_ok=True)
        _CAME_UP.touch()
        yield machine


def choose_snapshotter(inside: space.Space) -> str:
    """Layers over each other, or whole copies where the disk is such a layer itself and takes no second one."""
    top = inside.folder / "overlay"
    options = ",".join(f"{kind}dir={top}/{kind}" for kind in ("lower", "upper", "work"))
    steps = (
        f"mkdir -p {top}/lower {top}/upper {top}/work {top}/all",
        f"mount -t overlay overlay -o {options} {top}/all",
        f"umount {top}/all",
    )
    try:
        inside.run("sh", "-ec", "\n".join(steps))
    except AssertionError:
        return "native"
    return "overlayfs"


def bring_up(machine: Machine) -> None:
    machine.space.run("sh", "-ec", _NETWORK + (_NETWORK6 if settings.TWO_STACKS else ""))
    for name in ("etcd", "containerd", "kube-apiserver", "dnsmasq"):
        machine.start(name)
    admin = f"--kubeconfig={machine.folder / 'admin.kubeconfig'}"
    archives = images.pack_all(machine.folder)
    machine.wait("the runtime answers", "test", "-S", f"/proc/{machine.space.pid}/root{settings.SOCKET}")
    for archive in archives:
        machine.ctr("images", "import", "--no-unpack", str(archive))
        archive.unlink()
    machine.wait("the API server is ready", "kubectl", admin, "get", "--raw=/readyz")
    for name in ("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "names"):
        machine.start(name)
    ready = ("wait", "--for=condition=Ready", f"node/{settings.NODE}", "--timeout=1s")
    machine.wait("the node is Ready", "kubectl", admin, *ready)
    machine.wait("accounts are made", "kubectl", admin, "get", "serviceaccount", "default")
