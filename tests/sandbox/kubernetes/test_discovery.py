"""Discovery: both of its forms say the same, in the words of a real API server."""

from __future__ import annotations

from typing import Any

import pytest

from tailrace.sandbox.kubernetes import discovery
from tailrace.sandbox.kubernetes.resources import Registry

AGGREGATED = discovery.AGGREGATED
BETA = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"


def widgets() -> dict[str, Any]:
    """A CustomResourceDefinition of three versions, in no good order; one is not served."""
    served = [("v1beta1", True), ("v2", True), ("v1", False)]
    return {
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"], "categories": ["all"]},
            "versions": [
                {"name": name, "served": on, "subresources": {"status": {}, "scale": {}}}
                for name, on in served
            ],
        }
    }


@pytest.fixture
def registry() -> Registry:
    made = Registry()
    made.serve_crd(widgets())
    return made


def entry(registry: Registry, group: str, version: str, name: str) -> dict[str, Any]:
    found = discovery.resources(registry, group, version)["resources"]
    return next(each for each in found if each["name"] == name)


@pytest.mark.parametrize(
    "accept, wanted",
    [
        (f"{AGGREGATED},{BETA},application/json", True),
        (f"application/json,{AGGREGATED}", True),
        (f"application/json;q=0.5,{AGGREGATED}", True),
        (f"application/json,{AGGREGATED};q=0.5", True),
        (f"{BETA},application/json", False),
        ("application/json; g=apidiscovery.k8s.io; v=v2; as=APIGroupDiscoveryList", True),
        ("application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io;profile=nopeer", True),
        ("*/*;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", True),
        (f"{AGGREGATED};q=0", True),
        ("application/yaml;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", False),
        ("application/json, */*", False),
        ("application/yaml", False),
        ("", False),
    ],
)
def test_the_aggregated_form_is_given_where_a_real_server_gives_it(accept: str, wanted: bool) -> None:
    assert discovery.wants_aggregated(accept) is wanted


def test_both_forms_say_the_same(registry: Registry) -> None:
    legacy = {}
    for group in registry.groups():
        for version in registry.versions(group):
            for each in discovery.resources(registry, group, version)["resources"]:
                legacy[group, version, each["name"]] = (each["kind"], each["verbs"], each.get("shortNames"))
    aggregated = {}
    for core in (True, False):
        for found in discovery.aggregated(registry, core)["items"]:
            for version in found["versions"]:
                place = (found["metadata"].get("name", ""), version["version"])
                for each in version["resources"]:
                    facts = (each["responseKind"]["kind"], each["verbs"], each.get("shortNames"))
                    aggregated[*place, each["resource"]] = facts
                    for sub in each.get("subresources", ()):
                        name = f"{each['resource']}/{sub['subresource']}"
                        aggregated[*place, name] = (sub["responseKind"]["kind"], sub["verbs"], None)
    assert aggregated == legacy


def test_the_core_group_is_under_api_and_the_others_under_apis(registry: Registry) -> None:
    assert [found["metadata"] for found in discovery.aggregated(registry, core=True)["items"]] == [{}]
    names = [found["name"] for found in discovery.groups(registry)["groups"]]
    assert names == [
        found["metadata"]["name"] for found in discovery.aggregated(registry, core=False)["items"]
    ]
    assert "" not in names
    assert names[-1] == "example.com"


def test_the_preferred_version_comes_first_and_unserved_ones_not_at_all(registry: Registry) -> None:
    assert discovery.group(registry, "example.com") == {
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": "example.com",
        "versions": [
            {"groupVersion": "example.com/v2", "version": "v2"},
            {"groupVersion": "example.com/v1beta1", "version": "v1beta1"},
        ],
        "preferredVersion": {"groupVersion": "example.com/v2", "version": "v2"},
    }
    *_, found = discovery.aggregated(registry, core=False)["items"]
    assert [each["version"] for each in found["versions"]] == ["v2", "v1beta1"]


def test_a_custom_resource_has_its_names_and_subresources(registry: Registry) -> None:
    found = entry(registry, "example.com", "v2", "widgets")
    assert (found["singularName"], found["shortNames"], found["categories"]) == ("widget", ["wd"], ["all"])
    assert entry(registry, "example.com", "v2", "widgets/scale") == {
        "name": "widgets/scale",
        "singularName": "",
        "namespaced": True,
        "group": "autoscaling",
        "version": "v1",
        "kind": "Scale",
        "verbs": ["get", "patch", "update"],
    }


@pytest.mark.parametrize(
    "name, group, kind, verbs",
    [
        ("pods/status", None, "Pod", ["get", "patch", "update"]),
        ("pods/log", None, "Pod", ["get"]),
        ("pods/exec", None, "PodExecOptions", ["create", "get"]),
        ("pods/binding", None, "Binding", ["create"]),
        ("pods/eviction", "policy", "Eviction", ["create"]),
        ("pods/resize", None, "Pod", ["get", "patch", "update"]),
        ("serviceaccounts/token", "authentication.k8s.io", "TokenRequest", ["create"]),
        ("namespaces/finalize", None, "Namespace", ["update"]),
    ],
)
def test_subresources_have_the_kinds_and_verbs_of_a_real_server(
    registry: Registry, name: str, group: str | None, kind: str, verbs: list[str]
) -> None:
    found = entry(registry, "", "v1", name)
    assert (found.get("group"), found["kind"], found["verbs"]) == (group, kind, verbs)


def test_a_group_version_lists_its_resources_by_name(registry: Registry) -> None:
    found = discovery.resources(registry, "apps", "v1")
    assert (found["kind"], found["groupVersion"]) == ("APIResourceList", "apps/v1")
    names = [each["name"] for each in found["resources"]]
    assert names == sorted(names)
    assert discovery.resources(registry, "", "v1")["groupVersion"] == "v1"


def test_the_server_says_its_address_and_version() -> None:
    assert discovery.versions("127.0.0.1:6443")["serverAddressByClientCIDRs"] == [
        {"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1:6443"}
    ]
    assert discovery.version()["gitVersion"].startswith("v1.36.")
