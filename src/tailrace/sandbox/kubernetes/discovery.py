"""What the API server says about itself: versions, groups, resources and subresources, in both of discovery's forms.

Place: called by `server` for `/api`, `/apis`, `/apis/<group>`, a version's resources and `/version`; pure functions
of the `Registry`. The legacy form is one document for each version; the aggregated one (`apidiscovery.k8s.io/v2`)
has everything in two, and is what kubectl asks for first.

Source: Kubernetes' "The Kubernetes API" page (discovery) and the documents of a kube-apiserver 1.36.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from tailrace.sandbox.kubernetes.documents.schema import Doc
from tailrace.sandbox.kubernetes.resources import Registry, Resource

RELEASE = (1, 36)
"""The Kubernetes release whose API the sandbox speaks."""

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
"""The media type of `aggregated` documents, for `Accept` and for `Content-Type`."""

_READ_WRITE = ("get", "patch", "update")


class Kind(NamedTuple):
    group: str
    version: str
    kind: str


class _Sub(NamedTuple):
    verbs: tuple[str, ...] = _READ_WRITE
    kind: Kind | None = None
    """None: the kind of the resource itself."""


_SUBRESOURCES = {
    "scale": _Sub(kind=Kind("autoscaling", "v1", "Scale")),
    "finalize": _Sub(("update",)),
    "log": _Sub(("get",)),
    "binding": _Sub(("create",), Kind("", "v1", "Binding")),
    "eviction": _Sub(("create",), Kind("policy", "v1", "Eviction")),
    "token": _Sub(("create",), Kind("authentication.k8s.io", "v1", "TokenRequest")),
    "exec": _Sub(("create", "get"), Kind("", "v1", "PodExecOptions")),
}
"""Those that differ from `status`, which is read and written as its resource is."""


def subresource_verbs(name: str) -> tuple[str, ...]:
    return _SUBRESOURCES.get(name, _Sub()).verbs


def subresource_kind(resource: Resource, name: str) -> Kind:
    """What one reads and writes there."""
    own = Kind(resource.group, resource.version, resource.kind)
    return _SUBRESOURCES.get(name, _Sub()).kind or own


def versions(address: str = "localhost") -> Doc:
    """`/api`; `address` is this server's `host:port`."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def groups(registry: Registry) -> Doc:
    """`/apis`."""
    found = [_group(registry, name) for name in registry.groups() if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}


def group(registry: Registry, name: str) -> Doc:
    """`/apis/<group>`, of a group that is served."""
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(registry, name)}


def _group(registry: Registry, name: str) -> Doc:
    found = [{"groupVersion": f"{name}/{version}", "version": version} for version in registry.versions(name)]
    return {"name": name, "versions": found, "preferredVersion": found[0]}


def resources(registry: Registry, group: str, version: str) -> Doc:
    """`/api/v1` and `/apis/<group>/<version>`: resources, each followed by its subresources."""
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/{version}" if group else version,
        "resources": [
            entry for found in _sorted(registry, group, version) for entry in _legacy_resource(found)
        ],
    }


def _sorted(registry: Registry, group: str, version: str) -> list[Resource]:
    return sorted(registry.in_version(group, version), key=lambda found: found.resource)


def _legacy_resource(found: Resource) -> Iterator[Doc]:
    yield {
        "name": found.resource,
        "singularName": found.singular,
        "namespaced": found.namespaced,
        "kind": found.kind,
        "verbs": list(found.verbs),
        **_names(found),
    }
    for name in sorted(found.subresources):
        kind = subresource_kind(found, name)
        # A group and version stand here only where they are not those of the list.
        foreign = {} if kind[:2] == found.ref[:2] else {"group": kind.group, "version": kind.version}
        yield {
            "name": f"{found.resource}/{name}",
            "singularName": "",
            "namespaced": found.namespaced,
            **foreign,
            "kind": kind.kind,
            "verbs": list(subresource_verbs(name)),
        }


def _names(found: Resource) -> Doc:
    """Short names and categories, when there are any."""
    known = {"shortNames": list(found.short_names), "categories": list(found.categories)}
    return {key: value for key, value in known.items() if value}


def aggregated(registry: Registry, core: bool) -> Doc:
    """Everything that `/api` (`core`) or `/apis` serves, as an APIGroupDiscoveryList."""
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": [
            {
                "metadata": {"name": name} if name else {},
                "versions": [_discover(registry, name, version) for version in registry.versions(name)],
            }
            for name in registry.groups()
            if (name == "") is core
        ],
    }


def _discover(registry: Registry, group: str, version: str) -> Doc:
    found = [_aggregated_resource(each) for each in _sorted(registry, group, version)]
    return {"version": version, "resources": found, "freshness": "Current"}


def _aggregated_resource(found: Resource) -> Doc:
    entry: dict[str, Any] = {
        "resource": found.resource,
        "responseKind": Kind(found.group, found.version, found.kind)._asdict(),
        "scope": "Namespaced" if found.namespaced else "Cluster",
        "singularResource": found.singular,
        "verbs": list(found.verbs),
        **_names(found),
    }
    if found.subresources:
        entry["subresources"] = [
            {
                "subresource": name,
                "responseKind": subresource_kind(found, name)._asdict(),
                "verbs": list(subresource_verbs(name)),
            }
            for name in sorted(found.subresources)
        ]
    return entry


def version() -> Doc:
    """`/version`."""
    major, minor = RELEASE
    return {
        "major": str(major),
        "minor": str(minor),
        "gitVersion": f"v{major}.{minor}.0+tailrace-sandbox",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "",
        "platform": "",
    }


def wants_aggregated(accept: str) -> bool:
    """Whether `Accept` names the aggregated form anywhere: the server gives it before any other, whatever the weights.

    A version of the form that is not served (`v2beta1`) does not name it, and a parameter beyond the three that do
    (`profile=nopeer`) is no obstacle.
    """
    return any(_names_aggregated(clause) for clause in accept.split(","))


def _names_aggregated(clause: str) -> bool:
    media, *parameters = (part.strip() for part in clause.split(";"))
    _, *wanted = AGGREGATED.split(";")
    return media in ("application/json", "application/*", "*/*") and set(wanted) <= set(parameters)
