"""The generated definitions, held to tables that were written by hand: every field with what the API server asks of it.

A line has a field, its type, and what holds: `!` required, `/…/` pattern, `a|b` one of, `>=0`, `<=9`, `len<=9`, `items>=1`,
`by type` told apart by. `[]` is an item of a list, `{}` a value of a map.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

import msgspec
import pytest
import yaml

from tailrace.api import connector, crd, definitions, proxyclass, tailnet
from tools import gen

CONDITIONS = r"""
status object
status.conditions array by type
status.conditions[] object
status.conditions[].type string ! /^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$/ len<=316
status.conditions[].status string ! True|False|Unknown
status.conditions[].reason string ! /^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$/ len>=1 len<=1024
status.conditions[].message string ! len<=32768
status.conditions[].observedGeneration integer:int64 >=0
status.conditions[].lastTransitionTime string:date-time !
"""

CONNECTOR = (
    r"""
spec object !
spec.subnetRouter object
spec.subnetRouter.advertiseRoutes array ! items>=1
spec.subnetRouter.advertiseRoutes[] string:cidr
spec.exitNode boolean
spec.appConnector object
spec.appConnector.routes array items>=1
spec.appConnector.routes[] string:cidr
spec.replicas integer:int32 >=0
spec.hostname string /^[a-z0-9][a-z0-9-]{0,61}[a-z0-9]$/
spec.hostnamePrefix string /^[a-z0-9][a-z0-9-]{0,61}$/
spec.tags array
spec.tags[] string /^tag:[a-zA-Z][a-zA-Z0-9-]*$/
spec.proxyClass string
spec.tailnet string
status.subnetRoutes string
status.isExitNode boolean
status.isAppConnector boolean
status.hostname string
status.tailnetIPs array
status.tailnetIPs[] string
status.devices array
status.devices[] object
status.devices[].hostname string
status.devices[].tailnetIPs array
status.devices[].tailnetIPs[] string
"""
    + CONDITIONS
)

TAILNET = (
    """
spec object !
spec.credentials object !
spec.credentials.secretName string !
spec.loginUrl string
"""
    + CONDITIONS
)

LABEL = r"/^(([a-zA-Z0-9][-._a-zA-Z0-9]*)?[a-zA-Z0-9])?$/ len<=63"
CONTAINER = r"""
C object
C.env array
C.env[] object
C.env[].name string ! /^[-._a-zA-Z][-._a-zA-Z0-9]*$/
C.env[].value string
C.image string
C.imagePullPolicy string Always|IfNotPresent|Never
C.resources core.v1.ResourceRequirements
C.securityContext core.v1.SecurityContext
C.debug object
C.debug.enable boolean
"""
PROXY_CLASS = (
    rf"""
spec object !
spec.statefulSet object
spec.statefulSet.labels map
spec.statefulSet.labels{{}} string {LABEL}
spec.statefulSet.annotations map
spec.statefulSet.annotations{{}} string
spec.statefulSet.pod object
spec.statefulSet.pod.labels map
spec.statefulSet.pod.labels{{}} string {LABEL}
spec.statefulSet.pod.annotations map
spec.statefulSet.pod.annotations{{}} string
spec.statefulSet.pod.affinity core.v1.Affinity
spec.statefulSet.pod.securityContext core.v1.PodSecurityContext
spec.statefulSet.pod.imagePullSecrets array
spec.statefulSet.pod.imagePullSecrets[] core.v1.LocalObjectReference
spec.statefulSet.pod.nodeName string
spec.statefulSet.pod.nodeSelector map
spec.statefulSet.pod.nodeSelector{{}} string
spec.statefulSet.pod.tolerations array
spec.statefulSet.pod.tolerations[] core.v1.Toleration
spec.statefulSet.pod.topologySpreadConstraints array
spec.statefulSet.pod.topologySpreadConstraints[] core.v1.TopologySpreadConstraint
spec.statefulSet.pod.priorityClassName string
spec.statefulSet.pod.dnsPolicy string ClusterFirst|ClusterFirstWithHostNet|Default|None
spec.statefulSet.pod.dnsConfig core.v1.PodDNSConfig
spec.metrics object
spec.metrics.enable boolean !
spec.metrics.serviceMonitor object
spec.metrics.serviceMonitor.enable boolean !
spec.metrics.serviceMonitor.labels map
spec.metrics.serviceMonitor.labels{{}} string {LABEL}
spec.tailscale object
spec.tailscale.acceptRoutes boolean
spec.useLetsEncryptStagingEnvironment boolean
spec.staticEndpoints object
spec.staticEndpoints.nodePort object !
spec.staticEndpoints.nodePort.ports array ! items>=1
spec.staticEndpoints.nodePort.ports[] object
spec.staticEndpoints.nodePort.ports[].port integer ! >=0 <=65535
spec.staticEndpoints.nodePort.ports[].endPort integer >=0 <=65535
spec.staticEndpoints.nodePort.selector map
spec.staticEndpoints.nodePort.selector{{}} string
"""
    + CONTAINER.replace("\nC", "\nspec.statefulSet.pod.tailscaleContainer")
    + CONTAINER.replace("\nC", "\nspec.statefulSet.pod.tailscaleInitContainer")
    + CONDITIONS
)

RULES = {
    "Connector": {
        "spec": [
            (
                "has(self.subnetRouter) || (has(self.exitNode) && self.exitNode == true) || has(self.appConnector)",
                "A Connector needs to have at least one of exit node, subnet router or app connector configured.",
            ),
            (
                "!((has(self.subnetRouter) || (has(self.exitNode)  && self.exitNode == true)) && has(self.appConnector))",
                "The appConnector field is mutually exclusive with exitNode and subnetRouter fields.",
            ),
            (
                "!(has(self.hostname) && has(self.replicas) && self.replicas > 1)",
                "The hostname field cannot be specified when replicas is greater than 1.",
            ),
            (
                "!(has(self.hostname) && has(self.hostnamePrefix))",
                "The hostname and hostnamePrefix fields are mutually exclusive.",
            ),
        ],
        "spec.tailnet": [("self == oldSelf", "Connector tailnet is immutable")],
    },
    "ProxyClass": {
        "spec.metrics": [
            (
                "!(has(self.serviceMonitor) && self.serviceMonitor.enable  && !self.enable)",
                "ServiceMonitor can only be enabled if metrics are enabled",
            )
        ]
    },
    "Tailnet": {},
}

AGE = ("Age", "date", ".metadata.creationTimestamp")
NAMES: dict[str, dict[str, Any]] = {
    "Connector": {
        "names": {
            "kind": "Connector",
            "listKind": "ConnectorList",
            "plural": "connectors",
            "singular": "connector",
            "shortNames": ["cn"],
        },
        "columns": [
            ("SubnetRoutes", "string", ".status.subnetRoutes"),
            ("IsExitNode", "string", ".status.isExitNode"),
            ("IsAppConnector", "string", ".status.isAppConnector"),
            ("Status", "string", '.status.conditions[?(@.type == "ConnectorReady")].reason'),
            AGE,
        ],
    },
    "ProxyClass": {
        "names": {
            "kind": "ProxyClass",
            "listKind": "ProxyClassList",
            "plural": "proxyclasses",
            "singular": "proxyclass",
        },
        "columns": [("Status", "string", '.status.conditions[?(@.type == "ProxyClassReady")].reason'), AGE],
    },
    "Tailnet": {
        "names": {
            "kind": "Tailnet",
            "listKind": "TailnetList",
            "plural": "tailnets",
            "singular": "tailnet",
            "shortNames": ["tn"],
        },
        "columns": [AGE, ("Status", "string", '.status.conditions[?(@.type == "TailnetReady")].reason')],
    },
}
TABLES = {"Connector": CONNECTOR, "ProxyClass": PROXY_CLASS, "Tailnet": TAILNET}

BUILTIN = json.loads(
    resources.files("tailrace.sandbox.kubernetes.documents").joinpath("builtin.json").read_text()
)


def read_schema(kind: crd.Definition) -> dict[str, Any]:
    (version,) = crd.build_crd(kind)["spec"]["versions"]
    found: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return found


def walk(node: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    """Every field below: its path, its schema, whether it is required."""
    for name, field in node.get("properties", {}).items():
        inner = f"{path}.{name}" if path else name
        yield inner, field, name in node.get("required", ())
        yield from walk(field, inner)
    for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if below := node.get(key):
            yield path + mark, below, False
            yield from walk(below, path + mark)


def describe(field: Mapping[str, Any], required: bool) -> list[str]:
    kind = "map" if "additionalProperties" in field else field.get("type", "int-or-string")
    words = [f"{kind}:{field['format']}" if "format" in field else kind]
    words += ["!"] if required else []
    words += [f"/{field['pattern']}/"] if "pattern" in field else []
    words += ["|".join(field["enum"])] if "enum" in field else []
    words += [f"by {' '.join(keys)}"] if (keys := field.get("x-kubernetes-list-map-keys")) else []
    for key, word in (
        ("minimum", ">="),
        ("maximum", "<="),
        ("minLength", "len>="),
        ("maxLength", "len<="),
        ("minItems", "items>="),
        ("maxItems", "items<="),
    ):
        words += [f"{word}{field[key]}"] if key in field else []
    return " ".join(words).split()


def read_table(text: str) -> dict[str, list[str]]:
    lines = (line.split() for line in text.splitlines() if line)
    return {path: words for path, *words in lines}


def of_kubernetes(name: str) -> Iterator[tuple[str, str, bool]]:
    """The fields of a type of the core API, from a Kubernetes release: path, type, whether it is required."""
    for field, found in BUILTIN[name]["fields"].items():
        word = found if isinstance(found, str) else found[0]
        yield from _expand(f".{field}", word, field in BUILTIN[name].get("required", ()))


def _expand(path: str, word: str, required: bool) -> Iterator[tuple[str, str, bool]]:
    if word.startswith("@"):
        yield path, "object", required
        for inner, kind, needed in of_kubernetes(word[1:]):
            yield path + inner, kind, needed
    elif word[0] in "[{":
        yield path, "array" if word[0] == "[" else "map", required
        yield from _expand(path + ("[]" if word[0] == "[" else "{}"), word[1:-1], False)
    else:
        yield path, "int-or-string" if word == "quantity" else word, required


@pytest.mark.parametrize("kind", definitions.ALL, ids=lambda kind: kind.kind)
def test_every_field_has_what_the_table_says_and_there_is_no_other(kind: crd.Definition) -> None:
    table = read_table(TABLES[kind.kind])
    core = {path: words[0] for path, words in table.items() if words[0].startswith("core.")}
    wanted = {path: words for path, words in table.items() if path not in core}
    found = {
        path: describe(field, required)
        for path, field, required in walk(read_schema(kind))
        if path not in ("apiVersion", "kind", "metadata")
        and not any(
            path == above or path.startswith((f"{above}.", f"{above}[", f"{above}{{")) for above in core
        )
    }
    assert {p: sorted(w) for p, w in found.items()} == {p: sorted(w) for p, w in wanted.items()}


@pytest.mark.parametrize(
    ("path", "name"),
    [(path, words[0]) for path, words in read_table(PROXY_CLASS).items() if words[0].startswith("core.")],
)
def test_parts_of_a_pod_are_those_of_kubernetes(path: str, name: str) -> None:
    """Names and types as a release has them; what they must be is judged when the pod is made."""
    found = {
        (place.removeprefix(path), describe(field, False)[0].partition(":")[0], required)
        for place, field, required in walk(read_schema(proxyclass.DEFINITION))
        if place.startswith(f"{path}.")
    }
    assert found == set(of_kubernetes(name))


@pytest.mark.parametrize("kind", definitions.ALL, ids=lambda kind: kind.kind)
def test_rules_are_asked_in_this_order_with_these_words(kind: crd.Definition) -> None:
    found = {
        path: [(rule["rule"], rule["message"]) for rule in field["x-kubernetes-validations"]]
        for path, field, _ in [("", read_schema(kind), False), *walk(read_schema(kind))]
        if "x-kubernetes-validations" in field
    }
    assert found == RULES[kind.kind]


@pytest.mark.parametrize("kind", definitions.ALL, ids=lambda kind: kind.kind)
def test_names_scope_version_and_columns(kind: crd.Definition) -> None:
    built = crd.build_crd(kind)
    spec, facts = built["spec"], NAMES[kind.kind]
    assert built["metadata"]["name"] == f"{facts['names']['plural']}.tailscale.com"
    assert (spec["group"], spec["scope"], spec["names"]) == ("tailscale.com", "Cluster", facts["names"])
    (version,) = spec["versions"]
    assert (version["name"], version["served"], version["storage"]) == ("v1alpha1", True, True)
    assert version["subresources"] == {"status": {}}
    columns = [(c["name"], c["type"], c["jsonPath"]) for c in version["additionalPrinterColumns"]]
    assert columns == facts["columns"]


@pytest.mark.parametrize("kind", definitions.ALL, ids=lambda kind: kind.kind)
def test_nothing_has_a_default_that_the_api_server_would_write(kind: crd.Definition) -> None:
    """What is left out stays apart from what was given: the rules ask whether a field is there."""
    assert [path for path, field, _ in walk(read_schema(kind)) if "default" in field] == []


def test_what_is_stored_can_be_read_though_the_definition_would_refuse_it() -> None:
    """An object may be older than its definition; only the API server judges, so that somebody can tell the user."""
    spec = {"hostname": "No.", "replicas": -1, "tags": ["prod"], "subnetRouter": {"advertiseRoutes": []}}
    status = {"conditions": [{"type": "no good", "status": "Maybe", "reason": ""}]}
    found = msgspec.convert({"spec": spec, "status": status}, connector.Connector)
    assert (found.spec.hostname, found.spec.replicas, found.spec.tags) == ("No.", -1, ("prod",))


def test_every_kind_is_known() -> None:
    assert [kind.kind for kind in definitions.ALL] == list(TABLES)
    assert definitions.ALL == (connector.DEFINITION, proxyclass.DEFINITION, tailnet.DEFINITION)


@pytest.mark.parametrize("kind", definitions.ALL, ids=lambda kind: kind.kind)
def test_what_was_generated_is_current(kind: crd.Definition) -> None:
    written = (gen.CRDS / f"{kind.plural}.yaml").read_text()
    assert yaml.safe_load(written) == crd.build_crd(kind), "run `make gen`"
    assert "&id" not in written
