"""A kind's definition becomes its CustomResourceDefinition: the struct is the one place where a kind is written down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from tailrace.api.kube import Object
from tailrace.api.schema import build_schema

GROUP: Final = "tailscale.com"
VERSION: Final = "v1alpha1"
"""Of our kinds: those of the official operator, whose objects we read as they are."""

_TEXT = {"type": "string"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of `kubectl get`; with a `priority` over 0 only `-o wide` shows it."""

    name: str
    path: str
    type: Literal["string", "integer", "number", "boolean", "date"] = "string"
    description: str = ""
    priority: int = 0


AGE: Final = Column(name="Age", path=".metadata.creationTimestamp", type="date")


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A kind of ours. `rules` are pairs of CEL and message about the whole object; of its metadata they see the name."""

    group: str
    version: str
    kind: str
    plural: str
    type: type[Object]
    namespaced: bool = False
    short_names: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    rules: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """Of the CustomResourceDefinition."""
        return f"{self.plural}.{self.group}"


def build_crd(kind: Definition) -> dict[str, Any]:
    """The CustomResourceDefinition, with one version; a `status` in the struct becomes a subresource.

    Raises:
        Bug: the struct has something that a structural schema cannot say.
    """
    schema = build_schema(kind.type)
    schema["properties"] |= {"apiVersion": _TEXT, "kind": _TEXT, "metadata": {"type": "object"}}
    if kind.rules:
        schema["x-kubernetes-validations"] = [{"rule": rule, "message": text} for rule, text in kind.rules]
    version: dict[str, Any] = {"name": kind.version, "served": True, "storage": True}
    if "status" in schema["properties"]:
        version["subresources"] = {"status": {}}
    if kind.columns:
        version["additionalPrinterColumns"] = [_build_column(column) for column in kind.columns]
    version["schema"] = {"openAPIV3Schema": schema}
    names: dict[str, Any] = {"kind": kind.kind, "listKind": f"{kind.kind}List"}
    names |= {"plural": kind.plural, "singular": kind.kind.lower()}
    if kind.short_names:
        names["shortNames"] = list(kind.short_names)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": kind.name},
        "spec": {
            "group": kind.group,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "names": names,
            "versions": [version],
        },
    }


def _build_column(column: Column) -> dict[str, Any]:
    optional = {"description": column.description, "priority": column.priority}
    return {
        "name": column.name,
        "type": column.type,
        "jsonPath": column.path,
        **{key: value for key, value in optional.items() if value},
    }
