"""Nothing that a keeper runs outlives the tests, however they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.rig.apiserver import KEEPER, Server

HOLDER = """
import subprocess, sys, time
keeper = subprocess.Popen([sys.executable, *sys.argv[1:]], stdin=subprocess.PIPE, start_new_session=True)
print(keeper.pid, flush=True)
time.sleep(600)
"""


def wait_gone(pid: int) -> None:
    for _ in range(600):
        status = Path(f"/proc/{pid}/status")
        if not status.exists() or "State:\tZ" in status.read_text():
            return
        time.sleep(0.02)
    raise AssertionError(f"process {pid} is still there")


def wait_pid(note: Path) -> int:
    for _ in range(600):
        if note.exists() and note.read_text().endswith("\n"):
            return int(note.read_text())
        time.sleep(0.02)
    raise AssertionError("the program did not start")


@pytest.mark.parametrize("victim", ["tests", "keeper"])
def test_a_program_goes_with_whoever_is_killed(tmp_path: Path, victim: str) -> None:
    """SIGKILL for the process that holds the keeper, or for the keeper itself."""
    note = tmp_path / "pid"
    script = ["sh", "-c", f"echo $$ > {note}; exec sleep 600"]
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(KEEPER), *script], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        keeper = int(holder.stdout.readline())
        program = wait_pid(note)
        os.kill(holder.pid if victim == "tests" else keeper, signal.SIGKILL)
        wait_gone(program)
        wait_gone(keeper)
    finally:
        holder.kill()
        holder.communicate()


def test_a_server_is_ended_and_started_again_and_shows_when_it_ends_by_itself(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    server = Server(command=["sh", "-c", f"echo $$ > {note}; exec sleep 600"], log=tmp_path / "log")
    for kill in (False, True):
        server.start()
        program = wait_pid(note)
        assert not server.failed
        server.end(kill=kill)
        wait_gone(program)
        note.unlink()
    server.start()
    os.kill(wait_pid(note), signal.SIGKILL)
    for _ in range(600):
        if server.failed:
            break
        time.sleep(0.02)
    assert server.failed
    server.end()
