"""Namespaces and cgroups of their own for one node: what runs inside can neither see nor change the machine around it.

They are there as long as their first process, which `guard` ends together with the tests, killed ones included.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.rig.machine import cgroups, guard

ROOT = Path(__file__).resolve().parents[3]
PROGRAMS = ("unshare", "nsenter", "mount", "umount", "ip")
_KERNEL = {"vm/overcommit_memory": 1, "kernel/panic": 10, "kernel/panic_on_oops": 1}
"""Settings of the whole machine that a kubelet would write: inside, files with its values lie over them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """Namespaces that are held. `pid` is that of their first process, as seen from outside."""

    folder: Path
    cgroup: str
    pid: int
    spawned: list[subprocess.Popen[bytes]] = field(repr=False)

    @property
    def network(self) -> tuple[str, ...]:
        """Prefix of a command that shall run outside, but in the network of the space."""
        return ("nsenter", f"--net=/proc/{self.pid}/ns/net", "--")

    def enter(self, *command: str) -> list[str]:
        """The command line that runs a command inside, in every respect."""
        kinds = (f"--{kind}" for kind in guard.KINDS)
        inside = ["nsenter", f"--target={self.pid}", *kinds, "--", *command]
        join = " && ".join(f"echo $$ > {path}/cgroup.procs" for path in cgroups.find_doors(self.cgroup))
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
        self.spawned.append(process)

    def kill(self, name: str) -> None:
        """SIGKILL to a server of `spawn`."""
        self.run("kill", "-9", (self.folder / f"{name}.pid").read_text().strip())


@contextlib.contextmanager
def open_space(folder: Path) -> Iterator[Space]:
    """Make one, and end whatever runs in it."""
    cgroup = f"{cgroups.PREFIX}{os.getpid()}-{folder.name}"
    with (folder / "space.log").open("wb") as log:
        holder = subprocess.Popen(
            [sys.executable, "-m", guard.__name__, cgroup],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # an interrupt at the terminal is for the tests
        )
    spawned: list[subprocess.Popen[bytes]] = []
    try:
        assert holder.stdout is not None
        first = holder.stdout.readline()
        assert first, f"no namespaces: {(folder / 'space.log').read_text()}"
        space = Space(folder=folder, cgroup=cgroup, pid=int(first), spawned=spawned)
        space.run("sh", "-ec", write_setup(folder))
        yield space
    finally:
        holder.communicate()
        for process in spawned:
            process.wait()


def write_setup(folder: Path) -> str:
    """The script that furnishes the namespaces, from inside."""
    lines = ["mount -t tmpfs tmpfs /run", "mount -t tmpfs tmpfs /var/lib", "mount -t tmpfs tmpfs /var/log"]
    lines += [f"mkdir -p {folder}/kubelet /var/lib/kubelet"]
    lines += [f"mount --bind {folder}/kubelet /var/lib/kubelet"]
    lines += cgroups.write_mounts()
    for name, value in _KERNEL.items():
        file = folder / name.replace("/", ".")
        lines += [f"echo {value} > {file}", f"mount --bind {file} /proc/sys/{name}"]
    return "\n".join(lines)
