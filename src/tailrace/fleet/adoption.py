"""Proxies that the official operator made: recognised, taken over when it has stopped, left alone while it runs. Pure.

Both operators label what they make alike and keep a device's identity in a Secret of one form, so taking over is no work
of its own: `world.find_place` takes the identity that there is, `provision` makes the objects ours one by one. Whose an
object is shows in the annotation that every apply of ours leaves (`tailrace.dev/applied`); the official operator replaces
annotations when it writes, so what it takes back is its own again.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from tailrace.api import kube, names
from tailrace.api.conditions import ConditionType, EventReason, Reason
from tailrace.fleet import claims
from tailrace.fleet.claims import Claim, Claims
from tailrace.fleet.world import Children, Root
from tailrace.plan import ops

OPERATOR = "operator"
"""Name of the official operator's Deployment, in its chart and in its static manifests."""

IMAGE = "k8s-operator"

FORMER_KEYS = ("cap-95.hujson", "tailscaled")
"""Where releases of the official operator put a configuration, with its auth key, beside the one that we write."""


def is_official(found: kube.Deployment) -> bool:
    """The official operator under its fixed name: our own chart's Deployment may have the same one."""
    labels = found.spec.template.metadata.labels
    if labels.get("app.kubernetes.io/name") == "tailrace":
        return False
    images = (c.image.partition("@")[0].rpartition("/")[2] for c in found.spec.template.spec.containers)
    return labels.get("app") == OPERATOR or any(i.partition(":")[0] == IMAGE for i in images)


def is_running(found: kube.Deployment) -> bool:
    return found.spec.replicas > 0 or found.status.replicas > 0


def find_running(deployments: Iterable[kube.Deployment]) -> kube.Deployment | None:
    return next((d for d in deployments if is_official(d) and is_running(d)), None)


def is_foreign(found: kube.Object) -> bool:
    """An object with our labels that another operator wrote last."""
    return names.APPLIED not in found.metadata.annotations


def has_foreign(proxies: Iterable[Children]) -> bool:
    """Whether one of the proxies is the official operator's."""
    return any(
        found is not None and is_foreign(found)
        for children in proxies
        for found in (children.statefulset, children.state.secret if children.state else None)
    )


def describe_running(found: kube.Deployment) -> str:
    """What is wrong and how to mend it."""
    meta = found.metadata
    return (
        f"the official operator runs (Deployment {meta.namespace}/{meta.name}), and its proxies are its own: stop it with "
        f"kubectl scale deployment {meta.name} --replicas=0 -n {meta.namespace}, then they are taken over as they are"
    )


def decide_waiting(root: Root | None, running: kube.Deployment, now: datetime) -> ops.Plan:
    """Say it once, touch nothing else. The official operator's own condition is left to it."""
    result = ops.Result(waiting_on="the official operator's end")
    claim = Claim(status=False, reason=Reason.OFFICIAL_RUNNING, message=describe_running(running))
    if root is None or not claims.changed(ConditionType.ACCEPTED, claim, root):
        return ops.Plan(result=result)
    status = claims.build_apply(root, claims.build_status(Claims(accepted=claim), root, now))
    event = claims.emit(root, EventReason.OFFICIAL_RUNNING, claim.message)
    return ops.Plan(stages=ops.stages([status, event]), result=result, owner=root.owner)
