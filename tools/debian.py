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
    """Bring the packages and what they depend on into `folder`/debian, once.

    Where that cannot be it says so and writes it down in `folder`/left-out/debian, for the tests.
    """
    root, fresh, note = folder / "debian", folder / "debian.new", folder / "left-out" / "debian"
    stamp = root / _STAMP
    if stamp.is_file() and stamp.read_text().split() == list(PACKAGES):
        return
    note.parent.mkdir(parents=True, exist_ok=True)
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        note.write_text("apt-get or dpkg is missing\n")
        print("rig: Debian's packages ARE LEFT OUT: apt-get or dpkg is missing", file=sys.stderr)
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
        said = done.stderr.strip()
        note.write_text(f"Debian's packages could not be fetched: {said.splitlines()[-1] if said else '?'}\n")
        print(
            f"rig: Debian's packages ARE LEFT OUT, they could not be fetched:\n{said[-1000:]}",
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
    note.unlink(missing_ok=True)


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
