"""Label and field selectors: text in, predicate out.

The grammar is that of `k8s.io/apimachinery/pkg/labels` and `pkg/fields`. Which fields may be selected is a table
(`registry/*/strategy.go` there); `metadata.name` and `metadata.namespace` may be selected everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tailrace.sandbox.kubernetes import status
from tailrace.sandbox.kubernetes.documents.labelparser import Requirement, SelectorError, parse

Doc = Mapping[str, Any]
Predicate = Callable[[Doc], bool]

_FIELDS: dict[tuple[str, str], tuple[str, ...]] = {
    ("", "pods"): (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.podIPs",
        "status.nominatedNodeName",
    ),
    ("", "events"): (
        *(
            f"involvedObject.{f}"
            for f in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
        ),
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
    ("", "secrets"): ("type",),
    ("", "services"): ("spec.clusterIP", "spec.type"),
    ("", "namespaces"): ("status.phase", "name"),
    ("", "nodes"): ("spec.unschedulable",),
    ("", "replicationcontrollers"): ("status.replicas",),
    ("apps", "replicasets"): ("status.replicas",),
    ("batch", "jobs"): ("status.successful",),
}
_FIELDS[("events.k8s.io", "events")] = _FIELDS[("", "events")] + tuple(
    f"regarding.{f}"
    for f in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
)


def _labels_of(doc: Doc) -> Doc:
    return (doc.get("metadata") or {}).get("labels") or {}


def _requirement(wanted: Requirement) -> Callable[[Doc], bool]:
    key, values = wanted.key, wanted.values
    match wanted.operator:
        case "in" | "=":
            return lambda labels: labels.get(key) in values
        case "notin" | "!=":
            return lambda labels: labels.get(key) not in values
        case "exists" | "!":
            present = wanted.operator == "exists"
            return lambda labels: (key in labels) is present
    bound, above = int(min(values)), wanted.operator == ">"

    def ordered(labels: Doc) -> bool:
        value = str(labels.get(key, ""))
        if not re.fullmatch(r"[+-]?\d+", value):
            return False
        return int(value) > bound if above else int(value) < bound

    return ordered


def labels(text: str) -> Predicate | None:
    """A predicate on documents, or None when everything matches. Raises 400 when `text` is no selector."""
    if not text.strip():
        return None
    try:
        checks = [_requirement(wanted) for wanted in parse(text)]
    except SelectorError as error:
        raise status.bad_request(str(error)) from None
    return lambda doc: all(check(found) for found in (_labels_of(doc),) for check in checks)


def match_labels(selector: Doc | None, found: Doc) -> bool:
    """A `LabelSelector` document against labels. None selects nothing, an empty one everything."""
    if selector is None:
        return False
    if any(found.get(k) != v for k, v in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_match_expression(e, found) for e in selector.get("matchExpressions") or ())


def _match_expression(expression: Doc, found: Doc) -> bool:
    key, values = expression["key"], expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return found.get(key) in values
        case "NotIn":
            return found.get(key) not in values
        case "Exists":
            return key in found
        case _:
            return key not in found


def read_path(doc: Any, path: str) -> str:
    """The value at a dotted path as selector text; missing is empty, as in the real server."""
    for part in path.split("."):
        doc = doc.get(part) if isinstance(doc, Mapping) else None
    if doc is None:
        return ""
    return str(doc).lower() if isinstance(doc, bool) else str(doc)


def _event_field(doc: Doc, path: str) -> str:
    if path == "source":
        return str((doc.get("source") or {}).get("component") or doc.get("reportingComponent") or "")
    if path == "reportingComponent":
        return str(doc.get("reportingComponent") or (doc.get("source") or {}).get("component") or "")
    return read_path(doc, path.replace("regarding.", "involvedObject."))


def _field(group: str, resource: str, doc: Doc, path: str) -> str:
    if resource == "events":
        return _event_field(doc, path)
    if path == "status.podIPs":
        return ",".join(ip.get("ip", "") for ip in (doc.get("status") or {}).get("podIPs") or ())
    if (resource, path) == ("namespaces", "name"):
        path = "metadata.name"
    return read_path(doc, path)


def fields(text: str, group: str, resource: str, extra: Iterable[str] = ()) -> Predicate | None:
    """Like `labels`, for fields. `extra`: a CRD's selectable fields, dotted without the leading dot."""
    if not text.strip():
        return None
    known = {"metadata.name", "metadata.namespace", *_FIELDS.get((group, resource), ()), *extra}
    checks: list[tuple[str, bool, str]] = []
    for part in re.split(r"(?<!\\),", text):
        if not part:
            continue
        match = re.match(r"([^!=]*)(==|=|!=)(.*)$", part)
        if match is None:
            raise status.bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        if loose := re.search(r"(?<!\\)=", match[3]):
            why = f"unescaped character in value: {ord(loose[0])}"
            raise status.bad_request(f"invalid field selector: {why}")
        if not match[1] and not match[3]:
            continue
        if match[1] not in known:
            raise status.bad_request(_unknown_field(group, resource, match[1]))
        checks.append((match[1], match[2] != "!=", match[3].replace("\\,", ",").replace("\\=", "=")))
    return lambda doc: all((_field(group, resource, doc, p) == value) is equal for p, equal, value in checks)


def _unknown_field(group: str, resource: str, path: str) -> str:
    if (group, resource) in _FIELDS:
        return f"field label not supported: {path}"
    return f'"{path}" is not a known field selector: only "metadata.name", "metadata.namespace"'


def both(*predicates: Predicate | None) -> Predicate | None:
    """The conjunction of what is there; None when nothing restricts."""
    found = [p for p in predicates if p is not None]
    if not found:
        return None
    return found[0] if len(found) == 1 else (lambda doc: all(p(doc) for p in found))
