"""Events have two shapes for one storage: core `v1`, and `events.k8s.io/v1` with other names for the same fields.

Source: `pkg/apis/events/v1/conversion.go`.
"""

from __future__ import annotations

from tailrace.sandbox.kubernetes.resources import Resource
from tailrace.sandbox.kubernetes.storage import Doc

_NEW_BY_OLD = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
_OLD_BY_NEW = {new: old for old, new in _NEW_BY_OLD.items()}


def convert(doc: Doc, resource: Resource) -> Doc:
    """The event in the shape of `resource`'s version."""
    names = _NEW_BY_OLD if resource.group else _OLD_BY_NEW
    renamed = {names.get(key, key): value for key, value in doc.items()}
    return renamed | {"apiVersion": resource.api_version}
