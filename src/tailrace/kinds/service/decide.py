"""Decide what to do about one Service: from everything that may be known to a plan. Pure and total.

    not exposed or being deleted ─► removal
    asks for what is not served, or wrongly ─► say so, touch nothing
    an older Service has the hostname ─► say so
    its ProxyClass or Tailnet is not there yet ─► say so, wait
    name taken on the tailnet ─► replace the dead, or say so
    otherwise ─► children, key, device, status: whatever is missing

A crash between any two operations leaves a world that has its own row here or in `fleet.provision`; there is no other
recovery code.
"""

from __future__ import annotations

from tailrace.api import kube, names
from tailrace.api.conditions import Reason
from tailrace.fleet import claims, naming, progress, provision, refusal, services
from tailrace.fleet import truth as proxy_truth
from tailrace.fleet.refusal import Refusal
from tailrace.fleet.world import Choice, root_of_service
from tailrace.kinds.service import mode, request, truth
from tailrace.kinds.service.inputs import Case, Inputs
from tailrace.plan import ops
from tailrace.proxy import spec


def decide(i: Inputs) -> ops.Plan:
    """The plan for this world; without operations when everything is as it should be."""
    service = i.service
    if service is None:
        return services.decide_leftovers(i, tuple(i.proxies.values()))
    wish = request.read_request(service, i.install.defaults)
    means_it = wish.exposed or names.EXPOSE in service.metadata.annotations
    if service.metadata.deletionTimestamp is not None:
        return services.decide_removal(i, service)
    wrong = services.find_unserved(wish) or (services.find_invalid(wish) if means_it else None)
    if wrong is not None:
        return refuse(i, service, wrong)
    if not wish.exposed:
        return services.decide_removal(i, service)
    choice = choose(i, service, wish)
    if isinstance(choice, Refusal):
        return refuse(i, service, choice)
    case = build_case(i, service, wish, choice)
    if case.world.place.leftovers:
        return services.decide_leftovers(i, case.world.place.leftovers)
    if case.world.moves:
        return services.decide_leftovers(i, tuple(i.proxies.values()))
    return decide_proxy(case)


def choose(i: Inputs, service: kube.Service, wish: request.Request) -> Choice | Refusal:
    """The mode, or the first thing that keeps this Service from being exposed."""
    if rival := services.find_rival(i, service, wish.hostname):
        return rival
    choice = mode.choose_mode(i, service, wish)
    if isinstance(choice, str):
        return Refusal(reason=Reason.MODE_REFUSED, message=choice, recheck=refusal.RECHECK)
    return refusal.find_missing(i.proxy_class, i.tailnet, wish.tailnet) or choice


def refuse(i: Inputs, service: kube.Service, why: Refusal) -> ops.Plan:
    shown = truth.read_fields(service, i.install.defaults)
    return refusal.refuse(root_of_service(service), why, i.now, shown=shown)


def build_case(i: Inputs, service: kube.Service, wish: request.Request, choice: Choice) -> Case:
    world = services.build_world(i, service, wish, choice.mode)
    return Case(inputs=i, service=service, wish=wish, choice=choice, world=world)


# --- the proxy -------------------------------------------------------------------------------------------------


def decide_proxy(case: Case) -> ops.Plan:
    """Whatever is missing between this world and a device that answers."""
    w, accepted = case.world, truth.judge_accepted(case)
    shown = truth.read_fields(case.service, case.inputs.install.defaults)
    if w.needs_key and not w.tailnet.known:
        return progress.wait_for_list(w, accepted, shown=shown)
    conflict = naming.find_conflict(w) if w.needs_key else None
    if conflict is not None:
        return refusal.refuse_name(w, conflict, shown)
    proxy = provision.build_spec(w, build_target(case))
    beside = provision.decide_others(w.children.others, provision.build_metrics(proxy))
    told, quiet = truth.judge(case), proxy_truth.is_starting(w)
    status = None if told is None or quiet else claims.decide_status(told, w.root, w.now, shown)
    stages = [
        *provision.decide_proxy(w, proxy, early=beside),
        [status, *services.decide_events(w, case.wish, accepted)],
    ]
    return progress.build_plan(w, stages, told, quiet=quiet)


def build_target(case: Case) -> spec.Target:
    meta, wanted, backend = case.service.metadata, case.service.spec, case.wish.backend
    if case.choice.mode is spec.Mode.KERNEL:
        external = backend is request.Backend.EXTERNAL
        return spec.DnsName(name=wanted.externalName) if external else spec.Address(ip=wanted.clusterIP)
    match backend:
        case request.Backend.CLUSTER_IP:
            host = wanted.clusterIP
        case request.Backend.EXTERNAL:
            host = wanted.externalName
        case request.Backend.HEADLESS:
            host = f"{meta.name}.{meta.namespace}.svc.{case.inputs.install.cluster_domain}"
    headless = backend is request.Backend.HEADLESS
    return spec.Forwards(
        ports=tuple(
            spec.Forward(
                port=p.port, host=host, target=find_target_port(case.inputs, p) if headless else p.port
            )
            for p in wanted.ports
        ),
        proxy_protocol=case.wish.proxy_protocol,
    )


def find_target_port(i: Inputs, wanted: kube.ServicePort) -> int:
    """A headless Service's name leads to the pods themselves, so the port is theirs, not the Service's."""
    if isinstance(wanted.targetPort, int):
        return wanted.targetPort or wanted.port
    named = (
        p.port
        for s in i.slices
        for p in s.ports or ()
        if (p.name or "") == wanted.name and p.port is not None
    )
    return next(named, wanted.port)
