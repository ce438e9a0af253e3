"""Patches: the laws of merge patch, the table of JSON patch, and strategic merge as the server's own lists merge."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.sandbox.kubernetes.documents.patch import (
    PatchError,
    json_patch,
    merge_patch,
    strategic_merge_patch,
)
from tailrace.sandbox.kubernetes.documents.schema import Schema, builtin_schema

KEYS = st.sampled_from(["a", "b", "c", "d/e", "f~g"])
VALUES = st.recursive(
    st.integers(0, 3) | st.booleans() | st.sampled_from(["x", "y"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
DOCS = st.dictionaries(KEYS, VALUES, max_size=4)


def kind(group: str, name: str) -> Schema:
    found = builtin_schema(group, "v1", name)
    assert found is not None
    return found


@given(DOCS, DOCS)
def test_a_merge_patch_twice_is_a_merge_patch_once(doc: dict[str, Any], patch: dict[str, Any]) -> None:
    once = merge_patch(doc, patch)
    assert merge_patch(once, patch) == once


@given(DOCS, DOCS)
def test_the_difference_as_merge_patch_gives_the_other_document(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    def difference(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
        patch: dict[str, Any] = {key: None for key in a if key not in b}
        for key, value in b.items():
            before = a.get(key)
            both = isinstance(before, dict) and isinstance(value, dict)
            patch[key] = difference(before, value) if both and isinstance(before, dict) else value
        return patch

    untouched = repr(old)
    assert merge_patch(old, difference(old, new)) == new
    assert repr(old) == untouched


@given(DOCS, KEYS, VALUES)
def test_a_json_patch_adds_finds_and_removes_any_key(doc: dict[str, Any], key: str, value: Any) -> None:
    path = "/" + key.replace("~", "~0").replace("/", "~1")
    add = {"op": "add", "path": path, "value": value}
    assert json_patch(doc, [add, {"op": "test", "path": path, "value": value}]) == {**doc, key: value}
    left = json_patch(doc, [add, {"op": "remove", "path": path}])
    assert left == {k: v for k, v in doc.items() if k != key}


@pytest.mark.parametrize(
    ("ops", "expected"),
    [
        ([{"op": "add", "path": "/l/1", "value": 9}], {"l": [1, 9, 2], "m": {"x": 1}}),
        ([{"op": "add", "path": "/l/-", "value": 9}], {"l": [1, 2, 9], "m": {"x": 1}}),
        ([{"op": "remove", "path": "/l/0"}], {"l": [2], "m": {"x": 1}}),
        ([{"op": "replace", "path": "/m/x", "value": 2}], {"l": [1, 2], "m": {"x": 2}}),
        ([{"op": "move", "from": "/m/x", "path": "/y"}], {"l": [1, 2], "m": {}, "y": 1}),
        ([{"op": "copy", "from": "/l", "path": "/k"}], {"l": [1, 2], "m": {"x": 1}, "k": [1, 2]}),
        ([{"op": "replace", "path": "", "value": {"z": 1}}], {"z": 1}),
        ([{"op": "test", "path": "/no", "value": None}], {"l": [1, 2], "m": {"x": 1}}),
    ],
)
def test_json_patch_operations(ops: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    assert json_patch({"l": [1, 2], "m": {"x": 1}}, ops) == expected


@pytest.mark.parametrize(
    "op",
    [
        {"op": "remove", "path": "/no"},
        {"op": "replace", "path": "/no", "value": 1},
        {"op": "add", "path": "/no/x", "value": 1},
        {"op": "add", "path": "/l/7", "value": 1},
        {"op": "test", "path": "/l/0", "value": True},
        {"op": "move", "from": "/m", "path": "/m/x/y"},
        {"op": "burn", "path": "/l"},
    ],
)
def test_json_patch_refuses_what_does_not_fit(op: dict[str, Any]) -> None:
    doc = {"l": [1, 2], "m": {"x": 1}}
    with pytest.raises(PatchError) as refused:
        json_patch(doc, [{"op": "add", "path": "/new", "value": 1}, op])
    assert refused.value.code == 422
    assert doc == {"l": [1, 2], "m": {"x": 1}}, "all operations or none"


def test_strategic_merge_joins_containers_by_name_and_ports_by_port() -> None:
    pod = {
        "spec": {"containers": [{"name": "a", "image": "1", "ports": [{"containerPort": 80, "name": "x"}]}]}
    }
    patch = {
        "spec": {"containers": [{"name": "a", "ports": [{"containerPort": 80, "name": "y"}]}, {"name": "b"}]}
    }
    merged = strategic_merge_patch(pod, patch, kind("", "Pod"))
    assert merged["spec"]["containers"] == [
        {"name": "a", "image": "1", "ports": [{"containerPort": 80, "name": "y"}]},
        {"name": "b"},
    ]


def test_strategic_merge_obeys_every_directive() -> None:
    schema = kind("apps", "Deployment")
    doc: dict[str, Any] = {
        "metadata": {"finalizers": ["a", "b"]},
        "spec": {
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
            "template": {
                "spec": {
                    "containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}],
                    "volumes": [{"name": "v", "emptyDir": {}}, {"name": "w"}],
                    "tolerations": [{"key": "old"}],
                }
            },
        },
    }
    patch = {
        "metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"]},
        "spec": {
            "strategy": {"$retainKeys": ["type"], "type": "Recreate"},
            "template": {
                "spec": {
                    "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
                    "containers": [{"name": "b", "$patch": "delete"}, {"name": "a", "image": "x"}],
                    "volumes": [{"$patch": "replace"}, {"name": "z"}],
                    "tolerations": [{"key": "new"}],
                }
            },
        },
    }
    result = strategic_merge_patch(doc, patch, schema)
    assert result["metadata"]["finalizers"] == ["b", "c"]
    assert result["spec"]["strategy"] == {"type": "Recreate"}
    pod = result["spec"]["template"]["spec"]
    assert pod["containers"] == [{"name": "c"}, {"name": "a", "image": "x"}]
    assert pod["volumes"] == [{"name": "z"}]
    assert pod["tolerations"] == [{"key": "new"}], "an atomic list is replaced"


def test_strategic_merge_says_which_merge_key_is_missing() -> None:
    with pytest.raises(PatchError, match="does not contain declared merge key: port"):
        strategic_merge_patch({}, {"spec": {"ports": [{"name": "x"}]}}, kind("", "Service"))
