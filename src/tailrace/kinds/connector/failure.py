"""What a failed plan means for the Connector, said on the object. Pure."""

from __future__ import annotations

import dataclasses

from tailrace import errors
from tailrace.api.conditions import ConditionType, EventReason, Reason
from tailrace.api.connector import Connector
from tailrace.fleet import claims, failure
from tailrace.fleet.claims import Claim, Claims
from tailrace.kinds.connector import decide, mode, request, truth
from tailrace.kinds.connector.inputs import Case, Inputs
from tailrace.plan import ops


def decide_failure(i: Inputs, plan: ops.Plan, error: Exception) -> ops.Plan:
    """Status and event for a plan that stopped at `error`. Conflicts say nothing: they are read again at once."""
    if i.connector is None or isinstance(error, errors.Conflict):
        return ops.Plan()
    root = truth.build_root(i.connector)
    case = read_case(i, i.connector)
    known = truth.judge(case) if case is not None else None
    shown = truth.read_fields(i.connector)
    if known is not None and is_refused_approval(plan, error):
        refused = judge_refusal(plan, error)
        further = tuple(
            (kind, refused if kind is ConditionType.ROUTES_APPROVED else claim)
            for kind, claim in known.further
        )
        status = claims.decide_status(dataclasses.replace(known, further=further), root, i.now, shown)
        news = claims.changed(ConditionType.ROUTES_APPROVED, refused, root)
        event = claims.emit(root, EventReason.FAILED, refused.message) if news else None
        return ops.Plan(stages=ops.stages([status, event]), owner=root.owner)
    return failure.decide_failure(root, plan, error, known or tell_least(i.connector, case), i.now, shown)


def tell_least(connector: Connector, case: Case | None) -> Claims:
    """What can be said where nothing is known to be true of running devices."""
    if case is None:
        return Claims(accepted=failure.VALID, fields=truth.read_fields(connector))
    return Claims(accepted=truth.judge_accepted(case), fields=truth.build_fields(case))


def read_case(i: Inputs, connector: Connector) -> Case | None:
    """What is asked for, where it is valid and still wanted."""
    wish = request.read_request(connector, i.install.defaults)
    choice = mode.choose_mode(i, wish)
    if connector.metadata.deletionTimestamp is not None or wish.violations or isinstance(choice, str):
        return None
    return decide.build_case(i, connector, wish, choice)


def is_refused_approval(plan: ops.Plan, error: Exception) -> bool:
    """Approval is all that was asked of the control plane, and it said no."""
    asked = {type(op) for op in plan.ops if isinstance(op, ops.PlaneOp)}
    return asked == {ops.ApproveRoutes} and isinstance(error, errors.Denied | errors.Terminal)


def judge_refusal(plan: ops.Plan, error: Exception) -> Claim:
    wanted = sorted({route for op in plan.ops if isinstance(op, ops.ApproveRoutes) for route in op.routes})
    text = f"{', '.join(wanted)} could not be approved: {error}"
    return Claim(status=False, reason=Reason.ROUTES_NOT_APPROVED, message=text)
