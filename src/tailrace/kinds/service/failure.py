"""What a failed plan means for the Service, said on the object. Pure."""

from __future__ import annotations

from tailrace.api import kube
from tailrace.fleet import failure
from tailrace.fleet.claims import Claims
from tailrace.fleet.world import root_of_service
from tailrace.kinds.service import decide, mode, request, truth
from tailrace.kinds.service.inputs import Inputs
from tailrace.plan import ops


def decide_failure(i: Inputs, plan: ops.Plan, error: Exception) -> ops.Plan:
    """Status and event for a plan that stopped at `error`."""
    if i.service is None:
        return ops.Plan()
    known, shown = judge_known(i, i.service), truth.read_fields(i.service, i.install.defaults)
    return failure.decide_failure(root_of_service(i.service), plan, error, known, i.now, shown)


def judge_known(i: Inputs, service: kube.Service) -> Claims:
    """What is true of it all the same."""
    wish = request.read_request(service, i.install.defaults)
    choice = mode.choose_mode(i, service, wish) if wish.exposed else ""
    if service.metadata.deletionTimestamp is not None or isinstance(choice, str):
        return Claims(accepted=failure.VALID)
    case = decide.build_case(i, service, wish, choice)
    return truth.judge(case) or Claims(accepted=truth.judge_accepted(case))
