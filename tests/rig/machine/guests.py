"""What runs on a node and is not of it: the operator with its real account, its tailnet, and applications."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tailrace.api import names
from tests.rig import apiserver, needs, tailnet
from tests.rig.apiserver import Server
from tests.rig.machine import images, settings
from tests.rig.machine.node import Machine, start_machine
from tests.rig.machine.space import ROOT

PATIENCE = 180.0  # seconds, on a machine that others load


@dataclass(frozen=True, kw_only=True, slots=True)
class Guests:
    """The operator and Headscale, and what a test asks of the cluster and the tailnet."""

    machine: Machine
    headscale: tailnet.Headscale
    operator: Server

    def apply(self, *documents: dict[str, Any]) -> None:
        file = self.machine.folder / "documents.json"
        file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}))
        self.machine.kubectl("apply", "-f", str(file))

    def get(self, *arguments: str) -> Any:
        return json.loads(self.machine.kubectl("get", *arguments, "-o", "json"))

    def wait_for(self, what: str, condition: str) -> None:
        """Until an object has this condition, as `kubectl wait` writes it."""
        try:
            self.machine.kubectl("wait", f"--for={condition}", what, f"--timeout={PATIENCE:.0f}s")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.describe()}") from None

    def describe(self) -> str:
        """What there is, for a test that failed."""
        shown = self.machine.kubectl("describe", "services,connectors,proxyclasses", "-n", "default")
        pods = self.machine.kubectl("describe", "pods", "-A")
        return f"{shown[-4000:]}\n{pods[-6000:]}\n{self.operator.log.read_text()[-3000:]}"

    def find_pods(self, parent: str) -> list[Any]:
        """The proxies' pods of a Service or Connector, by name."""
        selector = f"{names.PARENT_NAME}={parent}"
        found: list[Any] = self.get("pods", "-n", apiserver.HOME, "-l", selector)["items"]
        return sorted(found, key=lambda pod: str(pod["metadata"]["name"]))

    def list_devices(self) -> dict[str, Any]:
        nodes = json.loads(self.headscale.cli("nodes", "list", "-o", "json")) or []
        return {node["given_name"]: node for node in nodes}

    def find_addresses(self, device: str) -> tuple[str, str]:
        """On the tailnet: IPv4, IPv6."""
        ipv4, ipv6 = sorted(self.list_devices()[device]["ip_addresses"], key=lambda ip: ":" in ip)
        return ipv4, ipv6


@contextlib.contextmanager
def open_machine(folder: Path) -> Iterator[Machine]:
    """A node for a module's tests; where this machine has never let one come up, they are skipped."""
    with contextlib.ExitStack() as stack:
        try:
            machine = stack.enter_context(start_machine(folder))
        except needs.Forbidden as error:
            needs.skip_for(error)
        yield machine


@contextlib.contextmanager
def settle(machine: Machine) -> Iterator[tuple[tailnet.Headscale, Server]]:
    """Headscale, and the operator as an installation has it, which is never forbidden anything."""
    apiserver.furnish(machine.kubectl)
    network = machine.space.network
    with tailnet.start_headscale(
        machine.folder / "headscale", host=settings.ADDRESS, network=network
    ) as headscale:
        operator = start_operator(machine, headscale)
        try:
            yield headscale, operator
        finally:
            operator.end()
    assert "forbidden" not in operator.log.read_text()


def run_app(name: str, script: str, ready: dict[str, Any]) -> dict[str, Any]:
    """A Deployment of one pod with BusyBox and dnsmasq."""
    container = {
        "name": "app",
        "image": images.BACKEND,
        "args": ["-ec", script],
        "readinessProbe": {**ready, "periodSeconds": 1},
    }
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
            },
        },
    }


def start_operator(machine: Machine, headscale: tailnet.Headscale) -> Server:
    """With what its service account may do, in the node's network."""
    token = machine.kubectl("create", "token", "operator", "-n", apiserver.HOME).strip()
    kubeconfig = machine.write_kubeconfig("operator", token)
    key = machine.folder / "key"
    key.write_text(headscale.api_key)
    told = {
        "OPERATOR_NAMESPACE": apiserver.HOME,
        "OPERATOR_LOGIN_SERVER": headscale.url,
        "TAILRACE_API_KEY_FILE": str(key),
        "TAILRACE_DEVICE_REFRESH": "2s",
        "TAILRACE_METRICS_ADDRESS": "127.0.0.1:8080",
        "PYTHONPATH": str(ROOT / "src"),
    }
    run = [sys.executable, "-m", "tailrace", "run", "--kubeconfig", str(kubeconfig)]
    command = [*machine.space.network, "env", *(f"{name}={value}" for name, value in told.items()), *run]
    server = Server(command=command, log=machine.folder / "operator.log")
    server.start()
    return server


def wait_until(what: str, holds: Callable[[], bool], limit: float = PATIENCE) -> None:
    deadline = time.monotonic() + limit
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.3)


def hear(
    ask: Callable[[], str], wanted: set[str], describe: Callable[[], str], limit: float = PATIENCE
) -> str:
    """Ask until the answer is one of these; which one.

    Raises:
        AssertionError: it never was; with the last answer, and what there is.
    """
    deadline = time.monotonic() + limit
    while True:
        try:
            said = ask()
        except AssertionError as error:
            said = str(error)
        if said in wanted:
            return said
        assert time.monotonic() < deadline, f"{said}, and not {wanted}\n{describe()}"
        time.sleep(0.3)
