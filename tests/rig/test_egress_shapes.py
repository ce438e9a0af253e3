"""A real kube-apiserver takes the rewrite of an egress Service, and its return makes each Service what it was."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from tailrace.api import kube
from tailrace.kinds.egress import original
from tests.kinds.test_egress_decide import build
from tests.rig.apiserver import ApiServer

PORTS = [{"port": 80, "name": "http"}, {"port": 53, "name": "dns", "protocol": "UDP"}]
LED = {
    "type": "ExternalName",
    "externalName": "ts-far-abcdef.tailscale.svc.cluster.local",
    "selector": None,
    "clusterIP": None,
    "clusterIPs": None,
}


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("plain", {"ports": PORTS, "selector": {"app": "far"}}),
        ("sticky", {"ports": PORTS, "sessionAffinity": "ClientIP", "internalTrafficPolicy": "Local"}),
        ("node-port", {"type": "NodePort", "ports": PORTS, "selector": {"app": "far"}}),
        ("balanced", {"type": "LoadBalancer", "loadBalancerClass": "other", "ports": PORTS}),
        ("outside", {"type": "ExternalName", "externalName": "placeholder", "ports": PORTS}),
    ],
)
def test_a_service_is_led_out_and_given_back(server: ApiServer, name: str, spec: dict[str, Any]) -> None:
    """Cluster IP and node ports included."""
    where = ("service", f"egress-shape-{name}")
    try:
        manifest = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": where[1]}, "spec": spec}
        path = server.folder / f"{where[1]}.json"
        path.write_text(json.dumps(manifest))
        server.kubectl("create", "-f", str(path))
        before = read(server, where[1])
        remembered = original.read_memory(msgspec.json.encode(narrow(before)).decode())
        assert remembered is not None
        patch(server, where[1], LED)
        led = read(server, where[1])
        assert led["type"] == "ExternalName"
        assert not {"selector", "clusterIP"} & led.keys()
        patch(server, where[1], original.build_return(build({}), remembered, narrow(led)))
        assert read(server, where[1]) == before
    finally:
        server.kubectl("delete", *where, "--ignore-not-found")


def read(server: ApiServer, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(server.kubectl("get", "service", name, "-o", "json"))["spec"]
    return found


def narrow(spec: dict[str, Any]) -> kube.ServiceSpec:
    return msgspec.convert(spec, kube.ServiceSpec)


def patch(server: ApiServer, name: str, spec: dict[str, Any]) -> None:
    body = json.dumps({"spec": spec})
    server.kubectl("patch", "service", name, "--type=merge", "--patch", body)
