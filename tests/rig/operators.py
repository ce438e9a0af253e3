"""Operators as processes of their own, each with a token of its own, so that the audit log tells them apart.

They are forked from a process that has imported everything, so that one is up in a moment; from there on they are
what `tailrace run` is.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import multiprocessing
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from bench.grounds import HOME, write_environment

from tailrace.cli.main import run_command
from tailrace.sandbox.controlplane.control import ControlPlane
from tests.rig.apiserver import ApiServer
from tests.rig.keeper import die_with_parent
from tests.rig.look import PATIENCE

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["tests.rig.operators"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Operator:
    """One process."""

    name: str  # its identity in the lease
    token: str  # id of its token in the audit log
    log: Path
    process: BaseProcess

    def signal(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """SIGKILL; gone when this returns."""
        self.process.kill()
        self.process.join()
        self.process.close()

    async def wait_said(self, what: str, limit: float = PATIENCE) -> None:
        """Until its log has this."""
        async with asyncio.timeout(limit):
            while what not in self.log.read_text():
                assert self.process.is_alive(), self.log.read_text()[-2000:]
                await asyncio.sleep(0.02)

    async def wait_ended(self, limit: float = PATIENCE) -> int:
        """Its exit code."""
        async with asyncio.timeout(limit):
            while self.process.exitcode is None:
                await asyncio.sleep(0.02)
        return self.process.exitcode


@dataclass(kw_only=True)
class Operators:
    """Makes them for one API server and one control plane."""

    server: ApiServer
    plane: ControlPlane
    folder: Path
    made: list[Operator] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def start(self, *, pod: str = "", token: str = "", settings: Mapping[str, str] | None = None) -> Operator:
        """Another process. `pod`: the identity in the lease; a container that is restarted keeps its pod's."""
        number = next(self._numbers)
        name = pod or f"operator-{number}"
        token = token or self.mint_token()
        log = self.folder / f"operator-{number}.log"
        log.touch()
        environment = {
            **write_environment(self.folder, self.plane.url, self.plane.credentials),
            "POD_NAME": name,
            "TAILRACE_DEVICE_REFRESH": "2s",  # what happens on the control plane alone is seen soon
            "TAILRACE_METRICS_ADDRESS": "127.0.0.1:0",
            **(settings or {}),
        }
        kubeconfig = self.server.write_kubeconfig(f"operator-{number}", token)
        process = _forks.Process(target=run, args=(environment, kubeconfig, log), daemon=True)
        process.start()
        operator = Operator(name=name, token=read_token_id(token), log=log, process=process)
        self.made.append(operator)
        return operator

    async def keep(self, *, pod: str) -> None:
        """Run one for ever as a kubelet does: whenever it ends, it is started again."""
        token = self.mint_token()
        while True:
            await self.start(pod=pod, token=token).wait_ended(limit=3600)

    def mint_token(self) -> str:
        return self.server.kubectl("create", "token", "operator", "-n", HOME).strip()

    def read_logs(self) -> str:
        return "".join(operator.log.read_text() for operator in self.made)

    def kill(self) -> None:
        """All that are left."""
        for operator in self.made:
            with contextlib.suppress(ValueError):  # closed: killed already
                operator.kill()


def run(environment: Mapping[str, str], kubeconfig: Path, log: Path) -> None:
    """What the process does."""
    die_with_parent()
    with log.open("ab") as out:
        for stream in (1, 2):
            os.dup2(out.fileno(), stream)
    os.environ.clear()
    os.environ.update(environment)
    raise SystemExit(run_command(["run", "--kubeconfig", str(kubeconfig)]))


def read_token_id(token: str) -> str:
    """How the audit log names a token: JTI and its `jti` claim."""
    return f"JTI={read_payload(token)['jti']}"


def read_payload(token: str) -> Any:
    """The claims of a token of a service account."""
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
