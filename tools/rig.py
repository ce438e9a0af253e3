"""Build the rig's real servers from their Go modules into a cache folder outside the tree; a second run is immediate.

    python tools/rig.py [--check] [--limit=MINUTES] [MODULE…]

Without a module all are built. Versions and checksums are those of `tests/rig/tools/*/go.mod` and `go.sum`.

A server that the machine does not let us have - no Go toolchain, no network, no room, or the limit is reached - is left
out, which is said aloud and written down in `left-out/`: its tests are then skipped for the machine's sake. A build that
fails by itself is an error.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

TOOLS = Path(__file__).resolve().parent.parent / "tests" / "rig" / "tools"
FOLDER = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tailrace" / "rig"
LEFT_OUT = FOLDER / "left-out"
MACHINE = (
    *(
        "dial tcp",
        "i/o timeout",
        "connection refused",
        "connection reset",
        "no such host",
        "TLS handshake timeout",
    ),
    *("proxyconnect", "Bad Gateway", "Service Unavailable", "no space left on device", "signal: killed"),
    *("cannot allocate memory", "toolchain not available"),
)
"""What Go says where it is not the code's fault."""
DEBIAN = [sys.executable, str(Path(__file__).with_name("debian.py")), str(FOLDER)]


def list_tools(module: Path) -> list[str]:
    """The packages that a module's `tool` lines name."""
    text = (module / "go.mod").read_text()
    block = re.search(r"^tool \((.*?)^\)", text, re.S | re.M)
    names = block[1].split() if block else re.findall(r"^tool (\S+)$", text, re.M)
    return [name.strip() for name in names]


def build_flags(module: Path) -> str:
    """Linker flags: programs learn their version from them."""
    text = (module / "go.mod").read_text()
    if found := re.search(r"k8s\.io/kubernetes (v(\d+)\.(\d+)\.\d+)", text):
        base = "k8s.io/component-base/version"
        stamps = {f"{base}.gitVersion": found[1], f"{base}.gitMajor": found[2], f"{base}.gitMinor": found[3]}
    elif found := re.search(r"^\s*tailscale\.com v(\S+)", text, re.M):
        stamps = {f"tailscale.com/version.{name}Stamp": found[1] for name in ("short", "long")}
    elif found := re.search(r"^\s*helm\.sh/helm/v4 (v\S+)", text, re.M):
        stamps = {"helm.sh/helm/v4/internal/version.version": found[1]}
    else:
        stamps = {}
    return " ".join(["-s -w", *(f"-X {name}={value}" for name, value in stamps.items())])


def name_binary(module: Path, package: str) -> str:
    """`go.etcd.io/etcd/server/v3` makes `etcd`, everything else the last word of its path; a module for an older
    version (`headscale-0.28`) gives its binary its own name."""
    name = "etcd" if "etcd" in package else package.rsplit("/", 1)[-1]
    return module.name if module.name.startswith(f"{name}-") else name


def leave_out(name: str, reason: str) -> None:
    """Say that this server is not built here, and note it for the tests."""
    print(f"rig: {name} IS LEFT OUT: {reason}", file=sys.stderr, flush=True)
    LEFT_OUT.mkdir(parents=True, exist_ok=True)
    (LEFT_OUT / name).write_text(f"{reason}\n")


def build(module: Path, until: float) -> None:
    """Build what is not there yet. `until`: on the monotonic clock; what is not ready then is left out."""
    digest = hashlib.sha256((module / "go.mod").read_bytes() + (module / "go.sum").read_bytes()).hexdigest()
    for package in list_tools(module):
        name = name_binary(module, package)
        target, stamp = FOLDER / name, FOLDER / f".{name}.stamp"
        if target.is_file() and stamp.is_file() and stamp.read_text() == digest:
            continue
        if shutil.which("go") is None:
            leave_out(name, "there is no Go toolchain")
            continue
        print(f"rig: building {target.name} …", file=sys.stderr, flush=True)
        began = time.monotonic()
        command = ["go", "build", "-trimpath", "-ldflags", build_flags(module), "-o", str(target), package]
        reason = run_go(command, module, until) and run_go(
            command, module, until
        )  # a network has bad moments
        if reason:
            leave_out(name, reason)
            continue
        stamp.write_text(digest)
        (LEFT_OUT / name).unlink(missing_ok=True)
        print(f"rig: {target.name} built in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def run_go(command: list[str], module: Path, until: float) -> str:
    """Build; why the machine did not let us, or nothing.

    Raises:
        SystemExit: the build failed by itself.
    """
    try:
        done = subprocess.run(
            command,
            cwd=module,
            capture_output=True,
            text=True,
            timeout=max(1.0, until - time.monotonic()),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "the time for building was over"
    if done.returncode == 0:
        return ""
    lines = [line.strip() for line in done.stderr.splitlines() if any(word in line for word in MACHINE)]
    if not lines:
        sys.exit(f"rig: {Path(command[-2]).name} could not be built:\n{done.stderr[-2000:]}")
    return lines[-1]


def find_version(module: Path, package: str) -> str:
    """The version of the Go module that a package belongs to."""
    required: list[tuple[str, str]] = re.findall(
        r"^\s*(?:require )?(\S+) (v\S+)", (module / "go.mod").read_text(), re.M
    )
    return max(
        ((path, v) for path, v in required if package.startswith(path)), key=lambda found: len(found[0])
    )[1]


def list_binaries(modules: list[Path]) -> None:
    for module in modules:
        for package in list_tools(module):
            binary = FOLDER / name_binary(module, package)
            where = str(binary) if binary.is_file() else f"missing: make rig builds it ({module.name})"
            print(f"{binary.name:<26}{find_version(module, package):<10}{where}")


def main() -> None:
    wanted = [word for word in sys.argv[1:] if not word.startswith("--")]
    minutes = [float(word.removeprefix("--limit=")) for word in sys.argv[1:] if word.startswith("--limit=")]
    until = time.monotonic() + 60 * min(minutes, default=24 * 60.0)
    # Older releases come last: they are what can be missed first.
    modules = sorted((path.parent for path in TOOLS.glob("*/go.mod")), key=lambda m: ("-" in m.name, m.name))
    if unknown := set(wanted) - {module.name for module in modules}:
        sys.exit(f"rig: there is no module {', '.join(sorted(unknown))} in {TOOLS.name}/")
    if "--check" in sys.argv[1:]:
        list_binaries(modules)
        subprocess.run([*DEBIAN, "--check"], check=True)
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    for module in sorted(modules, key=lambda m: m.name == "official"):  # what one test alone needs comes last
        if not wanted or module.name in wanted:
            build(module, until)
    if not wanted:
        subprocess.run(DEBIAN, check=True)


if __name__ == "__main__":
    main()
