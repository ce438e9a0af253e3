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

import dataclasses

from tailrace.api import kube, names
from tailrace.api.conditions import ConditionType, EventReason, Reason
from tailrace.fleet import claims, naming, provision
from tailrace.fleet import truth as proxy_truth
from tailrace.fleet.claims import Claim, Claims
from tailrace.fleet.world import World, find_place, root_of_service
from tailrace.kinds.service import mode, removal, request, truth
from tailrace.kinds.service.inputs import Case, Choice, Inputs
from tailrace.plan import ops
from tailrace.proxy import names as proxy_names
from tailrace.proxy import spec

INVALID = "unable to provision proxy resources: invalid Service: "
RECHECK = 30.0  # seconds until a world that no watch reports is looked at again


def decide(i: Inputs) -> ops.Plan:
    """The plan for this world; without operations when everything is as it should be."""
    if i.service is None:
        return removal.decide_leftovers(i, tuple(i.proxies.values()))
    wish = request.read_request(i.service, i.install.defaults)
    if i.service.metadata.deletionTimestamp is not None:
        return removal.decide_removal(i, i.service)
    if wish.later:
        return refuse(i, i.service, Reason.NOT_SERVED, "; ".join(wish.later), EventReason.NOT_SERVED)
    if wish.violations and (wish.exposed or names.EXPOSE in i.service.metadata.annotations):
        message = INVALID + ", ".join(wish.violations)
        return refuse(i, i.service, Reason.INVALID_SERVICE, message, EventReason.INVALID_SERVICE)
    if not wish.exposed:
        return removal.decide_removal(i, i.service)
    rival = find_older_rival(i, i.service)
    if rival is not None:
        message = (
            f'the hostname "{wish.hostname}" belongs to the older Service {rival.metadata.namespace}/'
            f"{rival.metadata.name}: set another {names.HOSTNAME} on one of the two"
        )
        return refuse(i, i.service, Reason.HOSTNAME_TAKEN, message, EventReason.NAME_CONFLICT)
    choice = mode.choose_mode(i, i.service, wish)
    if isinstance(choice, str):
        return refuse(i, i.service, Reason.MODE_REFUSED, choice, EventReason.FAILED, recheck=RECHECK)
    if i.proxy_class.problem:
        return refuse(i, i.service, Reason.CLASS_NOT_READY, i.proxy_class.problem, EventReason.FAILED)
    case = build_case(i, i.service, wish, choice)
    world = case.world
    if world.place.leftovers:
        return removal.decide_leftovers(i, world.place.leftovers)
    if world.moves:
        return removal.decide_leftovers(i, tuple(i.proxies.values()))
    return decide_proxy(case)


def build_case(i: Inputs, service: kube.Service, wish: request.Request, choice: Choice) -> Case:
    world = World(
        install=i.install,
        root=root_of_service(service),
        wish=wish,
        mode=choice.mode,
        place=find_place(i.proxies, proxy_names.build_child_name("svc", i.namespace, i.name)),
        tailnet=i.tailnet,
        proxy_class=i.proxy_class.found,
        now=i.now,
    )
    return Case(inputs=i, service=service, wish=wish, choice=choice, world=world)


# --- refusals: said on the object, nothing touched -------------------------------------------------------------


def refuse(
    i: Inputs,
    service: kube.Service,
    reason: Reason,
    message: str,
    event: EventReason,
    *,
    recheck: float | None = None,
) -> ops.Plan:
    """Say why not. What runs already keeps running: a typing error must not cut off traffic."""
    root = root_of_service(service)
    claim = Claim(status=False, reason=reason, message=message)
    waits = reason in {Reason.CLASS_NOT_READY, Reason.TAILNET_NOT_READY}
    official = dataclasses.replace(claim, reason=Reason.PROXY_PENDING if waits else Reason.PROXY_INVALID)
    said = Claims(accepted=claim, official=(ConditionType.PROXY_READY, official))
    news = claims.changed(ConditionType.ACCEPTED, claim, root)
    status = claims.decide_status(said, root, i.now, truth.read_fields(service, i.install.defaults))
    return ops.Plan(
        stages=ops.stages([status, claims.emit(root, event, message) if news else None]),
        result=ops.Result(waiting_on=f"a change ({reason})", requeue_after=recheck),
        owner=root.owner,
    )


def find_older_rival(i: Inputs, service: kube.Service) -> kube.Service | None:
    """The Service that has a better claim to the hostname: the oldest, then by namespace and name."""

    def rank(s: kube.Service) -> tuple[float, str, str]:
        made = s.metadata.creationTimestamp
        return (made.timestamp() if made else 0.0, s.metadata.namespace, s.metadata.name)

    oldest = min((*i.rivals, service), key=rank)
    return None if oldest is service else oldest


# --- the proxy -------------------------------------------------------------------------------------------------


def decide_proxy(case: Case) -> ops.Plan:
    """Whatever is missing between this world and a device that answers."""
    w = case.world
    if w.needs_key and not w.tailnet.known:
        return wait_for_list(case)
    conflict = naming.find_conflict(w) if w.needs_key else None
    if conflict is not None:
        return refuse_name(case, naming.describe_conflict(w, conflict))
    proxy = provision.build_spec(w, build_target(case))
    told, quiet = truth.judge(case), proxy_truth.is_starting(w)
    beside = provision.decide_others(w, provision.build_metrics(proxy))
    status = None if told is None or quiet else decide_status(case, told)
    return ops.Plan(
        stages=ops.stages(*provision.decide_proxy(w, proxy, early=beside), [status, *decide_events(case)]),
        result=derive_result(w, told, quiet=quiet),
        owner=w.root.owner,
        interest=w.unsure or told is None or not (told.online and told.online.status),
        hurry=w.unsure,
        tailnet=w.wish.tailnet,
    )


def decide_status(case: Case, told: Claims) -> ops.ApplyStatus | None:
    shown = truth.read_fields(case.service, case.inputs.install.defaults)
    return claims.decide_status(told, case.world.root, case.inputs.now, shown)


def derive_result(w: World, told: Claims | None, *, quiet: bool) -> ops.Result:
    if w.unsure or told is None:
        return ops.Result(waiting_on="the control plane's device list")
    ready = claims.derive_ready(told)
    if ready.status:
        return ops.SETTLED
    after = proxy_truth.QUIET.total_seconds() if quiet else None
    return ops.Result(waiting_on=str(ready.reason), requeue_after=after)


def wait_for_list(case: Case) -> ops.Plan:
    """No device list yet: without it a name cannot be checked, so no key is minted."""
    w = case.world
    plan = ops.Plan(
        result=ops.Result(waiting_on="the device list"),
        owner=w.root.owner,
        interest=True,
        tailnet=w.wish.tailnet,
    )
    if not w.tailnet.problem:
        return plan
    claim = proxy_truth.judge_unreachable(w, w.tailnet.problem)
    said = Claims(
        accepted=truth.judge_accepted(case.choice, case.wish),
        provisioned=claim,
        official=(ConditionType.PROXY_READY, dataclasses.replace(claim, reason=Reason.PROXY_PENDING)),
    )
    status = decide_status(case, said)
    waiting = ops.Result(waiting_on="the control plane")
    return dataclasses.replace(plan, stages=ops.stages([status]), result=waiting)


def refuse_name(case: Case, message: str) -> ops.Plan:
    plan = refuse(case.inputs, case.service, Reason.NAME_CONFLICT, message, EventReason.NAME_CONFLICT)
    return dataclasses.replace(plan, result=ops.Result(waiting_on="the name"), tailnet=case.wish.tailnet)


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


def decide_events(case: Case) -> list[ops.Op]:
    """Told when something changes, never again for the same world."""
    root, accepted = case.world.root, truth.judge_accepted(case.choice, case.wish)
    news = claims.changed(ConditionType.ACCEPTED, accepted, root)
    unknown = case.wish.unknown if news else ()
    told = [claims.emit(root, EventReason.UNKNOWN_ANNOTATION, text) for text in unknown]
    return [*told, *provision.decide_events(case.world)]
