"""The chart on a real API server with the real helm: installed, upgraded, refused twice, uninstalled without a trace."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.helm import CHART, NAMESPACE, Refused, helm
from tests.rig import apiserver, needs
from tools import manifests

LACK = needs.explain((*apiserver.BINARIES, "helm"), tools=apiserver.TOOLS)
pytestmark = pytest.mark.skipif(bool(LACK), reason=LACK)

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
    return set(found.splitlines())


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
    assert "kubectl rollout status deployment/operator -n tailscale" in notes
    assert "kubectl create secret generic operator-oauth -n tailscale" in notes
    wait_for(lambda: len(read(server, "pods")["items"]) == 1)  # so the pod is restricted

    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump(EVERYTHING))
    run("upgrade", CHART, "-f", str(values))
    assert read(server, "deployment", "operator")["spec"]["replicas"] == 2
    assert read(server, "networkpolicy", "operator")["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert read(server, "pdb", "operator")["spec"]["maxUnavailable"] == 1

    with pytest.raises(Refused, match=r"invalid ownership metadata|cannot be imported|cannot re-use"):
        helm("install", "second", str(CHART), f"--kubeconfig={server.kubeconfig}", f"--namespace={NAMESPACE}")

    helm("uninstall", "tailrace", f"--kubeconfig={server.kubeconfig}", f"--namespace={NAMESPACE}")
    wait_for(lambda: list_objects(server) <= before)

    shown = server.kubectl("apply", "-f", str(manifests.TARGET), "--dry-run=server", "--validate=strict")
    assert "deployment.apps/operator created" in shown


def make_older(folder: Path) -> Path:
    """This chart as an earlier version had it: other number, one object less."""
    older = folder / "older"
    shutil.copytree(CHART, older)
    (older / "templates" / "networkpolicy.yaml").unlink()
    metadata = yaml.safe_load((older / "Chart.yaml").read_text())
    (older / "Chart.yaml").write_text(yaml.safe_dump({**metadata, "version": "0.0.9"}))
    return older
