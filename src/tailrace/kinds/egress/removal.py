"""Taking an egress away again: first the user's Service is what it was, then all that was made for it goes. Pure."""

from __future__ import annotations

import dataclasses

from tailrace.api import kube
from tailrace.fleet import services
from tailrace.fleet.world import root_of_service
from tailrace.kinds.egress import original
from tailrace.kinds.egress.inputs import Inputs
from tailrace.plan import ops


def decide_removal(i: Inputs, service: kube.Service) -> ops.Plan:
    """The Service is being deleted, or no longer leads out."""
    root = root_of_service(service)
    if service.metadata.deletionTimestamp is None:
        back = original.decide_return(i, service, root, i.place)
        if back is not None:  # alone: what is remembered must not go before
            waiting = ops.Result(waiting_on="the Service as it was")
            return ops.Plan(stages=((back,),), result=waiting, owner=root.owner)
    return services.decide_removal(i, service)


def decide_move(i: Inputs) -> ops.Plan:
    """Proxies that are to be made anew in another tailnet. What is remembered of the Service stays."""
    rest = [dataclasses.replace(found, others=()) for found in i.proxies.values()]
    return services.decide_leftovers(i, rest)
