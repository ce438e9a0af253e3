"""What a deletion writes into an object, and when it is gone. Pure.

Source: `k8s.io/apiserver/pkg/registry/rest/delete.go`; the finalizers of propagation are `garbage`'s to act on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tailrace.sandbox.kubernetes.resources import Resource
from tailrace.sandbox.kubernetes.storage import Doc
from tailrace.sandbox.kubernetes.strategies import DEFINITIONS, counts_generations

CLEANUP = (
    "customresourcecleanup.apiextensions.k8s.io"  # holds a deleted definition until its objects are gone
)
FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
GRACEFUL = frozenset({("", "pods")})  # marked with a deletion even when they go at once
_ORPHANING = frozenset({("batch", "jobs")})  # their pods stay, unless asked otherwise


@dataclass(frozen=True, kw_only=True, slots=True)
class Removal:
    """DeleteOptions. `propagation` None is the kind's own default."""

    propagation: Literal["Background", "Foreground", "Orphan"] | None = None
    grace: int | None = None
    uid: str = ""
    version: str = ""


def mark(resource: Resource, old: Doc, removal: Removal, now: str) -> Doc:
    """`old` with what a deletion writes into it."""
    before = old["metadata"]
    finalizers = [f for f in before.get("finalizers") or () if f not in (FOREGROUND, ORPHAN)]
    kept = [f for f in before.get("finalizers") or () if f in (FOREGROUND, ORPHAN)]
    if removal.propagation is not None:
        kept = {"Foreground": [FOREGROUND], "Orphan": [ORPHAN]}.get(removal.propagation, [])
    elif resource.storage in _ORPHANING and not kept:
        kept = [ORPHAN]
    grace = _grace(resource, old, removal)
    if before.get("deletionTimestamp"):
        grace = min(grace, before.get("deletionGracePeriodSeconds", 0))
    if resource.storage == DEFINITIONS and not before.get("deletionTimestamp"):
        finalizers.append(CLEANUP)
    metadata = before | {"finalizers": finalizers + kept, "deletionGracePeriodSeconds": grace}
    if resource.storage == ("", "namespaces"):
        del metadata["deletionGracePeriodSeconds"]
    if not metadata["finalizers"]:
        del metadata["finalizers"]
    if not before.get("deletionTimestamp"):
        metadata["deletionTimestamp"] = now
        if counts_generations(resource):
            metadata["generation"] = before.get("generation", 0) + 1
    doc = old | {"metadata": metadata}
    if resource.storage == ("", "namespaces"):
        doc["status"] = {**(old.get("status") or {}), "phase": "Terminating"}
    return doc


def _grace(resource: Resource, doc: Doc, removal: Removal) -> int:
    """Seconds that a pod gets to end; everything else ends at once."""
    if resource.storage != ("", "pods"):
        return 0
    spec, phase = doc.get("spec") or {}, (doc.get("status") or {}).get("phase")
    if not spec.get("nodeName") or phase in ("Succeeded", "Failed"):
        return 0
    if removal.grace is not None:
        return max(removal.grace, 0)
    return int(spec.get("terminationGracePeriodSeconds", 30))


def is_gone(resource: Resource, doc: Doc) -> bool:
    """Whether nothing holds a deleted object any more."""
    metadata = doc["metadata"]
    if not metadata.get("deletionTimestamp") or metadata.get("finalizers"):
        return False
    if resource.storage == ("", "namespaces"):
        return not (doc.get("spec") or {}).get("finalizers")
    return not metadata.get("deletionGracePeriodSeconds")
