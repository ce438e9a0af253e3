"""A node's own cgroups, of version 1 or 2: what the machine must have, where processes join, and their end.

Version 1: a folder below this process's own in each hierarchy. Version 2: a folder at the top, since a folder that has
controllers to give away holds no processes itself; the node's servers are in `servers` below it, beside its pods.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from pathlib import Path

HIERARCHIES = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd")
CONTROLLERS = ("cpu", "cpuset", "memory", "pids")
ROOT = Path("/sys/fs/cgroup")
PREFIX = "tailrace-rig-"


def is_unified() -> bool:
    """Version 2, and nothing of version 1 beside it."""
    return (ROOT / "cgroup.controllers").exists()


def find_missing() -> list[str]:
    """What this machine lacks or forbids, in words; tried by making one."""
    if is_unified():
        absent = set(CONTROLLERS) - set((ROOT / "cgroup.controllers").read_text().split())
    else:
        absent = {name for name in HIERARCHIES if not (ROOT / name / "cgroup.procs").exists()}
    if absent:
        return [f"cgroup {'v2' if is_unified() else 'v1'} ({', '.join(sorted(absent))})"]
    trial = f"{PREFIX}{os.getpid()}-trial"
    try:
        make(trial)
        settle(trial, [])
    except OSError as error:
        return [f"cgroups of its own ({error.strerror}: {error.filename})"]
    finally:
        remove(trial)
    return []


def find(name: str) -> list[Path]:
    """The folders of that name: what begins there sees them as the top."""
    if is_unified():
        return [ROOT / name]
    own: dict[str, str] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own |= dict.fromkeys(re.sub("^name=", "", controllers).split(","), path)
    return [ROOT / hierarchy / own[hierarchy].lstrip("/") / name for hierarchy in HIERARCHIES]


def find_doors(name: str) -> list[Path]:
    """The folders that whatever enters later joins, once it is settled."""
    return [ROOT / name / "servers"] if is_unified() else find(name)


def make(name: str) -> None:
    if is_unified():
        give_away(ROOT)
    for path in find(name):
        path.mkdir(exist_ok=True)
        if "cpuset" in path.parts:  # empty ones take no process
            for setting in ("cpuset.cpus", "cpuset.mems"):
                (path / setting).write_text((path.parent / setting).read_text())


def settle(name: str, pids: Iterable[int]) -> None:
    """These processes, whose namespace begins at the top, leave it, so that it can give its controllers to the pods."""
    if not is_unified():
        return
    for path in find_doors(name):
        path.mkdir(exist_ok=True)
        for pid in pids:
            (path / "cgroup.procs").write_text(str(pid))
        give_away(path.parent)


def give_away(top: Path) -> None:
    """Let the folders below have the controllers. (An empty word would be an error.)"""
    control = top / "cgroup.subtree_control"
    if wanted := [f"+{name}" for name in CONTROLLERS if name not in control.read_text().split()]:
        control.write_text(" ".join(wanted))


def write_mounts() -> list[str]:
    """Lines of a script that shows a node its own cgroups, and no others."""
    if is_unified():
        return [f"umount -R {ROOT}", f"mount -t cgroup2 cgroup2 {ROOT}"]
    lines = [f"umount -R {ROOT}", f"mount -t tmpfs tmpfs {ROOT}"]
    for name in HIERARCHIES:
        option = "none,name=systemd" if name == "systemd" else name
        lines += [f"mkdir {ROOT}/{name}", f"mount -t cgroup -o {option} cgroup {ROOT}/{name}"]
    return lines


def remove(name: str) -> None:
    """From the leaves up; a process that was killed may take a moment to be gone."""
    deadline = time.monotonic() + 10
    for top in find(name):
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
    for path in find("").pop().glob(f"{PREFIX}*"):
        if not Path("/proc", path.name.removeprefix(PREFIX).split("-")[0]).exists():
            remove(path.name)
