"""The chart on a real API server with the real helm: installed, upgraded, refused twice, uninstalled without a trace
but for the definitions, which go with their objects when a person deletes them.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tailrace.api import connector, crd, definitions
from tests.chart.helm import CHART, NAMESPACE, Refused, helm
from tests.rig import apiserver, needs
from tools import manifests

LACK = needs.explain((*apiserver.BINARIES, "helm"), tools=apiserver.TOOLS)
pytestmark = pytest.mark.skipif(bool(LACK), reason=LACK)

CRD = "customresourcedefinition.apiextensions.k8s.io"
PATIENCE = 180.0
EVERYTHING = {
    "loginServer": "https://headscale.example.com",
    "apiKey": {"value": "hskey-api-abc-def"},
    "caBundle": "-----BEGIN CERTIFICATE-----\n",
    "operatorConfig": {"replicas": 2},
    "podDisruptionBudget": {"enabled": True},
    "networkPolicy": {"enabled": True, "metricsFrom": [{"namespaceSelector": {}}]},
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[apiserver.ApiServer]:
    folder = tmp_path / "server"
    folder.mkdir()
    with apiserver.start(folder) as running:
        wait_for(lambda: "priorityclass" in running.kubectl("get", "priorityclasses", "-o", "name"))
        yield running


def wait_for(check: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not check():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.2)


def list_objects(server: apiserver.ApiServer) -> set[str]:
    """Every object that the API serves, but for what the cluster writes about itself all the time."""
    kinds = set(server.kubectl("api-resources", "--verbs=list", "-o", "name").split())
    kinds -= {"events", "events.events.k8s.io", "leases.coordination.k8s.io"}
    columns = "custom-columns=K:.kind,NS:.metadata.namespace,N:.metadata.name"
    found = server.kubectl("get", ",".join(sorted(kinds)), "-A", "--no-headers", "-o", columns)
    return {" ".join(line.split()) for line in found.splitlines()}


def read(server: apiserver.ApiServer, *what: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(server.kubectl("get", *what, "-n", NAMESPACE, "-o", "json"))
    return found


def test_install_upgrade_and_uninstall_leave_nothing(server: apiserver.ApiServer, tmp_path: Path) -> None:
    """A namespace that allows restricted pods only, an older chart, this chart with everything on, and the end; then
    the rendered manifests, strictly validated."""

    def run(verb: str, chart: Path, *more: str) -> str:
        return helm(
            verb,
            "tailrace",
            str(chart),
            f"--kubeconfig={server.kubeconfig}",
            f"--namespace={NAMESPACE}",
            *more,
        )

    server.kubectl("create", "namespace", NAMESPACE)
    server.kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
    wait_for(lambda: "serviceaccount/default" in server.kubectl("get", "sa", "-n", NAMESPACE, "-o", "name"))
    wait_for(lambda: "kube-root-ca.crt" in server.kubectl("get", "cm", "-n", NAMESPACE, "-o", "name"))
    before = list_objects(server)

    notes = run("install", make_older(tmp_path))
    assert server.kubectl("get", "crd", "-o", "name").split() == [f"{CRD}/connectors.tailscale.com"]
    server.kubectl("apply", "-f", str(write_connector(tmp_path)))
    assert "kubectl rollout status deployment/operator -n tailscale" in notes
    assert "kubectl create secret generic operator-oauth -n tailscale" in notes
    wait_for(lambda: len(read(server, "pods")["items"]) == 1)  # so the pod is restricted

    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump(EVERYTHING))
    run("upgrade", CHART, "-f", str(values))
    assert read(server, "deployment", "operator")["spec"]["replicas"] == 2
    wait_for(lambda: server.kubectl("get", "cn").split()[:2] == ["NAME", "SUBNETROUTES"])  # it was upgraded
    for kind in definitions.ALL:
        server.kubectl("wait", "--for=condition=Established", f"crd/{kind.name}", "--timeout=60s")
        live = read(server, "crd", kind.name)
        assert live["spec"] == crd.build_crd(kind)["spec"] | {"conversion": {"strategy": "None"}}
        assert [c for c in live["status"]["conditions"] if c["status"] != "True"] == []
    assert read(server, "networkpolicy", "operator")["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert read(server, "pdb", "operator")["spec"]["maxUnavailable"] == 1

    with pytest.raises(Refused, match=r"invalid ownership metadata|cannot be imported|cannot re-use"):
        helm("install", "second", str(CHART), f"--kubeconfig={server.kubeconfig}", f"--namespace={NAMESPACE}")

    helm("uninstall", "tailrace", f"--kubeconfig={server.kubeconfig}", f"--namespace={NAMESPACE}")
    kept = {f"CustomResourceDefinition <none> {kind.name}" for kind in definitions.ALL}
    kept |= {"APIService <none> v1alpha1.tailscale.com", "Connector <none> exit"}
    wait_for(lambda: list_objects(server) <= before | kept)
    assert server.kubectl("get", "cn,proxyclasses,tn", "-o", "name").split() == [
        "connector.tailscale.com/exit"
    ]

    run("install", CHART, "--set", "installCRDs=false")
    run("upgrade", CHART)  # which takes up what was kept
    helm("uninstall", "tailrace", f"--kubeconfig={server.kubeconfig}", f"--namespace={NAMESPACE}")
    server.kubectl("delete", "crd", *(kind.name for kind in definitions.ALL))
    wait_for(lambda: list_objects(server) <= before)

    shown = server.kubectl("apply", "-f", str(manifests.TARGET), "--dry-run=server", "--validate=strict")
    assert "deployment.apps/operator created" in shown


def write_connector(folder: Path) -> Path:
    path = folder / "connector.yaml"
    spec = {"exitNode": True}
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "tailscale.com/v1alpha1",
                "kind": "Connector",
                "metadata": {"name": "exit"},
                "spec": spec,
            }
        )
    )
    return path


def make_older(folder: Path) -> Path:
    """This chart as an earlier version had it: other number, one object less, one kind alone and that with less."""
    older = folder / "older"
    shutil.copytree(CHART, older)
    (older / "templates" / "networkpolicy.yaml").unlink()
    definition = crd.build_crd(dataclasses.replace(connector.DEFINITION, columns=()))
    definition["metadata"]["annotations"] = {"helm.sh/resource-policy": "keep"}
    (older / "templates" / "crds.yaml").write_text(yaml.safe_dump(definition))
    metadata = yaml.safe_load((older / "Chart.yaml").read_text())
    (older / "Chart.yaml").write_text(yaml.safe_dump({**metadata, "version": "0.0.9"}))
    return older
