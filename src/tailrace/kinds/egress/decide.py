"""Decide what to do about one egress Service: from everything that may be known to a plan. Pure and total.

    does not lead out any more ─► given back, then removal; being deleted ─► removal
    asks for what is not served, or wrongly ─► say so, touch nothing
    an older Service has the hostname, no privileged pods, no ProxyClass yet ─► say so
    name taken on the tailnet ─► replace the dead, or say so
    otherwise ─► children, key, device, rewrite, status: whatever is missing

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
from tailrace.fleet.world import World, find_place, is_egress, root_of_service
from tailrace.kinds.egress import original, removal, request, target, truth
from tailrace.kinds.egress.inputs import Case, Inputs
from tailrace.plan import ops
from tailrace.proxy import names as proxy_names
from tailrace.proxy import spec

INVALID = "unable to provision proxy resources: invalid Service: "
RECHECK = 30.0  # seconds until a world that no watch reports is looked at again
WAITS = frozenset({Reason.CLASS_NOT_READY, Reason.TAILNET_NOT_READY})


def decide(i: Inputs) -> ops.Plan:
    """The plan for this world; without operations when everything is as it should be."""
    service = i.service
    if service is None:
        return removal.decide_leftovers(i, tuple(i.proxies.values()))
    if service.metadata.deletionTimestamp is not None or not is_egress(service):
        return removal.decide_removal(i, service)
    wish = request.read_request(service, i.install.defaults)
    refusal = decide_refusal(i, service, wish)
    if refusal is not None:
        return refusal
    case = build_case(i, service, wish)
    if case.world.place.leftovers:
        return removal.decide_leftovers(i, case.world.place.leftovers)
    if case.world.moves:
        return removal.decide_move(i)
    return decide_proxy(case)


def build_case(i: Inputs, service: kube.Service, wish: request.Request) -> Case:
    world = World(
        install=i.install,
        root=root_of_service(service),
        wish=wish,
        mode=spec.Mode.KERNEL,
        place=find_place(i.proxies, proxy_names.build_child_name("svc", i.namespace, i.name)),
        tailnet=i.tailnet,
        proxy_class=i.proxy_class.found,
        now=i.now,
    )
    return Case(inputs=i, service=service, wish=wish, world=world)


# --- refusals: said on the object, nothing touched -------------------------------------------------------------


def decide_refusal(i: Inputs, service: kube.Service, wish: request.Request) -> ops.Plan | None:
    """The first thing that keeps this Service from leading anywhere."""
    if wish.later:
        return refuse(i, service, Reason.NOT_SERVED, "; ".join(wish.later), EventReason.NOT_SERVED)
    if wish.violations:
        message = INVALID + ", ".join(wish.violations)
        return refuse(i, service, Reason.INVALID_SERVICE, message, EventReason.INVALID_SERVICE)
    rival = find_older_rival(i, service)
    if rival is not None:
        message = (
            f'the hostname "{wish.hostname}" belongs to the older Service {rival.metadata.namespace}/'
            f"{rival.metadata.name}: set another {names.HOSTNAME} on one of the two"
        )
        return refuse(i, service, Reason.HOSTNAME_TAKEN, message, EventReason.NAME_CONFLICT)
    if not i.admission.privileged:
        message = (
            f"egress needs a privileged pod, and the cluster refuses one: {i.admission.refusal}. Let the namespace "
            f"{i.install.namespace} admit privileged pods (label pod-security.kubernetes.io/enforce: privileged)"
        )
        return refuse(i, service, Reason.MODE_REFUSED, message, EventReason.FAILED, recheck=RECHECK)
    if i.proxy_class.problem:
        return refuse(i, service, Reason.CLASS_NOT_READY, i.proxy_class.problem, EventReason.FAILED)
    return None


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
    official = dataclasses.replace(
        claim, reason=Reason.PROXY_PENDING if reason in WAITS else Reason.PROXY_INVALID
    )
    said = Claims(accepted=claim, official=(ConditionType.PROXY_READY, official))
    news = claims.changed(ConditionType.ACCEPTED, claim, root)
    status = claims.decide_status(said, root, i.now)
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
    """Whatever is missing between this world and a name in the cluster that leads out."""
    w = case.world
    if w.needs_key and not w.tailnet.known:
        return wait_for_list(case)
    conflict = naming.find_conflict(w) if w.needs_key else None
    if conflict is not None:
        message = naming.describe_conflict(w, conflict)
        plan = refuse(case.inputs, case.service, Reason.NAME_CONFLICT, message, EventReason.NAME_CONFLICT)
        waiting = ops.Result(waiting_on="the name")
        return dataclasses.replace(plan, result=waiting, tailnet=w.wish.tailnet)
    proxy = provision.build_spec(w, target.find_end(case))
    wanted = [original.build_headless(case), *provision.build_metrics(proxy)]
    told, quiet = truth.judge(case), proxy_truth.is_starting(w)
    status = None if told is None or quiet else claims.decide_status(told, w.root, w.now)
    return ops.Plan(
        stages=ops.stages(
            *provision.decide_proxy(w, proxy, early=provision.decide_others(w, wanted)),
            [original.decide_rewrite(case)],
            [status, *decide_events(case)],
        ),
        result=derive_result(w, told, quiet=quiet),
        owner=w.root.owner,
        interest=w.unsure or told is None or not (told.online and told.online.status),
        hurry=w.unsure,
        tailnet=w.wish.tailnet,
    )


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
        accepted=truth.judge_accepted(case.wish),
        provisioned=claim,
        official=(ConditionType.PROXY_READY, dataclasses.replace(claim, reason=Reason.PROXY_PENDING)),
    )
    status = claims.decide_status(said, w.root, w.now)
    waiting = ops.Result(waiting_on="the control plane")
    return dataclasses.replace(plan, stages=ops.stages([status]), result=waiting)


def decide_events(case: Case) -> list[ops.Op]:
    """Told when something changes, never again for the same world."""
    root = case.world.root
    news = claims.changed(ConditionType.ACCEPTED, truth.judge_accepted(case.wish), root)
    unknown = case.wish.unknown if news else ()
    told = [claims.emit(root, EventReason.UNKNOWN_ANNOTATION, text) for text in unknown]
    return [*told, *provision.decide_events(case.world)]
