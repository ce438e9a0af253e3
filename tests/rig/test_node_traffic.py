"""Traffic through a real node: real kubelet and containerd, real pods, real Headscale, a real machine on the tailnet.

The operator is a process with its real service account; every pod is the node's. Nothing stands in but the cluster's
names (`machine.names`). Skipped, by name, where a program, root or a cgroup hierarchy is missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tailrace.api import names
from tests.rig import tailnet
from tests.rig.apiserver import Server
from tests.rig.machine import images, programs, settings
from tests.rig.machine.laptop import Laptop, start_laptop
from tests.rig.machine.node import ROOT, Machine, start_machine

HOME = "tailscale"
ENFORCE = "pod-security.kubernetes.io/enforce"
MEBIBYTES = int(os.environ.get("TAILRACE_RIG_TRANSFER", "256"))
MISSING = programs.find_missing()

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"a real node lacks {', '.join(MISSING)}")

_WEB = """
mkdir -p /www /other && echo hello from web > /www/index.html && echo hello from the other > /other/index.html
dd if=/dev/urandom of=/www/large bs=1M count={size} 2>/dev/null
sha256sum < /www/large > /www/sum
httpd -p 8081 -h /other && exec httpd -f -p 8080 -h /www
"""
_DNS = "exec dnsmasq -k -C /dev/null -u root -R -h --address=/answer.rig/192.0.2.7"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """Everything that runs."""

    machine: Machine
    headscale: tailnet.Headscale
    laptop: Laptop
    operator: Server
    _applied: list[str] = field(default_factory=list)

    def apply(self, *documents: dict[str, Any]) -> None:
        file = self.machine.folder / "documents.json"
        file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}))
        self.machine.kubectl("apply", "-f", str(file))

    def enforce(self, level: str) -> None:
        """The level of pod security in the namespace of the proxies."""
        self.machine.kubectl("label", "namespace", HOME, f"{ENFORCE}={level}", "--overwrite")

    def expose(
        self, name: str, app: str, ports: dict[str, int], *, cluster_ip: str = "", **annotations: str
    ) -> str:
        """A Service on the tailnet; the IPv4 address of its device. A port named `dns` is UDP's."""
        rows = [
            {"name": key, "port": port, "protocol": "UDP" if key == "dns" else "TCP"}
            for key, port in ports.items()
        ]
        told = {names.EXPOSE: "true", names.HOSTNAME: name} | annotations
        spec = {"selector": {"app": app}, "ports": rows} | ({"clusterIP": cluster_ip} if cluster_ip else {})
        metadata = {"name": name, "annotations": told}
        self.apply({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
        try:
            self.machine.kubectl("wait", "--for=condition=Ready", f"service/{name}", "--timeout=60s")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.describe()}") from None
        return self.find_addresses(name)[0]

    def describe(self) -> str:
        """What there is, for a test that failed."""
        shown = self.machine.kubectl("describe", "pods,statefulsets,services", "-A")
        return f"{shown[-6000:]}\n{self.operator.log.read_text()[-3000:]}"

    def list_devices(self) -> dict[str, Any]:
        nodes = json.loads(self.headscale.cli("nodes", "list", "-o", "json")) or []
        return {node["given_name"]: node for node in nodes if node["given_name"] != "laptop"}

    def find_addresses(self, name: str) -> list[str]:
        """IPv4, IPv6."""
        found: list[str] = self.list_devices()[name]["ip_addresses"]
        return sorted(found, key=lambda address: ":" in address)

    def find_pod(self, service: str) -> dict[str, Any]:
        """The proxy's."""
        selector = f"{names.PARENT_NAME}={service}"
        found: dict[str, Any] = json.loads(
            self.machine.kubectl("get", "pods", "-n", HOME, "-l", selector, "-o", "json")
        )
        (pod,) = found["items"]
        assert isinstance(pod, dict)
        return pod

    def delete(self, *services: str) -> None:
        """And nothing of them is left."""
        self.machine.kubectl("delete", "service", *services, "--timeout=60s")
        assert not self.list_devices().keys() & set(services)


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


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with start_machine(tmp_path_factory.mktemp("machine")) as running:
        yield running


@pytest.fixture(scope="module")
def ground(machine: Machine) -> Iterator[Ground]:
    """The tailnet, the operator and what is to be reached."""
    folder, network = machine.folder, machine.space.network
    machine.kubectl("create", "namespace", HOME)
    machine.kubectl("apply", "-f", str(ROOT / "src" / "tailrace" / "cli" / "rbac.yaml"))
    with contextlib.ExitStack() as stack:
        headscale = stack.enter_context(
            tailnet.start_headscale(folder / "headscale", host=settings.ADDRESS, network=network)
        )
        operator = start_operator(machine, headscale)
        stack.callback(operator.end)
        key = headscale.cli("preauthkeys", "create", "--tags", "tag:k8s")
        laptop = stack.enter_context(start_laptop(folder / "laptop", machine, headscale.url, key))
        running = Ground(machine=machine, headscale=headscale, laptop=laptop, operator=operator)
        running.apply(
            run_app("web", _WEB.format(size=MEBIBYTES), {"httpGet": {"port": 8080, "path": "/sum"}}),
            run_app("names", _DNS, {"tcpSocket": {"port": 53}}),
        )
        machine.kubectl("rollout", "status", "deployment/web", "deployment/names", "--timeout=60s")
        yield running
        assert "forbidden" not in operator.log.read_text()


def start_operator(machine: Machine, headscale: tailnet.Headscale) -> Server:
    """With what its service account may do, in the node's network."""
    token = machine.kubectl("create", "token", "operator", "-n", HOME).strip()
    kubeconfig = machine.write_kubeconfig("operator", token)
    key = machine.folder / "key"
    key.write_text(headscale.api_key)
    told = {
        "OPERATOR_NAMESPACE": HOME,
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


def wait_until(what: str, holds: Callable[[], bool], limit: float = 60.0) -> None:
    deadline = time.monotonic() + limit
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.3)


def test_userspace_in_a_restricted_namespace_carries_every_kind_of_load(ground: Ground) -> None:
    """Chosen by `auto`: two ports, IPv4 and IPv6, a large file with its checksum, 200 connections at once."""
    ground.enforce("restricted")
    laptop = ground.laptop
    device = ground.expose("web", "web", {"one": 8080, "two": 8081})
    assert laptop.eventually(f"http://{device}:8080/") == b"hello from web\n"
    assert laptop.curl(f"http://{device}:8081/") == b"hello from the other\n"
    _, ipv6 = ground.find_addresses("web")
    assert laptop.curl(f"http://[{ipv6}]:8080/") == b"hello from web\n"
    check_large(laptop, device)
    check_many(laptop, device)
    ground.delete("web")


def check_large(laptop: Laptop, device: str) -> None:
    wanted = laptop.curl(f"http://{device}:8080/sum").split()[0].decode()
    body = laptop.curl(f"http://{device}:8080/large", limit=100)
    assert len(body) == MEBIBYTES * 1024 * 1024
    assert hashlib.sha256(body).hexdigest() == wanted


def check_many(laptop: Laptop, device: str) -> None:
    """One curl, 200 connections that are open at the same time."""
    parallel = ("--parallel", "--parallel-immediate", "--parallel-max", "200", "--no-progress-meter")
    body = laptop.ask("curl", "-sSf", "--max-time", "60", *parallel, f"http://{device}:8080/?[1-200]")
    assert body == b"hello from web\n" * 200
