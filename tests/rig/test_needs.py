"""A skip says whose doing it is, and only the rig's own fails a run in which every server has to be there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rig import binaries, needs
from tests.rig.conftest import ROOT

TESTS = """
import pytest
from tests.rig import needs

def test_lacks(): pytest.skip(needs.explain(["no-such-server"]))
def test_forbidden(): pytest.skip(needs.explain(tools=["no-such-tool"]))
def test_passes(): pass
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one, and no other place to look."""
    monkeypatch.setattr(binaries, "CACHE", tmp_path)
    monkeypatch.setattr(binaries, "DEBIAN", tmp_path / "debian")
    for name in ("TAILRACE_RIG", "TAILRACE_RIG_BIN", "KUBEBUILDER_ASSETS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "left-out").mkdir()
    return tmp_path


def test_a_server_that_nobody_built_is_the_rigs_fault(cache: Path) -> None:
    reason = needs.explain(["no-such-server"], tools=["no-such-tool"])
    assert reason == "the rig lacks no-such-server (make rig brings them)"
    assert not needs.is_of_machine(f"Skipped: {reason}")


def test_what_could_not_be_brought_here_is_the_machines(cache: Path) -> None:
    """Each with the reason that was written down when it was tried; Debian's packages share one."""
    (cache / "left-out" / "no-such-server").write_text("no Go toolchain\n")
    (cache / "left-out" / "debian").write_text("its packages cannot be fetched\n")
    reason = needs.explain(["no-such-server"])
    assert reason == "not on this machine: no no-such-server (no Go toolchain)"
    assert needs.is_of_machine(f"Skipped: {reason}")
    assert needs.read_left_out("runc") == "its packages cannot be fetched"
    both = needs.explain(["no-such-server", "another-server"])
    assert both == "the rig lacks another-server (make rig brings them)", "one fault of ours is enough"


def test_what_the_machine_forbids_is_asked_last(cache: Path) -> None:
    def forbids() -> list[str]:
        return ["root", "/dev/net/tun"]

    assert needs.explain(rights=[forbids]) == "not on this machine: no root, no /dev/net/tun"
    assert needs.explain(tools=["no-such-tool"], rights=[forbids]) == "not on this machine: no no-such-tool"
    assert needs.explain() == ""


def test_a_trial_that_fails_is_named_and_one_that_cannot_begin_says_why() -> None:
    assert needs.try_all(["env"], {"a chair": "true", "a table": "false"}) == ["a table"]
    (said,) = needs.try_all(["sh", "-c", "echo not permitted >&2; exit 1"], {"a chair": "true"})
    assert said == "namespaces (not permitted)"


@pytest.mark.parametrize(
    ("chosen", "code", "said"),
    [
        ("lacks or passes", 1, "1 skipped, but TAILRACE_RIG=required: that is a failure"),
        ("forbidden or passes", 0, "1 skipped for what this machine cannot give, which is no failure"),
    ],
)
@pytest.mark.parametrize("workers", ["0", "1"])
def test_required_fails_for_what_the_rig_lacks_alone(
    tmp_path: Path, chosen: str, code: int, said: str, workers: str
) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), f"--rootdir={tmp_path}"]
    command += ["-p", "tests.conftest", "-p", "no:cacheprovider", "-q", "-n", workers, "-k", chosen]
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    environment = {**os.environ, "TAILRACE_RIG": "required", "PYTHONPATH": path}
    done = subprocess.run(
        [*command, str(tmp_path)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, said in done.stdout) == (code, True), done.stdout + done.stderr
    assert "1 passed, 1 skipped" in done.stdout
