"""Validation refuses what a real kube-apiserver refuses, with its exact words.

`validation_cases.json` is a table of changes to good documents and what a kube-apiserver 1.36 answered to each.
In it `<gone>` removes a field, `<a*64>` is a long text, `<label>` and its like stand for the long `words`.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tailrace.sandbox.kubernetes.documents import defaults
from tailrace.sandbox.kubernetes.documents.schema import (
    Schema,
    builtin_schema,
    copy_of,
    crd_schema,
    default,
    prune,
)
from tailrace.sandbox.kubernetes.rules import validation
from tailrace.sandbox.kubernetes.rules.custom_rules import go_pattern
from tailrace.sandbox.kubernetes.rules.field_errors import quantity

Doc = dict[str, Any]
Edits = dict[str, Any]

TABLE: Doc = json.loads(Path(__file__).with_name("validation_cases.json").read_text(encoding="utf-8"))
CLUSTER_KINDS = {"Namespace", "ClusterRole", "ClusterRoleBinding", "IngressClass", "CustomResourceDefinition"}
LARGE = {"LONG": "x" * (257 * 1024), "BIG": "x" * (1024 * 1024 + 1), "BIG64": "QUFB" * (350 * 1024)}
ESTABLISHED = {"conditions": [{"type": "Established", "status": "True"}], "storedVersions": ["v1"]}


def spelt(value: Any) -> Any:
    """A value of the table, written out."""
    if isinstance(value, str):
        return LARGE.get(value) or re.sub(r"<(.)\*(\d+)>", lambda m: m[1] * int(m[2]), value)
    if isinstance(value, dict):
        return {spelt(key): spelt(inner) for key, inner in value.items()}
    return [spelt(inner) for inner in value] if isinstance(value, list) else value


def message(text: str) -> str:
    """An expected message, written out."""
    for short, words in TABLE["words"].items():
        text = text.replace(short, words)
    done: str = spelt(text)
    return done


def edited(doc: Doc, edits: Edits) -> Doc:
    """A copy of the document with the values at dotted paths changed."""
    changed: Doc = copy_of(doc)
    for path, value in edits.items():
        *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
        node: Any = changed
        for step in steps:
            node = node[step] if isinstance(step, int) else node.setdefault(step, {})
        if value == "<gone>":
            node.pop(last, None)
        else:
            node[last] = spelt(value)
    return changed


def base(kind: str) -> Doc:
    doc: Doc = {"kind": kind} | copy_of(TABLE["bases"][kind])
    if kind not in CLUSTER_KINDS:
        doc["metadata"]["namespace"] = "default"
    return doc


def group_of(kind: str) -> str:
    group: str = TABLE["bases"][kind]["apiVersion"].rpartition("/")[0]
    return group


def schema_of(kind: str) -> Schema:
    found = builtin_schema(group_of(kind), TABLE["bases"][kind]["apiVersion"].rpartition("/")[2], kind)
    assert found is not None
    return found


def judge(kind: str, new: Doc, old: Doc | None = None) -> list[str]:
    """All that the server asks of a document, each message once."""
    group = group_of(kind)
    errors = validation.validate_metadata(
        new["metadata"],
        namespaced=kind not in CLUSTER_KINDS,
        generated=False,
        name=validation.name_rule(group, kind),
    )
    if old is not None:
        errors += validation.validate_metadata_update(new["metadata"], old["metadata"])
    return list(dict.fromkeys(map(str, errors + validation.validate((group, kind), new, old))))


@pytest.mark.parametrize("kind", TABLE["bases"])
def test_the_good_documents_are_accepted_and_may_be_stored_again(kind: str) -> None:
    doc = defaults.fill(base(kind), schema_of(kind))
    assert judge(kind, doc) == []
    assert judge(kind, copy_of(doc), doc) == []


@pytest.mark.parametrize(("kind", "edits", "expected"), TABLE["create"])
def test_a_new_document_is_judged_as_on_the_server(kind: str, edits: Edits, expected: list[str]) -> None:
    doc = defaults.fill(edited(base(kind), edits), schema_of(kind))
    assert judge(kind, doc) == [message(text) for text in expected]


@pytest.mark.parametrize(("kind", "before", "edits", "expected"), TABLE["update"])
def test_an_update_is_judged_as_on_the_server(
    kind: str, before: Edits, edits: Edits, expected: list[str]
) -> None:
    stored = edited(base(kind), before)
    if kind == "Service":
        address = stored["spec"].setdefault("clusterIP", "10.96.0.9")
        stored["spec"]["clusterIPs"] = [address]
    if kind == "CustomResourceDefinition":
        stored["status"] = ESTABLISHED
    old = defaults.fill(stored, schema_of(kind))
    new = defaults.fill(edited(old, edits), schema_of(kind))
    assert judge(kind, new, old) == [message(text) for text in expected]


@pytest.mark.parametrize(("kind", "edits", "expected"), TABLE["types"])
def test_a_wrong_json_type_is_named_in_go_s_words(kind: str, edits: Edits, expected: str | None) -> None:
    api_version = TABLE["bases"][kind]["apiVersion"]
    found = validation.check_types(edited(base(kind), edits), schema_of(kind), kind, api_version)
    assert found == expected


@pytest.mark.parametrize(("kind", "edits", "real"), TABLE["near"])
def test_where_go_s_type_names_are_not_known_the_value_is_refused_all_the_same(
    kind: str, edits: Edits, real: str
) -> None:
    api_version = TABLE["bases"][kind]["apiVersion"]
    found = validation.check_types(edited(base(kind), edits), schema_of(kind), kind, api_version) or ""
    assert found.partition(" into Go")[0] == real.partition(" into Go")[0]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all that is inside of a document."""
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, inner in entries:
        yield (*path, key)
        yield from places(inner, (*path, key))


@pytest.mark.parametrize("kind", TABLE["bases"])
def test_whatever_stands_at_a_place_gets_an_answer(kind: str) -> None:
    """A wrong type is named; all else is judged without a failure of our own, nulls as Go reads them."""
    schema, api_version = schema_of(kind), TABLE["bases"][kind]["apiVersion"]
    for *above, last in places(base(kind)):
        for value in (None, [None], {"x": None}, "", {}, -1):
            doc = base(kind)
            node: Any = doc
            for step in above:
                node = node[step]
            node[last] = value
            if validation.check_types(doc, schema, kind, api_version) is None:
                filled = defaults.fill(validation.decode_nulls(doc, schema), schema)
                filled.setdefault("metadata", {})
                judge(kind, filled, copy_of(filled))


def test_null_in_a_list_is_an_empty_element_as_in_go() -> None:
    schema = schema_of("Service")
    doc: Doc = {"metadata": {"labels": {"a": None}}, "spec": {"ports": [None], "clusterIPs": [None]}}
    assert validation.decode_nulls(doc, schema) == {
        "metadata": {"labels": {"a": ""}},
        "spec": {"ports": [{}], "clusterIPs": [""]},
    }


@functools.cache
def try_schema() -> Schema:
    """A custom resource whose spec has a property for each keyword."""
    spec = {"type": "object", "properties": TABLE["properties"]}
    return crd_schema({"type": "object", "required": ["spec"], "properties": {"spec": spec}})


def judge_custom(doc: Doc) -> list[validation.FieldError]:
    return validation.validate_custom(default(prune(doc, try_schema())[0], try_schema()), try_schema())


@pytest.mark.parametrize(("spec", "expected"), TABLE["custom"])
def test_a_custom_resource_is_judged_by_its_schema(spec: Any, expected: list[str]) -> None:
    doc: Doc = {"apiVersion": "example.com/v1", "kind": "Try", "metadata": {"name": "t"}}
    found = judge_custom(doc if spec == "<gone>" else doc | {"spec": spec})
    assert sorted(map(str, found)) == sorted(expected)  # the server's order is that of a Go map: none


def test_causes_have_the_reasons_of_the_server() -> None:
    """As answered for this document; a wrong type has a reason of its own."""
    spec = {"str": 1, "f_uuid": "x", "any": {}, "len": "abcdef", "items": ["a"] * 3, "set": ["a", "a"]}
    causes = {cause["field"]: cause["reason"] for cause in (e.cause() for e in judge_custom({"spec": spec}))}
    assert causes == {
        "spec.str": "FieldValueTypeInvalid",
        "spec.f_uuid": "FieldValueTypeInvalid",
        "<nil>": "FieldValueInvalid",
        "spec.any.a": "FieldValueRequired",
        "spec.len": "FieldValueTooLong",
        "spec.items": "FieldValueTooMany",
        "spec.set[1]": "FieldValueDuplicate",
    }
    assert validation.too_long("data", 3).cause() == {
        "reason": "FieldValueTooLong",
        "message": "Too long: may not be more than 3 bytes",
        "field": "data",
    }


def test_only_the_metadata_of_a_custom_resource_has_go_types() -> None:
    doc: Doc = {"metadata": {"labels": {"a": 1}}, "spec": {"str": 1}}
    text = "json: cannot unmarshal number into Go struct field ObjectMeta.labels of type string"
    assert validation.decode_errors(doc, try_schema()) == [text]
    assert validation.check_types(doc, try_schema(), "Try", "example.com/v1") == (
        f'Try in version "v1" cannot be handled as a Try: {text}'
    )


def test_a_namespace_belongs_where_the_kind_has_one() -> None:
    check = functools.partial(validation.validate_metadata, generated=False)
    assert [str(e) for e in check({"name": "a"}, namespaced=True)] == ["metadata.namespace: Required value"]
    assert [str(e) for e in check({"name": "a", "namespace": "b"}, namespaced=False)] == [
        "metadata.namespace: Forbidden: not allowed on this type"
    ]


def test_a_generated_name_may_be_missing_and_its_prefix_may_end_in_a_dash() -> None:
    check = functools.partial(validation.validate_metadata, namespaced=False, generated=True)
    assert check({"generateName": "web-"}) == []
    assert [e.path for e in check({"generateName": "Bad_"})] == ["metadata.generateName"]


def test_identity_is_fixed_and_a_dying_object_gets_no_new_finalizers() -> None:
    old = {"name": "a", "uid": "1", "generation": 2, "deletionTimestamp": "2026-01-01T00:00:00Z"}
    new = old | {"uid": "2", "generation": 1, "finalizers": ["example.com/x"]}
    assert [str(e) for e in validation.validate_metadata_update(new, old)] == [
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, "
        'found new finalizers []string{"example.com/x"}',
        "metadata.generation: Invalid value: 1: must not be decremented",
        'metadata.uid: Invalid value: "2": field is immutable',
    ]


def test_endpoints_may_be_on_loopback_because_the_sandbox_s_pods_are() -> None:
    doc = edited(base("EndpointSlice"), {"endpoints.0.addresses": ["127.9.0.1"]})
    assert judge("EndpointSlice", defaults.fill(doc, schema_of("EndpointSlice"))) == []


def test_a_kind_without_rules_is_accepted() -> None:
    assert validation.validate(("", "Event"), {"reason": ""}) == []


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("^a$", "a\n", False),
        (r"^a\z", "a", True),
        (r"^\d$", "٣", False),
        ("^[[:alpha:]]+$", "ab", True),
        ("^[$]$", "$", True),
        (r"^\$$", "$", True),
        (r"^[^\]$]+$", "a]", False),
    ],
)
def test_a_go_pattern_means_in_python_what_it_means_in_go(pattern: str, text: str, matches: bool) -> None:
    assert bool(go_pattern(pattern).search(text)) is matches


def test_quantities_compare_across_their_units() -> None:
    assert quantity("1500m") == quantity("1.5") == quantity("15e-1")
    assert quantity("1Ki") == 1024
    assert quantity("1k") == 1000
    assert quantity("1X") is None
