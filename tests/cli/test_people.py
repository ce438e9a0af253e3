"""What a person meets around the commands: help, completion, colours, progress; a cluster that refuses or is down."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
import yaml

from tailrace.cli import output
from tailrace.cli.exits import Exit
from tailrace.cli.main import run_command
from tests.cli.town import Person, Town

COMMANDS = ("crds", "explain", "expose", "render", "run", "sandbox", "status", "unexpose", "version")
WITH_A_CLUSTER = ("explain", "expose", "run", "status", "unexpose")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@contextlib.contextmanager
def at_a_terminal(**environment: str) -> Iterator[Terminal]:
    """Both streams go to a narrow terminal that can show colours."""
    found, usual = Terminal(), {"TERM": "xterm-256color", "COLUMNS": "40", "NO_COLOR": ""}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (usual | environment).items():
            patch.setenv(name, value)
        patch.setattr(sys, "stdout", found)
        patch.setattr(sys, "stderr", found)
        yield found


# --- help and completion ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_its_options(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([command, "--help"]) == Exit.OK
    said = capsys.readouterr().out
    assert said.startswith(f"Usage: tailrace {command}")
    assert ("--kubeconfig" in said and "--context" in said) is (command in WITH_A_CLUSTER)
    if command in WITH_A_CLUSTER and command != "run":
        assert f"Example: tailrace {command} " in said


def test_help_lists_every_command_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["--help"]) == Exit.OK
    lines = capsys.readouterr().out.splitlines()
    for command in COMMANDS:
        (line,) = (line for line in lines if line.startswith(f"│ {command} "))
        assert len(line.split()) > 4


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_command(
    shell: Literal["bash", "zsh", "fish"], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "completion"
    assert run_command(["--install-completion", "--shell", shell, "--output", str(script)]) == Exit.OK
    text = script.read_text()
    assert [command for command in COMMANDS if command not in text] == []
    assert "hostname" in text
    assert str(script) in capsys.readouterr().out.replace("\n", "")


# --- printing --------------------------------------------------------------------------------------------------


def test_a_terminal_gets_colours_and_whole_lines() -> None:
    with at_a_terminal() as terminal:
        output.print_table(("OBJECT", "READY"), [("service/default/" + "x" * 60, "True")], empty="")
    assert "x" * 60 in terminal.getvalue()
    assert "\x1b[32mTrue" in terminal.getvalue()


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_who_wants_no_colours_gets_none(name: str, value: str) -> None:
    with at_a_terminal(**{name: value}) as terminal:
        output.print_table(("OBJECT", "READY"), [("a", "True")], empty="")
        with output.Progress() as progress:
            progress.say("waiting")
    assert terminal.getvalue() == "OBJECT  READY\na       True\nwaiting\n"


def test_progress_moves_on_a_terminal_and_leaves_nothing_there() -> None:
    with at_a_terminal() as terminal, output.Progress() as progress:
        progress.say("waiting [for] it")
    assert "waiting [for] it" in terminal.getvalue()
    assert terminal.getvalue().endswith(("\x1b[2K", "\x1b[1A\x1b[2K", "\x1b[?25h"))


def test_elsewhere_progress_is_a_line_for_each_change(capsys: pytest.CaptureFixture[str]) -> None:
    with output.Progress() as progress:
        for text in ("one", "one", "two"):
            progress.say(text)
    out, err = capsys.readouterr()
    assert (out, err) == ("", "one\ntwo\n")


def test_a_reader_that_goes_away_is_no_fault() -> None:
    """As with `| head`: no traceback, no noise, also when the output waits in a buffer."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-m", "tailrace", "version"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == Exit.OK


# --- a cluster that refuses, or is down ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", [("status",), ("expose", "default/web"), ("unexpose", "web"), ("explain", "web")]
)
def test_who_has_no_rights_or_no_valid_token_is_refused(
    command: tuple[str, ...], quiet_town: Town, capsys: pytest.CaptureFixture[str]
) -> None:
    admin = Person(quiet_town, capsys, quiet_town.world.kubeconfig)
    for person in (admin.as_account("nobody", []), admin.with_token("no-token")):
        said = person.type(*command)
        assert (said.code, said.out) == (Exit.REFUSED, "")
        assert said.err.startswith("error: ")
        assert "forbidden" in said.err or "Unauthorized" in said.err


@pytest.mark.parametrize(
    "command", [("status",), ("expose", "default/web"), ("unexpose", "web"), ("explain", "web")]
)
def test_a_cluster_that_is_down_or_broken_is_a_sentence(
    command: tuple[str, ...], quiet_town: Town, capsys: pytest.CaptureFixture[str]
) -> None:
    person = Person(quiet_town, capsys, quiet_town.world.kubeconfig)
    quiet_town.on(lambda world: world.api.faults.set({"status": 500}))
    broken = person.type(*command)
    quiet_town.on(lambda world: world.api.faults.clear())
    quiet_town.wait(lambda world: world.refuse_connections())
    down = person.type(*command)
    quiet_town.wait(lambda world: world.accept_connections())
    for said in (broken, down):
        assert (said.code, said.out) == (Exit.UNREACHABLE, "")
        assert said.err.startswith("error: ")
        assert "hint: " in said.err
    assert "cannot be reached" in down.err


def test_a_cluster_whose_certificate_is_not_trusted_is_a_sentence(
    quiet_town: Town, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = yaml.safe_load(quiet_town.world.kubeconfig.read_text())
    del document["clusters"][0]["cluster"]["certificate-authority-data"]
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(document))
    said = Person(quiet_town, capsys, tmp_path / "kubeconfig").type("status")
    assert said.code == Exit.UNREACHABLE
    assert "certificate" in said.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not a kubeconfig"),
        ("{", "is not a kubeconfig"),
        ("- a\n- tskey-secret\n", "is not a kubeconfig"),
        ("users: [{name: me, user: {token: tskey-secret}}", "is not a kubeconfig"),
        ("kind: Config\n", "no current context"),
        ("current-context: here\n", 'no context "here"'),
        ("current-context: a\ncontexts: [{name: a, context: {cluster: b, user: c}}]\n", "'b'"),
        (
            "current-context: a\ncontexts: [{name: a, context: {cluster: b}}]\n"
            "clusters: [{name: b, cluster: {server: 'https://127.0.0.1:1', certificate-authority: /nowhere}}]\n",
            "cannot be used",
        ),
    ],
)
def test_a_broken_kubeconfig_is_a_sentence(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    assert run_command(["status", "--kubeconfig", str(path)]) == Exit.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert "hint: " in err
    assert "tskey-secret" not in err
    assert "Traceback" not in err
