"""The rig's programs: where they are, which are missing.

They come from `TAILRACE_RIG_BIN`, `KUBEBUILDER_ASSETS`, what `make rig` built, Debian's packages that it unpacked beside
that, or `PATH`. With `TAILRACE_RIG=off` no server is found, so that the quick run stays quick; kubectl is.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tailrace" / "rig"
DEBIAN = CACHE / "debian"
PACKAGED = ("containerd", "containerd-shim-runc-v2", "ctr", "runc", "nft", "dnsmasq", "busybox", "bridge")
"""Programs of Debian's packages. `bridge` is the plugin of CNI."""
_UNPACKED = ("usr/lib/cni", "usr/sbin", "usr/bin", "sbin", "bin")


def find(names: Iterable[str]) -> dict[str, str]:
    """Where each one is; those that are missing are left out."""
    if os.environ.get("TAILRACE_RIG") == "off":
        names = set(names) & {"kubectl"}
    path = build_path()
    return {name: found for name in names if (found := shutil.which(name, path=path))}


def find_missing(names: Iterable[str]) -> list[str]:
    return sorted(set(names) - find(names).keys())


def build_path() -> str:
    """Every folder where a program may be, the machine's last."""
    named = [os.environ.get(name, "") for name in ("TAILRACE_RIG_BIN", "KUBEBUILDER_ASSETS")]
    unpacked = [str(DEBIAN / folder) for folder in _UNPACKED]
    elsewhere = ["/usr/lib/cni", "/opt/cni/bin"]
    return os.pathsep.join(
        [*filter(None, named), str(CACHE), *unpacked, *elsewhere, os.environ.get("PATH", "")]
    )


def build_library_path() -> str:
    """The packages' own libraries; all else is the machine's."""
    return os.pathsep.join(sorted({str(path.parent) for path in DEBIAN.glob("**/*.so.*")}))
