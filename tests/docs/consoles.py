"""Do what a page's consoles say, and compare what they show: loosely, since ages, ids and addresses differ."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from tests.docs.pages import Step

PATIENCE = 30.0  # seconds until a command that only looks must show what the page says
_LOOKS = ("tailrace status", "kubectl get", "curl ")
_LOOSE = (
    (r"\b\d+(?:m\d+)?s\b", r"\\d+(?:m\\d+)?s"),  # ages
    ("…", r".*"),
)


def run_step(step: Step, folder: Path, env: Mapping[str, str]) -> None:
    """Raises AssertionError when the command fails, or shows something else."""
    until = time.monotonic() + (PATIENCE if step.command.startswith(_LOOKS) else 0)
    while True:
        done = subprocess.run(
            ["bash", "-c", step.command],
            cwd=folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=60,
        )
        fits = done.returncode == 0 and matches(step.shows, done.stdout)
        if fits or time.monotonic() > until:
            assert fits, f"$ {step.command}\n{done.stdout}\ninstead of\n{step.shows}"
            return
        time.sleep(0.2)


def matches(shown: str, printed: str) -> bool:
    """Line by line; blanks count as one, `…` stands for anything, an age for any age."""
    wanted = [loosen(line) for line in _lines(shown)]
    got = _lines(printed)
    return len(wanted) == len(got) and all(re.fullmatch(w, g) for w, g in zip(wanted, got, strict=True))


def loosen(line: str) -> str:
    """A regular expression for a line of a page."""
    words = (re.escape(word) for word in line.split())
    pattern = r"\s+".join(words)
    for what, instead in _LOOSE:
        pattern = re.sub(what, instead, pattern)
    return pattern


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
