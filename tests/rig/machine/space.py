"""Namespaces and cgroups of their own for one node: what runs inside can neither see nor change the machine around it.

One process holds them: pid 1 of the pid namespace, which sleeps and ignores the ends of its children, so that the
kernel reaps them. With it ends everything inside, and it ends with the tests, killed ones included (`keeper.py`).
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.rig.apiserver import Server

PROGRAMS = ("unshare", "nsenter", "mount", "umount", "ip")
HIERARCHIES = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd")
CGROUPS = Path("/sys/fs/cgroup")
PREFIX = "tailrace-rig-"
_KINDS = ("net", "mount", "uts", "ipc", "pid", "cgroup")
_KERNEL = {"vm/overcommit_memory": 1, "kernel/panic": 10, "kernel/panic_on_oops": 1}
"""Settings of the whole machine that a kubelet would write: inside, files with its values lie over them."""


def find_missing() -> list[str]:
    """What this machine lacks for it, in words."""
    lacks = ["root"] if os.geteuid() else []
    absent = [name for name in HIERARCHIES if not (CGROUPS / name / "cgroup.procs").exists()]
    if absent:
        lacks.append(f"cgroup v1 ({', '.join(absent)})")
    return lacks


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """Namespaces that are held. `pid` is that of their first process, as seen from outside."""

    folder: Path
    cgroup: str
    pid: int
    _spawned: list[subprocess.Popen[bytes]] = field(default_factory=list, repr=False)

    @property
    def network(self) -> tuple[str, ...]:
        """Prefix of a command that shall run outside, but in the network of the space."""
        return ("nsenter", f"--net=/proc/{self.pid}/ns/net", "--")

    def enter(self, *command: str) -> list[str]:
        """The command line that runs a command inside, in every respect."""
        inside = ["nsenter", f"--target={self.pid}", *(f"--{kind}" for kind in _KINDS), "--", *command]
        join = " && ".join(f"echo $$ > {path}/cgroup.procs" for path in list_cgroups(self.cgroup))
        return ["sh", "-c", f'{join} && exec "$@"', "sh", *inside]

    def run(self, *command: str) -> str:
        """Run inside and wait; its output.

        Raises:
            AssertionError: it failed; the message has what it said.
        """
        done = subprocess.run(self.enter(*command), capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"{shlex.join(command)}: {done.stderr}"
        return done.stdout

    def spawn(self, command: Sequence[str], environment: Mapping[str, str], log: IO[bytes]) -> None:
        """Start a server inside. It ends with the space, or by `kill`; `NAME.pid` has its number inside."""
        note = self.folder / f"{Path(command[0]).name}.pid"
        script = f'echo $$ > {note} && exec "$@"'
        inside = self.enter("sh", "-c", script, "sh", *command)
        process = subprocess.Popen(inside, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._spawned.append(process)

    def kill(self, name: str) -> None:
        """SIGKILL to a server of `spawn`."""
        self.run("kill", "-9", (self.folder / f"{name}.pid").read_text().strip())

    def wait(self) -> None:
        """Until all that was spawned is gone, which it is soon after the first process."""
        for process in self._spawned:
            process.wait()


@contextlib.contextmanager
def open_space(folder: Path) -> Iterator[Space]:
    """Make one, and end whatever runs in it."""
    sweep()
    cgroup = f"{PREFIX}{os.getpid()}-{folder.name}"
    make_cgroups(cgroup)
    join = " && ".join(f"echo $$ > {path}/cgroup.procs" for path in list_cgroups(cgroup))
    unshare = [f"--{kind}" for kind in _KINDS]
    hold = ["unshare", *unshare, "--fork", "--kill-child", "--mount-proc"]
    hold += ["env", "--ignore-signal=CHLD", "sleep", "infinity"]
    holder = Server(command=["sh", "-c", f"{join} && exec {shlex.join(hold)}"], log=folder / "space.log")
    holder.start()
    try:
        space = Space(folder=folder, cgroup=cgroup, pid=wait_holder(holder))
        space.run("sh", "-ec", write_setup(folder))
        try:
            yield space
        finally:
            holder.end(kill=True)
            space.wait()
    finally:
        holder.end(kill=True)
        remove_cgroups(cgroup)


def wait_holder(holder: Server) -> int:
    """The first process inside: keeper, `unshare`, and then it."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and not holder.failed:
        line = holder.pid
        for _ in range(2):
            line = next(iter(list_children(line)), 0) if line else 0
        with contextlib.suppress(OSError):
            if line and Path(f"/proc/{line}/comm").read_text() == "sleep\n":
                return line
        time.sleep(0.02)
    raise AssertionError(f"no namespaces: {holder.log.read_text()}")


def list_children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def write_setup(folder: Path) -> str:
    """The script that furnishes the namespaces, from inside."""
    lines = ["mount -t tmpfs tmpfs /run", "mount -t tmpfs tmpfs /var/lib", "mount -t tmpfs tmpfs /var/log"]
    lines += [
        f"mkdir -p {folder}/kubelet /var/lib/kubelet",
        f"mount --bind {folder}/kubelet /var/lib/kubelet",
    ]
    lines += [f"umount -R {CGROUPS}", f"mount -t tmpfs tmpfs {CGROUPS}"]
    for name in HIERARCHIES:
        option = "none,name=systemd" if name == "systemd" else name
        lines += [f"mkdir {CGROUPS}/{name}", f"mount -t cgroup -o {option} cgroup {CGROUPS}/{name}"]
    for name, value in _KERNEL.items():
        file = folder / name.replace("/", ".")
        lines += [f"echo {value} > {file}", f"mount --bind {file} /proc/sys/{name}"]
    return "\n".join(lines)


# Cgroups ------------------------------------------------------------------------------------------------------------


def list_cgroups(name: str) -> list[Path]:
    """The folder of that name below this process's own, in each hierarchy."""
    own: dict[str, str] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own |= dict.fromkeys(re.sub("^name=", "", controllers).split(","), path)
    return [CGROUPS / hierarchy / own[hierarchy].lstrip("/") / name for hierarchy in HIERARCHIES]


def make_cgroups(name: str) -> None:
    for path in list_cgroups(name):
        path.mkdir(exist_ok=True)
        if "cpuset" in path.parts:  # empty ones take no process
            for setting in ("cpuset.cpus", "cpuset.mems"):
                (path / setting).write_text((path.parent / setting).read_text())


def remove_cgroups(name: str) -> None:
    """From the leaves up; a process that was killed may take a moment to be gone."""
    deadline = time.monotonic() + 10
    for top in list_cgroups(name):
        for path, _, _ in os.walk(top, topdown=False):
            while time.monotonic() < deadline:
                try:
                    os.rmdir(path)
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.05)
                else:
                    break


def sweep() -> None:
    """Remove the empty folders that tests left which were killed."""
    for path in list_cgroups("").pop().glob(f"{PREFIX}*"):
        if not Path("/proc", path.name.removeprefix(PREFIX).split("-")[0]).exists():
            remove_cgroups(path.name)
