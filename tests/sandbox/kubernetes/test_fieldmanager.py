"""Field ownership: who owns what after every kind of write, what an apply removes, and when it is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.sandbox.kubernetes.documents import defaults, fieldmanager, fieldset
from tailrace.sandbox.kubernetes.documents.fieldmanager import ApplyConflict
from tailrace.sandbox.kubernetes.documents.schema import Schema, builtin_schema

NOW = "2026-01-01T00:00:00Z"
LATER = "2026-01-02T00:00:00Z"
Doc = dict[str, Any]


def kind(group: str, name: str) -> Schema:
    found = builtin_schema(group, "v1", name)
    assert found is not None
    return found


SERVICE, CONFIG, DEPLOYMENT = kind("", "Service"), kind("", "ConfigMap"), kind("apps", "Deployment")


def config(**data: str) -> Doc:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data}


def service(*ports: Doc, **spec: Any) -> Doc:
    body = {**spec, **({"ports": list(ports)} if ports else {})}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": body}


def put(
    live: Doc | None, doc: Doc, manager: str, schema: Schema = CONFIG, force: bool = False, now: str = NOW
) -> Doc:
    return fieldmanager.apply(
        live,
        doc,
        manager=manager,
        force=force,
        schema=schema,
        api_version=doc["apiVersion"],
        now=now,
        fill=lambda made: defaults.fill(made, schema),
    )


def write(
    live: Doc | None, doc: Doc, manager: str, schema: Schema = CONFIG, now: str = NOW, subresource: str = ""
) -> Doc:
    version = doc["apiVersion"]
    return fieldmanager.update_managed(
        live, doc, manager=manager, schema=schema, api_version=version, subresource=subresource, now=now
    )


def owners(doc: Doc) -> dict[str, Any]:
    return {entry["manager"]: entry["fieldsV1"] for entry in doc["metadata"].get("managedFields", [])}


def test_what_create_owns_is_written_as_the_server_writes_it() -> None:
    """Seen on a real 1.36: added containers have ".", structs by value and required lists do not."""
    doc = defaults.fill(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "d", "namespace": "n", "labels": {"a": "b"}, "finalizers": ["x.io/y"]},
            "spec": {
                "selector": {"matchLabels": {"a": "b"}},
                "template": {
                    "metadata": {"labels": {"a": "b"}},
                    "spec": {"containers": [{"name": "c", "image": "i"}]},
                },
            },
        },
        DEPLOYMENT,
    )
    made = write(None, doc, "kubectl-create", DEPLOYMENT)
    entry = made["metadata"]["managedFields"][0]
    assert {key: value for key, value in entry.items() if key != "fieldsV1"} == {
        "manager": "kubectl-create",
        "operation": "Update",
        "apiVersion": "apps/v1",
        "time": NOW,
        "fieldsType": "FieldsV1",
    }
    container = (
        "image",
        "imagePullPolicy",
        "name",
        "resources",
        "terminationMessagePath",
        "terminationMessagePolicy",
    )
    pod = ("dnsPolicy", "restartPolicy", "schedulerName", "securityContext", "terminationGracePeriodSeconds")
    assert entry["fieldsV1"] == {
        "f:metadata": {"f:finalizers": {".": {}, 'v:"x.io/y"': {}}, "f:labels": {".": {}, "f:a": {}}},
        "f:spec": {
            "f:progressDeadlineSeconds": {},
            "f:replicas": {},
            "f:revisionHistoryLimit": {},
            "f:selector": {},
            "f:strategy": {
                "f:rollingUpdate": {".": {}, "f:maxSurge": {}, "f:maxUnavailable": {}},
                "f:type": {},
            },
            "f:template": {
                "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
                "f:spec": {
                    "f:containers": {'k:{"name":"c"}': {".": {}, **{f"f:{name}": {} for name in container}}},
                    **{f"f:{name}": {} for name in pod},
                },
            },
        },
    }


def test_an_applier_owns_what_it_wrote_and_nothing_that_was_defaulted() -> None:
    live = put(None, service({"port": 80}), "me", SERVICE)
    assert live["spec"]["type"] == "ClusterIP"
    key = 'k:{"port":80,"protocol":"TCP"}'
    assert owners(live) == {"me": {"f:spec": {"f:ports": {key: {".": {}, "f:port": {}}}}}}


def test_the_same_apply_again_gives_the_live_object_itself() -> None:
    live = put(None, service({"port": 80}, selector={"a": "b"}), "me", SERVICE)
    assert put(live, service({"port": 80}, selector={"a": "b"}), "me", SERVICE, now=LATER) is live


def test_a_conflict_reads_as_on_the_server() -> None:
    live = write(
        None, defaults.fill(service({"port": 80, "name": "a"}), SERVICE), "kubectl-client-side-apply", SERVICE
    )
    live["metadata"]["managedFields"][0].pop("time")
    with pytest.raises(ApplyConflict) as refused:
        put(live, service({"port": 80, "name": "b"}), "me", SERVICE)
    path = '.spec.ports[port=80,protocol="TCP"].name'
    who = 'conflict with "kubectl-client-side-apply" using v1'
    assert str(refused.value) == f"Apply failed with 1 conflict: {who}: {path}"
    assert refused.value.causes == [{"reason": "FieldManagerConflict", "message": who, "field": path}]


def test_several_conflicts_are_told_by_manager() -> None:
    live = put(put(None, config(a="1", b="1"), "one"), config(c="1"), "two")
    with pytest.raises(ApplyConflict) as refused:
        put(live, config(a="2", b="2", c="2"), "me")
    assert str(refused.value) == (
        'Apply failed with 3 conflicts: conflicts with "one":\n- .data.a\n- .data.b\nconflicts with "two":\n- .data.c'
    )


def test_force_takes_the_field_from_its_owner() -> None:
    live = put(put(None, config(a="1", b="1"), "one"), config(a="2"), "two", force=True)
    assert live["data"] == {"a": "2", "b": "1"}
    assert owners(live) == {"one": {"f:data": {"f:b": {}}}, "two": {"f:data": {"f:a": {}}}}


def test_equal_values_are_shared_and_stay_while_one_applies_them() -> None:
    live = put(put(None, config(a="1"), "one"), config(a="1"), "two")
    assert owners(live) == {"one": {"f:data": {"f:a": {}}}, "two": {"f:data": {"f:a": {}}}}
    live = put(live, config(b="1"), "one")
    assert live["data"] == {"a": "1", "b": "1"}
    live = put(live, config(b="2"), "two", force=True)
    assert live["data"] == {"b": "2"}


def test_an_item_no_longer_applied_goes_and_its_neighbours_stay() -> None:
    live = put(None, service({"port": 80, "name": "a"}, {"port": 81, "name": "b"}), "me", SERVICE)
    live = put(live, service({"port": 81, "protocol": "UDP", "name": "c"}), "other", SERVICE)
    live = put(live, service({"port": 81, "name": "b"}), "me", SERVICE)
    assert [(p["port"], p["protocol"]) for p in live["spec"]["ports"]] == [(81, "TCP"), (81, "UDP")]


def test_metadata_stays_when_its_last_applied_part_goes() -> None:
    labelled = config(a="1")
    labelled["metadata"]["labels"] = {"x": "y"}
    live = put(put(None, labelled, "me"), config(a="1"), "me")
    assert {key: value for key, value in live["metadata"].items() if key != "managedFields"} == {"name": "c"}


def test_conflicts_of_one_manager_come_level_by_level() -> None:
    """Seen on a real server: what ends at a level is listed before what goes deeper."""
    live = put(None, service({"port": 80, "name": "a"}, type="ClusterIP"), "one", SERVICE)
    with pytest.raises(ApplyConflict) as refused:
        put(live, service({"port": 80, "name": "b"}, type="NodePort"), "me", SERVICE)
    assert [c["field"] for c in refused.value.causes] == [
        ".spec.type",
        '.spec.ports[port=80,protocol="TCP"].name',
    ]


def test_client_side_apply_is_handed_over_to_kubectl_alone() -> None:
    doc = config(a="1")
    doc["metadata"]["annotations"] = {fieldmanager.LAST_APPLIED: json.dumps(config(a="1"))}
    live = write(None, doc, "kubectl-client-side-apply")
    with pytest.raises(ApplyConflict):
        put(live, config(a="2"), "me")
    taken = put(live, config(a="2"), "kubectl")
    assert taken["data"] == {"a": "2"}
    assert json.loads(taken["metadata"]["annotations"][fieldmanager.LAST_APPLIED])["data"] == {"a": "2"}


def test_an_untracked_object_belongs_to_before_first_apply() -> None:
    with pytest.raises(ApplyConflict, match=r'"before-first-apply" using v1: \.data\.a'):
        put(config(a="1"), config(a="2"), "me")


def test_managed_fields_can_be_given_up_but_not_emptied_by_accident() -> None:
    live = write(None, config(a="1"), "one")
    bare = write(live, {**live, "metadata": {"name": "c", "managedFields": [{}]}}, "one")
    assert "managedFields" not in bare["metadata"]
    assert "managedFields" not in write(bare, {**bare, "data": {"a": "2"}}, "one")["metadata"]
    assert write(live, {**live, "metadata": {"name": "c", "managedFields": []}}, "one") is live


def test_a_status_write_has_an_entry_of_its_own_and_keeps_its_time() -> None:
    live = write(None, defaults.fill(service({"port": 80}), SERVICE), "one", SERVICE)
    status = {"loadBalancer": {"ingress": [{"ip": "100.64.0.1"}]}}
    seen = write(live, {**live, "status": status}, "ctl", SERVICE, subresource="status")
    entry = seen["metadata"]["managedFields"][0]
    assert (entry["subresource"], entry["fieldsV1"]) == (
        "status",
        {"f:status": {"f:loadBalancer": {"f:ingress": {}}}},
    )
    labelled = {**seen, "metadata": {**seen["metadata"], "labels": {"a": "b"}}}
    after = write(seen, labelled, "two", SERVICE, now=LATER)
    assert {e["manager"]: e["time"] for e in after["metadata"]["managedFields"]} == {
        "one": NOW,
        "ctl": NOW,
        "two": LATER,
    }


def test_more_than_ten_updaters_become_ancient_changes() -> None:
    live = write(None, config(k0="x"), "m0")
    for i in range(1, 14):
        live = write(
            live, {**live, "data": {**live["data"], f"k{i}": "x"}}, f"m{i}", now=f"2026-01-01T00:00:{i:02}Z"
        )
    names = [entry["manager"] for entry in live["metadata"]["managedFields"]]
    assert len(names) == fieldmanager.MOST_UPDATERS
    assert fieldmanager.ANCIENT in names


DATA = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("12"), min_size=1, max_size=4)
OTHER = st.dictionaries(st.sampled_from("wxyz"), st.sampled_from("12"), min_size=1, max_size=4)


@given(DATA, DATA)
def test_applying_leaves_exactly_what_is_applied(first: dict[str, str], second: dict[str, str]) -> None:
    live = put(put(None, config(**first), "me"), config(**second), "me", now=LATER)
    assert live["data"] == second
    assert put(live, config(**second), "me") is live


@given(DATA, OTHER)
def test_two_appliers_of_different_fields_commute(mine: dict[str, str], yours: dict[str, str]) -> None:
    one = put(put(None, config(**mine), "me"), config(**yours), "you")
    two = put(put(None, config(**yours), "you"), config(**mine), "me")
    assert (one["data"], owners(one)) == (two["data"], owners(two))


@given(st.lists(st.tuples(st.sampled_from(["p", "q", "r"]), DATA), min_size=1, max_size=5))
def test_updates_leave_every_field_with_one_owner(writes: list[tuple[str, dict[str, str]]]) -> None:
    live: Doc | None = None
    for manager, data in writes:
        live = write(live, {**(live or config()), "data": data}, manager)
    assert live is not None
    sets = [fieldset.from_tree(tree) for tree in owners(live).values()]
    owned = [path for paths in sets for path in paths if len(path) == 2]
    assert sorted(owned) == sorted({("f:data", f"f:{key}") for key in live["data"]})


@given(
    st.frozensets(
        st.lists(st.sampled_from(["f:a", "f:b", 'k:{"x":1}', 'v:"s"']), min_size=1, max_size=4).map(tuple)
    )
)
def test_field_sets_survive_their_written_form(paths: frozenset[tuple[str, ...]]) -> None:
    assert fieldset.from_tree(fieldset.as_tree(paths)) == paths
