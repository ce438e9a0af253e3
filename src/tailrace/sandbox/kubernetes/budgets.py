"""PodDisruptionBudgets: how many pods one needs and has, and whether a pod may be evicted.

Place: `Cluster` asks before an eviction, the disruption controller for the status; both count what is there now. Source:
`pkg/controller/disruption/disruption.go` and `pkg/registry/core/pod/storage/eviction.go`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from tailrace.sandbox.kubernetes import status
from tailrace.sandbox.kubernetes.documents.selectors import match_labels
from tailrace.sandbox.kubernetes.storage import Doc, Store

BUDGETS, PODS = ("policy", "poddisruptionbudgets"), ("", "pods")
_OWNERS = {
    "StatefulSet": ("apps", "statefulsets"),
    "ReplicaSet": ("apps", "replicasets"),
    "Deployment": ("apps", "deployments"),
    "ReplicationController": ("", "replicationcontrollers"),
}
_REFUSED = "Cannot evict pod as it would violate the pod's disruption budget."
_TWO = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."


class Tally(NamedTuple):
    """What a budget's status says."""

    expected: int
    desired: int
    healthy: int

    @property
    def allowed(self) -> int:
        return max(self.healthy - self.desired, 0) if self.expected > 0 else 0


def guards(budget: Doc, pod: Doc) -> bool:
    """Whether a budget of the pod's namespace is about the pod."""
    selector = (budget.get("spec") or {}).get("selector")
    return selector is not None and match_labels(selector, pod["metadata"].get("labels") or {})


def count(budget: Doc, pods: Sequence[Doc], store: Store) -> Tally:
    """`pods`: all that the budget guards."""
    spec = budget.get("spec") or {}
    most, least = spec.get("maxUnavailable"), spec.get("minAvailable", 0)
    healthy = sum(_is_ready(p) and not p["metadata"].get("deletionTimestamp") for p in pods)
    if most is None and not isinstance(least, str):
        return Tally(len(pods), least, healthy)
    expected = _wished(pods, store)
    if most is not None:
        return Tally(expected, max(expected - _share(most, expected), 0), healthy)
    return Tally(expected, _share(least, expected), healthy)


def build_status(budget: Doc, tally: Tally, now: str) -> Doc:
    generation = budget["metadata"].get("generation", 1)
    before: Doc = ((budget.get("status") or {}).get("conditions") or ({},))[0]
    word = "True" if tally.allowed else "False"
    condition = {
        "type": "DisruptionAllowed",
        "status": word,
        "observedGeneration": generation,
        "lastTransitionTime": before["lastTransitionTime"] if before.get("status") == word else now,
        "reason": "SufficientPods" if tally.allowed else "InsufficientPods",
        "message": "",
    }
    return {
        "observedGeneration": generation,
        "disruptionsAllowed": tally.allowed,
        "currentHealthy": tally.healthy,
        "desiredHealthy": tally.desired,
        "expectedPods": tally.expected,
        "conditions": [condition],
    }


def check_eviction(pod: Doc, store: Store) -> None:
    """Raises 429 when a budget does not let the pod go, and 500 when two are about it."""
    metadata, phase = pod["metadata"], (pod.get("status") or {}).get("phase")
    if metadata.get("deletionTimestamp") or phase in ("Pending", "Succeeded", "Failed"):
        return
    namespace = metadata["namespace"]
    found = [s.doc for key, s in store.all(BUDGETS).items() if key[0] == namespace and guards(s.doc, pod)]
    if len(found) > 1:
        raise status.ApiError(500, "", _TWO)
    for budget in found:
        pods = [s.doc for key, s in store.all(PODS).items() if key[0] == namespace and guards(budget, s.doc)]
        tally = count(budget, pods, store)
        if tally.allowed or _may_go_unready(budget, pod, tally):
            continue
        text = f"The disruption budget {budget['metadata']['name']} needs {tally.desired} healthy pods and has {tally.healthy} currently"
        causes = [{"reason": "DisruptionBudget", "message": text}]
        raise status.ApiError(429, "TooManyRequests", _REFUSED, {"causes": causes})


def _may_go_unready(budget: Doc, pod: Doc, tally: Tally) -> bool:
    """A pod that does not work is worth less."""
    if _is_ready(pod):
        return False
    always = budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow"
    return always or tally.healthy >= tally.desired > 0


def _wished(pods: Sequence[Doc], store: Store) -> int:
    """How many pods their controllers shall have; 0 when one has none, since then nobody knows."""
    found: dict[str, int] = {}
    for pod in pods:
        controller = _controller(pod, store)
        if controller is None:
            return 0
        found[controller["metadata"]["uid"]] = (controller.get("spec") or {}).get("replicas", 1)
    return sum(found.values())


def _controller(doc: Doc, store: Store) -> Doc | None:
    """A pod's StatefulSet, or Deployment, or whatever has replicas."""
    metadata = doc["metadata"]
    owner = next((o for o in metadata.get("ownerReferences") or () if o.get("controller")), None)
    kind = _OWNERS.get(owner["kind"]) if owner else None
    if owner is None or kind is None:
        return None
    stored = store.get(kind, (metadata["namespace"], owner["name"]))
    if stored is None or stored.doc["metadata"]["uid"] != owner["uid"]:
        return None
    above = _controller(stored.doc, store) if owner["kind"] == "ReplicaSet" else None
    return above or stored.doc


def _share(value: Any, whole: int) -> int:
    """A number, or that many percent of `whole`, rounded up."""
    return math.ceil(int(value[:-1]) * whole / 100) if isinstance(value, str) else int(value)


def _is_ready(pod: Doc) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any((c.get("type"), c.get("status")) == ("Ready", "True") for c in conditions)
