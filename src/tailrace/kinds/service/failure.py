"""What a failed plan means for the Service, said on the object. Pure."""

from __future__ import annotations

import dataclasses

from tailrace import errors
from tailrace.api import kube
from tailrace.api.conditions import ConditionType, Reason
from tailrace.fleet import claims, failure
from tailrace.fleet.claims import Claim, Claims
from tailrace.fleet.world import root_of_service
from tailrace.kinds.service import decide, mode, request, truth
from tailrace.kinds.service.inputs import Inputs
from tailrace.plan import ops


def decide_failure(i: Inputs, plan: ops.Plan, error: Exception) -> ops.Plan:
    """Status and event for a plan that stopped at `error`. Conflicts say nothing: they are read again at once."""
    if i.service is None or isinstance(error, errors.Conflict):
        return ops.Plan()
    root = root_of_service(i.service)
    failed = failure.judge_failure(root, plan, error)
    told = build_claims(i, i.service, failed)
    status = claims.decide_status(told, root, i.now, truth.read_fields(i.service, i.install.defaults))
    return failure.decide_telling(root, failed, error, status)


def build_claims(i: Inputs, service: kube.Service, failed: Claim) -> Claims:
    """Provisioned is false; what is known to be true of a running device stays."""
    official = (ConditionType.PROXY_READY, dataclasses.replace(failed, reason=Reason.PROXY_FAILED))
    accepted = Claim(status=True, reason=Reason.ACCEPTED, message="the request is valid")
    wish = request.read_request(service, i.install.defaults)
    choice = mode.choose_mode(i, service, wish) if wish.exposed else ""
    if service.metadata.deletionTimestamp is not None or isinstance(choice, str):
        return Claims(accepted=accepted, provisioned=failed, official=official)
    known = truth.judge(decide.build_case(i, service, wish, choice)) or Claims(
        accepted=truth.judge_accepted(choice, wish)
    )
    return dataclasses.replace(known, provisioned=failed, official=official)
