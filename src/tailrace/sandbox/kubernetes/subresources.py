"""The scale subresource: one small document for whatever has replicas."""

from __future__ import annotations

from typing import Any

from tailrace.sandbox.kubernetes import status, validation
from tailrace.sandbox.kubernetes.core import Core
from tailrace.sandbox.kubernetes.resources import Resource
from tailrace.sandbox.kubernetes.schema import copy_of
from tailrace.sandbox.kubernetes.storage import Doc

_BUILTIN = {
    "specReplicasPath": ".spec.replicas",
    "statusReplicasPath": ".status.replicas",
    "labelSelectorPath": "",
}


class Scale:
    def __init__(self, core: Core) -> None:
        self._core = core

    def read(self, resource: Resource, doc: Doc) -> Doc:
        """The `autoscaling/v1` Scale of an object."""
        paths, metadata = _paths(resource), doc["metadata"]
        kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        selector = _read(doc, paths.get("labelSelectorPath", "")) or _selector_text(doc, resource)
        replicas = {"replicas": _read(doc, paths["specReplicasPath"]) or 0}
        return {
            "kind": "Scale",
            "apiVersion": "autoscaling/v1",
            "metadata": {key: metadata[key] for key in kept if key in metadata},
            "spec": replicas if replicas["replicas"] else {},
            "status": {"replicas": _read(doc, paths["statusReplicasPath"]) or 0}
            | ({"selector": selector} if selector else {}),
        }

    def write(self, resource: Resource, doc: Doc, scale: Doc) -> Doc:
        """The object with the replicas of `scale`. Raises 409 for an old version, 422 for what is no number."""
        metadata = scale.get("metadata") or {}
        name = doc["metadata"]["name"]
        version = metadata.get("resourceVersion")
        if version and version != doc["metadata"]["resourceVersion"]:
            raise status.conflict(resource.group, resource.resource, name)
        replicas = (scale.get("spec") or {}).get("replicas", 0)
        if not isinstance(replicas, int) or replicas < 0:
            wrong = validation.invalid_value("spec.replicas", replicas, "must be greater than or equal to 0")
            raise status.invalid("autoscaling", "Scale", name, [wrong])
        made: Doc = copy_of(doc)
        node: Any = made
        *parents, last = _paths(resource)["specReplicasPath"].lstrip(".").split(".")
        for part in parents:
            node = node.setdefault(part, {})
        node[last] = replicas
        return made


def _paths(resource: Resource) -> dict[str, str]:
    if resource.crd_version is None:
        return _BUILTIN
    found: dict[str, str] = resource.crd_version["subresources"]["scale"]
    return found


def _read(doc: Any, path: str) -> Any:
    for part in filter(None, path.split(".")):
        doc = doc.get(part) if isinstance(doc, dict) else None
    return doc if path else None


def _selector_text(doc: Doc, resource: Resource) -> str:
    labels = ((doc.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
    return "" if resource.crd else ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
