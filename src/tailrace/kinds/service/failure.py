"""What a failed plan means for the Service, said on the object. Pure.

The engine decides when to try again; this decides what the user reads meanwhile.
"""

from __future__ import annotations

import dataclasses

from tailrace import errors
from tailrace.api import kube, names
from tailrace.api.conditions import ConditionType, EventReason, Reason
from tailrace.kinds.service import condition, decide, mode, request, truth
from tailrace.kinds.service.condition import Claim, Claims
from tailrace.kinds.service.inputs import Inputs
from tailrace.kinds.service.world import World, owner_of
from tailrace.plan import ops


def decide_failure(i: Inputs, plan: ops.Plan, error: Exception) -> ops.Plan:
    """Status and event for a plan that stopped at `error`. Conflicts say nothing: they are read again at once."""
    if i.service is None or isinstance(error, errors.Conflict):
        return ops.Plan()
    claim = Claim(status=False, reason=name_reason(plan, error), message=describe(i.service, plan, error))
    claims = build_claims(i, i.service, claim)
    told = None
    if condition.changed(ConditionType.PROVISIONED, claim, i.service) and not isinstance(
        error, errors.RateLimited
    ):
        told = decide.emit(i.service, EventReason.FAILED, claim.message)
    return ops.Plan(
        stages=ops.stages([condition.decide_status(claims, i.service, i.now), told]),
        owner=owner_of(i),
    )


def build_claims(i: Inputs, service: kube.Service, failed: Claim) -> Claims:
    """Provisioned is false; what is known to be true of a running device stays."""
    proxy = dataclasses.replace(failed, reason=Reason.PROXY_FAILED)
    accepted = Claim(status=True, reason=Reason.ACCEPTED, message="the request is valid")
    wish = request.read_request(service, i.install.defaults)
    if not wish.exposed or service.metadata.deletionTimestamp is not None:
        return Claims(accepted=accepted, provisioned=failed, proxy=proxy)
    choice = mode.choose_mode(i, service, wish)
    if isinstance(choice, str):
        return Claims(accepted=accepted, provisioned=failed, proxy=proxy)
    world = World(inputs=i, service=service, wish=wish, choice=choice)
    claims = truth.judge(world) or Claims(accepted=truth.judge_accepted(world))
    return dataclasses.replace(claims, provisioned=failed, proxy=proxy)


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
    calls = ops.MintKey | ops.RevokeKey | ops.DeleteDevice | ops.RenameDevice | ops.TagDevice
    return any(isinstance(op, calls) for op in plan.ops)


def describe(service: kube.Service, plan: ops.Plan, error: Exception) -> str:
    """One sentence: what could not be done, and the remedy where we know one."""
    if not isinstance(error, errors.TailraceError):
        return "an unexpected fault of the operator; its log has the details, and it is tried again"
    message = f"failed to provision: {error}"
    if service.metadata.deletionTimestamp is not None:
        message = f"removal waits: {error}"
    refused = isinstance(error, errors.Denied | errors.Terminal)
    if refused and any(isinstance(op, ops.TagDevice) for op in plan.ops):
        return f"{message}; to make the device anew with other tags set {names.RECREATE} to a new value"
    return message
