"""Cgroups of version 2, where nothing but the rules of folders can be tried: one without controllers is on many machines."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig import needs
from tests.rig.machine import cgroups

NAME = f"{cgroups.PREFIX}{os.getpid()}-two"


def find_mount() -> Path | None:
    rows = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    return next((Path(row[1]) for row in rows if row[2] == "cgroup2"), None)


@pytest.fixture
def unified(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The tree of version 2, with what controllers it has."""
    root = find_mount()
    if root is None or os.geteuid() or not os.access(root, os.W_OK):
        pytest.skip(f"{needs.MACHINE}no tree of cgroup v2 that may be written")
    there = (root / "cgroup.controllers").read_text().split()
    monkeypatch.setattr(cgroups, "ROOT", root)
    monkeypatch.setattr(cgroups, "CONTROLLERS", [c for c in cgroups.CONTROLLERS if c in there])
    if lack := cgroups.find_missing():
        pytest.skip(f"{needs.MACHINE}no {', '.join(lack)}")
    yield root
    cgroups.remove(NAME)


def test_a_process_begins_at_the_top_and_settles_below_it(unified: Path) -> None:
    """Its namespace begins where it was; then the top is empty, and takes folders of pods."""
    cgroups.make(NAME)
    (top,) = cgroups.find(NAME)
    sleeper = subprocess.Popen(["sleep", "600"])
    try:
        (top / "cgroup.procs").write_text(str(sleeper.pid))
        assert f"/{NAME}\n" in Path(f"/proc/{sleeper.pid}/cgroup").read_text()
        cgroups.settle(NAME, [sleeper.pid])
        assert (top / "cgroup.procs").read_text() == ""
        (door,) = cgroups.find_doors(NAME)
        assert (door / "cgroup.procs").read_text().split() == [str(sleeper.pid)]
        (top / "kubepods").mkdir()
    finally:
        sleeper.kill()
        sleeper.wait()
    cgroups.remove(NAME)
    assert not top.exists()


def test_folders_of_tests_that_were_killed_are_swept_away(unified: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    left = f"{cgroups.PREFIX}{gone.pid}-left"
    for name in (left, NAME):
        cgroups.make(name)
        cgroups.settle(name, [])
    cgroups.sweep()
    assert [path.exists() for name in (left, NAME) for path in cgroups.find(name)] == [False, True]


def test_a_node_sees_one_tree(unified: Path) -> None:
    assert cgroups.write_mounts() == [f"umount -R {unified}", f"mount -t cgroup2 cgroup2 {unified}"]
