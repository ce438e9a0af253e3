"""Taking an egress away again: first the user's Service is what it was, then all that was made for it goes. Pure."""

from __future__ import annotations

import dataclasses

from tailrace.api import kube
from tailrace.fleet import services
from tailrace.fleet.world import root_of_service
from tailrace.kinds.egress import original
from tailrace.kinds.egress.inputs import Case, Inputs
from tailrace.plan import diff, ops


def decide_removal(i: Inputs, service: kube.Service) -> ops.Plan:
    """The Service is being deleted, or no longer leads out."""
    root = root_of_service(service)
    if service.metadata.deletionTimestamp is None:
        back = original.decide_return(i, service, root, i.place)
        if back is not None:  # alone: what is remembered must not go before
            waiting = ops.Result(waiting_on="the Service as it was")
            return ops.Plan(stages=((back,),), result=waiting, owner=root.owner)
    return services.decide_removal(i, service)


def decide_move(case: Case) -> ops.Plan:
    """The proxy is to be made anew in another tailnet. What is remembered of the Service stays with the headless one, since
    the Secret goes."""
    rest = [dataclasses.replace(found, others=()) for found in case.inputs.proxies.values()]
    memory = diff.decide_apply(original.build_headless(case), case.world.children.headless)
    plan = services.decide_leftovers(case.inputs, rest)
    return dataclasses.replace(plan, stages=(*ops.stages([memory]), *plan.stages))
