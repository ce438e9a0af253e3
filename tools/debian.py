"""Debian's packages for a real node, unpacked beside the rig's servers and never installed: nothing of the machine changes.

    python tools/debian.py FOLDER [--check]

Only what is not installed is fetched; what is there is run from where it is.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = ("containerd", "runc", "containernetworking-plugins", "nftables", "dnsmasq-base", "busybox-static")
_STAMP = ".packages"


def unpack(folder: Path) -> None:
    """Bring the packages and what they depend on into `folder`/debian, once; says so when it cannot."""
    root, fresh = folder / "debian", folder / "debian.new"
    stamp = root / _STAMP
    if stamp.is_file() and stamp.read_text().split() == list(PACKAGES):
        return
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        print("rig: no Debian packages here, so no real node; its tests will be skipped", file=sys.stderr)
        return
    print(f"rig: fetching {', '.join(PACKAGES)} …", file=sys.stderr, flush=True)
    shutil.rmtree(fresh, ignore_errors=True)
    archives = fresh / "archives"
    (archives / "partial").mkdir(parents=True)
    lists = fresh / "lists"
    done = fetch(archives)
    if done.returncode != 0:  # this machine's lists are old, or none
        (lists / "partial").mkdir(parents=True)
        done = fetch(archives, "-o", f"Dir::State::lists={lists}")
    if done.returncode != 0:
        print(
            f"rig: Debian's packages could not be fetched, so no real node:\n{done.stderr[-1000:]}",
            file=sys.stderr,
        )
        return
    for package in archives.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(fresh)], check=True)
    for rest in (archives, lists):
        shutil.rmtree(rest, ignore_errors=True)
    (fresh / _STAMP).write_text("\n".join(PACKAGES))
    shutil.rmtree(root, ignore_errors=True)
    fresh.rename(root)


def list_packages(folder: Path) -> None:
    there = (folder / "debian" / _STAMP).is_file()
    where = str(folder / "debian") if there else "missing: make rig fetches them"
    print(f"{'Debian packages':<36}{where}")


def fetch(archives: Path, *lists: str) -> subprocess.CompletedProcess[str]:
    """Download into `archives`, by lists of their own where they are named."""
    options = ["-o", f"Dir::Cache::archives={archives}", "-o", "Debug::NoLocking=true", *lists]
    options += ["-o", "APT::Sandbox::User="]
    if lists:
        subprocess.run(["apt-get", "-q", "update", *options], capture_output=True, check=False)
    install = ["install", "--download-only", "--no-install-recommends", "--yes", "-q"]
    return subprocess.run(
        ["apt-get", *options, *install, *PACKAGES], capture_output=True, text=True, check=False
    )


if __name__ == "__main__":
    (list_packages if "--check" in sys.argv[2:] else unpack)(Path(sys.argv[1]))
