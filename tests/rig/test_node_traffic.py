"""Traffic through a real node: real kubelet and containerd, real pods, real Headscale, a real machine on the tailnet.

The operator is a process with its real service account; every pod is the node's. Nothing stands in but the cluster's
names (`machine.names`). Skipped, by name, where a program, root or a cgroup hierarchy is missing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tailrace.api import names
from tests.rig import apiserver, needs
from tests.rig.machine import cgroups, programs, settings
from tests.rig.machine.guests import Guests, open_machine, run_app, settle, wait_until
from tests.rig.machine.laptop import Laptop, start_laptop
from tests.rig.machine.node import Machine
from tests.rig.machine.space import ROOT

HOME = apiserver.HOME
ENFORCE = "pod-security.kubernetes.io/enforce"
MEBIBYTES = int(os.environ.get("TAILRACE_RIG_TRANSFER", "256"))
LACK = programs.explain_lack()
NO_IPV6 = needs.explain(rights=[needs.has_ipv6])
PAUSE = 20.0  # seconds without Headscale

pytestmark = pytest.mark.skipif(bool(LACK), reason=LACK)

_WEB = """
mkdir -p /www /other && echo hello from web > /www/index.html && echo hello from the other > /other/index.html
dd if=/dev/urandom of=/www/large bs=1M count={size} 2>/dev/null
sha256sum < /www/large > /www/sum
httpd -p 8081 -h /other && exec httpd -f -p 8080 -h /www
"""
_DNS = "exec dnsmasq -k -C /dev/null -u root -R -h --address=/answer.rig/192.0.2.7"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground(Guests):
    """Everything that runs."""

    laptop: Laptop

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
        metadata = {"name": name, "annotations": told, "labels": {"app": "exposed"}}
        self.apply({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
        self.wait_for(f"service/{name}", "condition=Ready")
        return self.find_addresses(name)[0]

    def forgive(self) -> None:
        """A server that has just begun to listen knows no roles for a moment: what was said of it counts for nothing."""
        self.operator.log.write_bytes(b"")

    def list_proxies(self) -> dict[str, Any]:
        """Every device but the laptop."""
        return {name: device for name, device in self.list_devices().items() if name != "laptop"}

    def find_pod(self, service: str) -> dict[str, Any]:
        """The proxy's."""
        (pod,) = self.find_pods(service)
        assert isinstance(pod, dict)
        return pod


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with open_machine(tmp_path_factory.mktemp("machine")) as running:
        yield running


@pytest.fixture
def ground(everything: Ground) -> Iterator[Ground]:
    """It is left as it was found, after a test that failed too."""
    yield everything
    everything.machine.kubectl("delete", "services", "-l", "app=exposed", "--timeout=180s")
    assert everything.list_proxies() == {}


@pytest.fixture(scope="module")
def everything(machine: Machine) -> Iterator[Ground]:
    """The tailnet, the operator and what is to be reached."""
    with settle(machine) as (headscale, operator):
        key = headscale.cli("preauthkeys", "create", "--tags", "tag:k8s")
        with start_laptop(machine.folder / "laptop", machine, headscale.url, key) as laptop:
            running = Ground(machine=machine, headscale=headscale, operator=operator, laptop=laptop)
            running.apply(
                run_app("web", _WEB.format(size=MEBIBYTES), {"httpGet": {"port": 8080, "path": "/sum"}}),
                run_app("names", _DNS, {"tcpSocket": {"port": 53}}),
            )
            machine.kubectl("rollout", "status", "deployment/web", "deployment/names", "--timeout=180s")
            yield running


# The machine --------------------------------------------------------------------------------------------------------

_HOLD = """
import pathlib, sys
from tests.rig.machine import space
with space.open_space(pathlib.Path(sys.argv[1])) as held:
    with open(sys.argv[1] + "/sleep.log", "wb") as log:
        held.spawn(["sleep", "600"], {}, log)
    print(held.pid, held.cgroup, flush=True)
    sys.stdin.read()
"""


def test_nothing_of_a_machine_outlives_tests_that_are_killed(tmp_path: Path) -> None:
    """SIGKILL to the process that opened it: its namespaces' processes and its cgroups are gone."""
    command = [sys.executable, "-c", _HOLD, str(tmp_path)]
    tests = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert tests.stdout is not None
        pid, cgroup = tests.stdout.readline().split()
        assert all(path.is_dir() for path in cgroups.find(cgroup))
    finally:
        tests.kill()
        tests.communicate()
    wait_until(
        "it is gone", lambda: not any(path.exists() for path in [*cgroups.find(cgroup), Path("/proc", pid)])
    )


# The two modes ------------------------------------------------------------------------------------------------------


def test_userspace_in_a_restricted_namespace_carries_every_kind_of_load(ground: Ground) -> None:
    """Chosen by `auto`: two ports, a large file with its checksum, 200 connections at once."""
    ground.enforce("restricted")
    laptop = ground.laptop
    device = ground.expose("web", "web", {"one": 8080, "two": 8081})
    assert is_privileged(ground.find_pod("web")) is False
    assert laptop.eventually(f"http://{device}:8080/") == b"hello from web\n"
    assert laptop.curl(f"http://{device}:8081/") == b"hello from the other\n"
    check_large(laptop, device)
    check_many(laptop, device)


@pytest.mark.skipif(bool(NO_IPV6), reason=NO_IPV6)
def test_a_device_answers_at_its_ipv6_address_too(ground: Ground) -> None:
    ground.enforce("restricted")
    ground.expose("six", "web", {"one": 8080})
    _, ipv6 = ground.find_addresses("six")
    assert ground.laptop.eventually(f"http://[{ipv6}]:8080/") == b"hello from web\n"


def test_kernel_where_privileged_pods_are_admitted_carries_udp_too(ground: Ground) -> None:
    """Chosen by `auto`: TCP as in userspace, and a DNS question by UDP."""
    ground.enforce("privileged")
    laptop = ground.laptop
    device = ground.expose("fast", "web", {"one": 8080, "two": 8081})
    resolver = ground.expose("resolver", "names", {"dns": 53})
    assert is_privileged(ground.find_pod("fast")) is True
    assert laptop.eventually(f"http://{device}:8080/") == b"hello from web\n"
    assert laptop.curl(f"http://{device}:8081/") == b"hello from the other\n"
    check_large(laptop, device)
    check_many(laptop, device)
    nslookup = (programs.find("busybox"), "nslookup", "-type=a", "answer.rig", resolver)
    wait_until("DNS answers", lambda: b"192.0.2.7" in laptop.ask(*nslookup))


def is_privileged(pod: dict[str, Any]) -> bool:
    contexts = [container.get("securityContext", {}) for container in pod["spec"]["containers"]]
    return any(context.get("privileged", False) for context in contexts)


def check_large(laptop: Laptop, device: str) -> None:
    wanted = laptop.curl(f"http://{device}:8080/sum").split()[0].decode()
    fetch = f"curl -sS --max-time {120 + MEBIBYTES} http://{device}:8080/large | sha256sum"
    assert laptop.ask("sh", "-c", fetch, limit=150 + MEBIBYTES).split()[0].decode() == wanted


def check_many(laptop: Laptop, device: str) -> None:
    """One curl, 200 connections that are open at the same time."""
    parallel = ("--parallel", "--parallel-immediate", "--parallel-max", "200", "--no-progress-meter")
    body = laptop.curl(*parallel, f"http://{device}:8080/?[1-200]", limit=120)
    assert body == b"hello from web\n" * 200


def test_a_headless_service_leads_to_its_pods_and_its_proxy_reads_its_own_secret_alone(
    ground: Ground,
) -> None:
    """Names are the cluster's; the token is the one that lies in the running pod."""
    ground.enforce("restricted")
    device = ground.expose("direct", "web", {"one": 8080}, cluster_ip="None")
    other = ground.expose("other", "web", {"one": 8081})
    assert ground.laptop.eventually(f"http://{device}:8080/") == b"hello from web\n"
    assert ground.laptop.eventually(f"http://{other}:8081/") == b"hello from the other\n"

    mine, foreign = (ground.find_pod(service)["metadata"]["name"] for service in ("direct", "other"))
    account = "/var/run/secrets/kubernetes.io/serviceaccount/token"
    token = ground.machine.kubectl("exec", "-n", HOME, mine, "-c", "tailscale", "--", "cat", account)
    secrets = f"/api/v1/namespaces/{HOME}/secrets"
    paths = [f"{secrets}/{mine}", f"{secrets}/{foreign}", secrets, f"/api/v1/namespaces/{HOME}/pods"]
    assert [ask_code(ground.machine, path, token) for path in paths] == ["200", "403", "403", "403"]


def ask_code(machine: Machine, path: str, token: str) -> str:
    """The status of the API server's answer to the holder of a token."""
    header = f"Authorization: Bearer {token}"
    said = ("-o", str(machine.folder / "body"), "-w", "%{http_code}")
    return machine.ask("curl", "-sk", *said, "-H", header, f"{settings.API}{path}")


# Cables -------------------------------------------------------------------------------------------------------------


def test_every_cable_that_is_pulled_mends_itself_in_both_modes(ground: Ground) -> None:
    """Container killed, pod taken away, containerd killed, device deleted: one device of each name answers again."""
    ground.enforce("privileged")
    ports = {"one": 8080}
    for name in ("kernel", "userspace"):
        ground.expose(name, "web", ports, **{names.MODE: name})
    devices = {name: device["id"] for name, device in ground.list_proxies().items()}
    assert devices.keys() == {"kernel", "userspace"}
    assert [is_privileged(ground.find_pod(name)) for name in devices] == [n == "kernel" for n in devices]
    check_all(ground)

    for name in devices:
        container = ground.find_pod(name)["status"]["containerStatuses"][0]["containerID"]
        ground.machine.ctr("tasks", "kill", "--signal=SIGKILL", container.removeprefix("containerd://"))
    wait_until("the containers are restarted", lambda: all(count_starts(ground, n) == 2 for n in devices))
    check_all(ground)

    for name in devices:
        pod = ground.find_pod(name)["metadata"]["name"]
        ground.machine.kubectl("delete", "pod", "-n", HOME, pod, "--grace-period=0", "--force")
    wait_until("new pods run", lambda: all(count_starts(ground, name) == 1 for name in devices))
    check_all(ground)
    assert {name: device["id"] for name, device in ground.list_proxies().items()} == devices

    ground.machine.space.kill("containerd")
    for name in devices:  # pods do not need it
        address = ground.find_addresses(name)[0]
        assert ground.laptop.curl(f"http://{address}:8080/") == b"hello from web\n"
    ground.machine.start("containerd")

    for identity in devices.values():
        ground.headscale.cli("nodes", "delete", "-i", str(identity), "--force")
    wait_until("there are new devices", lambda: is_renewed(ground, devices))
    check_all(ground)
    assert ground.list_proxies().keys() == devices.keys()


def test_traffic_outlives_whatever_is_in_charge_and_what_was_missed_is_made_up_for(ground: Ground) -> None:
    """Headscale is away, the API server and the operator are killed: the device is the same and answers again."""
    ground.enforce("restricted")
    device = ground.expose("steady", "web", {"one": 8080})
    identity = ground.list_proxies()["steady"]["id"]
    url = f"http://{device}:8080/"
    assert ground.laptop.eventually(url) == b"hello from web\n"

    ground.headscale.down()
    try:
        time.sleep(PAUSE)
    finally:
        ground.headscale.up()
    assert ground.laptop.eventually(url) == b"hello from web\n"

    ground.machine.space.kill("kube-apiserver")
    assert ground.laptop.eventually(url) == b"hello from web\n", "pods do not need it"
    ground.machine.start("kube-apiserver")
    admin = f"--kubeconfig={ground.machine.folder / 'admin.kubeconfig'}"
    ground.machine.wait("the API server is back", "kubectl", admin, "get", "--raw=/readyz")
    ground.expose("later", "web", {"one": 8080})
    ground.forgive()

    ground.operator.end(kill=True)
    try:
        ground.machine.kubectl("annotate", "service", "steady", f"{names.HOSTNAME}=renamed", "--overwrite")
        assert ground.laptop.eventually(url) == b"hello from web\n", "nor the operator"
    finally:
        ground.operator.start()
    wait_until("the device is renamed", lambda: ground.list_proxies().keys() == {"renamed", "later"})
    assert ground.list_proxies()["renamed"]["id"] == identity
    check_all(ground)


def check_all(ground: Ground) -> None:
    for name in ground.list_proxies():
        address = ground.find_addresses(name)[0]
        assert ground.laptop.eventually(f"http://{address}:8080/") == b"hello from web\n"


def count_starts(ground: Ground, service: str) -> int:
    """How often the proxy's container was started in its pod, the running one included; 0: it does not run."""
    try:
        (status,) = ground.find_pod(service)["status"]["containerStatuses"]
    except (KeyError, ValueError):  # no pod, two of them, or one that has not begun
        return 0
    return int(status["restartCount"]) + 1 if status["ready"] else 0


def is_renewed(ground: Ground, devices: dict[str, Any]) -> bool:
    now = {name: device["id"] for name, device in ground.list_proxies().items()}
    return now.keys() == devices.keys() and not set(now.values()) & set(devices.values())
