"""What the chart makes of values, by the real helm: each case's difference from the defaults is a file beside it.

`TAILRACE_SNAPSHOTS=write` writes the files anew.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tailrace import settings
from tailrace.api import crd, definitions
from tailrace.cli import lint, values
from tests.chart.helm import (
    CASES,
    CHART,
    HELM,
    NAMESPACE,
    Refused,
    find,
    helm,
    needs_helm,
    read_environment,
    template,
    template_documents,
)
from tools import manifests

pytestmark = needs_helm

DEFINITION = "CustomResourceDefinition"
SNAPSHOTS = Path(__file__).parent / "snapshots"
RIGHTS = manifests.ROOT / "src" / "tailrace" / "cli" / "rbac.yaml"
USUAL = {
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/name",
    "app.kubernetes.io/version",
    "helm.sh/chart",
}

CONTRADICTIONS = (
    {"apiKey": {"value": "a", "existingSecret": "b"}},
    {"apiKey": {"value": "a"}, "oauth": {"clientId": "a", "clientSecret": "b"}},
    {"oauth": {"clientId": "a"}},
    {"oauth": {"clientSecret": "a"}},
    {"oauth": {"audience": "a"}},
    {"oauth": {"audience": "a", "clientId": "b", "clientSecret": "c"}},
    {"oauth": {"clientId": "a", "clientSecret": "b"}, "oauthSecretVolume": {"secret": {"secretName": "c"}}},
    {"caBundle": "a", "caBundleConfigMap": {"name": "b"}},
    {"operatorConfig": {"replicas": 2, "leaderElection": False}},
)
WRONG = """\
operatorConfig: {acceptRoutes: true, logging: trace, workers: 0, defaultLoadBalancer: "true", metricsAddress: "127.0.0.1:80"}
proxyConfig: {defaultTags: ["tag:k8s", "tag:prod"], keyTTL: 1 hour}
ingressClass: {enabled: false}
"""
SENTENCES = (
    "additional properties 'acceptRoutes' not allowed",
    "/operatorConfig/logging': value must be one of 'info', 'debug', 'dev'",
    "/operatorConfig/workers': minimum: got 0, want 1",
    "/operatorConfig/defaultLoadBalancer': got string, want boolean",
    "/operatorConfig/metricsAddress': '127.0.0.1:80' does not match pattern",
    "/proxyConfig/defaultTags': got array, want string",
    "/proxyConfig/keyTTL': '1 hour' does not match pattern",
    "additional properties 'ingressClass' not allowed",
)


@pytest.fixture
def default() -> str:
    return template()


def test_helm_finds_nothing_to_say() -> None:
    """The linter of helm itself, with the strictness of an error for a warning."""
    assert "1 chart(s) linted, 0 chart(s) failed" in helm("lint", "--strict", str(CHART))


@pytest.mark.parametrize("case", CASES, ids=lambda p: p.stem)
def test_a_case_differs_from_the_defaults_as_written_down(case: Path) -> None:
    before, after = (format_documents(template_documents(*a)) for a in ((), ("-f", str(case))))
    lines = difflib.unified_diff(before, after, n=1, lineterm="")
    found = "\n".join(line for line in lines if not line.startswith(("---", "+++"))) + "\n"
    snapshot = SNAPSHOTS / f"{case.stem}.diff"
    if os.environ.get("TAILRACE_SNAPSHOTS") == "write":
        snapshot.write_text(found)
    assert found == snapshot.read_text()


def format_documents(documents: list[dict[str, Any]]) -> list[str]:
    """Lines to compare, without the labels that every object has and what definitions define (tests of their own)."""
    lines = []
    for document in sorted(documents, key=lambda d: (d["kind"] == DEFINITION, str(d["kind"]))):
        if document["kind"] == DEFINITION:
            del document["spec"]
        for metadata in (
            document["metadata"],
            document.get("spec", {}).get("template", {}).get("metadata", {}),
        ):
            rest = {k: v for k, v in metadata.pop("labels", {}).items() if k not in USUAL}
            metadata.update({"labels": rest} if rest else {})
        lines += [f"# {document['kind']}", *yaml.safe_dump(document, sort_keys=False, width=110).splitlines()]
    return lines


@pytest.mark.parametrize("case", CASES, ids=lambda p: p.stem)
def test_every_object_has_the_usual_labels_whatever_a_person_adds(case: Path) -> None:
    for document in template_documents("-f", str(case)):
        labels = document["metadata"]["labels"]
        assert labels.keys() >= USUAL, document["kind"]
        assert labels["app.kubernetes.io/name"] == "tailrace"


@pytest.mark.parametrize("case", CASES, ids=lambda p: p.stem)
def test_whatever_selects_the_pod_finds_it(case: Path) -> None:
    """Deployment, disruption budget, network policy and metrics Service: extra labels do not part them."""
    documents = template_documents("-f", str(case))
    labels = find(documents, "Deployment")["spec"]["template"]["metadata"]["labels"].items()
    for document in documents:
        spec = document.get("spec", {})
        selector = spec.get("podSelector", spec.get("selector"))
        if selector and document["kind"] != "ServiceMonitor":
            assert selector.get("matchLabels", selector).items() <= labels, document["kind"]


@pytest.mark.parametrize("case", CASES, ids=lambda p: p.stem)
def test_the_operator_understands_what_a_case_gives_it(case: Path) -> None:
    """The environment is one that the settings can be read from, and the linter has nothing against the case."""
    settings.load(read_environment(template_documents("-f", str(case))))
    assert lint.examine(case.read_text()) == []


def test_every_setting_arrives_as_its_value_says() -> None:
    """Each setting differs from its default in a case, and arrives changed."""
    found: dict[str, set[Any]] = {}
    for case in CASES:
        environment = read_environment(template_documents("-f", str(case)))
        loaded = settings.load(environment)
        for field in dataclasses.fields(settings.Settings):
            found.setdefault(field.metadata["env"], set()).add(getattr(loaded, field.name))
    plain = settings.load({})
    unset = {
        field.metadata["env"]
        for field in dataclasses.fields(settings.Settings)
        if found[field.metadata["env"]] == {getattr(plain, field.name)}
    }
    assert unset == values.BY_THE_POD


def test_the_pod_answers_for_its_namespace_name_and_account(default: str) -> None:
    (container,) = find(list(yaml.safe_load_all(default)), "Deployment")["spec"]["template"]["spec"][
        "containers"
    ]
    paths = {e["name"]: e["valueFrom"]["fieldRef"]["fieldPath"] for e in container["env"] if "valueFrom" in e}
    assert paths == {
        "OPERATOR_NAMESPACE": "metadata.namespace",
        "POD_NAME": "metadata.name",
        "TAILRACE_SERVICE_ACCOUNT": "spec.serviceAccountName",
    }


def test_the_rights_are_those_that_the_operator_is_tested_with(default: str) -> None:
    """In the default namespace the chart's rights are `rbac.yaml`, but for labels."""

    def strip(documents: Iterator[Any]) -> list[Any]:
        found = [d for d in documents if d and ("rbac" in d["apiVersion"] or d["kind"] == "ServiceAccount")]
        for document in found:
            document["metadata"].pop("labels", None)
        return sorted(found, key=lambda d: str(d["kind"]))

    assert strip(yaml.safe_load_all(default)) == strip(yaml.safe_load_all(RIGHTS.read_text()))


def test_definitions_are_those_of_the_kinds_and_are_kept(default: str) -> None:
    """They are templates, so that an upgrade changes them; an uninstall leaves them, and with them the objects."""
    found = [d for d in yaml.safe_load_all(default) if d and d["kind"] == DEFINITION]
    assert [{"spec": d["spec"], "name": d["metadata"]["name"]} for d in found] == [
        {"spec": crd.build_crd(kind)["spec"], "name": kind.name} for kind in definitions.ALL
    ]
    for document in found:
        assert document["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_definitions_may_be_left_to_somebody_else() -> None:
    found = template_documents("--set", "installCRDs=false")
    assert [d["kind"] for d in found if d["kind"] == DEFINITION] == []
    rest = [d for d in template_documents() if d["kind"] != DEFINITION]
    assert found == rest


def test_in_another_namespace_nothing_names_the_usual_one() -> None:
    assert f"namespace: {NAMESPACE}" not in (text := template(namespace="elsewhere"))
    assert "resourceNames: [elsewhere]" in text


@pytest.mark.parametrize("given", CONTRADICTIONS, ids=lambda g: "+".join(g))
def test_values_that_contradict_each_other_are_refused_by_chart_and_linter(
    given: Any, tmp_path: Path
) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(given))
    with pytest.raises(Refused, match=r"keep one|go together|needs"):
        template("-f", str(file))
    assert lint.examine(file.read_text()) != []


def test_the_schema_refuses_wrong_values_with_a_sentence_each(tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(WRONG)
    with pytest.raises(Refused) as refused:
        template("-f", str(file))
    assert [sentence for sentence in SENTENCES if sentence not in str(refused.value)] == []
    assert len(lint.examine(WRONG)) == len(SENTENCES)


def test_the_manifests_are_what_the_chart_makes() -> None:
    assert HELM is not None
    assert manifests.TARGET.read_text() == manifests.render(HELM), "run `make manifests`"
