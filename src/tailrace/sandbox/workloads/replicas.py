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
from typing import Any

from tailrace.sandbox.workloads.endpoints import is_ready

Doc = Mapping[str, Any]

HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    create: tuple[dict[str, Any], ...] = ()
    delete: tuple[str, ...] = ()
    scale: Mapping[str, int] = field(default_factory=dict)  # ReplicaSet → replicas
    status: Mapping[str, Any] = field(default_factory=dict)


def decide_replicaset(replicaset: Doc, pods: Iterable[Doc]) -> Step:
    """Pods to create or delete, the unready ones and the youngest first."""
    living = [
        p
        for p in pods
        if not _is_going(p) and p.get("status", {}).get("phase") not in ("Failed", "Succeeded")
    ]
    wanted = replicaset["spec"].get("replicas", 1)
    going = replicaset["metadata"].get("deletionTimestamp")
    create = [] if going else [build_pod(replicaset) for _ in range(wanted - len(living))]
    order = sorted(living, key=lambda p: (is_ready(p), [-ord(c) for c in p["metadata"]["creationTimestamp"]]))
    surplus = [] if going else [str(p["metadata"]["name"]) for p in order[: max(0, len(living) - wanted)]]
    ready = sum(map(is_ready, living))
    status = {
        "replicas": len(living),
        "fullyLabeledReplicas": len(living),
        "readyReplicas": ready,
        "availableReplicas": ready,
        "observedGeneration": replicaset["metadata"].get("generation", 1),
    }
    shown = {k: v for k, v in status.items() if v or k in ("replicas", "observedGeneration")}
    return Step(create=tuple(create), delete=tuple(surplus), status=shown)


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
    wanted = spec.get("replicas", 1)
    new = next((r for r in replicasets if (r["metadata"].get("labels") or {}).get(HASH) == mark), None)
    old = [r for r in replicasets if r is not new]
    if deployment["metadata"].get("deletionTimestamp"):
        return Step(status=_status(deployment, new, old, now))
    if new is None:
        recreate = (spec.get("strategy") or {}).get("type") == "Recreate"
        if recreate and any(_size(r) or _observed(r, "replicas") for r in old):
            return Step(
                scale={r["metadata"]["name"]: 0 for r in old if _size(r)},
                status=_status(deployment, None, old, now),
            )
        first = wanted if not old or recreate else 0
        return Step(
            create=(build_replicaset(deployment, mark, first, _revision(old) + 1),),
            status=_status(deployment, None, old, now),
        )
    return Step(scale=_roll(spec, wanted, new, old), status=_status(deployment, new, old, now))


def _roll(spec: Doc, wanted: int, new: Doc, old: Sequence[Doc]) -> dict[str, int]:
    """One move of a rolling update: up to the surge, then down to what must stay available."""
    if not any(_size(r) for r in old):
        return {} if _size(new) == wanted else {new["metadata"]["name"]: wanted}
    rolling = (spec.get("strategy") or {}).get("rollingUpdate") or {}
    surge = _share(rolling.get("maxSurge", "25%"), wanted, math.ceil)
    unavailable = _share(rolling.get("maxUnavailable", "25%"), wanted, math.floor)
    if not surge and not unavailable:
        unavailable = 1
    total = _size(new) + sum(map(_size, old))
    scale: dict[str, int] = {}
    if _size(new) < wanted and (room := wanted + surge - total) > 0:
        scale[new["metadata"]["name"]] = min(wanted, _size(new) + room)
    elif _size(new) > wanted:
        scale[new["metadata"]["name"]] = wanted
    may_go = total - (wanted - unavailable) - (_size(new) - _observed(new, "availableReplicas"))
    for replicaset in old:
        down = min(_size(replicaset), max(0, may_go))
        if down:
            scale[replicaset["metadata"]["name"]] = _size(replicaset) - down
            may_go -= down
    return scale


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
    wanted = deployment["spec"].get("replicas", 1)
    total = sum(_observed(r, "replicas") for r in everything)
    available = sum(_observed(r, "availableReplicas") for r in everything)
    updated = _observed(new, "replicas") if new else 0
    rolling = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    enough = available >= wanted - _share(rolling.get("maxUnavailable", "25%"), wanted, math.floor)
    done = bool(new) and updated == wanted == total == available
    name = new["metadata"]["name"] if new else ""
    conditions = [
        (
            "Available",
            enough,
            "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
            "Deployment has minimum availability."
            if enough
            else "Deployment does not have minimum availability.",
        ),
        (
            "Progressing",
            True,
            "NewReplicaSetAvailable" if done else "ReplicaSetUpdated",
            f'ReplicaSet "{name}" has successfully progressed.'
            if done
            else f'ReplicaSet "{name}" is progressing.',
        ),
    ]
    before = {c["type"]: c for c in (deployment.get("status") or {}).get("conditions") or ()}
    counted = {
        "replicas": total,
        "updatedReplicas": updated,
        "readyReplicas": available,
        "availableReplicas": available,
        "unavailableReplicas": max(0, total - available),
    }
    return {
        "observedGeneration": deployment["metadata"].get("generation", 1),
        **{key: value for key, value in counted.items() if value},
        "conditions": [
            _condition(before.get(kind), kind, str(on), reason, text, now)
            for kind, on, reason, text in conditions
        ],
    }


def _condition(
    before: Doc | None, kind: str, status: str, reason: str, message: str, now: str
) -> dict[str, Any]:
    same = before is not None and (before["status"], before["reason"], before["message"]) == (
        status,
        reason,
        message,
    )
    since = before["lastTransitionTime"] if before and before["status"] == status else now
    return {
        "type": kind,
        "status": status,
        "lastUpdateTime": before["lastUpdateTime"] if before and same else now,
        "lastTransitionTime": since,
        "reason": reason,
        "message": message,
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


def _size(replicaset: Doc) -> int:
    return int(replicaset["spec"].get("replicas", 1))


def _observed(replicaset: Doc, field_: str) -> int:
    return int((replicaset.get("status") or {}).get(field_, 0))


def _revision(replicasets: Iterable[Doc]) -> int:
    found = [int((r["metadata"].get("annotations") or {}).get(REVISION, "0")) for r in replicasets]
    return max(found, default=0)


def _is_going(pod: Doc) -> bool:
    return pod["metadata"].get("deletionTimestamp") is not None
