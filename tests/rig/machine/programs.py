"""Where the node's programs are: what was built, and Debian's packages, which `make rig` unpacks beside it.

Nothing is installed: a private root in the cache folder holds them, and they run from there.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.rig import apiserver, binaries, tailnet
from tests.rig.machine import cgroups, space

NODE = ("kube-scheduler", "kubelet", "kube-proxy")
BUILT = (*apiserver.BINARIES, *NODE, *tailnet.BINARIES, "containerboot")
PACKAGED = ("containerd", "containerd-shim-runc-v2", "ctr", "runc", "nft", "dnsmasq", "busybox", "bridge")
NEEDED = (*space.PROGRAMS, "curl", "openssl", "ldd", "sha256sum")
DEBIAN = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tailrace" / "rig" / "debian"
_FOLDERS = ("usr/sbin", "usr/bin", "sbin", "bin", "usr/lib/cni")


def build_path() -> str:
    """`PATH` of everything that runs inside."""
    built = {str(Path(path).parent) for path in binaries.find(BUILT).values()}
    return os.pathsep.join([*(str(DEBIAN / f) for f in _FOLDERS), *sorted(built), os.environ.get("PATH", "")])


def build_library_path() -> str:
    """The packages' own libraries; all else is the machine's."""
    return os.pathsep.join(sorted({str(path.parent) for path in DEBIAN.glob("**/*.so.*")}))


def find_packaged(name: str) -> str:
    """Where a program of the packages is, or the machine's own."""
    found = shutil.which(name, path=_build_search())
    assert found is not None, name
    return found


def find_missing() -> list[str]:
    """Everything that a node lacks here, in words; empty: it can run."""
    if os.environ.get("TAILRACE_RIG") == "off":
        return ["its servers (TAILRACE_RIG=off)"]
    lacks = binaries.find_missing(BUILT)
    lacks += [name for name in PACKAGED if not shutil.which(name, path=_build_search())]
    lacks += [name for name in NEEDED if not shutil.which(name)]
    lacks += [] if Path("/dev/net/tun").exists() else ["/dev/net/tun"]
    lacks += ["root"] if os.geteuid() else []
    return [*lacks, *cgroups.find_missing()]


def _build_search() -> str:
    """Where packages are looked for: CNI's plugins lie beside every `PATH`."""
    return os.pathsep.join([build_path(), "/usr/lib/cni", "/opt/cni/bin"])
