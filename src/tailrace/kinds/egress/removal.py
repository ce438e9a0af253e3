"""Taking an egress away again: first the user's Service is what it was, then all that was made for it goes. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import datetime

from tailrace.api import kube
from tailrace.fleet import claims, removal
from tailrace.fleet.world import Children, find_place, root_of_service
from tailrace.kinds.egress import original
from tailrace.kinds.egress.inputs import Inputs
from tailrace.plan import ops
from tailrace.proxy import names as proxy_names


def decide_removal(i: Inputs, service: kube.Service) -> ops.Plan:
    """The Service is being deleted, or no longer leads out."""
    root, deleting = root_of_service(service), service.metadata.deletionTimestamp
    if deleting is None:
        place = find_place(i.proxies, proxy_names.build_child_name("svc", i.namespace, i.name))
        back = original.decide_return(i, service, root, place)
        if back is not None:  # alone: what is remembered must not go before
            waiting = ops.Result(waiting_on="the Service as it was")
            return ops.Plan(stages=((back,),), result=waiting, owner=root.owner)
    clear = None if deleting else claims.decide_clear(root)
    leaving = build_leaving(i, tuple(i.proxies.values()), deleting)
    return removal.decide_removal(leaving, last=[clear], final=removal.decide_unfinalize(root))


def decide_leftovers(i: Inputs, proxies: Sequence[Children]) -> ops.Plan:
    """Proxies without a Service: it went without us."""
    return removal.decide_removal(build_leaving(i, proxies, None))


def decide_move(i: Inputs) -> ops.Plan:
    """Proxies that are to be made anew in another tailnet. What is remembered of the Service stays."""
    return decide_leftovers(i, [dataclasses.replace(found, others=()) for found in i.proxies.values()])


def build_leaving(i: Inputs, proxies: Sequence[Children], since: datetime | None) -> removal.Leaving:
    return removal.Leaving(
        install=i.install,
        label=f"Service {i.namespace}/{i.name}",
        owner=proxy_names.build_labels("svc", i.namespace, i.name),
        proxies=proxies,
        tailnet=removal.find_tailnet(proxies),
        since=since,
        now=i.now,
    )
