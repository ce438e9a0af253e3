"""Decide what to do about one Connector: from everything that may be known to a plan. Pure and total.

    gone or being deleted ─► removal
    asks wrongly, or for what is not to be had ─► say so, touch nothing
    its ProxyClass or Tailnet is not there yet ─► say so, wait
    another operator's workload holds the Secrets ─► it stops first
    otherwise ─► each replica's children, key, device; then what is too many; then approval; then the status

Routes and hostnames stand in the Secrets' configuration, which a running proxy reads again: changing them restarts nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from datetime import timedelta

from tailrace.api import kube
from tailrace.api.conditions import ConditionType, EventReason, Reason
from tailrace.api.connector import Connector
from tailrace.fleet import claims, naming, progress, provision, refusal
from tailrace.fleet import truth as proxy_truth
from tailrace.fleet.claims import Claim, Claims
from tailrace.fleet.refusal import Refusal
from tailrace.fleet.world import Choice, Tailnet, World
from tailrace.kinds.connector import budget, mode, removal, request, rolling, routes, truth
from tailrace.kinds.connector.inputs import Case, Inputs
from tailrace.kinds.connector.place import find_places
from tailrace.plan import ops
from tailrace.proxy import spec

INVALID = "Connector is invalid: "
FRESH = timedelta(minutes=10)  # for so long somebody may be about to approve: the device list is asked often

UNKNOWN = Tailnet(known=False, fresh=False)


def decide(i: Inputs) -> ops.Plan:
    """The plan for this world; without operations when everything is as it should be."""
    if i.connector is None:
        return removal.decide_leftovers(i, removal.list_all(i))
    if i.connector.metadata.deletionTimestamp is not None:
        return removal.decide_removal(i, i.connector)
    wish = request.read_request(i.connector, i.install.defaults)
    choice = choose(i, wish)
    if isinstance(choice, Refusal):
        shown = truth.read_fields(i.connector)
        return refusal.refuse(truth.build_root(i.connector), choice, i.now, fields=shown, shown=shown)
    case = build_case(i, i.connector, wish, choice)
    if case.places.foreign:
        return removal.decide_leftovers(i, case.places.foreign)
    if any(w.moves for w in case.worlds):
        return removal.decide_leftovers(i, removal.list_all(i))
    return decide_proxies(case)


def choose(i: Inputs, wish: request.Request) -> Choice | Refusal:
    """The mode, or the first thing that keeps this Connector from routing."""
    if wish.violations:
        return Refusal(
            reason=Reason.CONNECTOR_INVALID,
            message=INVALID + "; ".join(wish.violations),
            event=EventReason.INVALID_CONNECTOR,
        )
    choice = mode.choose_mode(i, wish)
    if isinstance(choice, str):
        return Refusal(reason=Reason.MODE_REFUSED, message=choice, recheck=refusal.RECHECK)
    return refusal.find_missing(i.proxy_class, i.tailnet, wish.tailnet) or choice


def build_case(i: Inputs, connector: Connector, wish: request.Request, choice: Choice) -> Case:
    places = find_places(i.proxies, i.name, wish.replicas)
    root = truth.build_root(connector)
    worlds = tuple(
        World(
            install=i.install,
            root=root,
            wish=wish.build_wish(number),
            mode=choice.mode,
            place=where,
            tailnet=i.tailnets[number] if number < len(i.tailnets) else UNKNOWN,
            proxy_class=i.proxy_class.found,
            now=i.now,
        )
        for number, where in enumerate(places.replicas)
    )
    return Case(
        inputs=i, connector=connector, root=root, wish=wish, choice=choice, places=places, worlds=worlds
    )


# --- the proxies -----------------------------------------------------------------------------------------------


def decide_proxies(case: Case) -> ops.Plan:
    """Whatever is missing between this world and devices that route."""
    if any(w.needs_key and not w.tailnet.known for w in case.worlds):
        fields, shown = truth.build_fields(case), truth.read_fields(case.connector)
        return progress.wait_for_list(case.worlds[0], truth.judge_accepted(case), fields=fields, shown=shown)
    taken = find_conflicts(case)
    stages = [*decide_replicas(case, frozenset(taken)), [decide_finalizer(case), *decide_beside(case)]]
    surplus = removal.decide_leftovers(case.inputs, case.places.surplus)
    told = truth.judge(case)
    if told is not None and taken:
        told = dataclasses.replace(told, accepted=judge_taken(taken))
    quiet = bool(case.worlds) and not taken and all(proxy_truth.is_starting(w) for w in case.worlds)
    status = None if told is None or quiet else decide_status(case, told)
    return ops.Plan(
        stages=ops.stages(
            *stages,
            *surplus.stages,
            *decide_approval(case),
            [status, *decide_events(case, told if status else None, taken)],
        ),
        result=derive_result(case, told, surplus, quiet=quiet),
        owner=case.root.owner,
        interest=any(w.unsure for w in case.worlds) or told is None or expects(case, told),
        hurry=any(w.unsure for w in case.worlds),
        tailnet=case.wish.tailnet,
    )


def decide_finalizer(case: Case) -> ops.Op | None:
    return None if case.root.held else ops.Finalize(ref=case.root.ref)


def decide_replicas(case: Case, taken: frozenset[int]) -> list[list[ops.Op | None]]:
    """The stages of all replicas side by side; those whose names are taken rest."""
    proxies = [build_spec(case, w, number) for number, w in enumerate(case.worlds)]
    held = rolling.find_held(case.worlds, proxies)
    merged: list[list[ops.Op | None]] = []
    for number, w in enumerate(case.worlds):
        if number in taken:
            continue
        if number in held:
            waiting = rolling.hold(w)
            mine = provision.decide_proxy(waiting, build_spec(case, waiting, number), hold=True)
        else:
            mine = provision.decide_proxy(w, proxies[number])
        for stage, ops_ in enumerate(mine):
            if stage == len(merged):
                merged.append([])
            merged[stage] += (op for op in ops_ if not isinstance(op, ops.Finalize))
    return merged


def build_spec(case: Case, w: World, number: int) -> spec.ProxySpec:
    target = spec.Router(routes=case.wish.routes, app_connector=case.wish.app_connector)
    return dataclasses.replace(provision.build_spec(w, target), replica=str(number))


def decide_beside(case: Case) -> list[ops.Op | None]:
    """What stands beside the proxies: budget and metrics."""
    wanted: list[ops.Manifest] = []
    for number, w in enumerate(case.worlds):
        wanted += provision.build_metrics(build_spec(case, w, number))
    if len(case.worlds) > 1:
        root, home = case.root, case.inputs.install.namespace
        base = case.places.replicas[0].name.rpartition("-")[0]
        wanted.append(budget.build_budget(base, home, root.owner, root.meta.uid))
    return provision.decide_others(case.places.others, wanted)


def decide_approval(case: Case) -> list[Sequence[ops.Op | None]]:
    """Approve the routes of every device, where that was asked for and is possible. It comes before the status: when it
    is refused, the status tells that."""
    found = [op for w in case.worlds if (op := build_approval(case, w)) is not None]
    if not found:
        return []
    told = [
        claims.emit(
            case.root,
            EventReason.ROUTES_APPROVED,
            f"approved {', '.join(op.routes)} on device {op.device}",
            warning=False,
        )
        for op in found
    ]
    return [found, told]


def build_approval(case: Case, w: World) -> ops.ApproveRoutes | None:
    """Exactly the routes that it advertises; of an app connector also what it has found by itself."""
    wanted, device = case.wish.routes, w.device
    if not (case.wish.approve and case.tailnet.can_route and wanted) or device is None or w.needs_key:
        return None
    if case.wish.app_connector:
        wanted = routes.sort((*wanted, *device.enabled_routes))
    if not routes.needs_approval(wanted, device):
        return None
    return ops.ApproveRoutes(device=device.id, routes=wanted)


def decide_status(case: Case, told: Claims) -> ops.ApplyStatus | None:
    shown = truth.read_fields(case.connector)
    return claims.decide_status(told, case.root, case.inputs.now, shown)


def expects(case: Case, told: Claims) -> bool:
    """Whether the control plane is about to say something new: a device comes, or somebody approves routes soon."""
    if any(proxy_truth.is_expected(w) for w in case.worlds):
        return True
    if told.online is None or not told.online.status or claims.derive_ready(told).status:
        return False
    before = kube.find_condition(case.connector.status.conditions, ConditionType.ROUTES_APPROVED)
    since = before.lastTransitionTime if before is not None and before.status != "True" else None
    return since is None or case.inputs.now - since < FRESH


def derive_result(case: Case, told: Claims | None, surplus: ops.Plan, *, quiet: bool) -> ops.Result:
    found = progress.derive_result(told, case.worlds, quiet=quiet)
    if told is None or found.requeue_after is not None:
        return found
    ready = claims.derive_ready(told)
    if ready.status:
        return surplus.result
    # What we may ask for is learnt from time to time, and no watch reports it.
    connected = told.online is not None and told.online.status
    unasked = ready.reason is Reason.ROUTES_UNKNOWN or (connected and expects(case, told))
    return ops.Result(waiting_on=found.waiting_on, requeue_after=refusal.RECHECK if unasked else None)


# --- names that are taken --------------------------------------------------------------------------------------


def find_conflicts(case: Case) -> dict[int, str]:
    """The replicas that cannot join since their names belong to other devices, and whose they are."""
    found = {}
    for number, w in enumerate(case.worlds):
        conflict = naming.find_conflict(w) if w.needs_key else None
        if conflict is not None:
            found[number] = naming.describe_conflict(w, conflict)
    return found


def judge_taken(taken: dict[int, str]) -> Claim:
    return Claim(status=False, reason=Reason.NAME_CONFLICT, message="; ".join(taken.values()))


def decide_events(case: Case, told: Claims | None, taken: Collection[int]) -> list[ops.Op]:
    """Told when something changes, never again for the same world. `told` is what the status says from now on."""
    root = case.root
    found: list[ops.Op] = []
    if told is not None and claims.changed(ConditionType.ACCEPTED, told.accepted, root):
        if not told.accepted.status:
            found.append(claims.emit(root, EventReason.NAME_CONFLICT, told.accepted.message))
        overlaps = truth.describe_overlaps(case)
        found += [claims.emit(root, EventReason.ROUTES_OVERLAP, text) for text in overlaps]
    for number, w in enumerate(case.worlds):
        if number not in taken:
            found += provision.decide_events(w)
    return found
