"""Routing on a real node: what the operator makes carries traffic, and the far end tells from where it came.

Egress leads pods to devices and to what lies behind a router; a Connector leads devices to pods, Services, a LAN and the
internet, in both modes. The world outside is `machine.outside`; the operator is a process with its real account.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tailrace.api import names
from tests.rig import apiserver, needs, tailnet
from tests.rig.machine import outside, programs, settings
from tests.rig.machine.guests import PATIENCE, Guests, hear, open_machine, run_app, settle, wait_until
from tests.rig.machine.node import Machine
from tests.rig.machine.outside import Outside, start_outside

HOME = apiserver.HOME
LACK = programs.explain_lack()
NO_IPV6 = needs.explain(rights=[needs.has_ipv6])
FAIL_OVER = 15.0  # seconds: Headscale asks the routers of a route every ten, and waits for five
DOMAIN = "rig.internal"
LABEL = {"app": "routed"}  # of every object that a test makes
SELECTOR = "app=routed"
OUTSIDERS = {"client", "router"}

pytestmark = pytest.mark.skipif(bool(LACK), reason=LACK)

_WEB = f"""
mkdir -p /www/cgi-bin && cd /www/cgi-bin
cat > who <<'END'
{outside.SCRIPT.format(name="web")}END
chmod +x who && exec httpd -f -p {outside.PORT} -h /www
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage(Guests):
    """Everything that runs."""

    world: Outside

    def approve(self, device: str, *routes: str) -> None:
        identity = str(self.list_devices()[device]["id"])
        self.headscale.cli("nodes", "approve-routes", "--identifier", identity, "--routes", ",".join(routes))

    @contextlib.contextmanager
    def rename(self, device: str, other: str) -> Iterator[None]:
        """Headscale's administrator calls a device so for a while."""
        identity = str(self.list_devices()[device]["id"])
        self.headscale.cli("nodes", "rename", "-i", identity, other)
        try:
            yield
        finally:
            self.headscale.cli("nodes", "rename", "-i", identity, device)

    def find_address(self, device: str) -> str:
        """Its IPv4 address on the tailnet."""
        return self.find_addresses(device)[0]

    def wait_told(self, what: str, kind: str, reason: str) -> None:
        """Until this condition of an object is false for this reason."""
        path = f"{{.status.conditions[?(@.type=='{kind}')].reason}}"
        self.wait_for(what, f"jsonpath={path}={reason}")

    # What a pod hears, and what the client hears ----------------------------------------------------------------

    def list_serving(self, parent: str) -> list[Any]:
        """Those that are ready."""
        return [pod for pod in self.find_pods(parent) if is_ready(pod)]

    def run_in_pod(self, *command: str) -> str:
        return self.machine.kubectl("exec", "deployment/web", "--", "timeout", "5", *command).strip()

    def find_headless(self, name: str) -> Any:
        """The Service that an egress of this name leads through."""
        (found,) = self.get("services", "-n", HOME, "-l", f"{names.PARENT_NAME}={name}")["items"]
        return found

    def fetch(self, name: str, record: str = "a") -> str:
        """What a pod gets from a Service of this name, at the address of this kind that the name has; without a kind at
        whichever the pod's program takes."""
        host = build_host(name)
        if record:
            address = self.look_up(record, host)
            host = f"[{address}]" if record == "aaaa" else address
        return self.run_in_pod("wget", "-q", "-O", "-", f"http://{host}:{outside.PORT}{outside.WHO}")

    def look_up(self, record: str, name: str, *server: str) -> str:
        """The last address that a pod gets by DNS, from the cluster's server or this one."""
        said = self.run_in_pod("nslookup", f"-type={record}", name, *server)
        return said.rpartition("Address: ")[2].split()[0]

    def fetch_soon(self, name: str, wanted: str, record: str = "a") -> None:
        hear(lambda: self.fetch(name, record), {wanted}, self.describe)

    def ask(self, where: str) -> str:
        """What the client gets from there."""
        return self.world.client.curl(f"http://{where}{outside.WHO}", limit=2).decode().strip()

    def ask_soon(self, where: str, wanted: str) -> None:
        hear(lambda: self.ask(where), {wanted}, self.describe)

    def ask_until(self, where: str, wanted: set[str], limit: float = PATIENCE) -> str:
        """The first of these answers."""
        return hear(lambda: self.ask(where), wanted, self.describe, limit)

    @contextlib.contextmanager
    def leave_by(self, device: str) -> Iterator[None]:
        """The client uses this exit node."""
        address = self.find_address(device)
        self.world.client.tailscale("set", f"--exit-node={address}")
        try:
            yield
        finally:
            self.world.client.tailscale("set", "--exit-node=")

    @contextlib.contextmanager
    def freeze(self, pod: dict[str, Any]) -> Iterator[None]:
        """Its proxy does nothing any more, and no connection of it ends."""
        (container,) = pod["status"]["containerStatuses"]
        task = container["containerID"].removeprefix("containerd://")
        self.machine.ctr("tasks", "pause", task)
        try:
            yield
        finally:
            self.machine.ctr("tasks", "resume", task)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with open_machine(tmp_path_factory.mktemp("routing")) as running:
        yield running


@pytest.fixture(scope="module")
def everything(machine: Machine) -> Iterator[Stage]:
    """The tailnet, the operator, the world outside and a pod that asks and is asked."""
    with (
        settle(machine) as (headscale, operator),
        start_outside(machine.folder / "outside", machine, headscale) as world,
    ):
        running = Stage(machine=machine, headscale=headscale, operator=operator, world=world)
        web = run_app("web", _WEB, {"tcpSocket": {"port": outside.PORT}})
        port = {"port": 80, "targetPort": outside.PORT}
        running.apply(web, service("web", {"selector": {"app": "web"}, "ports": [port]}, labels={}))
        machine.kubectl("rollout", "status", "deployment/web", "--timeout=180s")
        yield running


@pytest.fixture
def stage(everything: Stage) -> Iterator[Stage]:
    """It is left as it was found, after a test that failed too."""
    yield everything
    for kinds in ("services,connectors", "proxyclasses"):
        everything.machine.kubectl("delete", kinds, "-l", SELECTOR, f"--timeout={PATIENCE:.0f}s")
    wait_until("devices are gone", lambda: everything.list_devices().keys() == OUTSIDERS)
    everything.approve("router", "")


def build_host(name: str) -> str:
    """The cluster's name of a Service."""
    return f"{name}.default.svc.cluster.local"


def service(
    name: str, spec: dict[str, Any], *, labels: dict[str, str] | None = None, **notes: str
) -> dict[str, Any]:
    metadata = {"name": name, "labels": LABEL if labels is None else labels, "annotations": notes}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def egress(name: str, *, proxy_class: str = "", **notes: str) -> dict[str, Any]:
    spec = {
        "type": "ExternalName",
        "externalName": "placeholder",
        "ports": [{"name": "http", "port": outside.PORT, "protocol": "TCP"}],
    }
    labels = LABEL | ({names.PROXY_CLASS: proxy_class} if proxy_class else {})
    return service(name, spec, labels=labels, **{names.HOSTNAME: name, **notes})


def own(kind: str, name: str, spec: dict[str, Any], **notes: str) -> dict[str, Any]:
    """An object of the operator's kinds."""
    metadata = {"name": name, "labels": LABEL, "annotations": notes}
    return {"apiVersion": "tailscale.com/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


# Egress -------------------------------------------------------------------------------------------------------------


def test_a_pod_reaches_a_device_by_name_and_by_address(stage: Stage) -> None:
    """The server behind the device sees the proxy's address on the tailnet."""
    stage.apply(
        egress("by-name", **{names.TAILNET_FQDN: f"client.{DOMAIN}"}),
        egress("by-address", **{names.TAILNET_IP: stage.find_address("client")}),
    )
    for name, record in (("by-name", "a"), ("by-address", "")):
        stage.wait_for(f"service/{name}", "condition=Ready")
        stage.fetch_soon(name, f"client sees {stage.find_address(name)}", record)


def test_a_pod_reaches_what_lies_behind_a_router_once_the_route_is_approved(stage: Stage) -> None:
    """What is lacking is named: first a class that accepts routes, then somebody's yes."""
    house = {names.TAILNET_IP: outside.HOME_HOST}
    stage.apply(egress("house", **house))
    stage.wait_told("service/house", "TargetReady", "RouteNotAccepted")
    stage.apply(
        own("ProxyClass", "far", {"tailscale": {"acceptRoutes": True}}),
        egress("house", proxy_class="far", **house),
    )
    stage.wait_told("service/house", "TargetReady", "RouteNotApproved")
    stage.approve("router", outside.HOME)
    stage.wait_for("service/house", "condition=Ready")
    stage.fetch_soon("house", "home sees 192.168.88.1")


def test_a_change_of_target_leads_elsewhere(stage: Stage) -> None:
    stage.apply(egress("pointer", **{names.TAILNET_FQDN: f"client.{DOMAIN}"}))
    stage.wait_for("service/pointer", "condition=Ready")
    proxy = stage.find_address("pointer")
    stage.fetch_soon("pointer", f"client sees {proxy}")
    stage.apply(egress("pointer", **{names.TAILNET_FQDN: f"router.{DOMAIN}"}))
    stage.fetch_soon("pointer", f"router sees {proxy}")
    assert stage.find_address("pointer") == proxy


def test_a_name_that_moves_to_another_device_is_followed(stage: Stage) -> None:
    """By itself the proxy would keep to the addresses that the name had when it started."""
    stage.apply(egress("follower", **{names.TAILNET_FQDN: f"client.{DOMAIN}"}))
    stage.wait_for("service/follower", "condition=Ready")
    proxy = stage.find_address("follower")
    stage.fetch_soon("follower", f"client sees {proxy}")
    with stage.rename("client", "elsewhere"):
        with stage.rename("router", "client"):
            stage.fetch_soon("follower", f"router sees {proxy}")


def test_a_pod_asks_a_device_by_udp(stage: Stage) -> None:
    """A DNS question, whose source is the proxy's address on the tailnet."""
    stage.apply(egress("resolver", **{names.TAILNET_FQDN: f"client.{DOMAIN}"}))
    stage.wait_for("service/resolver", "condition=Ready")

    def ask() -> str:
        return stage.look_up("a", outside.NAME, stage.look_up("a", build_host("resolver")))

    hear(ask, {outside.NAMED}, stage.describe)
    proxy = stage.find_address("resolver")
    assert f"query[A] {outside.NAME} from {proxy}" in stage.world.list_questions()


@pytest.mark.skipif(bool(NO_IPV6), reason=NO_IPV6)
def test_a_pod_reaches_a_device_by_ipv6(stage: Stage) -> None:
    """The Service's name has an IPv6 address of the proxy alone, and what comes there is led to the device's; led to the
    other address of the device, it has the other family, in place."""
    ipv4, ipv6 = stage.find_addresses("client")
    stage.apply(egress("six", **{names.TAILNET_IP: ipv6}))
    stage.wait_for("service/six", "condition=Ready")
    own = stage.find_addresses("six")
    stage.fetch_soon("six", f"client sees {own[1]}", record="")
    before = stage.find_headless("six")
    assert before["spec"]["ipFamilies"] == ["IPv6"]
    stage.apply(egress("six", **{names.TAILNET_IP: ipv4}))
    stage.fetch_soon("six", f"client sees {own[0]}", record="")
    after = stage.find_headless("six")
    assert after["spec"]["ipFamilies"] == ["IPv4"]
    assert after["metadata"]["uid"] == before["metadata"]["uid"]


# Connector ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["kernel", "userspace"])
def test_a_client_reaches_pods_services_a_lan_and_the_internet(stage: Stage, mode: str) -> None:
    """Each sees the Connector's pod ask, and without the exit node the internet is not to be reached."""
    routes = [settings.PODS, settings.SERVICES, outside.LAN]
    spec = {"hostname": "gate", "exitNode": True, "subnetRouter": {"advertiseRoutes": routes}}
    stage.apply(own("Connector", "gate", spec, **{names.MODE: mode, names.APPROVE_ROUTES: "true"}))
    stage.wait_for("connector/gate", "condition=Ready")
    (pod,) = stage.find_pods("gate")
    assert pod["metadata"]["name"].endswith("-0-0")
    gate = pod["status"]["podIP"]

    (web,) = stage.get("pods", "-l", "app=web")["items"]
    cluster_ip = stage.get("service", "web")["spec"]["clusterIP"]
    stage.ask_soon(f"{web['status']['podIP']}:{outside.PORT}", f"web sees {gate}")
    stage.ask_soon(f"{cluster_ip}:80", f"web sees {gate}")
    stage.ask_soon(f"{outside.LAN_HOST}:{outside.PORT}", f"lan sees {gate}")

    internet = f"{outside.INTERNET_HOST}:{outside.PORT}"
    with pytest.raises(AssertionError, match="connect"):
        stage.ask(internet)
    with stage.leave_by("gate"):
        stage.ask_soon(internet, f"internet sees {gate}")


def test_a_route_has_two_ways_and_keeps_serving_when_one_is_lost(stage: Stage) -> None:
    """A replica that is frozen is noticed by Headscale's probes alone, and its fellow serves; one that is killed and
    comes back loses nothing either."""
    spec = {"hostnamePrefix": "pair", "replicas": 2, "subnetRouter": {"advertiseRoutes": [outside.LAN]}}
    stage.apply(own("Connector", "pair", spec, **{names.APPROVE_ROUTES: "true"}))
    stage.wait_for("connector/pair", "condition=Ready")
    pods = {f"lan sees {pod['status']['podIP']}": pod for pod in stage.find_pods("pair")}
    assert len(pods) == 2
    lan = f"{outside.LAN_HOST}:{outside.PORT}"
    first = stage.ask_until(lan, set(pods))
    (second,) = pods.keys() - {first}

    with stage.freeze(pods[first]):
        assert stage.ask_until(lan, {second}, limit=3 * FAIL_OVER) == second
    wait_until("both serve again", lambda: len(stage.list_serving("pair")) == 2)

    name, old = (pods[second]["metadata"][key] for key in ("name", "uid"))
    stage.machine.kubectl("delete", "pod", "-n", HOME, name, "--grace-period=0", "--force")
    wait_until(
        "a new pod is there", lambda: old not in {p["metadata"]["uid"] for p in stage.list_serving("pair")}
    )
    wait_until("both serve again", lambda: len(stage.list_serving("pair")) == 2)
    stage.ask_until(lan, {f"lan sees {pod['status']['podIP']}" for pod in stage.list_serving("pair")})
    stage.wait_for("connector/pair", "condition=Ready")


def test_an_app_connector_says_that_it_is_one_and_serves_the_routes_it_was_given(stage: Stage) -> None:
    """To the tailnet, and by the bytes. Its domains would come with the policy, where Headscale takes none."""
    spec = {"hostname": "apps", "appConnector": {"routes": [outside.LAN]}}
    stage.apply(own("Connector", "apps", spec, **{names.APPROVE_ROUTES: "true"}))
    stage.wait_for("connector/apps", "condition=Ready")
    (pod,) = stage.find_pods("apps")
    stage.ask_soon(f"{outside.LAN_HOST}:{outside.PORT}", f"lan sees {pod['status']['podIP']}")
    assert stage.headscale.read_host("apps")["AppConnector"] is True

    domains = {"name": "apps", "domains": ["example.com"], "connectors": ["tag:k8s"]}
    given = {"target": ["*"], "app": {"tailscale.com/app-connectors": [domains]}}
    file = stage.machine.folder / "policy.json"
    file.write_text(json.dumps(tailnet.POLICY | {"nodeAttrs": [given]}))
    with pytest.raises(AssertionError, match="app"):
        stage.headscale.cli("policy", "set", "-f", str(file))


def is_ready(pod: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))


# ProxyClass ---------------------------------------------------------------------------------------------------------


def test_a_change_of_class_rolls_its_own_pods_and_no_other(stage: Stage) -> None:
    """Egress and Connector of one class roll and keep their devices; the third, of another class, runs on."""
    stage.apply(class_of("loud", "1"), class_of("still", "1"))
    route = {"subnetRouter": {"advertiseRoutes": [outside.LAN]}}
    named = {names.APPROVE_ROUTES: "true"}
    stage.apply(
        egress("one", proxy_class="loud", **{names.TAILNET_FQDN: f"client.{DOMAIN}"}),
        own("Connector", "two", {"hostname": "two", "proxyClass": "loud", **route}, **named),
        egress("three", proxy_class="still", **{names.TAILNET_FQDN: f"client.{DOMAIN}"}),
    )
    for what in ("service/one", "connector/two", "service/three"):
        stage.wait_for(what, "condition=Ready")
    parents = ("one", "two", "three")
    before = {name: stage.find_pods(name)[0]["metadata"]["uid"] for name in parents}
    addresses = {name: stage.find_address(name) for name in parents}

    stage.apply(class_of("loud", "2"))
    wait_until(
        "both have rolled", lambda: all(read_volume(stage.find_pods(name)) == "2" for name in ("one", "two"))
    )
    stage.fetch_soon("one", f"client sees {addresses['one']}")
    (pod,) = stage.find_pods("two")
    stage.ask_soon(f"{outside.LAN_HOST}:{outside.PORT}", f"lan sees {pod['status']['podIP']}")
    stage.fetch_soon("three", f"client sees {addresses['three']}")
    after = {name: stage.find_pods(name)[0]["metadata"]["uid"] for name in parents}
    assert {name for name in parents if after[name] != before[name]} == {"one", "two"}
    assert {name: stage.find_address(name) for name in parents} == addresses


def class_of(name: str, volume: str) -> dict[str, Any]:
    env = [{"name": "VOLUME", "value": volume}]
    return own("ProxyClass", name, {"statefulSet": {"pod": {"tailscaleContainer": {"env": env}}}})


def read_volume(pods: list[Any]) -> str:
    """What the class told the one pod that is ready; empty: there is none."""
    if len(pods) != 1 or not is_ready(pods[0]):
        return ""
    env = pods[0]["spec"]["containers"][0]["env"]
    return next((str(row["value"]) for row in env if row["name"] == "VOLUME"), "")
