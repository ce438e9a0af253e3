"""Where the node's programs are: what was built, and Debian's packages, which `make rig` unpacks beside it.

Nothing is installed: a private root in the cache folder holds them, and they run from there.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.rig import binaries
from tests.rig.machine import cgroups, space

BUILT = (
    *(
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kubelet",
        "kube-proxy",
        "kubectl",
    ),
    *("headscale", "containerboot", "tailscaled", "tailscale"),
)
PACKAGED = ("containerd", "containerd-shim-runc-v2", "ctr", "runc", "nft", "dnsmasq", "busybox", "bridge")
NEEDED = (*space.PROGRAMS, "curl", "openssl", "ldd", "getent")
DEBIAN = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tailrace" / "rig" / "debian"
CNI = Path("usr/lib/cni")
_FOLDERS = ("usr/sbin", "usr/bin", "sbin", "bin", CNI)


def build_path() -> str:
    """`PATH` of everything that runs inside."""
    built = {str(Path(path).parent) for path in binaries.find(BUILT).values()}
    return os.pathsep.join([*(str(DEBIAN / f) for f in _FOLDERS), *sorted(built), os.environ.get("PATH", "")])


def build_library_path() -> str:
    """The packages' own libraries; all else is the machine's."""
    return os.pathsep.join(sorted({str(path.parent) for path in DEBIAN.glob("**/*.so.*")}))


def find_packaged(name: str) -> str:
    """Where a program of the packages is, or the machine's own."""
    found = shutil.which(name, path=f"{build_path()}{os.pathsep}/usr/lib/cni{os.pathsep}/opt/cni/bin")
    assert found is not None, name
    return found


def find_missing() -> list[str]:
    """Everything that a node lacks here, in words; empty: it can run."""
    path = f"{build_path()}{os.pathsep}/usr/lib/cni{os.pathsep}/opt/cni/bin"
    off = os.environ.get("TAILRACE_RIG") == "off"
    lacks = [
        *binaries.find_missing(BUILT),
        *(name for name in PACKAGED if off or not shutil.which(name, path=path)),
    ]
    lacks += [name for name in NEEDED if not shutil.which(name)]
    lacks += [] if Path("/dev/net/tun").exists() else ["/dev/net/tun"]
    lacks += ["root"] if os.geteuid() else []
    return [*lacks, *cgroups.find_missing()]
