"""What a failed plan means for its root, in words. Pure.

The engine decides when to try again; this decides what the user reads meanwhile.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tailrace import errors
from tailrace.api import names
from tailrace.api.conditions import ConditionType, EventReason, Reason
from tailrace.fleet import claims, official
from tailrace.fleet.claims import Claim, Claims
from tailrace.fleet.world import Root
from tailrace.plan import ops

VALID = Claim(status=True, reason=Reason.ACCEPTED, message="the request is valid")


def decide_failure(
    root: Root,
    plan: ops.Plan,
    error: Exception,
    known: Claims,
    now: datetime,
    shown: Mapping[str, Any] | None = None,
) -> ops.Plan:
    """Status and event for a plan that stopped at `error`: Provisioned is false, and what is `known` to be true of a
    running device stays. Conflicts say nothing: they are read again at once. `shown` are the status's live fields."""
    if isinstance(error, errors.Conflict):
        return ops.Plan()
    failed = judge_failure(root, plan, error)
    said = dataclasses.replace(known, provisioned=failed, official=official.tell_failed(root, failed))
    return decide_telling(root, failed, error, claims.decide_status(said, root, now, shown))


def judge_failure(root: Root, plan: ops.Plan, error: Exception) -> Claim:
    """The claim that `Provisioned` makes of it."""
    return Claim(status=False, reason=name_reason(plan, error), message=describe(root, plan, error))


def decide_telling(root: Root, failed: Claim, error: Exception, status: ops.ApplyStatus | None) -> ops.Plan:
    """Status and, when it says something new, an event; a rate limit is no event."""
    event = None
    news = claims.changed(ConditionType.PROVISIONED, failed, root)
    if news and not isinstance(error, errors.RateLimited):
        event = claims.emit(root, EventReason.FAILED, failed.message)
    return ops.Plan(stages=ops.stages([status, event]), owner=root.owner)


def name_reason(plan: ops.Plan, error: Exception) -> Reason:
    match error:
        case errors.Denied():
            return Reason.CREDENTIALS_REFUSED
        case errors.Terminal():
            return Reason.KEY_REFUSED if needs_control_plane(plan) else Reason.REFUSED_BY_CLUSTER
        case errors.Transient():
            return Reason.CONTROL_PLANE_UNREACHABLE if needs_control_plane(plan) else Reason.PROVISIONING
        case _:
            return Reason.INTERNAL_ERROR


def needs_control_plane(plan: ops.Plan) -> bool:
    return any(isinstance(op, ops.PlaneOp) for op in plan.ops)


def describe(root: Root, plan: ops.Plan, error: Exception) -> str:
    """One sentence: what could not be done, and the remedy where we know one."""
    if not isinstance(error, errors.TailraceError):
        return "an unexpected fault of the operator; its log has the details, and it is tried again"
    message = f"failed to provision: {error}"
    if root.meta.deletionTimestamp is not None:
        message = f"removal waits: {error}"
    refused = isinstance(error, errors.Denied | errors.Terminal)
    if refused and any(isinstance(op, ops.TagDevice) for op in plan.ops):
        return f"{message}; to make the device anew with other tags set {names.RECREATE} to a new value"
    return message
