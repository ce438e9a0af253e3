"""What the StatefulSet controller does next: pods to create, pods to delete, the status to show.

Pure: a StatefulSet and its pods in, one step out; the loop that acts calls it again after each change. The rules are
those of `pkg/controller/statefulset/stateful_set_control.go`, the well-known trap included: with `OrderedReady` a pod
that never becomes ready also holds up the update that would mend it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tailrace.sandbox.workloads.endpoints import is_ready

Doc = Mapping[str, Any]

REVISION = "controller-revision-hash"


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    create: tuple[dict[str, Any], ...] = ()
    delete: tuple[str, ...] = ()  # pod names
    status: Mapping[str, Any] = field(default_factory=dict)


def revision_of(statefulset: Doc) -> str:
    """A name that changes with the pod template and with nothing else."""
    template = json.dumps(statefulset["spec"]["template"], sort_keys=True).encode()
    digest = base64.b32encode(hashlib.sha256(template).digest()).decode().lower()[:10]
    return f"{statefulset['metadata']['name']}-{digest}"


def ordinal_of(statefulset: Doc, pod: Doc) -> int | None:
    """N of a pod named `<statefulset>-N`."""
    parent, _, number = pod["metadata"]["name"].rpartition("-")
    return int(number) if parent == statefulset["metadata"]["name"] and number.isdigit() else None


def decide(statefulset: Doc, pods: Iterable[Doc]) -> Step:
    """The next step; an empty one when everything is as wanted or something has to happen first."""
    spec = statefulset["spec"]
    present = {n: pod for pod in pods if (n := ordinal_of(statefulset, pod)) is not None}
    first = (spec.get("ordinals") or {}).get("start", 0)
    wanted = range(first, first + spec.get("replicas", 1))
    update = revision_of(statefulset)
    status = build_status(statefulset, list(present.values()), update)
    if statefulset["metadata"].get("deletionTimestamp"):
        return Step(status=status)
    create, delete = _scale(statefulset, present, wanted, update)
    if not create and not delete and _may_update(statefulset, present, wanted):
        delete = _update(spec, present, wanted, update)
    return Step(create=tuple(create), delete=tuple(delete), status=status)


def _ordered(statefulset: Doc) -> bool:
    return bool(statefulset["spec"].get("podManagementPolicy", "OrderedReady") == "OrderedReady")


def _scale(
    statefulset: Doc, present: Mapping[int, Doc], wanted: range, revision: str
) -> tuple[list[dict[str, Any]], list[str]]:
    """Missing pods upwards, dead ones anew, surplus ones downwards; one at a time when ordered."""
    ordered = _ordered(statefulset)
    create: list[dict[str, Any]] = []
    delete: list[str] = []
    for ordinal in wanted:
        pod = present.get(ordinal)
        if pod is None:
            create.append(build_pod(statefulset, ordinal, revision))
        elif _phase(pod) in ("Failed", "Succeeded") and not _is_going(pod):
            delete.append(pod["metadata"]["name"])
        if ordered and (pod is None or _is_going(pod) or not is_ready(pod)):
            return create, delete
    surplus = sorted(set(present) - set(wanted), reverse=True)
    leaving = [present[ordinal] for ordinal in (surplus[:1] if ordered else surplus)]
    delete += [pod["metadata"]["name"] for pod in leaving if not _is_going(pod)]
    return create, delete


def _may_update(statefulset: Doc, present: Mapping[int, Doc], wanted: range) -> bool:
    """Ordered sets go on only when every pod below is there and ready."""
    complete = all(n in present and is_ready(present[n]) and not _is_going(present[n]) for n in wanted)
    return complete or not _ordered(statefulset)


def _update(spec: Doc, present: Mapping[int, Doc], wanted: range, revision: str) -> list[str]:
    """The highest pod of an older revision, unless a higher one is still on its way."""
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        return []
    partition = (strategy.get("rollingUpdate") or {}).get("partition") or 0
    for ordinal in reversed(wanted):
        pod = present.get(ordinal)
        if pod is None or ordinal < partition:
            return []
        if _revision(pod) != revision and not _is_going(pod):
            return [pod["metadata"]["name"]]
        if _is_going(pod) or not is_ready(pod):
            return []
    return []


def build_pod(statefulset: Doc, ordinal: int, revision: str) -> dict[str, Any]:
    metadata, spec = statefulset["metadata"], statefulset["spec"]
    template = spec["template"]
    name = f"{metadata['name']}-{ordinal}"
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": metadata["name"], "uid": metadata["uid"]}
    own = template.get("metadata") or {}
    identity = {"statefulset.kubernetes.io/pod-name": name, "apps.kubernetes.io/pod-index": str(ordinal)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": metadata["namespace"],
            "labels": dict(own.get("labels") or {}) | {REVISION: revision} | identity,
            "annotations": dict(own.get("annotations") or {}),
            "ownerReferences": [owner | {"controller": True, "blockOwnerDeletion": True}],
        },
        "spec": dict(template["spec"]) | {"hostname": name, "subdomain": spec.get("serviceName", "")},
    }


def build_status(statefulset: Doc, pods: Sequence[Doc], update: str) -> dict[str, Any]:
    """The status fields that `kubectl rollout status` and controllers read."""
    before = statefulset.get("status") or {}
    replicas = statefulset["spec"].get("replicas", 1)
    ready = sum(is_ready(pod) for pod in pods)
    updated = sum(_revision(pod) == update for pod in pods)
    done = updated == replicas == ready == len(pods)
    current = update if done else before.get("currentRevision") or update
    status = {
        "observedGeneration": statefulset["metadata"].get("generation", 1),
        "replicas": len(pods),
        "readyReplicas": ready,
        "availableReplicas": ready,
        "currentReplicas": sum(_revision(pod) == current for pod in pods),
        "updatedReplicas": updated,
        "currentRevision": current,
        "updateRevision": update,
        "collisionCount": before.get("collisionCount", 0),
    }
    omitted_at_zero = ("readyReplicas", "currentReplicas", "updatedReplicas")
    return {key: value for key, value in status.items() if value or key not in omitted_at_zero}


def _revision(pod: Doc) -> str:
    return str((pod["metadata"].get("labels") or {}).get(REVISION, ""))


def _phase(pod: Doc) -> str:
    return str(pod.get("status", {}).get("phase", "Pending"))


def _is_going(pod: Doc) -> bool:
    return pod["metadata"].get("deletionTimestamp") is not None
