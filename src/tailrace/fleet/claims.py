"""What is true of an object, as conditions that say what to do. Pure.

`Claims` is the truth in our words; `build_status` turns it into the status that we apply, keeping the time of the last
change; `decide_status` leaves the write out when nothing changed, as `decide_condition` does for kinds with a single one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from tailrace.api import kube
from tailrace.api.conditions import ConditionType, EventReason, Reason
from tailrace.fleet.world import Root
from tailrace.plan import ops

OURS = frozenset(ConditionType)


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """One condition's content. `status` None means Unknown."""

    status: bool | None
    reason: Reason
    message: str


type Named = tuple[ConditionType, Claim]


@dataclass(frozen=True, kw_only=True, slots=True)
class Claims:
    """All that we say about an object. A claim of None is not made."""

    accepted: Claim
    provisioned: Claim | None = None
    online: Claim | None = None
    further: tuple[Named, ...] = ()  # what else must be true to be ready: backend, target, routes
    official: Named | None = None  # the official operator's own condition
    answer: str = ""  # what Ready says when all is well
    fields: Mapping[str, Any] = field(default_factory=dict)  # of the status, beside the conditions


def derive_ready(claims: Claims) -> Claim:
    """Ready is the first of the others that is not true; a proxy that is online was provisioned."""
    provisioned = None if claims.online and claims.online.status else claims.provisioned
    for claim in (claims.accepted, provisioned, claims.online, *(c for _, c in claims.further)):
        if claim is not None and claim.status is not True:
            return claim
    return Claim(status=True, reason=Reason.READY, message=claims.answer or "the device answers")


def list_claims(claims: Claims) -> Iterable[Named]:
    """In the order in which they are shown."""
    if claims.official is not None:
        yield claims.official
    yield ConditionType.ACCEPTED, claims.accepted
    if claims.provisioned is not None:
        yield ConditionType.PROVISIONED, claims.provisioned
    if claims.online is not None:
        yield ConditionType.ONLINE, claims.online
    yield from claims.further
    yield ConditionType.READY, derive_ready(claims)


def build_status(claims: Claims, root: Root, now: datetime) -> dict[str, Any]:
    """Our part of the status, in a stable order."""
    conditions = [build_condition(kind, claim, root, now) for kind, claim in list_claims(claims)]
    return {"conditions": conditions, **claims.fields}


def build_condition(kind: ConditionType, claim: Claim, root: Root, now: datetime) -> dict[str, Any]:
    status = "Unknown" if claim.status is None else str(claim.status)
    before = kube.find_condition(root.conditions, kind)
    kept = before.lastTransitionTime if before is not None and before.status == status else None
    condition: dict[str, Any] = {
        "type": str(kind),
        "status": status,
        "reason": str(claim.reason),
        "message": claim.message,
        "lastTransitionTime": (kept or now).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    if root.meta.generation:  # the server drops a zero, and Services of many versions have no generation
        condition["observedGeneration"] = root.meta.generation
    return condition


def decide_status(
    claims: Claims, root: Root, now: datetime, shown: Mapping[str, Any] | None = None
) -> ops.ApplyStatus | None:
    """The status write, or None when the live status says so already and nothing more of ours stands there.

    `shown` are the live values of `claims.fields`, in the same form; left out, they are taken to be right.
    """
    status = build_status(claims, root, now)
    wanted = {c["type"]: tell_content(c) for c in status["conditions"]}
    current = {c.type: tell_content(to_plain(c)) for c in root.conditions if c.type in OURS}
    if current == wanted and (shown is None or shown == claims.fields):
        return None
    return build_apply(root, status)


def decide_condition(kind: ConditionType, claim: Claim, root: Root, now: datetime) -> ops.ApplyStatus | None:
    """The status write of an object that has this one condition of ours, or None when it says so already."""
    wanted, before = build_condition(kind, claim, root, now), kube.find_condition(root.conditions, kind)
    if before is not None and tell_content(to_plain(before)) == tell_content(wanted):
        return None
    return build_apply(root, {"conditions": [wanted]})


def to_plain(condition: kube.Condition) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(condition)
    return plain


def tell_content(condition: Mapping[str, Any]) -> tuple[Any, ...]:
    keys = ("status", "reason", "message", "lastTransitionTime", "observedGeneration")
    return tuple(condition.get(key) for key in keys)


def decide_clear(root: Root) -> ops.ApplyStatus | None:
    """Take back everything that we said, or None when nothing of it stands there."""
    return build_apply(root, {}) if any(c.type in OURS for c in root.conditions) else None


def build_apply(root: Root, status: Mapping[str, Any]) -> ops.ApplyStatus:
    return ops.ApplyStatus(ref=root.ref, api_version=root.api_version, status=status)


def changed(kind: ConditionType, claim: Claim, root: Root) -> bool:
    """Would this claim say something new? Events are told on change only."""
    before = kube.find_condition(root.conditions, kind)
    return before is None or (before.reason, before.message) != (str(claim.reason), claim.message)


def emit(root: Root, reason: EventReason, message: str, *, warning: bool = True) -> ops.Emit:
    return ops.Emit(
        ref=root.ref,
        api_version=root.api_version,
        uid=root.meta.uid,
        warning=warning,
        reason=reason,
        message=message,
    )
