"""What a failed plan means for the egress Service, said on the object. Pure."""

from __future__ import annotations

import ipaddress

from tailrace import errors
from tailrace.api import kube, names
from tailrace.fleet import failure
from tailrace.fleet.claims import Claims
from tailrace.fleet.world import is_egress, root_of_service
from tailrace.kinds.egress import decide, request, truth
from tailrace.kinds.egress.inputs import Inputs
from tailrace.plan import ops
from tailrace.proxy import spec

FIELD = "spec.ipFamilies"


def decide_failure(i: Inputs, plan: ops.Plan, error: Exception) -> ops.Plan:
    """Status and event for a plan that stopped at `error`."""
    if i.service is None:
        return ops.Plan()
    root, known = root_of_service(i.service), judge_known(i, i.service)
    if (without := explain_family(i, i.service, error)) is not None:
        return failure.decide_failure(root, ops.Plan(), without, known, i.now)
    return failure.decide_failure(root, plan, error, known, i.now)


def explain_family(i: Inputs, service: kube.Service, error: Exception) -> errors.Terminal | None:
    """In words with a remedy, when it is that the cluster has no Services of a literal target's family (the API server says
    `spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster`, v1.36.4). It comes first of all its plan,
    so it is never the control plane's doing."""
    end = request.read_request(service, i.install.defaults).target
    if not (
        isinstance(error, errors.Terminal) and FIELD in str(error) and isinstance(end, spec.TailnetAddress)
    ):
        return None
    version = ipaddress.ip_address(end.ip).version
    other = 4 if version == 6 else 6
    message = (
        f"{request.find_key(service)} {end.ip} is an IPv{version} address, and this cluster has no IPv{version}: such a "
        f"target needs a cluster whose pods and Services have it; write an IPv{other} address, or the device's name "
        f"in {names.TAILNET_FQDN}"
    )
    return errors.Terminal(message, reason=error.reason)


def judge_known(i: Inputs, service: kube.Service) -> Claims:
    """What is true of it all the same."""
    if service.metadata.deletionTimestamp is not None or not is_egress(service):
        return Claims(accepted=failure.VALID)
    wish = request.read_request(service, i.install.defaults)
    return truth.judge(decide.build_case(i, service, wish)) or Claims(accepted=truth.judge_accepted(wish))
