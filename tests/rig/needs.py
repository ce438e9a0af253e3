"""Why a test cannot run here, in words: the one place that tells the rig's fault from the machine's.

A server that nobody built is the rig's: with `TAILRACE_RIG=required` such a skip is a failure. What no command of ours
can bring - root, a TUN device, namespaces, a server that could not be fetched - is the machine's: it is counted and
named, and fails nothing. The reason's first words carry the difference, since they reach the report from every worker.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NoReturn

import pytest

from tests.rig import binaries
from tests.rig.machine import cgroups

MACHINE = "not on this machine: "
_PODS = ("unshare", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child")
_NODES = (*_PODS, "--net", "--uts", "--ipc", "--cgroup")
_MOUNT = "mount -t tmpfs tmpfs /run"
_TRIALS = {
    "private mounts": _MOUNT,
    "a bridge": "ip link add rig0 type bridge",
    "a pair of cables": "ip link add rig1 type veth peer name rig2",
    "a TUN device": "ip tuntap add dev rig3 mode tun",
    "forwarding": "echo 1 > /proc/sys/net/ipv4/ip_forward",
    "nftables": "nft add table inet rig",
}
"""What a node does in namespaces of its own, and how it is tried there."""


class Forbidden(Exception):
    """This machine does not let us have what the message names."""


def skip_for(error: Forbidden) -> NoReturn:
    pytest.skip(f"{MACHINE}no {' '.join(str(error).split())}")


def explain(
    programs: Iterable[str] = (), *, tools: Iterable[str] = (), rights: Iterable[Callable[[], list[str]]] = ()
) -> str:
    """What is lacking, as a reason to skip; empty: nothing.

    Args:
        programs: that `make rig` brings.
        tools: that a machine has.
        rights: each says what the machine forbids; asked only where nothing else is lacking.
    """
    missing = binaries.find_missing(programs)
    if os.environ.get("TAILRACE_RIG") == "off" and missing:
        return f"TAILRACE_RIG=off: {', '.join(missing)}"
    left_out = {name: reason for name in missing if (reason := read_left_out(name))}
    if rest := [name for name in missing if name not in left_out]:
        return f"the rig lacks {', '.join(rest)} (make rig brings them)"
    words = [f"no {name} ({reason})" for name, reason in left_out.items()]
    words += [f"no {name}" for name in tools if shutil.which(name) is None]
    if not words:
        words = [f"no {what}" for right in rights for what in right()]
    return f"{MACHINE}{', '.join(words)}" if words else ""


def is_of_machine(reason: str) -> bool:
    """Whether a skip with this reason is to be counted alone, and not to fail."""
    return reason.removeprefix("Skipped: ").startswith(MACHINE)


def read_left_out(program: str) -> str:
    """Why `make rig` could not bring it here; empty: it was not tried, or it is there."""
    for name in (program, "debian" if program in binaries.PACKAGED else program):
        note = binaries.CACHE / "left-out" / name
        if note.is_file():
            return note.read_text().strip()
    return ""


def root() -> list[str]:
    return ["root"] if os.geteuid() else []


@functools.cache
def private_mounts() -> list[str]:
    """What a pod that is a plain process wants."""
    return root() or try_all(_PODS, {"private mounts": _MOUNT})


@functools.cache
def private_machine() -> list[str]:
    """What a node wants."""
    device = [] if Path("/dev/net/tun").exists() else ["/dev/net/tun"]
    return root() or [*device, *cgroups.find_missing(), *try_all(_NODES, _TRIALS)]


def try_all(apart: Iterable[str], trials: Mapping[str, str]) -> list[str]:
    """Which of these trials fail. `apart`: prefix of a command that runs in namespaces of its own."""
    found = {"PATH": binaries.build_path(), "LD_LIBRARY_PATH": binaries.build_library_path()}
    steps = [f"( {trial} ) >/dev/null 2>&1 || echo '{name}'" for name, trial in trials.items()]
    done = subprocess.run(
        [*apart, "sh", "-c", "\n".join(steps)],
        env={**os.environ, **found},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout.splitlines() if done.returncode == 0 else [f"namespaces ({done.stderr.strip()})"]


def has_ipv6() -> list[str]:
    """Empty: sockets of IPv6 can be opened, in fresh network namespaces too."""
    switch = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6")
    return [] if switch.is_file() and switch.read_text().strip() == "0" else ["IPv6"]
