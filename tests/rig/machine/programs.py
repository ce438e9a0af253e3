"""What a node is made of: servers that were built, and Debian's packages, which `make rig` unpacks beside them.

Nothing is installed: all of it runs from the cache folder.
"""

from __future__ import annotations

from tests.rig import apiserver, binaries, needs, tailnet
from tests.rig.machine import space

NODE = ("kube-scheduler", "kubelet", "kube-proxy")
BUILT = (*apiserver.BINARIES, *NODE, *tailnet.BINARIES, "containerboot")
NEEDED = (*space.PROGRAMS, "curl", "openssl", "ldd", "sha256sum")


def find(name: str) -> str:
    """Where a program is."""
    return binaries.find([name])[name]


def explain_lack() -> str:
    """Why a node cannot run here, as a reason to skip; empty: it can."""
    return needs.explain((*BUILT, *binaries.PACKAGED), tools=NEEDED, rights=[needs.private_machine])
