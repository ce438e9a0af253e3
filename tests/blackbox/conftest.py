"""A sandbox for each control plane, started when first asked for and shared by all tests of the session."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest
import yaml

from tests.rig import binaries, needs

ROOT = Path(__file__).parents[2]
FIVE_CLUSTERS = ROOT / "deploy" / "examples" / "five-clusters"
NAMESPACES = ("lab", "media", "solar", "wiki", "workshop")
DIALECTS = ("tailscale", "headscale-0.29", "headscale-0.30")
PATIENCE = 60.0
"""Seconds until a test gives up. Nothing is expected to take long; a busy machine is no failure."""

type Device = dict[str, Any]


def eventually[T](look: Callable[[], T | None], what: str) -> T:
    """The first true answer of `look`; AssertionError after a long patience."""
    end = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < end, f"did not happen: {what}"
        time.sleep(0.1)
    return found


@dataclass(kw_only=True)
class Process:
    """A `tailrace` command that runs; what it says is collected line by line."""

    popen: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    _news: queue.Queue[str | None] = field(default_factory=queue.Queue)
    _readers: list[threading.Thread] = field(default_factory=list)

    @classmethod
    def start(cls, command: list[str], **options: Any) -> Process:
        popen = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1, **options
        )
        self = cls(popen=popen)
        for stream, into in ((popen.stdout, self.lines), (popen.stderr, self.errors)):
            reader = threading.Thread(target=self._read, args=(stream, into), daemon=True)
            reader.start()
            self._readers.append(reader)
        return self

    def _read(self, stream: IO[str], into: list[str]) -> None:
        for line in stream:
            into.append(line.rstrip("\n"))
            if into is self.lines:
                self._news.put(line)
        if into is self.lines:
            self._news.put(None)

    def wait_line(self, fits: Callable[[str], bool]) -> str:
        """The next line of standard output that fits."""
        while (line := self._news.get(timeout=PATIENCE)) is not None:
            if fits(line.rstrip("\n")):
                return line.rstrip("\n")
        raise AssertionError(f"it ended: {self.lines} {self.errors}")

    def end(self, with_signal: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal unless it ended by itself; the exit code. Closes everything."""
        if self.popen.poll() is None:
            self.popen.send_signal(with_signal)
        try:
            return self.popen.wait(PATIENCE)
        finally:
            self.popen.kill()
            self.popen.wait()
            for reader in self._readers:
                reader.join()
            for stream in (self.popen.stdout, self.popen.stderr):
                if stream is not None:
                    stream.close()


def tailrace(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tailrace", *arguments]


def run_tailrace(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """A command to its end; no traceback ever reaches a person."""
    done = subprocess.run(
        tailrace(*arguments), capture_output=True, text=True, timeout=PATIENCE, check=False, **options
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


@dataclass(frozen=True, kw_only=True, slots=True)
class Sandbox:
    """A running `tailrace sandbox` and its address book."""

    process: Process
    folder: Path
    book: dict[str, Any]

    @classmethod
    def start(cls, folder: Path, *arguments: str) -> Sandbox:
        environment = {**os.environ, "TAILRACE_DEVICE_REFRESH": "1s"}
        process = Process.start(tailrace("sandbox", "--dir", str(folder), *arguments), env=environment)
        try:
            process.wait_line(lambda line: line == "ready")
        except BaseException:
            process.popen.kill()
            process.end()
            raise
        return cls(process=process, folder=folder, book=json.loads((folder / "sandbox.json").read_text()))

    def stop(self) -> None:
        assert self.process.end() == 0
        assert "Traceback" not in "\n".join(self.process.errors)

    @property
    def kubeconfig(self) -> Path:
        return Path(self.book["kubernetes"]["kubeconfig"])

    def status(self, namespace: str) -> list[dict[str, Any]]:
        """The rows of `tailrace status`."""
        done = run_tailrace("status", "-n", namespace, "-o", "json", "--kubeconfig", str(self.kubeconfig))
        assert done.returncode == 0, done.stderr
        rows: list[dict[str, Any]] = json.loads(done.stdout)
        return rows

    def ask_plane(self, method: str, path: str) -> Any:
        """The control plane's admin surface."""
        plane = self.book["controlPlane"]
        request = urllib.request.Request(
            f"{plane['url']}/sandbox/{path}",
            method=method,
            headers={"Authorization": f"Bearer {plane['adminToken']}"},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    def devices(self) -> dict[str, Device]:
        """Every device of the tailnet by its name."""
        return {device["name"]: device for device in self.ask_plane("GET", "devices")["devices"]}


@dataclass(frozen=True, kw_only=True, slots=True)
class Kubectl:
    """The real kubectl as administrator of a sandbox."""

    program: str
    sandbox: Sandbox
    cache: Path

    def command(self, *arguments: str) -> list[str]:
        return [
            self.program,
            f"--kubeconfig={self.sandbox.kubeconfig}",
            f"--cache-dir={self.cache}",
            *arguments,
        ]

    def try_(
        self, *arguments: str, given: str | None = None, editor: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run it, whatever the outcome."""
        return subprocess.run(
            self.command(*arguments),
            input=given,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            env={**os.environ, **({"KUBE_EDITOR": editor} if editor else {})},
        )

    def __call__(self, *arguments: str, given: str | None = None, editor: str = "") -> str:
        """What it prints; AssertionError with its words when it fails."""
        done = self.try_(*arguments, given=given, editor=editor)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}{done.stdout}"
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "-o", "json"))

    def apply(self, *documents: dict[str, Any], options: tuple[str, ...] = ()) -> str:
        return self("apply", *options, "-f", "-", given=yaml.safe_dump_all(documents))


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A namespace of one's own, and one exposed application in it."""

    namespace: str
    name: str
    port: int

    @property
    def hostname(self) -> str:
        return f"{self.name}-{self.namespace}"

    def manifests(self) -> list[dict[str, Any]]:
        return [self.namespace_document(), self.deployment(), self.service()]

    def namespace_document(self) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}

    def deployment(self) -> dict[str, Any]:
        labels = {"app": self.name}
        container = {"name": "web", "image": "example.com/web:1", "ports": [{"containerPort": self.port}]}
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": self.name, "namespace": self.namespace, "labels": labels},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            },
        }

    def service(self, **annotations: str) -> dict[str, Any]:
        said = {"tailscale.com/expose": "true", "tailscale.com/hostname": self.hostname}
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": self.name,
                "namespace": self.namespace,
                "labels": {"app": self.name},
                "annotations": said | annotations,
            },
            "spec": {"selector": {"app": self.name}, "ports": [{"name": "http", "port": self.port}]},
        }


def new_place() -> Place:
    """Its port is free: another sandbox on this machine gives its devices the same addresses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return Place(namespace=f"b{uuid.uuid4().hex[:8]}", name="web", port=probe.getsockname()[1])


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        text: str = answer.read().decode()
        return text


type Sandboxes = Callable[[str], Sandbox]


@pytest.fixture(scope="session")
def sandboxes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandboxes]:
    """The sandbox of a control plane; Tailscale's has the five clusters from its start."""
    started: dict[str, Sandbox] = {}

    def find(dialect: str) -> Sandbox:
        if dialect not in started:
            files = ("-f", str(FIVE_CLUSTERS)) if dialect == "tailscale" else ()
            folder = tmp_path_factory.mktemp(dialect)
            started[dialect] = Sandbox.start(folder, "--control-plane", dialect, *files)
        return started[dialect]

    yield find
    for sandbox in started.values():
        sandbox.stop()


@pytest.fixture
def sandbox(sandboxes: Sandboxes) -> Sandbox:
    return sandboxes("tailscale")


@pytest.fixture(params=DIALECTS)
def each_sandbox(request: pytest.FixtureRequest, sandboxes: Sandboxes) -> Sandbox:
    return sandboxes(request.param)


@pytest.fixture(scope="session")
def make_kubectl(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Sandbox], Kubectl]:
    program = binaries.find(["kubectl"]).get("kubectl")
    if program is None:
        pytest.skip(needs.explain(["kubectl"]))
    cache = tmp_path_factory.mktemp("kubectl")
    return lambda sandbox: Kubectl(program=program, sandbox=sandbox, cache=cache)


@pytest.fixture
def kubectl(make_kubectl: Callable[[Sandbox], Kubectl], sandboxes: Sandboxes) -> Kubectl:
    """Beside the main control plane, with the five clusters."""
    return make_kubectl(sandboxes("tailscale"))


@pytest.fixture(params=DIALECTS)
def each_kubectl(
    request: pytest.FixtureRequest, make_kubectl: Callable[[Sandbox], Kubectl], sandboxes: Sandboxes
) -> Kubectl:
    """Beside each control plane."""
    return make_kubectl(sandboxes(request.param))


@pytest.fixture
def place() -> Place:
    return new_place()
