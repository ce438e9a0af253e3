"""OpenAPI: documents that are whole in themselves, agree with discovery, and say what kubectl looks for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tailrace.sandbox.kubernetes import discovery, openapi
from tailrace.sandbox.kubernetes.resources import Registry

Doc = dict[str, Any]
META = "io.k8s.apimachinery.pkg.apis.meta.v1"
METHODS = {
    "get": "get",
    "list": "get",
    "create": "post",
    "update": "put",
    "patch": "patch",
    "delete": "delete",
    "deletecollection": "delete",
}
ITEM_VERBS = {"get", "update", "patch", "delete"}

SPEC: Doc = {
    "type": "object",
    "description": "What is wanted.",
    "required": ["size"],
    "properties": {
        "size": {"type": "integer", "minimum": 1, "default": 2},
        "port": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
        "mode": {"type": "string", "enum": ["a", "b"], "nullable": True},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"a": {}}},
        "template": {"type": "object", "x-kubernetes-embedded-resource": True},
        "parts": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "properties": {"name": {"type": "string", "default": "x"}}},
        },
        "notes": {"type": "object", "additionalProperties": {"type": "string", "nullable": True}},
    },
}


def widgets(group: str = "example.com") -> Doc:
    properties = {"metadata": {"type": "object"}, "spec": SPEC}
    schema = {"openAPIV3Schema": {"type": "object", "description": "A widget.", "properties": properties}}
    version = {"name": "v1", "served": True, "schema": schema, "subresources": {"status": {}, "scale": {}}}
    names = {"plural": "widgets", "kind": "Widget"}
    return {"spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]}}


@pytest.fixture(scope="module")
def registry() -> Registry:
    made = Registry()
    made.serve_crd(widgets())
    return made


@pytest.fixture(scope="module")
def documents(registry: Registry) -> dict[tuple[str, str], Doc]:
    places = [(group, version) for group in registry.groups() for version in registry.versions(group)]
    return {place: openapi.document(registry, *place) for place in places}


@pytest.fixture(scope="module")
def swagger(registry: Registry) -> Doc:
    return openapi.v2(registry)


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for below in node.values():
            yield from references(below)
    elif isinstance(node, list):
        for below in node:
            yield from references(below)


def operations(doc: Doc) -> Iterator[tuple[str, str, Doc, list[Doc]]]:
    """Path, method, operation, and all of its parameters."""
    for path, item in doc["paths"].items():
        for method, found in item.items():
            if method != "parameters":
                yield path, method, found, [*item["parameters"], *found.get("parameters", ())]


def test_every_reference_leads_somewhere(documents: dict[tuple[str, str], Doc], swagger: Doc) -> None:
    for doc in documents.values():
        assert {ref.removeprefix("#/components/schemas/") for ref in references(doc)} <= set(
            doc["components"]["schemas"]
        )
    assert {ref.removeprefix("#/definitions/") for ref in references(swagger)} <= set(swagger["definitions"])


def test_every_operation_is_named_once_and_declares_what_is_in_its_path(
    documents: dict[tuple[str, str], Doc], swagger: Doc
) -> None:
    for doc in (*documents.values(), swagger):
        names = []
        for path, _, found, parameters in operations(doc):
            names.append(found["operationId"])
            declared = {each["name"] for each in parameters if each["in"] == "path"}
            assert declared == set(re.findall(r"{(\w+)}", path))
            assert set(found["x-kubernetes-group-version-kind"]) == {"group", "version", "kind"}
        assert len(set(names)) == len(names)


def test_what_discovery_promises_has_an_operation(
    registry: Registry, documents: dict[tuple[str, str], Doc]
) -> None:
    for (group, version), doc in documents.items():
        root = f"/apis/{group}/{version}" if group else f"/api/{version}"
        for found in discovery.resources(registry, group, version)["resources"]:
            base = f"{root}/namespaces/{{namespace}}" if found["namespaced"] else root
            name, _, sub = found["name"].partition("/")
            for verb in set(found["verbs"]) - {"watch"}:
                path = f"{base}/{name}"
                if sub:
                    path += f"/{{name}}/{sub}"
                elif verb in ITEM_VERBS:
                    path += "/{name}"
                operation = doc["paths"][path][METHODS[verb]]
                assert operation["x-kubernetes-group-version-kind"]["kind"] == found["kind"]


def test_kubectl_finds_the_query_parameters_that_it_sends(
    documents: dict[tuple[str, str], Doc], swagger: Doc
) -> None:
    writing = {"dryRun", "fieldManager", "fieldValidation"}
    wanted = {"post": writing, "put": writing, "patch": {*writing, "force"}, "delete": {"dryRun"}}
    for doc in (*documents.values(), swagger):
        for _, method, found, parameters in operations(doc):
            if found["x-kubernetes-action"] != "connect":
                assert wanted.get(method, set()) <= {each["name"] for each in parameters}


def test_a_service_carries_the_marks_that_merging_goes_by(
    documents: dict[tuple[str, str], Doc], swagger: Doc
) -> None:
    schemas = documents["", "v1"]["components"]["schemas"]
    service = schemas["io.k8s.api.core.v1.Service"]
    assert service["x-kubernetes-group-version-kind"] == [{"group": "", "version": "v1", "kind": "Service"}]
    reference = {"$ref": "#/components/schemas/io.k8s.api.core.v1.ServiceSpec"}
    assert service["properties"]["spec"] == {"allOf": [reference], "default": {}}
    marks = {
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["port", "protocol"],
        "x-kubernetes-patch-merge-key": "port",
        "x-kubernetes-patch-strategy": "merge",
    }
    port = "io.k8s.api.core.v1.ServicePort"
    spec = schemas["io.k8s.api.core.v1.ServiceSpec"]["properties"]
    assert spec["ports"] == {"type": "array", "items": {"$ref": f"#/components/schemas/{port}"}, **marks}
    assert spec["selector"]["x-kubernetes-map-type"] == "atomic"
    old = swagger["definitions"]["io.k8s.api.core.v1.ServiceSpec"]["properties"]
    assert old["ports"] == {"type": "array", "items": {"$ref": f"#/definitions/{port}"}, **marks}


def test_built_in_kinds_take_a_strategic_merge_patch_and_custom_ones_do_not(
    documents: dict[tuple[str, str], Doc], swagger: Doc
) -> None:
    strategic = "application/strategic-merge-patch+json"
    service, widget = (
        "/api/v1/namespaces/{namespace}/services/{name}",
        "/apis/example.com/v1/namespaces/{namespace}/widgets/{name}",
    )
    body = "requestBody"
    assert strategic in documents["", "v1"]["paths"][service]["patch"][body]["content"]
    assert strategic not in documents["example.com", "v1"]["paths"][widget]["patch"][body]["content"]
    assert strategic in swagger["paths"][service]["patch"]["consumes"]
    assert strategic not in swagger["paths"][widget]["patch"]["consumes"]


def test_a_custom_kind_is_what_was_declared_and_a_whole_object(documents: dict[tuple[str, str], Doc]) -> None:
    schemas = documents["example.com", "v1"]["components"]["schemas"]
    found = schemas["com.example.v1.Widget"]
    metadata = {"allOf": [{"$ref": f"#/components/schemas/{META}.ObjectMeta"}]}
    whole = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": metadata}
    spec = {"template": SPEC["properties"]["template"] | {"properties": whole}}
    assert found["description"] == "A widget."
    assert found["properties"] == whole | {"spec": SPEC | {"properties": SPEC["properties"] | spec}}
    many = schemas["com.example.v1.WidgetList"]
    assert many["properties"]["items"]["items"] == {"$ref": "#/components/schemas/com.example.v1.Widget"}
    assert many["x-kubernetes-group-version-kind"][0]["kind"] == "WidgetList"


def test_version_two_says_nothing_of_types_that_it_cannot_express(swagger: Doc) -> None:
    spec = swagger["definitions"]["com.example.v1.Widget"]["properties"]["spec"]
    found = spec["properties"]
    assert spec["required"] == ["size"]
    assert found["size"] == {"type": "integer", "minimum": 1}
    assert found["port"] == {"x-kubernetes-int-or-string": True}
    assert found["mode"] == {"enum": ["a", "b"]}
    assert found["free"] == {"x-kubernetes-preserve-unknown-fields": True}
    assert found["parts"]["items"] == {"type": "object", "properties": {"name": {"type": "string"}}}
    assert found["notes"] == {"type": "object", "additionalProperties": {}}
    word = swagger["definitions"]["io.k8s.apimachinery.pkg.util.intstr.IntOrString"]
    assert word == {"type": "string", "format": "int-or-string"}


def test_a_definition_named_like_a_keyword_of_openapi_keeps_its_fields(swagger: Doc) -> None:
    fields = swagger["definitions"][
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
    ]["properties"]
    assert {"allOf", "default", "nullable", "properties", "items", "$ref"} <= set(fields)


def test_a_hash_changes_with_its_own_document_alone(registry: Registry) -> None:
    before = openapi.index(registry)["paths"]
    assert before["api/v1"]["serverRelativeURL"].startswith("/openapi/v3/api/v1?hash=")
    changed = Registry()
    crd = widgets()
    crd["spec"]["names"]["kind"] = "Gadget"
    changed.serve_crd(crd)
    after = openapi.index(changed)["paths"]
    assert [path for path in before if before[path] != after[path]] == ["apis/example.com/v1"]


def test_the_same_custom_kind_of_two_groups_has_two_definitions(registry: Registry) -> None:
    both = Registry()
    both.serve_crd(widgets())
    both.serve_crd(widgets("other.example.com"))
    definitions = openapi.v2(both)["definitions"]
    assert {"com.example.v1.Widget", "com.example.other.v1.Widget"} <= set(definitions)
