"""Wrong input: one sentence and a hint on standard error, the exit code of the table, never a traceback."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tailrace.cli.exits import Exit
from tailrace.cli.main import run_command


def closed_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def write_kubeconfig(folder: Path, server: str) -> Path:
    path = folder / "kubeconfig"
    path.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: here\n"
        "clusters: [{name: here, cluster: {server: '" + server + "'}}]\n"
        "users: [{name: me, user: {token: secret-token}}]\n"
        "contexts: [{name: here, context: {cluster: here, user: me}}]\n"
    )
    return path


def check(captured: pytest.CaptureFixture[str], *said: str) -> None:
    out, err = captured.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert "Traceback" not in err
    assert "secret-token" not in err
    for text in said:
        assert text in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stats"], "status"),
        (["expose"], "NAME"),
        (["expose", "a/b", "--mod", "kernel"], "--mod"),
        (["render"], "--file"),
        (["render", "-f", "/nowhere/x.yaml"], "cannot be read"),
        (["status", "--kubeconfig", "/nowhere"], "/nowhere"),
        (["status", "-o", "xml"], "xml"),
        (["crds", "all", "of them"], '"all of them" is more than the command takes'),
        (["gc", "--age", "99999999999h"], "longer than a year"),
    ],
)
def test_what_is_typed_wrong_is_told(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(arguments) == Exit.USAGE
    check(capsys, said, "hint: ")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a/b/c", "no kind"),
        ("/x", "no name of a Service"),
        ("deployment/a/b", "no kind that Tailrace serves"),
        ("a/..", "no name of a Service"),
        ("a/b c", "no name of a Service"),
    ],
)
def test_a_name_that_is_none_is_told_before_anything_is_asked(
    name: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kubeconfig = write_kubeconfig(tmp_path, "http://127.0.0.1:1")
    assert run_command(["expose", name, "--kubeconfig", str(kubeconfig)]) == Exit.USAGE
    check(capsys, said, "hint: ")


def test_a_namespace_that_cannot_be_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kubeconfig = write_kubeconfig(tmp_path, "http://127.0.0.1:1")
    assert run_command(["status", "-n", "a b", "--kubeconfig", str(kubeconfig)]) == Exit.USAGE
    check(capsys, '"a b" is no name of a namespace', "hint: ")


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ("nonsense", "which is no URL"),
        ("https://127.0.0.1:1', certificate-authority: '/nowhere/ca.crt", "there is no file /nowhere/ca.crt"),
    ],
)
def test_a_cluster_that_cannot_be_is_told(
    server: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kubeconfig = write_kubeconfig(tmp_path, server)
    assert run_command(["status", "--kubeconfig", str(kubeconfig)]) == Exit.USAGE
    check(capsys, said, "hint: ")


@pytest.mark.parametrize(
    "text", ["[]", "clusters: [{name: c, cluster: foo}]", "contexts: [{name: [c], context: {cluster: 3}}]"]
)
def test_a_file_that_is_no_kubeconfig_is_told(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    assert run_command(["status", "--kubeconfig", str(path)]) == Exit.USAGE
    check(capsys, "kubeconfig", "hint: ")


def test_an_unknown_context_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kubeconfig = write_kubeconfig(tmp_path, "http://127.0.0.1:1")
    assert run_command(["status", "--kubeconfig", str(kubeconfig), "--context", "there"]) == Exit.USAGE
    check(capsys, "there")


def test_a_refused_connection_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kubeconfig = write_kubeconfig(tmp_path, f"http://127.0.0.1:{closed_port()}")
    assert run_command(["status", "--kubeconfig", str(kubeconfig)]) == Exit.UNREACHABLE
    check(capsys, "cannot be reached", "hint: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1\n", "line"),
        ("just words\n", "without a kind"),
        ("kind: Service\nmetadata: {name: 5}\n", "cannot be read"),
        ("kind: Service\nmetadata: {namespace: a}\n", "has no name"),
        ("kind: List\nitems: [{kind: Service, metadata: {name: a}}, 1]\n", "without a kind"),
    ],
)
def test_a_broken_manifest_is_told(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    assert run_command(["render", "-f", str(path)]) == Exit.USAGE
    check(capsys, said)


@pytest.mark.parametrize("command", [["render", "-f"], ["sandbox", "--once", "-f"], ["lint", "values"]])
def test_a_file_that_is_no_text_is_told(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xff\xfe")
    assert run_command([*command, str(path)]) == Exit.USAGE
    check(capsys, "it is not UTF-8 text", "hint: ")


def test_manifests_that_ask_for_nothing_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("kind: Service\nmetadata: {name: quiet}\n")
    assert run_command(["render", "-f", str(path)]) == Exit.OK
    assert capsys.readouterr() == ("", "Nothing here asks for a proxy that could be made.\n")


def test_a_wrong_setting_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TAILRACE_PROXY_MODE", "fast")
    assert run_command(["run"]) == Exit.USAGE
    check(capsys, "TAILRACE_PROXY_MODE", "hint: ")


def test_running_without_credentials_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("CLIENT_ID", "CLIENT_ID_FILE", "CLIENT_SECRET_FILE", "TAILRACE_API_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    assert run_command(["run"]) == Exit.USAGE
    check(capsys, "No credentials", "TAILRACE_API_KEY_FILE")


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["version"]) == Exit.OK
    assert capsys.readouterr().out.strip()
