"""ReplicaSets and Deployments: which pods and which ReplicaSets come and go next.

Pure: objects in, one step out, like `statefulsets`. The rules are those of `pkg/controller/replicaset` and
`pkg/controller/deployment` (rolling.go), without pausing, rollback and progress deadlines.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tailrace.sandbox.workloads.endpoints import is_ready

Doc = Mapping[str, Any]

HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    create: tuple[dict[str, Any], ...] = ()
    delete: tuple[str, ...] = ()
    scale: Mapping[str, int] = field(default_factory=dict)  # ReplicaSet → replicas
    revise: Mapping[str, int] = field(default_factory=dict)  # ReplicaSet → revision
    revision: int = 0  # of the Deployment
    status: Mapping[str, Any] = field(default_factory=dict)


def decide_replicaset(replicaset: Doc, pods: Iterable[Doc]) -> Step:
    """Pods to create or delete, the unready ones and the youngest first."""
    pods = list(pods)
    living = [p for p in pods if not _is_going(p) and not _is_over(p)]
    wanted, labels = _size(replicaset), _template_labels(replicaset)
    ready = sum(map(is_ready, living))
    counted = {
        "fullyLabeledReplicas": sum(
            labels.items() <= (p["metadata"].get("labels") or {}).items() for p in living
        ),
        "readyReplicas": ready,
        "availableReplicas": ready,
    }
    status = {
        "replicas": len(living),
        "terminatingReplicas": sum(_is_going(p) and not _is_over(p) for p in pods),
        "observedGeneration": replicaset["metadata"].get("generation", 1),
        **{key: value for key, value in counted.items() if value},
    }
    if _is_going(replicaset):
        return Step(status=status)
    order = sorted(sorted(living, key=_age, reverse=True), key=is_ready)
    return Step(
        create=tuple(build_pod(replicaset) for _ in range(wanted - len(living))),
        delete=tuple(str(p["metadata"]["name"]) for p in order[: max(0, len(living) - wanted)]),
        status=status,
    )


def add_failure(status: Doc, before: Doc, message: str, now: str) -> dict[str, Any]:
    """The status of a ReplicaSet whose pods are refused; the condition goes with the next status without it."""
    known = {c["type"]: c for c in before.get("conditions") or ()}
    old = known.get("ReplicaFailure")
    failure = {
        "type": "ReplicaFailure",
        "status": "True",
        "lastTransitionTime": old["lastTransitionTime"] if old else now,
        "reason": "FailedCreate",
        "message": message,
    }
    return {**status, "conditions": [failure]}


def build_pod(replicaset: Doc) -> dict[str, Any]:
    metadata, template = replicaset["metadata"], replicaset["spec"]["template"]
    own = template.get("metadata") or {}
    made: dict[str, Any] = {
        "generateName": f"{metadata['name']}-",
        "namespace": metadata["namespace"],
        "labels": dict(own.get("labels") or {}),
        "ownerReferences": [_owner("ReplicaSet", metadata)],
    }
    if own.get("annotations"):
        made["annotations"] = dict(own["annotations"])
    return {"apiVersion": "v1", "kind": "Pod", "metadata": made, "spec": dict(template["spec"])}


def decide_deployment(deployment: Doc, replicasets: Sequence[Doc], now: str) -> Step:
    """The ReplicaSet of the present template, and how many replicas each one has meanwhile."""
    spec, mark = deployment["spec"], hash_of(deployment)
    new = next((r for r in replicasets if (r["metadata"].get("labels") or {}).get(HASH) == mark), None)
    old = [r for r in replicasets if r is not new]
    status = _status(deployment, new, old, now)
    if _is_going(deployment):
        return Step(status=status)
    if _recreates(spec) and (busy := [r for r in old if _size(r) or _holds_pods(r)]):
        return Step(scale={r["metadata"]["name"]: 0 for r in busy if _size(r)}, status=status)
    revision = _revisions(old) + 1
    if new is None:
        first = _size(deployment) if not old or _recreates(spec) else 0
        return Step(create=(build_replicaset(deployment, mark, first, revision),), status=status)
    return Step(
        scale=_roll(spec, new, old),
        revise={new["metadata"]["name"]: revision} if _revisions([new]) < revision else {},
        revision=max(revision, _revisions([new])),
        delete=_superfluous(spec, old),
        status=status,
    )


def _roll(spec: Doc, new: Doc, old: Sequence[Doc]) -> dict[str, int]:
    """One move of a rolling update: up to the surge; when that is reached, down to what must stay available."""
    wanted = int(spec.get("replicas", 1))
    running = [r for r in old if _size(r)]
    total = _size(new) + sum(map(_size, running))
    surge, unavailable = fenceposts(spec)
    size = wanted if not running else min(wanted, max(_size(new), _size(new) + wanted + surge - total))
    if size != _size(new):
        return {new["metadata"]["name"]: size}
    spare = total - (wanted - unavailable) - (size - _available(new))
    return _shrink(running, spare, sum(map(_available, (new, *running))) - (wanted - unavailable))


def _shrink(replicasets: Sequence[Doc], spare: int, healthy_spare: int) -> dict[str, int]:
    """Fewer old pods: those that are not available first, in any ReplicaSet, then as many as may be missing."""
    sizes = {r["metadata"]["name"]: _size(r) for r in replicasets}
    for replicaset in replicasets:
        down = max(0, min(_size(replicaset) - _available(replicaset), spare))
        sizes[replicaset["metadata"]["name"]] -= down
        spare -= down
    for replicaset in replicasets:
        down = max(0, min(sizes[replicaset["metadata"]["name"]], spare, healthy_spare))
        sizes[replicaset["metadata"]["name"]] -= down
        spare, healthy_spare = spare - down, healthy_spare - down
    return {
        r["metadata"]["name"]: size for r in replicasets if (size := sizes[r["metadata"]["name"]]) != _size(r)
    }


def fenceposts(spec: Doc) -> tuple[int, int]:
    """(pods above, pods below) the wanted number that a rolling update may reach; never both 0."""
    wanted = int(spec.get("replicas", 1))
    rolling = (spec.get("strategy") or {}).get("rollingUpdate") or {}
    surge = _share(rolling.get("maxSurge", "25%"), wanted, math.ceil)
    unavailable = _share(rolling.get("maxUnavailable", "25%"), wanted, math.floor)
    return surge, unavailable if surge or unavailable else 1


def _superfluous(spec: Doc, old: Sequence[Doc]) -> tuple[str, ...]:
    """Old ReplicaSets beyond the history that is kept, the oldest first."""
    empty = [r for r in old if not _size(r) and not _holds_pods(r) and not _is_going(r)]
    empty.sort(key=lambda r: _revisions([r]))
    kept = int(spec.get("revisionHistoryLimit", 10))
    return tuple(str(r["metadata"]["name"]) for r in empty[: max(0, len(empty) - kept)])


def build_replicaset(deployment: Doc, mark: str, replicas: int, revision: int) -> dict[str, Any]:
    metadata, spec = deployment["metadata"], deployment["spec"]
    template = spec["template"]
    own = dict(template.get("metadata") or {})
    labels = {**(own.get("labels") or {}), HASH: mark}
    selector = spec["selector"]
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{metadata['name']}-{mark}",
            "namespace": metadata["namespace"],
            "labels": labels,
            "annotations": {REVISION: str(revision)},
            "ownerReferences": [_owner("Deployment", metadata)],
        },
        "spec": {
            "replicas": replicas,
            "selector": {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), HASH: mark}},
            "template": {**template, "metadata": {**own, "labels": labels}},
        },
    }


def hash_of(deployment: Doc) -> str:
    """A word that changes with the pod template and with nothing else."""
    template = json.dumps(deployment["spec"]["template"], sort_keys=True).encode()
    return base64.b32encode(hashlib.sha256(template).digest()).decode().lower()[:10]


def _status(deployment: Doc, new: Doc | None, old: Sequence[Doc], now: str) -> dict[str, Any]:
    everything = [*old, *([new] if new else [])]
    total = sum(_observed(r, "replicas") for r in everything)
    available = sum(_observed(r, "availableReplicas") for r in everything)
    counted = {
        "replicas": total,
        "updatedReplicas": _observed(new, "replicas") if new else 0,
        "readyReplicas": sum(_observed(r, "readyReplicas") for r in everything),
        "availableReplicas": available,
        "unavailableReplicas": max(0, sum(map(_size, everything)) - available),
    }
    before = {c["type"]: c for c in (deployment.get("status") or {}).get("conditions") or ()}
    rows = [
        _availability(deployment, available),
        _progress(deployment, new, counted, before.get("Progressing")),
    ]
    return {
        "observedGeneration": deployment["metadata"].get("generation", 1),
        **{key: value for key, value in counted.items() if value},
        "terminatingReplicas": sum(_observed(r, "terminatingReplicas") for r in everything),
        "conditions": [_condition(before.get(row.type), row, now) for row in (*rows, *_failures(everything))],
    }


class _Row(NamedTuple):
    type: str
    on: bool
    reason: str
    message: str


def _availability(deployment: Doc, available: int) -> _Row:
    wanted, spec = _size(deployment), deployment["spec"]
    missing = 0 if _recreates(spec) else min(fenceposts(spec)[1], wanted)
    if available >= wanted - missing:
        return _Row("Available", True, "MinimumReplicasAvailable", "Deployment has minimum availability.")
    text = "Deployment does not have minimum availability."
    return _Row("Available", False, "MinimumReplicasUnavailable", text)


def _progress(deployment: Doc, new: Doc | None, counted: Mapping[str, int], before: Doc | None) -> _Row:
    """What was rolled out once stays so, also when a pod is not ready later."""
    if new is None:
        text = f'Deployment "{deployment["metadata"]["name"]}" is progressing.'
        said = before or {"reason": "ReplicaSetUpdated", "message": text}
        return _Row("Progressing", True, said["reason"], said["message"])
    subject = f'ReplicaSet "{new["metadata"]["name"]}"'
    done = _Row("Progressing", True, "NewReplicaSetAvailable", f"{subject} has successfully progressed.")
    updated, total = counted["updatedReplicas"], counted["replicas"]
    complete = updated == _size(deployment) == total == counted["availableReplicas"]
    stays = before is not None and before["message"] == done.message and updated == total
    if complete or stays:
        return done
    return _Row("Progressing", True, "ReplicaSetUpdated", f"{subject} is progressing.")


def _failures(replicasets: Iterable[Doc]) -> list[_Row]:
    """What a ReplicaSet complains about is said above, too."""
    found = [c for r in replicasets for c in (r.get("status") or {}).get("conditions") or ()]
    return [_Row("ReplicaFailure", True, c["reason"], c["message"]) for c in found][:1]


def _condition(before: Doc | None, row: _Row, now: str) -> dict[str, Any]:
    said = (str(row.on), row.reason, row.message)
    same = before is not None and (before["status"], before["reason"], before["message"]) == said
    return {
        "type": row.type,
        "status": str(row.on),
        "lastUpdateTime": before["lastUpdateTime"] if before and same else now,
        "lastTransitionTime": before["lastTransitionTime"]
        if before and before["status"] == str(row.on)
        else now,
        "reason": row.reason,
        "message": row.message,
    }


def _owner(kind: str, metadata: Doc) -> dict[str, Any]:
    owner = {"apiVersion": "apps/v1", "kind": kind, "name": metadata["name"], "uid": metadata["uid"]}
    return owner | {"controller": True, "blockOwnerDeletion": True}


def _share(value: int | str, of: int, rounded: Any) -> int:
    """A number of pods, or a percentage of the replicas."""
    return (
        int(rounded(int(value[:-1]) * of / 100))
        if isinstance(value, str) and value.endswith("%")
        else int(value)
    )


def _size(doc: Doc) -> int:
    return int(doc["spec"].get("replicas", 1))


def _observed(replicaset: Doc, field_: str) -> int:
    return int((replicaset.get("status") or {}).get(field_, 0))


def _available(replicaset: Doc) -> int:
    """Never more than it shall have: its status may be older than its size."""
    return min(_size(replicaset), _observed(replicaset, "availableReplicas"))


def _holds_pods(replicaset: Doc) -> bool:
    return bool(_observed(replicaset, "replicas") or _observed(replicaset, "terminatingReplicas"))


def _recreates(spec: Doc) -> bool:
    return bool((spec.get("strategy") or {}).get("type") == "Recreate")


def _revisions(replicasets: Iterable[Doc]) -> int:
    """The highest revision among them."""
    found = [int((r["metadata"].get("annotations") or {}).get(REVISION, "0")) for r in replicasets]
    return max(found, default=0)


def _template_labels(replicaset: Doc) -> Mapping[str, str]:
    return (replicaset["spec"]["template"].get("metadata") or {}).get("labels") or {}


def _age(pod: Doc) -> str:
    return str(pod["metadata"]["creationTimestamp"])


def _is_going(doc: Doc) -> bool:
    return doc["metadata"].get("deletionTimestamp") is not None


def _is_over(pod: Doc) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded")
