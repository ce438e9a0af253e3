"""Make the development environment: find a Python that fits, make `.venv`, install what the lock files name.

Runs under any Python 3.8 or newer, with the standard library alone, since it runs before anything is installed.
Prints the environment's folder as its last line. A warm run only compares a stamp.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Iterator  # noqa: UP035 - Python 3.8 runs this

ROOT = Path(__file__).resolve().parent.parent
NEEDED = (3, 13)
LOCK = ROOT / "requirements" / "dev.txt"
UV = "uv==0.13.8"
NOTHING_FITS = (
    "Tailrace needs Python 3.13 or newer and found none: install one (for example `apt install python3.13`, "
    "`brew install python@3.13`, `pyenv install 3.13` or `uv python install 3.13`), then run make again."
)


def list_candidates() -> Iterator[str]:
    """Commands that may be a fitting Python, the likeliest first."""
    for name in ("python3.13", "python3.14", "python3.15", "python3", "python"):
        found = shutil.which(name)
        if found:
            yield found
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or Path.home() / ".local" / "share" / "uv" / "python")
    for folder in (pyenv, uv):
        if folder.is_dir():
            for version in sorted(folder.iterdir(), reverse=True):
                yield str(version / "bin" / "python3")


def read_version(python: str) -> tuple[int, ...] | None:
    """(major, minor) of an interpreter, or None when it is none, such as a shim without a version behind it."""
    try:
        done = subprocess.run(
            [python, "-c", "import sys, venv, ensurepip; print(*sys.version_info[:2])"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        return tuple(int(part) for part in done.stdout.split()) if done.returncode == 0 else None
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def find_python() -> str:
    for python in list_candidates():
        version = read_version(python)
        if version is not None and version >= NEEDED:
            return python
    sys.exit(NOTHING_FITS)


def compute_stamp() -> str:
    digest = hashlib.sha256(LOCK.read_bytes())
    digest.update((ROOT / "pyproject.toml").read_bytes())
    digest.update(str(ROOT).encode())
    return digest.hexdigest()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(*command: str) -> None:
    """Run quietly; show the output only when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        say(done.stdout + done.stderr)
        sys.exit("setting up failed at: " + " ".join(command[:6]))


def make_environment(folder: Path) -> None:
    python = find_python()
    say(f"environment: making {folder} with {python}")
    if folder.exists():
        shutil.rmtree(folder)
    run(python, "-m", "venv", str(folder))
    own = str(folder / "bin" / "python")
    uv = shutil.which("uv")
    if uv is None:
        say("environment: installing uv")
        run(own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", UV)
        uv = str(folder / "bin" / "uv")
    say("environment: installing the locked packages")
    install = (uv, "pip", "install", "--quiet", "--python", own)
    run(*install, "--require-hashes", "--compile-bytecode", "-r", str(LOCK))
    run(*install, "--no-deps", "--no-build-isolation", "--editable", str(ROOT))


def main() -> None:
    folder = Path(os.environ.get("TAILRACE_VENV") or ROOT / ".venv")
    stamp, wanted = folder / ".tailrace-stamp", compute_stamp()
    if not stamp.is_file() or stamp.read_text() != wanted:
        began = time.monotonic()
        make_environment(folder)
        stamp.write_text(wanted)
        say(f"environment: ready after {time.monotonic() - began:.0f} s")
    print(folder)


if __name__ == "__main__":
    main()
