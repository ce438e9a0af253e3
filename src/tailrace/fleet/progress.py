"""How far it has come, and what it waits for: the results of plans that make proxies. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tailrace.fleet import claims, official, truth
from tailrace.fleet.claims import Claim, Claims
from tailrace.fleet.world import World
from tailrace.plan import ops

SOON = 1.0  # seconds until a look that no event may bring about: of an empty device list, of a login half written
EXPECTED = 10.0
"""Seconds until a proxy that is not online is looked at again: events tell when it is, but the device list is asked often
only while somebody goes on waiting, and a pod that was refused is no event."""


def wait_for_list(
    w: World,
    accepted: Claim,
    *,
    fields: Mapping[str, Any] | None = None,
    shown: Mapping[str, Any] | None = None,
) -> ops.Plan:
    """No device list yet: without it a name cannot be checked, so no key is minted."""
    plan = ops.Plan(
        result=ops.Result(waiting_on="the device list", requeue_after=SOON),
        owner=w.root.owner,
        interest=True,
        tailnet=w.wish.tailnet,
    )
    if not w.tailnet.problem:
        return plan
    claim = truth.judge_unreachable(w, w.tailnet.problem)
    said = Claims(
        accepted=accepted,
        provisioned=claim,
        official=official.tell_pending(w.root, claim),
        fields=fields or {},
    )
    status = claims.decide_status(said, w.root, w.now, shown)
    waiting = ops.Result(waiting_on="the control plane", requeue_after=EXPECTED)
    return dataclasses.replace(plan, stages=ops.stages([status]), result=waiting)


def build_plan(
    w: World, stages: Sequence[Sequence[ops.Op | None]], told: Claims | None, *, quiet: bool
) -> ops.Plan:
    """The plan for the one proxy of a root, of which `told` is true then; None while the next second may say more."""
    return ops.Plan(
        stages=ops.stages(*stages),
        result=derive_result(told, [w], quiet=quiet),
        owner=w.root.owner,
        interest=w.unsure or told is None or truth.is_expected(w),
        hurry=w.unsure,
        tailnet=w.wish.tailnet,
    )


def derive_result(told: Claims | None, worlds: Sequence[World], *, quiet: bool) -> ops.Result:
    """`told` None while the next second may say more; `quiet` while a proxy comes up and nothing is said about it."""
    if told is None:
        return ops.Result(waiting_on="the control plane's device list", requeue_after=SOON)
    if quiet:
        after: float | None = truth.QUIET.total_seconds()
    elif any(truth.is_expected(w) for w in worlds):
        after = EXPECTED
    else:
        after = truth.find_recheck(worlds)
    ready = claims.derive_ready(told)
    if not ready.status:
        return ops.Result(waiting_on=str(ready.reason), requeue_after=after)
    return ops.SETTLED if after is None else ops.Result(waiting_on="the proxy's pod", requeue_after=after)
