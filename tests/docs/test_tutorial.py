"""The tutorial and two guides are true: what they tell the reader to do is done here, with the real kubectl."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.docs import consoles, pages
from tests.docs.pages import Saved, Step
from tests.rig import binaries, needs

PAGES = ("tutorial/first-exposure.md", "guides/faults.md", "guides/rehearse.md")
PORT = "7070"
LACK = needs.explain(["kubectl"], tools=["curl"])


@pytest.mark.skipif(bool(LACK), reason=LACK)
@pytest.mark.parametrize("page", PAGES)
def test_every_console_shows_what_its_page_says(page: str, tmp_path: Path) -> None:
    """On a port of its own, since another sandbox may hold the page's."""
    text = (pages.DOCS / page).read_text().replace(PORT, free_port())
    env = build_environment(tmp_path)
    with ExitStack() as terminals:
        for step in pages.read_steps(text):
            if isinstance(step, Saved):
                (tmp_path / step.name).write_text(step.text)
            elif step.command.startswith("export "):
                env |= read_export(step, tmp_path, env)
            elif "tailrace sandbox" in step.command and "--once" not in step.command:
                terminals.enter_context(running(step, tmp_path, env))
            else:
                consoles.run_step(step, tmp_path, env)


def read_export(step: Step, folder: Path, env: dict[str, str]) -> dict[str, str]:
    """The variable that the shell would have from then on."""
    name = step.command.removeprefix("export ").partition("=")[0]
    show = f'{step.command}; printf %s "${name}"'
    return {name: subprocess.check_output(["bash", "-c", show], cwd=folder, env=env, text=True)}


def build_environment(home: Path) -> dict[str, str]:
    """The reader's: `tailrace` is installed, and no cluster is configured."""
    scripts = str(Path(sys.executable).parent)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TAILRACE_", "KUBE", "OPERATOR_"))}
    return kept | {
        "PATH": f"{scripts}{os.pathsep}{binaries.build_path()}",
        "HOME": str(home),
        "COLUMNS": "200",
    }


@contextmanager
def running(start: Step, folder: Path, env: dict[str, str]) -> Iterator[None]:
    """The first terminal: a sandbox from `ready` to Ctrl-C."""
    with (folder / "first-terminal").open("w+") as terminal:
        *variables, program = re.split(r" (?=\w+=|tailrace )", start.command)
        own = env | dict(variable.split("=", 1) for variable in variables)
        process = subprocess.Popen(
            program.split(), cwd=folder, env=own, stdout=subprocess.PIPE, stderr=terminal, text=True
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield
        finally:
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate(timeout=60)
            terminal.seek(0)
            said = terminal.read()
        assert (process.returncode, rest) == (0, ""), said
        assert consoles.matches(start.shows, f"{said}ready\n")


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("shown", "printed", "fits"),
    [
        ("web  9s", "web   1m12s", True),
        ("pod: web-…", "pod: web-7d9-x2", True),
        ("a\nb", "a", False),
        ("web 9s", "web never", False),
        ("1.2.3", "1x2.3", False),
    ],
)
def test_a_console_is_compared_loosely_and_not_more(shown: str, printed: str, fits: bool) -> None:
    assert consoles.matches(shown, printed) is fits
