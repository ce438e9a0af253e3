"""Rendering offline is what `run` would apply: the five clusters' Services, and the mistakes that are refused."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
import yaml

from tailrace.api import names
from tailrace.cli.exits import Exit
from tailrace.cli.main import run_command

EXAMPLES = Path(__file__).resolve().parents[2] / "deploy" / "examples"


def render(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[list[dict[str, object]], str]:
    assert run_command(["render", "-f", str(path)]) == Exit.OK
    out, err = capsys.readouterr()
    return [d for d in yaml.safe_load_all(out) if d], err


@pytest.mark.parametrize(
    ("file", "services"), [("solar", 2), ("workshop", 6), ("media", 1), ("wiki", 2), ("lab", 1)]
)
def test_each_service_of_the_five_clusters_becomes_five_objects(
    file: str, services: int, capsys: pytest.CaptureFixture[str]
) -> None:
    found, _ = render(EXAMPLES / "five-clusters" / f"{file}.yaml", capsys)
    kinds = sorted(str(d["kind"]) for d in found)
    assert kinds == sorted(["ServiceAccount", "Role", "RoleBinding", "Secret", "StatefulSet"] * services)
    assert all(d["metadata"]["labels"][names.MANAGED] == "true" for d in found)  # type: ignore[index]


def test_no_rendered_secret_holds_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    found, _ = render(EXAMPLES / "five-clusters", capsys)
    assert "AuthKey" not in str(found)


def test_a_mistake_is_told_and_renders_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    found, notes = render(EXAMPLES / "mistakes", capsys)
    assert found == []
    assert 'for example "wiki-example-com"' in notes


def test_a_hyphen_means_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO((EXAMPLES / "five-clusters" / "media.yaml").read_text()))
    assert run_command(["render", "-f", "-"]) == Exit.OK
    assert "kind: StatefulSet" in capsys.readouterr().out


ROUTING = """
apiVersion: tailscale.com/v1alpha1
kind: ProxyClass
metadata: {name: routes}
spec: {tailscale: {acceptRoutes: true}, statefulSet: {labels: {team: attic}}}
---
apiVersion: v1
kind: Service
metadata:
  name: printer
  namespace: home
  labels: {tailscale.com/proxy-class: routes}
  annotations: {tailscale.com/tailnet-ip: 192.168.47.20}
spec: {type: ExternalName, externalName: unset, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, annotations: {tailscale.com/expose: "true", tailscale.com/proxy-class: other, tailrace.dev/tailnet: lab}}
spec: {ports: [{port: 80}]}
---
apiVersion: tailscale.com/v1alpha1
kind: Connector
metadata: {name: office}
spec: {replicas: 2, subnetRouter: {advertiseRoutes: [172.20.7.0/24]}}
"""


@pytest.fixture
def routing(tmp_path: Path) -> Path:
    path = tmp_path / "routing.yaml"
    path.write_text(ROUTING)
    return path


def test_what_leads_out_and_what_routes_is_rendered_too(
    routing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, _ = render(routing, capsys)
    by_owner: dict[str, list[str]] = {}
    for d in found:
        labels = d["metadata"]["labels"]  # type: ignore[index]
        by_owner.setdefault(labels[names.PARENT_NAME], []).append(str(d["kind"]))
    proxy = ["Role", "RoleBinding", "Secret", "ServiceAccount", "StatefulSet"]
    assert sorted(by_owner["printer"]) == sorted([*proxy, "Service"])
    assert sorted(by_owner["office"]) == sorted([*proxy * 2, "PodDisruptionBudget"])


def test_a_class_among_the_files_shapes_its_proxies_and_one_that_is_not_is_told(
    routing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, notes = render(routing, capsys)
    shaped = [d["metadata"]["labels"].get("team") for d in found if d["kind"] == "StatefulSet"]  # type: ignore[index]
    assert shaped == ["attic", None, None, None]
    assert "service/default/web: ProxyClass other is not among the files" in notes
    assert "service/default/web: Tailnet lab is not among the files" in notes


def test_a_class_that_is_not_valid_is_told_and_nothing_is_rendered_with_it(
    routing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = "statefulSet: {pod: {tailscaleContainer: {image: 'a b'}}}"
    routing.write_text(ROUTING.replace("statefulSet: {labels: {team: attic}}", bad))
    found, notes = render(routing, capsys)
    assert "proxyclass/routes: " in notes
    assert 'service/home/printer: ProxyClass "routes" is not ready' in notes
    assert not [d for d in found if d["metadata"]["labels"][names.PARENT_NAME] == "printer"]  # type: ignore[index]
