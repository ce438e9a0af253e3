"""Tables: columns and cells are those of a kube-apiserver v1.36.

`tables_seen.json` has what such a server answered: the columns of every resource, and for more than a hundred documents the
row that it made at `NOW`. Times are shifted to one moment, and fields that no column shows are left out.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tailrace.sandbox.kubernetes.printing import jsonpath, tables
from tailrace.sandbox.kubernetes.resources import Ref, Registry, Resource, builtin_resources, custom_resources

SEEN: dict[str, Any] = json.loads((Path(__file__).parent / "tables_seen.json").read_text())
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
REGISTRY = Registry()


def resource_of(name: str) -> Resource:
    group, _, resource = name.rpartition("/")
    return next(r for r in builtin_resources() if (r.group, r.resource) == (group, resource))


def custom(*columns: dict[str, Any]) -> Resource:
    version = {"name": "v1", "served": True, "storage": True, "additionalPrinterColumns": list(columns)}
    names = {"plural": "wides", "kind": "Wide"}
    spec = {"group": "example.dev", "scope": "Namespaced", "names": names, "versions": [version]}
    (found,) = custom_resources({"spec": spec})
    return found


@pytest.mark.parametrize("name", SEEN["columns"])
def test_a_builtin_kind_has_the_columns_that_the_real_server_has(name: str) -> None:
    found = tables.columns(resource_of(name))
    assert [[c["name"], c["type"], c["format"], c["priority"]] for c in found] == SEEN["columns"][name]
    assert all(column["description"] for column in found)


def test_every_builtin_kind_that_can_be_listed_was_compared() -> None:
    listed = {f"{r.group}/{r.resource}".lstrip("/") for r in builtin_resources() if not r.virtual}
    assert listed == set(SEEN["columns"])
    assert listed - {"{}/{}".format(*row["resource"][::2]).lstrip("/") for row in SEEN["rows"]} == {
        "apiextensions.k8s.io/customresourcedefinitions"
    }


def case_id(seen: dict[str, Any]) -> str:
    group, _, resource = seen["resource"]
    return "-".join(filter(None, (group, resource, seen["document"]["metadata"]["name"])))


@pytest.mark.parametrize("seen", SEEN["rows"], ids=case_id)
def test_a_document_has_the_row_that_the_real_server_makes_of_it(seen: dict[str, Any]) -> None:
    resource = REGISTRY.get(Ref(*seen["resource"]))
    found = tables.row(resource, seen["document"], NOW, "Object")
    assert found.pop("object") is seen["document"]
    assert found == seen["row"]
    assert len(found["cells"]) == len(tables.columns(resource))


def test_a_kind_without_a_printer_shows_when_it_was_created() -> None:
    created = "2026-01-01T11:00:00Z"
    doc = {"metadata": {"name": "wides.example.dev", "creationTimestamp": created}}
    resource = resource_of("apiextensions.k8s.io/customresourcedefinitions")
    assert tables.row(resource, doc, NOW, "None") == {"cells": ["wides.example.dev", created], "object": None}


CUSTOM: dict[str, Any] = {
    "apiVersion": "example.dev/v1",
    "kind": "Wide",
    "metadata": {
        "name": "a",
        "namespace": "default",
        "annotations": {"example.com/a": "yes"},
        "creationTimestamp": "2026-01-01T11:59:58Z",
    },
    "spec": {
        "s": "text",
        "i": 5,
        "n": 2.5,
        "b": True,
        "when": "2026-01-01T11:53:14Z",
        "zone": "2026-01-01T12:58:14+01:00",
        "future": "2026-01-01T12:08:00Z",
        "day": "2026-01-01",
        "list": ["x", "y", "z"],
        "map": {"b": 1, "a": "q"},
        "ports": [{"n": "http", "p": 80, "ok": False}, {"n": "https", "p": 443, "ok": True}],
        "empty": "",
        "none": [],
        "signs": "<a&b>",
        "sign_list": ["<a&b>"],
        "null": None,
    },
    "status": {"conditions": [{"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]},
}


@pytest.mark.parametrize(
    "type_, path, cell",
    [
        ("string", ".spec.s", "text"),
        ("integer", ".spec.i", 5),
        ("number", ".spec.n", 2.5),
        ("number", ".spec.i", 5),
        ("boolean", ".spec.b", True),
        ("date", ".spec.when", "6m46s"),
        ("date", ".spec.zone", "106s"),
        ("date", ".spec.future", "<invalid>"),
        ("date", ".spec.day", "<invalid>"),
        ("date", ".spec.s", "<invalid>"),
        ("string", '.status.conditions[?(@.type=="Ready")].status', "True"),
        ("string", ".status.conditions[?(@.type=='Ready')].status", "True"),
        ("string", '.status.conditions[?(@.type!="Ready")].status', "False"),
        ("string", ".spec.ports[?(@.n)].p", "80"),
        ("string", ".spec.ports[?(@.p>80)].n", "https"),
        ("string", ".spec.ports[?(@.ok==true)].n", "https"),
        ("string", r".metadata.annotations.example\.com/a", "yes"),
        ("string", r".metadata.annotations['example\.com/a']", "yes"),
        ("string", ".spec['s']", "text"),
        ("string", ".spec.list[0]", "x"),
        ("string", ".spec.list[-1]", "z"),
        ("string", ".spec.list[9]", None),
        ("string", ".spec.list[0,1]", "x"),
        ("string", ".spec.list[*]", "x"),
        ("string", ".spec.list[0:2]", "x"),
        ("string", ".spec.ports[*].n", "http"),
        ("string", ".spec.ports[1].n", "https"),
        ("string", "..s", "text"),
        ("string", ".spec.list", '["x","y","z"]'),
        ("string", ".spec.map", '{"a":"q","b":1}'),
        ("string", ".spec.ports[0]", '{"n":"http","ok":false,"p":80}'),
        ("string", ".spec.i", "5"),
        ("string", ".spec.b", "true"),
        ("string", ".spec.n", "2.5"),
        ("string", ".spec.empty", ""),
        ("string", ".spec.none", "[]"),
        ("string", ".spec.signs", "<a&b>"),
        ("string", ".spec.sign_list", r'["\u003ca\u0026b\u003e"]'),
        ("string", ".spec.null", "<no value>"),
        ("string", ".spec.missing.deeper", None),
        ("date", ".spec.missing", None),
        ("integer", ".spec.s", None),
        ("integer", ".spec.n", 2),
        ("boolean", ".spec.s", None),
    ],
)
def test_a_custom_column_shows_what_the_real_server_shows(type_: str, path: str, cell: object) -> None:
    resource = custom({"name": "X", "type": type_, "jsonPath": path})
    found = tables.row(resource, CUSTOM, NOW, "None")["cells"][1]
    assert (found, type(found)) == (cell, type(cell))


def test_the_columns_of_a_custom_resource_are_those_that_its_definition_declares() -> None:
    where = {"name": "Where", "type": "string", "jsonPath": ".spec.s", "priority": 1, "description": "where"}
    count = {"name": "Count", "type": "integer", "format": "int64", "jsonPath": ".spec.i"}
    _, *found = tables.columns(custom(where, count))
    about = "Custom resource definition column (in JSONPath format): .spec.i"
    assert found == [
        {"name": "Where", "type": "string", "format": "", "description": "where", "priority": 1},
        {"name": "Count", "type": "integer", "format": "int64", "description": about, "priority": 0},
    ]


def test_a_custom_resource_that_declares_no_columns_shows_its_age() -> None:
    found = tables.columns(custom())
    assert [(c["name"], c["type"]) for c in found] == [("Name", "string"), ("Age", "date")]
    assert tables.row(custom(), CUSTOM, NOW, "None")["cells"] == ["a", "2s"]


def test_a_path_that_cannot_be_parsed_ends_the_columns() -> None:
    def column(name: str, path: str) -> dict[str, Any]:
        return {"name": name, "type": "string", "jsonPath": path}

    resource = custom(column("A", ".spec.s"), column("B", '.spec["s"]'), column("C", ".spec.s"))
    assert [c["name"] for c in tables.columns(resource)] == ["Name", "A"]
    assert tables.row(resource, CUSTOM, NOW, "None")["cells"] == ["a", "text"]


@pytest.mark.parametrize("path", [".a[", ".a[?(@.b==)]", '.a["b"]', ".a b", ".a[?(@.b==word)]"])
def test_a_broken_path_is_a_value_error(path: str) -> None:
    with pytest.raises(ValueError):
        jsonpath.find({}, path)


@pytest.mark.parametrize("path", ["{.spec.i}", "$.spec.i", "spec.i", ".spec.i"])
def test_a_path_may_be_dressed_as_kubectl_allows(path: str) -> None:
    assert jsonpath.find(CUSTOM, path) == [5]


def test_a_table_carries_the_lists_metadata_and_what_was_asked_of_the_objects() -> None:
    resource = resource_of("configmaps")
    doc = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "uid": "u"}, "data": {"k": "v"}}
    found = tables.table(resource, [doc], metadata={"resourceVersion": "7"}, now=NOW)
    assert found == {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": "7"},
        "columnDefinitions": tables.columns(resource),
        "rows": [
            {
                "cells": ["a", 1, "<unknown>"],
                "object": {
                    "kind": "PartialObjectMetadata",
                    "apiVersion": "meta.k8s.io/v1",
                    "metadata": doc["metadata"],
                },
            }
        ],
    }


def test_only_the_first_event_of_a_watch_has_columns() -> None:
    found = tables.table(resource_of("pods"), [], metadata={}, now=NOW, headers=False)
    assert found["columnDefinitions"] is None
    assert found["rows"] == []


DAY, YEAR = 86400, 86400 * 365


@pytest.mark.parametrize(
    "seconds, text",
    [
        (-2, "<invalid>"),
        (-1.5, "0s"),
        (-0.5, "0s"),
        (0, "0s"),
        (119.9, "119s"),
        (120, "2m"),
        (123, "2m3s"),
        (599, "9m59s"),
        (600, "10m"),
        (3 * 3600 - 1, "179m"),
        (3 * 3600, "3h"),
        (5 * 3600 + 12 * 60 + 7, "5h12m"),
        (8 * 3600 + 600, "8h"),
        (2 * DAY - 1, "47h"),
        (2 * DAY, "2d"),
        (3 * DAY + 4 * 3600, "3d4h"),
        (8 * DAY + 3600, "8d"),
        (2 * YEAR - 1, "729d"),
        (2 * YEAR + 9 * DAY, "2y9d"),
        (3 * YEAR, "3y"),
        (8 * YEAR + 9 * DAY, "8y"),
    ],
)
def test_a_duration_has_fewer_units_the_longer_it_is(seconds: float, text: str) -> None:
    assert tables.humanize(seconds) == text
