"""Decide what to do about one egress Service: from everything that may be known to a plan. Pure and total.

    does not lead out any more ─► given back, then removal; being deleted ─► removal
    asks for what is not served, or wrongly ─► say so; what runs goes on
    an older Service has the hostname, or no privileged pods ─► say so
    its ProxyClass or Tailnet is not there yet ─► say so, wait
    name taken on the tailnet ─► replace the dead, or say so
    its name in the cluster has not the family of a literal target ─► that first
    otherwise ─► children, key, device, rewrite, status: whatever is missing

A crash between any two operations leaves a world that has its own row here or in `fleet.provision`; there is no other
recovery code.
"""

from __future__ import annotations

import dataclasses

from tailrace.api import kube
from tailrace.api.conditions import Reason
from tailrace.fleet import claims, naming, progress, provision, refusal, services
from tailrace.fleet import truth as proxy_truth
from tailrace.fleet.refusal import Refusal
from tailrace.fleet.world import is_egress, root_of_service
from tailrace.kinds.egress import original, removal, request, target, truth
from tailrace.kinds.egress.inputs import Case, Inputs
from tailrace.plan import ops
from tailrace.proxy import spec


def decide(i: Inputs) -> ops.Plan:
    """The plan for this world; without operations when everything is as it should be."""
    service = i.service
    if service is None:
        return services.decide_leftovers(i, tuple(i.proxies.values()))
    if service.metadata.deletionTimestamp is not None or not is_egress(service):
        return removal.decide_removal(i, service)
    wish = request.read_request(service, i.install.defaults)
    wrong = find_refusal(i, service, wish)
    if wrong is not None:
        again = original.decide_again(build_case(i, service, wish))
        plan = refusal.refuse(root_of_service(service), wrong, i.now)
        return dataclasses.replace(plan, stages=(*ops.stages([again]), *plan.stages))
    case = build_case(i, service, wish)
    if case.world.place.leftovers:
        return services.decide_leftovers(i, case.world.place.leftovers)
    if case.world.moves:
        return original.decide_family(case) if original.lacks_family(case) else removal.decide_move(case)
    return decide_proxy(case)


def build_case(i: Inputs, service: kube.Service, wish: request.Request) -> Case:
    world = services.build_world(i, service, wish, spec.Mode.KERNEL)
    return Case(inputs=i, service=service, wish=wish, world=world)


def find_refusal(i: Inputs, service: kube.Service, wish: request.Request) -> Refusal | None:
    """The first thing that keeps this Service from leading anywhere."""
    return (
        services.find_unserved(wish)
        or services.find_invalid(wish)
        or services.find_rival(i, service, wish.hostname)
        or find_unprivileged(i)
        or refusal.find_missing(i.proxy_class, i.tailnet, wish.tailnet)
    )


def find_unprivileged(i: Inputs) -> Refusal | None:
    if i.admission.privileged:
        return None
    message = (
        f"egress needs a privileged pod, and the cluster refuses one: {i.admission.refusal}. To have it, "
        f"{refusal.tell_how_to_admit(i.install.namespace)}"
    )
    return Refusal(reason=Reason.MODE_REFUSED, message=message, recheck=refusal.RECHECK)


def decide_proxy(case: Case) -> ops.Plan:
    """Whatever is missing between this world and a name in the cluster that leads out."""
    w, accepted = case.world, truth.judge_accepted(case.wish)
    if w.needs_key and not w.tailnet.known:
        return progress.wait_for_list(w, accepted)
    conflict = naming.find_conflict(w) if w.needs_key else None
    if conflict is not None:
        return refusal.refuse_name(w, conflict)
    proxy = provision.build_spec(w, target.find_end(case))
    wanted = [original.build_headless(case), *provision.build_metrics(proxy)]
    beside = provision.decide_others(w.children.others, wanted)
    told, quiet = truth.judge(case), proxy_truth.is_starting(w)
    status = None if told is None or quiet else claims.decide_status(told, w.root, w.now)
    first, early = (beside, ()) if original.lacks_family(case) else ((), beside)
    stages = [
        first,
        *provision.decide_proxy(w, proxy, early=early, kept=original.remember(case)),
        [original.decide_rewrite(case)],
        [status, *services.decide_events(w, case.wish, accepted)],
    ]
    return progress.build_plan(w, stages, told, quiet=quiet)
