"""Why not: said on the object, and nothing is touched. Pure.

What runs already keeps running: a typing error must not cut off traffic.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tailrace.api.conditions import ConditionType, EventReason, Reason
from tailrace.fleet import claims, naming, official
from tailrace.fleet.claims import Claim, Claims
from tailrace.fleet.world import Class, Root, Tailnet, World
from tailrace.plan import ops
from tailrace.tailnet import port

RECHECK = 30.0  # seconds until a world that no watch reports is looked at again
WAITS = frozenset({Reason.CLASS_NOT_READY, Reason.TAILNET_NOT_READY})
"""Nobody asked wrongly: what is missing may still come."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """One sentence: what is wrong and how to mend it."""

    reason: Reason
    message: str
    event: EventReason = EventReason.FAILED
    recheck: float | None = None  # seconds


def find_missing(proxy_class: Class, tailnet: Tailnet, name: str) -> Refusal | None:
    """What any proxy needs first: its ProxyClass, and the Tailnet of that name, where it is not the operator's own."""
    if proxy_class.problem:
        return Refusal(reason=Reason.CLASS_NOT_READY, message=proxy_class.problem)
    if name and not tailnet.known and tailnet.problem:
        return Refusal(reason=Reason.TAILNET_NOT_READY, message=tailnet.problem)
    return None


def tell_how_to_admit(namespace: str) -> str:
    """The remedy where the cluster refuses privileged pods, as part of a sentence."""
    return f"let the namespace {namespace} admit privileged pods (label pod-security.kubernetes.io/enforce: privileged)"


def refuse(
    root: Root,
    refusal: Refusal,
    now: datetime,
    *,
    fields: Mapping[str, Any] | None = None,
    shown: Mapping[str, Any] | None = None,
) -> ops.Plan:
    """`Accepted` is false. `fields` of the status are said beside it, `shown` are those that stand there."""
    claim = Claim(status=False, reason=refusal.reason, message=refusal.message)
    echo = official.tell_pending if refusal.reason in WAITS else official.tell_invalid
    said = Claims(accepted=claim, official=echo(root, claim), fields=fields or {})
    news = claims.changed(ConditionType.ACCEPTED, claim, root)
    status = claims.decide_status(said, root, now, shown)
    return ops.Plan(
        stages=ops.stages([status, claims.emit(root, refusal.event, claim.message) if news else None]),
        result=ops.Result(waiting_on=f"a change ({refusal.reason})", requeue_after=refusal.recheck),
        owner=root.owner,
    )


def refuse_name(w: World, taken_by: port.Device, shown: Mapping[str, Any] | None = None) -> ops.Plan:
    """Another device has the name; the device list tells when it goes. One that was made for us may be going already."""
    refusal = Refusal(
        reason=Reason.NAME_CONFLICT,
        message=naming.describe_conflict(w, taken_by),
        event=EventReason.NAME_CONFLICT,
    )
    plan = refuse(w.root, refusal, w.now, shown=shown)
    return dataclasses.replace(
        plan,
        result=ops.Result(waiting_on="the name"),
        interest=naming.is_made_for_us(w, taken_by),
        tailnet=w.wish.tailnet,
    )
