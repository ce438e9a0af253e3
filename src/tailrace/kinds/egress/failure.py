"""What a failed plan means for the egress Service, said on the object. Pure."""

from __future__ import annotations

import dataclasses

from tailrace import errors
from tailrace.api import kube
from tailrace.api.conditions import ConditionType, Reason
from tailrace.fleet import claims, failure
from tailrace.fleet.claims import Claim, Claims
from tailrace.fleet.world import is_egress, root_of_service
from tailrace.kinds.egress import decide, request, truth
from tailrace.kinds.egress.inputs import Inputs
from tailrace.plan import ops


def decide_failure(i: Inputs, plan: ops.Plan, error: Exception) -> ops.Plan:
    """Status and event for a plan that stopped at `error`. Conflicts say nothing: they are read again at once."""
    if i.service is None or isinstance(error, errors.Conflict):
        return ops.Plan()
    root = root_of_service(i.service)
    failed = failure.judge_failure(root, plan, error)
    status = claims.decide_status(build_claims(i, i.service, failed), root, i.now)
    return failure.decide_telling(root, failed, error, status)


def build_claims(i: Inputs, service: kube.Service, failed: Claim) -> Claims:
    """Provisioned is false; what is known to be true of a running device stays."""
    official = (ConditionType.PROXY_READY, dataclasses.replace(failed, reason=Reason.PROXY_FAILED))
    valid = Claim(status=True, reason=Reason.ACCEPTED, message="the request is valid")
    known = Claims(accepted=valid)
    if service.metadata.deletionTimestamp is None and is_egress(service):
        wish = request.read_request(service, i.install.defaults)
        known = truth.judge(decide.build_case(i, service, wish)) or Claims(
            accepted=truth.judge_accepted(wish)
        )
    return dataclasses.replace(known, provisioned=failed, official=official)
