"""Small documents that talks write."""

from __future__ import annotations

from typing import Any

Doc = dict[str, Any]


def configmap(name: str, *, data: Doc | None = None, **metadata: Any) -> Doc:
    made: Doc = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name} | metadata}
    return made | ({"data": data} if data is not None else {})


def pod(name: str, **metadata: Any) -> Doc:
    containers = [{"name": "main", "image": "nothing"}]
    spec = {"containers": containers, "automountServiceAccountToken": False, "serviceAccountName": "runner"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name} | metadata, "spec": spec}


def account(name: str) -> Doc:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}


def workload(kind: str, name: str, replicas: int = 0) -> Doc:
    labels = {"app": name}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "main", "image": "nothing"}]},
    }
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    if kind == "StatefulSet":
        spec["serviceName"] = name
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def service(name: str, **spec: Any) -> Doc:
    ports = [] if spec.get("type") == "ExternalName" else [{"port": 80}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"ports": ports, "selector": {"app": name}} | spec,
    }


def version(name: str, schema: Doc, **more: Any) -> Doc:
    """A version of a definition; `schema` is that of the whole object's properties."""
    found = {"type": "object", "properties": schema}
    return {"name": name, "served": True, "storage": True, "schema": {"openAPIV3Schema": found}} | more


def crd(
    word: str, *versions: Doc, plural: str = "widgets", kind: str = "Widget", scope: str = "Namespaced"
) -> Doc:
    """A definition in a group of the talk's own."""
    group = f"{word}.example.com"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind, "shortNames": [word]},
            "versions": list(versions),
        },
    }
