"""`tailrace gc` over two tailnets: the operator's own on Tailscale, and `lab` on a Headscale that a Tailnet names."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from tailrace.api import kube, names
from tailrace.cli import gc
from tailrace.cli.exits import Exit
from tailrace.proxy import secret
from tailrace.sandbox.controlplane.control import ControlPlane
from tailrace.sandbox.controlplane.model import Tailnet
from tailrace.sandbox.kubernetes.resources import Ref
from tailrace.sandbox.world import World
from tests.cli.test_explain import set_credentials
from tests.cli.test_gc import SERVICES, join, read
from tests.cli.town import HOME, Person, Town, backend, service

SECRETS = Ref("", "v1", "secrets")
TAILNETS = Ref("tailscale.com", "v1alpha1", "tailnets")


@dataclass
class Lab:
    """The second control plane. It counts its devices from 1, as every Headscale does."""

    plane: ControlPlane
    town: Town

    def list_devices(self) -> set[str]:
        return self.town.on(lambda _: {node.name for node in self.plane.tailnet.nodes.all()})


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """No operator any more. On `lab` are the device of `away`, that of `lost`, which was deleted past its finalizer, a dead
    twin, somebody's dead `elsewhere`, and `forgotten`, which stands in the orphan record. On our own
    tailnet a dead `elsewhere`, too. A proxy is of a tailnet `sold`, of which nothing else is left."""
    town = Town(tmp_path_factory.mktemp("town"))
    with town.live(operator=True, TAILRACE_PROXY_MODE="userspace", TAILRACE_CLUSTER_NAME="prod"):
        found = Lab(ControlPlane("headscale-0.29"), town)
        town.wait(lambda _: found.plane.accept_connections())
        try:
            town.apply(*build_tailnet(found.plane))
            town.apply(*expose("away"), *expose("lost"))
            for name in ("away", "lost"):
                town.until(functools.partial(play_proxy, found.plane.tailnet, name))
            town.stop_operator()
            town.on(lambda world: make_litter(world, found.plane.tailnet))
            yield found
        finally:
            town.wait(lambda _: found.plane.stop())


def build_tailnet(plane: ControlPlane) -> list[dict[str, Any]]:
    key = {"api_key": kube.encode_key(plane.credentials["api_key"])}
    spec = {"loginUrl": plane.url, "credentials": {"secretName": "lab-key"}}
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "lab-key", "namespace": HOME},
            "data": key,
        },
        {
            "apiVersion": "tailscale.com/v1alpha1",
            "kind": "Tailnet",
            "metadata": {"name": "lab"},
            "spec": spec,
        },
    ]


def expose(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    found = service(name, expose="true")
    found["metadata"]["annotations"][names.TAILNET] = "lab"
    return found, backend(name)


def play_proxy(tailnet: Tailnet, service: str, world: World) -> bool:
    """Simulated proxies join the sandbox's own tailnet alone: here the test logs in with the key from the Secret."""
    for stored in world.cluster.store.all(("", "secrets")).values():
        meta, data = stored.doc["metadata"], stored.doc.get("data", {})
        config = secret.decode_object(kube.decode_key(data.get(secret.CONFIG, "")))
        if meta.get("labels", {}).get(names.PARENT_NAME) == service and "AuthKey" in config:
            assert config["ServerURL"] == world.cluster.get(TAILNETS, "lab")["spec"]["loginUrl"]
            hostname = config["Hostname"]
            node = tailnet.nodes.login(auth_key=config["AuthKey"], hostname=hostname, machine_key=hostname)
            state = {"device_id": node.id, "device_fqdn": node.fqdn}
            encoded = {"data": {key: kube.encode_key(value) for key, value in state.items()}}
            world.cluster.patch(SECRETS, meta["name"], encoded, "merge", namespace=HOME)
            return True
    return False


def make_litter(world: World, tailnet: Tailnet) -> None:
    for hostname in ("default-away", "elsewhere", "forgotten"):
        key = tailnet.add_key(tags=("tag:k8s",), expires=world.now() + timedelta(hours=1))
        node = tailnet.nodes.login(auth_key=key.secret, hostname=hostname, machine_key=f"mkey:{hostname}")
        tailnet.nodes.set_connected(node.id, False)
    note = {"object": "Service default/forgotten", "name": "", "tailnet": "lab", "device": node.id}
    record = {
        "metadata": {"name": names.ORPHANS, "namespace": HOME},
        "data": {f"lab.{node.id}": json.dumps(note)},
    }
    world.apply([{"apiVersion": "v1", "kind": "ConfigMap", **record}])
    join(world, "elsewhere", ("tag:k8s",), alive=False)
    labels = {
        names.MANAGED: "true",
        names.PARENT_TYPE: "svc",
        names.PARENT_NAMESPACE: "default",
        names.PARENT_NAME: "old",
    }
    left = {"name": "ts-old-0", "namespace": HOME, "labels": labels, "annotations": {names.TAILNET: "sold"}}
    data = {"device_id": kube.encode_key("7")}
    world.apply([{"apiVersion": "v1", "kind": "Secret", "metadata": left, "data": data}])
    lost: dict[str, Any] = {"metadata": {"finalizers": []}}
    world.cluster.patch(SERVICES, "lost", lost, "merge", namespace="default")
    world.cluster.delete(SERVICES, "lost", namespace="default")


@pytest.fixture
def person(lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Person:
    monkeypatch.setattr(gc, "LOOK", 0.05)
    return Person(lab.town, capsys, lab.town.world.kubeconfig)


def test_each_tailnet_is_asked_with_its_own_credential(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_credentials(monkeypatch, person.town)
    said = person.type("gc", "--age", "0s", "-o", "json")
    assert said.code == Exit.OK, said.err
    found = {(r["tailnet"], r["what"], r["name"]): r["verdict"] for r in json.loads(said.out)}
    assert found == {
        ("sold", "proxy", "default/old"): "ours",
        ("lab", "orphan", "forgotten"): "ours",
        ("lab", "proxy", "default/lost"): "ours",
        ("lab", "device", "default-away-1"): "named",
        ("lab", "device", "elsewhere"): "shared",
        ("", "device", "elsewhere"): "shared",
    }
    [note] = [line for line in said.err.splitlines() if "was not asked" in line]
    assert note == 'note: tailnet "sold" was not asked: it has proxies, and there is no Tailnet of its name'


def test_yes_takes_away_what_goes_from_the_tailnet_where_it_is(lab: Lab, person: Person) -> None:
    """Last. The shell has no credentials for the operator's own tailnet; those of `lab` are in its Secret."""
    own = person.town.on(lambda world: len(world.plane.tailnet.nodes.all()))
    said = person.type("gc", "--age", "0s", "--yes", "-o", "json")
    assert said.code == Exit.NOT_READY, said.err
    failed = read(said.out)["proxy", "default/old"]["outcome"]
    assert failed == 'failed: tailnet "sold" cannot be asked from here'
    assert "the operator's own tailnet was not asked" in said.err
    done = {key for key, row in read(said.out).items() if row["outcome"] == "deleted"}
    assert done == {("orphan", "forgotten"), ("proxy", "default/lost"), ("device", "default-away-1")}
    assert lab.list_devices() == {"default-away", "elsewhere"}
    assert person.town.on(lambda world: len(world.plane.tailnet.nodes.all())) == own
    record = person.town.get(names.ORPHANS, HOME, "configmaps")
    assert not record.get("data")
    assert lab.plane.credentials["api_key"] not in said.out + said.err
    left = read(person.type("gc", "--age", "0s", "-o", "json").out)
    assert set(left) == {("device", "elsewhere"), ("proxy", "default/old")}
