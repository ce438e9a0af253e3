"""Schemas: what is known of built-in kinds and custom resources; unknown fields and defaults, with real paths."""

from __future__ import annotations

from typing import Any

import pytest

from tailrace.sandbox.kubernetes.documents import defaults
from tailrace.sandbox.kubernetes.documents.schema import (
    Schema,
    builtin_definitions,
    builtin_schema,
    crd_schema,
    default,
    prune,
)


def kind(group: str, name: str) -> Schema:
    found = builtin_schema(group, "v1", name)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("group", "name", "path", "list_type", "keys", "merge_key"),
    [
        ("", "Service", ("spec", "ports"), "map", ("port", "protocol"), "port"),
        ("", "Pod", ("spec", "containers"), "map", ("name",), "name"),
        ("", "Pod", ("spec", "tolerations"), "atomic", (), ""),
        ("", "Service", ("metadata", "ownerReferences"), "map", ("uid",), "uid"),
        ("", "Service", ("metadata", "finalizers"), "set", (), ""),
        ("", "Service", ("status", "loadBalancer", "ingress"), "atomic", (), ""),
        ("discovery.k8s.io", "EndpointSlice", ("endpoints",), "atomic", (), ""),
    ],
)
def test_lists_of_built_in_kinds_merge_as_the_server_says(
    group: str, name: str, path: tuple[str, ...], list_type: str, keys: tuple[str, ...], merge_key: str
) -> None:
    node = kind(group, name)
    for step in path:
        node = node.properties[step]
    assert (node.list_type, node.list_keys, node.merge_key) == (list_type, keys, merge_key)


def test_a_kind_that_is_not_there_has_no_schema() -> None:
    assert builtin_schema("example.com", "v1", "Pod") is None


def test_the_schema_of_schemas_may_recurse() -> None:
    crd = kind("apiextensions.k8s.io", "CustomResourceDefinition")
    props = (
        crd.properties["spec"]
        .properties["versions"]
        .element()
        .properties["schema"]
        .properties["openAPIV3Schema"]
    )
    assert props.child("properties").child("x").name == props.name


def test_unknown_fields_are_named_with_their_paths_and_pruned() -> None:
    doc = {"spec": {"ports": [{"port": 1, "foo": 1}], "bar": 2, "selector": {"any": "x"}}, "baz": 3}
    kept, dropped = prune(doc, kind("", "Service"))
    assert dropped == ["spec.ports[0].foo", "spec.bar", "baz"]
    assert kept == {"spec": {"ports": [{"port": 1}], "selector": {"any": "x"}}}
    assert prune(kept, kind("", "Service"))[0] is kept


CRD: dict[str, Any] = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "mode": {"type": "string", "default": "auto"},
                "limits": {
                    "type": "object",
                    "default": {},
                    "properties": {"cpu": {"type": "integer", "default": 1}},
                },
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "maybe": {"type": "string", "nullable": True},
                "port": {"x-kubernetes-int-or-string": True},
            },
        }
    },
}


def test_a_custom_resource_is_pruned_and_defaulted_by_its_own_schema() -> None:
    schema = crd_schema(CRD)
    doc: dict[str, Any] = {
        "spec": {
            "no": 1,
            "free": {"x": {"y": 1}},
            "labels": {"a": "b"},
            "port": "x",
            "maybe": None,
            "mode": None,
        }
    }
    kept, dropped = prune(doc, schema)
    assert dropped == ["spec.no"]
    filled = default(kept, schema)
    assert filled["spec"] == {
        "free": {"x": {"y": 1}},
        "labels": {"a": "b"},
        "port": "x",
        "maybe": None,
        "mode": "auto",
        "limits": {"cpu": 1},
    }
    assert CRD["properties"]["spec"]["properties"]["limits"]["default"] == {}, (
        "the schema itself is not changed"
    )


def test_a_workload_gets_the_servers_defaults_and_keeps_them() -> None:
    schema = kind("apps", "StatefulSet")
    container = {
        "name": "c",
        "image": "ghcr.io/x/y:1",
        "readinessProbe": {"httpGet": {"port": 80}},
        "ports": [{"containerPort": 80}],
    }
    pod = {
        "containers": [container],
        "initContainers": [{"name": "i", "image": "busybox"}],
        "volumes": [{"name": "v"}],
    }
    doc = {"spec": {"template": {"spec": {**pod, "serviceAccountName": "sa"}}, "serviceName": "s"}}
    filled = defaults.fill(doc, schema)
    spec = filled["spec"]
    assert (spec["replicas"], spec["podManagementPolicy"], spec["revisionHistoryLimit"]) == (
        1,
        "OrderedReady",
        10,
    )
    assert spec["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}
    template = spec["template"]["spec"]
    assert template["serviceAccount"] == "sa"
    assert template["volumes"] == [{"name": "v", "emptyDir": {}}]
    assert "enableServiceLinks" not in template, "pods get this, templates do not"
    assert template["initContainers"][0]["imagePullPolicy"] == "Always"
    assert template["containers"] == [
        {
            "name": "c",
            "image": "ghcr.io/x/y:1",
            "imagePullPolicy": "IfNotPresent",
            "ports": [{"containerPort": 80, "protocol": "TCP"}],
            "readinessProbe": {
                "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
                "timeoutSeconds": 1,
                "periodSeconds": 10,
                "successThreshold": 1,
                "failureThreshold": 3,
            },
            "resources": {},
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
        }
    ]
    assert defaults.fill(filled, schema) == filled
    assert "replicas" not in doc["spec"]


@pytest.mark.parametrize(
    ("group", "name", "doc", "path", "value"),
    [
        ("", "Secret", {}, "type", "Opaque"),
        (
            "",
            "Service",
            {"spec": {"ports": [{"port": 8}]}},
            "spec.ports.0",
            {"port": 8, "protocol": "TCP", "targetPort": 8},
        ),
        ("", "Service", {"spec": {"type": "LoadBalancer"}}, "spec.externalTrafficPolicy", "Cluster"),
        (
            "",
            "Service",
            {"spec": {"type": "ExternalName"}},
            "spec",
            {"type": "ExternalName", "sessionAffinity": "None"},
        ),
        (
            "",
            "Pod",
            {"spec": {"containers": [{"image": "a@sha256:0"}]}},
            "spec.containers.0.imagePullPolicy",
            "IfNotPresent",
        ),
        (
            "",
            "Pod",
            {"spec": {"containers": [{"image": "h:5000/a"}]}},
            "spec.containers.0.imagePullPolicy",
            "Always",
        ),
        ("rbac.authorization.k8s.io", "RoleBinding", {}, "roleRef.apiGroup", "rbac.authorization.k8s.io"),
        (
            "networking.k8s.io",
            "NetworkPolicy",
            {"spec": {"egress": [{}]}},
            "spec.policyTypes",
            ["Ingress", "Egress"],
        ),
    ],
)
def test_defaults_of_other_kinds(group: str, name: str, doc: dict[str, Any], path: str, value: Any) -> None:
    found: Any = defaults.fill(doc, kind(group, name))
    for step in path.split("."):
        found = found[int(step)] if isinstance(found, list) else found[step]
    assert found == value


def test_every_rule_of_a_whole_kind_says_which_fields_it_reads() -> None:
    """Else a write of other fields would not run it."""
    kinds = {name for name, facts in builtin_definitions().items() if facts.get("kind")}
    assert kinds & defaults._RULES.keys() == defaults._REACH.keys()
