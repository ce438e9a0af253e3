"""Documents as a `Table`: what `kubectl get` asks for with `application/json;as=Table;v=v1;g=meta.k8s.io`.

Place: `server` calls `table` for a list, an object, or an event of a watch. The columns of built-in kinds come from
`printers`, those of custom resources from the CRD's `additionalPrinterColumns`.

Source: the API concepts page, "Receiving resources as Tables"; for custom resources
`k8s.io/apiextensions-apiserver/pkg/registry/customresource/tableconvertor`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

import msgspec

from tailrace.sandbox.kubernetes.printing import jsonpath, printercolumns, printers
from tailrace.sandbox.kubernetes.printing.ages import humanize, since
from tailrace.sandbox.kubernetes.printing.podprinter import pod_conditions
from tailrace.sandbox.kubernetes.resources import Resource

__all__ = ["columns", "humanize", "row", "table"]

Doc = dict[str, Any]
Include = Literal["None", "Metadata", "Object"]

_NAME, _CREATED = printercolumns.columns("")
_AGE: Doc = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}


def columns(resource: Resource) -> list[Doc]:
    """The `columnDefinitions`: name, type, format, description and priority of each column."""
    if resource.crd_version is None:
        return printercolumns.columns(resource.resource)
    return [_NAME, *(_custom_column(column) for column in _declared(resource.crd_version))]


def row(resource: Resource, doc: Doc, now: datetime, include: Include) -> Doc:
    """One `TableRow`. `include` is the request's `includeObject`: what of `doc` goes along with the cells."""
    found: Doc = {"cells": _cells(resource, doc, now)}
    if resource.ref == ("", "v1", "pods") and (conditions := pod_conditions(doc)):
        found["conditions"] = conditions
    return found | {"object": _included(doc, include)}


def table(
    resource: Resource,
    docs: Iterable[Doc],
    *,
    metadata: Doc,
    now: datetime,
    include: Include = "Metadata",
    headers: bool = True,
) -> Doc:
    """A `Table` of `docs`. `metadata` is that of the list (or, for one object, its resourceVersion alone).

    Of a watch only the first event has `headers`: clients remember the columns.
    """
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": columns(resource) if headers else None,
        "rows": [row(resource, doc, now, include) for doc in docs],
    }


def _included(doc: Doc, include: Include) -> Doc | None:
    match include:
        case "None":
            return None
        case "Object":
            return doc
        case "Metadata":
            meta = doc.get("metadata") or {}
            return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta}


def _declared(version: Doc) -> list[Doc]:
    """The columns of a CRD's version. One whose path cannot be parsed ends them, as on the server."""
    declared = version.get("additionalPrinterColumns") or [_AGE]
    return list(itertools.takewhile(lambda column: jsonpath.is_valid(column["jsonPath"]), declared))


def _custom_column(column: Doc) -> Doc:
    about = f"Custom resource definition column (in JSONPath format): {column['jsonPath']}"
    return {
        "name": column["name"],
        "type": column["type"],
        "format": column.get("format", ""),
        "description": _CREATED["description"] if column is _AGE else column.get("description") or about,
        "priority": column.get("priority", 0),
    }


def _cells(resource: Resource, doc: Doc, now: datetime) -> list[Any]:
    if resource.crd_version is None:
        return printers.cells(resource.resource, doc, now)
    declared = _declared(resource.crd_version)
    return [doc["metadata"]["name"], *(_custom_cell(column, doc, now) for column in declared)]


def _custom_cell(column: Doc, doc: Doc, now: datetime) -> Any:
    """The first value as the column's type has it; what is missing or of another type is an empty cell."""
    found = jsonpath.find(doc, column["jsonPath"])
    if not found:
        return None
    match column["type"], found[0]:
        case "string", value:
            return _text(value)
        case "boolean", bool(value):
            return value
        case "integer" | "number", bool():
            return None
        case "integer", int(value) | float(value):
            return int(value)
        case "number", int(value) | float(value):
            return value
        case "date", str(value):
            return _date(value, now)
        case _:
            return None


def _text(value: Any) -> str:
    """As Go writes it: JSON for what is not a string, with the signs of HTML escaped."""
    if isinstance(value, str):
        return value
    if value is None:
        return "<no value>"
    text = msgspec.json.encode(value, order="sorted").decode()
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def _date(value: str, now: datetime) -> str:
    try:
        return since(value, now)
    except ValueError:
        return "<invalid>"
