"""What a failed plan means for the egress Service, said on the object. Pure."""

from __future__ import annotations

from tailrace.api import kube
from tailrace.fleet import failure
from tailrace.fleet.claims import Claims
from tailrace.fleet.world import is_egress, root_of_service
from tailrace.kinds.egress import decide, request, truth
from tailrace.kinds.egress.inputs import Inputs
from tailrace.plan import ops


def decide_failure(i: Inputs, plan: ops.Plan, error: Exception) -> ops.Plan:
    """Status and event for a plan that stopped at `error`."""
    if i.service is None:
        return ops.Plan()
    known = judge_known(i, i.service)
    return failure.decide_failure(root_of_service(i.service), plan, error, known, i.now)


def judge_known(i: Inputs, service: kube.Service) -> Claims:
    """What is true of it all the same."""
    if service.metadata.deletionTimestamp is not None or not is_egress(service):
        return Claims(accepted=failure.VALID)
    wish = request.read_request(service, i.install.defaults)
    return truth.judge(decide.build_case(i, service, wish)) or Claims(accepted=truth.judge_accepted(wish))
