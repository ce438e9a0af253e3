"""The command itself: exit codes, files, signals, and one sentence for everything that is wrong."""

from __future__ import annotations

import json
import os
import signal
import stat
import urllib.error
from pathlib import Path

import pytest

from tailrace.cli.main import run_command
from tests.blackbox.conftest import (
    FIVE_CLUSTERS,
    ROOT,
    Process,
    Sandbox,
    eventually,
    run_tailrace,
    tailrace,
)

MISTAKES = ROOT / "deploy" / "examples" / "mistakes"


def test_once_is_0_when_all_is_ready(tmp_path: Path) -> None:
    """`--once` with the five clusters prints the table and ends with 0."""
    done = run_tailrace(
        "sandbox",
        "--once",
        "--dir",
        str(tmp_path),
        "-f",
        str(FIVE_CLUSTERS),
    )
    assert done.returncode == 0, done.stderr
    head, *rows = done.stdout.splitlines()
    assert head.split()[:3] == ["OBJECT", "MODE", "DEVICE"]
    assert len(rows) == 12
    assert all("://" in row and " True " in row for row in rows)
    assert "ready" not in done.stdout.split("\n")


def test_once_is_1_with_the_reason(tmp_path: Path) -> None:
    """`--once` with a mistake ends with 1, and says what to write instead."""
    done = run_tailrace("sandbox", "--once", "--dir", str(tmp_path), "-f", str(MISTAKES))
    assert done.returncode == 1
    assert " False " in done.stdout
    assert "service/default/wiki: " in done.stderr
    assert "wiki-example-com" in done.stderr


def test_once_without_the_operator(tmp_path: Path) -> None:
    """`--once --no-operator` is ready at once."""
    done = run_tailrace("sandbox", "--once", "--no-operator", "--dir", str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "ready\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it(tmp_path: Path, number: signal.Signals) -> None:
    """SIGINT and SIGTERM end it with 0, and nobody listens any more."""
    sandbox = Sandbox.start(tmp_path, "-f", str(FIVE_CLUSTERS / "wiki.yaml"))
    assert sandbox.process.end(number) == 0
    assert "Traceback" not in "\n".join(sandbox.process.errors)
    assert sandbox.process.lines == ["ready"]
    with pytest.raises(urllib.error.URLError):
        sandbox.devices()


def test_a_signal_while_it_settles(tmp_path: Path) -> None:
    """With `--once` a signal ends it too."""
    process = Process.start(tailrace("sandbox", "--once", "--dir", str(tmp_path), "-f", str(MISTAKES)))
    log = tmp_path / "operator.log"
    eventually(lambda: log.exists() and log.stat().st_size, "the operator runs")
    assert process.end(signal.SIGINT) == 1
    assert "Traceback" not in "\n".join(process.errors)


def test_a_folder_of_its_own_goes_with_it(tmp_path: Path) -> None:
    """Without `--dir` the folder is a temporary one, and nothing of it is left."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = Process.start(tailrace("sandbox", "--no-operator"), env=environment)
    process.wait_line(lambda line: line == "ready")
    [folder] = tmp_path.iterdir()
    assert folder.name.startswith("tailrace-sandbox-")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert process.end(signal.SIGTERM) == 0
    assert f"export KUBECONFIG={folder}/kubeconfig" in process.errors
    assert list(tmp_path.iterdir()) == []


def test_no_operator_leaves_services_alone(tmp_path: Path) -> None:
    """Without the operator the cluster is there, and no Service is touched."""
    sandbox = Sandbox.start(tmp_path, "--no-operator", "-f", str(FIVE_CLUSTERS / "wiki.yaml"))
    try:
        rows = sandbox.status("wiki")
        assert {row["object"] for row in rows} == {"service/wiki/wiki", "service/wiki/wiki-pods"}
        assert all(row["ready"] == "" and not row["addresses"] for row in rows)
        assert sandbox.devices() == {}
    finally:
        sandbox.stop()


def test_the_address_book(sandbox: Sandbox) -> None:
    """`sandbox.json` has every address, and is its owner's alone; so is each file with a credential."""
    book = sandbox.book
    assert book.keys() == {"kubernetes", "controlPlane", "operator", "tailnet", "twins"}
    assert book["kubernetes"].keys() == {"url", "kubeconfig", "token"}
    assert book["controlPlane"].keys() == {"dialect", "url", "credentials", "baseDomain", "adminToken"}
    assert book["operator"].keys() == {"namespace", "metrics"}
    assert book["tailnet"] == {"cidr": "127.64.0.0/10"}
    assert book["kubernetes"]["url"].startswith("https://127.0.0.1:")
    assert book["controlPlane"]["dialect"] == "tailscale"
    secrets = [
        book["kubernetes"]["token"],
        *book["controlPlane"]["credentials"].values(),
        book["controlPlane"]["adminToken"],
        "PRIVATE KEY",
    ]
    for path in sandbox.folder.iterdir():
        text = path.read_text()
        if any(secret in text for secret in secrets):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name
    assert stat.S_IMODE((sandbox.folder / "sandbox.json").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--control-plane", "zerotier"], "zerotier"),
        (["--dir", "/proc/nowhere"], "/proc/nowhere cannot be written"),
        (["-f", "/nowhere.yaml"], "/nowhere.yaml cannot be read"),
        (["--frobnicate"], "--frobnicate"),
    ],
)
def test_wrong_usage_is_one_sentence(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong in the command line is told in one sentence with a hint, and the exit code is 2."""
    assert run_command(["sandbox", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    error, hint = said.err.splitlines()
    assert error.startswith("error: ")
    assert words in error
    assert hint.startswith("hint: ")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: Service\n  x: y", "line 2"),
        ("apiVersion: v1\nmetadata: {name: x}", "without a kind"),
        (
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Service",
                    "metadata": {"name": "web", "namespace": "default"},
                    "spec": {"ports": [{"port": 70000, "targetPort": 80}]},
                }
            ),
            "must be between 1 and 65535",
        ),
        ("apiVersion: v1\nkind: Service", "Service"),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: [1]}", "Service"),
        ("apiVersion: v1\nkind: Service\nmetadata: wrong", "without a kind"),
        ("apiVersion: v1\nkind: [1]\nmetadata: {name: x}", "kind"),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: [1]", "Service"),
    ],
)
def test_a_wrong_manifest_is_one_sentence(
    tmp_path: Path, text: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is no manifest, or one that the cluster refuses, is told in one sentence; the exit code is 2."""
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    code = run_command(["sandbox", "--once", "--dir", str(tmp_path / "sandbox"), "-f", str(path)])
    said = capsys.readouterr().err
    assert code == 2, said
    error, hint = said.splitlines()
    assert words in error
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")


def test_what_has_no_place_is_told(tmp_path: Path) -> None:
    """A kind that the sandbox does not know is left out with a note, and a missing namespace is made."""
    path = tmp_path / "more.yaml"
    path.write_text(
        "apiVersion: example.com/v1\nkind: Gadget\nmetadata: {name: g}\n---\n"
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: new}\n"
    )
    folder = tmp_path / "sandbox"
    done = run_tailrace("sandbox", "--once", "--no-operator", "--dir", str(folder), "-f", str(path))
    assert done.returncode == 0, done.stderr
    assert "note: Gadget g is left out" in done.stderr
    assert "note: namespace new is made for you" in done.stderr


def test_the_same_folder_again(tmp_path: Path) -> None:
    """A folder may be used again; its files are new ones."""
    for _ in range(2):
        done = run_tailrace("sandbox", "--once", "--no-operator", "--dir", str(tmp_path))
        assert done.returncode == 0, done.stderr
