"""The ground under the verbs: selectors, the store and its history, addresses of Services, the table of kinds."""

from __future__ import annotations

from typing import Any

import pytest

from tailrace.sandbox.kubernetes import resources, status, storage
from tailrace.sandbox.kubernetes.documents import selectors
from tailrace.sandbox.kubernetes.services import Services

KIND = ("", "services")
PODS = resources.Ref("", "v1", "pods")


def _doc(name: str, **spec: Any) -> storage.Doc:
    return {"metadata": {"name": name}, "spec": spec}


@pytest.mark.parametrize(
    "text, found, matches",
    [
        ("a=b", {"a": "b"}, True),
        ("a==b,c!=d", {"a": "b"}, True),
        ("a!=b", {"a": "b"}, False),
        ("a in (b, c)", {"a": "c"}, True),
        ("a notin (b,c)", {}, True),
        ("a notin (b,c),!z", {"z": ""}, False),
        ("a", {"a": ""}, True),
        ("n>3", {"n": "10"}, True),
        ("n<3", {"n": "x"}, False),
    ],
)
def test_label_selectors_mean_what_they_mean_in_kubernetes(
    text: str, found: dict[str, str], matches: bool
) -> None:
    predicate = selectors.labels(text)
    assert predicate is not None
    assert predicate({"metadata": {"labels": found}}) is matches


def test_an_unknown_field_selector_is_a_bad_request() -> None:
    with pytest.raises(status.ApiError) as refused:
        selectors.fields("spec.foo=1", "", "pods")
    assert (refused.value.code, refused.value.message) == (400, "field label not supported: spec.foo")


def test_a_missing_field_selects_as_empty() -> None:
    predicate = selectors.fields("metadata.name=q,status.phase!=Running", "", "pods")
    assert predicate is not None
    assert predicate({"metadata": {"name": "q"}})


def test_an_old_snapshot_is_rebuilt_from_history() -> None:
    store = storage.Store(10)
    store.put(KIND, ("d", "a"), _doc("a", n=1))
    version = store.put(KIND, ("d", "b"), _doc("b")).version
    store.put(KIND, ("d", "a"), _doc("a", n=2))
    store.remove(KIND, ("d", "b"))
    then = store.at(KIND, version)
    assert {key[1]: stored.doc["spec"] for key, stored in then.items()} == {"a": {"n": 1}, "b": {}}
    assert [c.type for c in store.since(KIND, version)] == ["MODIFIED", "DELETED"]


def test_history_is_bounded_and_tells_where_it_begins() -> None:
    store = storage.Store(2)
    versions = [store.put(KIND, ("d", name), _doc(name)).version for name in "abc"]
    assert store.compacted == versions[0]
    store.compact()
    assert store.compacted == store.version


def _refuse(path: str, value: Any, detail: str) -> Exception:
    return ValueError(f"{path}: {detail}")


def test_cluster_ips_are_unique_and_return_with_the_service() -> None:
    store = storage.Store(100)
    services = Services(store, "127.96.0.0/16")
    first = services.prepare(_doc("a", ports=[{"port": 80}]), None, _refuse)
    store.put(KIND, ("d", "a"), first)
    ip = first["spec"]["clusterIP"]
    with pytest.raises(ValueError, match="provided IP is already allocated"):
        services.prepare(_doc("b", clusterIP=ip), None, _refuse)
    with pytest.raises(ValueError, match="does not match the current range"):
        services.prepare(_doc("b", clusterIP="10.0.0.1"), None, _refuse)
    store.remove(KIND, ("d", "a"))
    assert services.prepare(_doc("b", clusterIP=ip), None, _refuse)["spec"]["clusterIPs"] == [ip]


def test_a_type_change_keeps_the_address_and_drops_the_node_port() -> None:
    store = storage.Store(100)
    services = Services(store, "127.96.0.0/16")
    old = store.put(
        KIND,
        ("d", "a"),
        services.prepare(_doc("a", type="LoadBalancer", ports=[{"port": 80}]), None, _refuse),
    ).doc
    assert old["spec"]["ports"][0]["nodePort"] == 30000
    new = services.prepare(old | {"spec": old["spec"] | {"type": "ClusterIP"}}, old, _refuse)
    assert new["spec"]["clusterIP"] == old["spec"]["clusterIP"]
    assert new["spec"]["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]


def test_an_external_name_has_no_address() -> None:
    services = Services(storage.Store(10), "127.96.0.0/16")
    new = services.prepare(_doc("e", type="ExternalName", externalName="x.example"), None, _refuse)
    assert not {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"} & new["spec"].keys()


def test_a_crd_is_served_and_withdrawn() -> None:
    names = {"plural": "things", "kind": "Thing"}
    spec = {
        "group": "x.dev",
        "scope": "Namespaced",
        "names": names,
        "versions": [{"name": "v1", "served": True}],
    }
    registry = resources.Registry()
    registry.serve_crd({"spec": spec})
    assert registry.get(resources.Ref("x.dev", "v1", "things")).list_kind == "ThingList"
    registry.drop_crd({"spec": spec})
    assert registry.find(resources.Ref("x.dev", "v1", "things")) is None
    assert registry.get(PODS).kind == "Pod"


def test_versions_are_ranked_as_discovery_ranks_them() -> None:
    found = ["v1alpha1", "foo", "v1", "v1beta2", "v2", "v1beta1"]
    assert sorted(found, key=resources.version_rank) == ["v2", "v1", "v1beta2", "v1beta1", "v1alpha1", "foo"]
