"""The rig's programs: where they are, which are missing, how one is ended.

They come from `TAILRACE_RIG_BIN`, `KUBEBUILDER_ASSETS`, what `make rig` built, or `PATH`. With `TAILRACE_RIG=off` no
server is found, so that the quick run stays quick; kubectl is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path


def find(names: Iterable[str]) -> dict[str, str]:
    """Where each one is; those that are missing are left out."""
    if os.environ.get("TAILRACE_RIG") == "off":
        names = set(names) & {"kubectl"}
    folders = [os.environ.get(name, "") for name in ("TAILRACE_RIG_BIN", "KUBEBUILDER_ASSETS")]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tailrace" / "rig"
    path = os.pathsep.join([*(f for f in folders if f), str(cache), os.environ.get("PATH", "")])
    return {name: found for name in names if (found := shutil.which(name, path=path))}


def find_missing(names: Iterable[str]) -> list[str]:
    return sorted(set(names) - find(names).keys())


def end(process: subprocess.Popen[bytes], *, patience: float = 10.0) -> None:
    """SIGTERM, then SIGKILL; it is waited for either way."""
    process.terminate()
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
