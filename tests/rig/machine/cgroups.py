"""A node's own cgroups: a folder below this process's own in each hierarchy of version 1, and its end."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

HIERARCHIES = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd")
ROOT = Path("/sys/fs/cgroup")
PREFIX = "tailrace-rig-"


def find_missing() -> list[str]:
    """The hierarchies that this machine lacks, in words."""
    absent = [name for name in HIERARCHIES if not (ROOT / name / "cgroup.procs").exists()]
    return [f"cgroup v1 ({', '.join(absent)})"] if absent else []


def find(name: str) -> list[Path]:
    """The folder of that name below this process's own, in each hierarchy."""
    own: dict[str, str] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own |= dict.fromkeys(re.sub("^name=", "", controllers).split(","), path)
    return [ROOT / hierarchy / own[hierarchy].lstrip("/") / name for hierarchy in HIERARCHIES]


def make(name: str) -> None:
    for path in find(name):
        path.mkdir(exist_ok=True)
        if "cpuset" in path.parts:  # empty ones take no process
            for setting in ("cpuset.cpus", "cpuset.mems"):
                (path / setting).write_text((path.parent / setting).read_text())


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
