"""What to say about a Tailnet, and when it may go. Pure.

| what is so                                | TailnetReady                   | looked at again           |
| ----------------------------------------- | ------------------------------ | ------------------------- |
| the Secret is missing or incomplete       | False, InvalidSecret           | when the Secret changes   |
| its credential is refused, or may too little | False, InvalidOAuth         | after 30 s                |
| nobody answers, for three minutes or ever | False, ControlPlaneUnreachable | after 30 s                |
| nobody answers, but just now somebody did | as it was                      | when three minutes are over |
| all is well                               | True, TailnetValid             | after 10 min              |
| it shall go, and something uses it        | reason InUse; who, as message  | after 15 s                |

The shared device list asks more often: what it learns to the contrary has the Tailnet looked at at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tailrace.api import kube
from tailrace.api.conditions import ConditionType, EventReason, Reason
from tailrace.api.tailnet import DEFINITION, Tailnet
from tailrace.fleet import claims, removal
from tailrace.fleet.claims import Claim
from tailrace.fleet.world import Root
from tailrace.kinds.tailnet.inputs import Inputs
from tailrace.plan import ops
from tailrace.tailnet.port import Probe

PATIENCE = 180.0
"""Seconds for which a control plane may be silent before a Tailnet that was ready is not."""

RECHECK_REFUSED, RECHECK_VALID = 30.0, 600.0
LOOK_AGAIN = 15.0
"""Seconds after which it is looked whether something still uses a Tailnet that shall go."""

AWAIT_SECRET = 2.0
NOT_CHECKED = "it has not been checked yet"
SHOWN_USERS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What to do, and why the membership cannot be used ("" when it can)."""

    plan: ops.Plan
    problem: str


def decide(inputs: Inputs) -> Decision:
    """All that follows from the inputs."""
    tailnet = inputs.tailnet
    if tailnet is None:
        return Decision(plan=ops.Plan(), problem="")
    root, claim = build_root(tailnet), judge(inputs)
    problem = explain(inputs, claim)
    going = tailnet.metadata.deletionTimestamp is not None
    if going and not (root.held and inputs.users):
        return Decision(plan=ops.Plan(stages=ops.stages([removal.decide_unfinalize(root)])), problem=problem)
    told = hold(inputs, root, claim) if going else claim
    stages = ops.stages(
        [None if going or root.held else ops.Finalize(ref=root.ref)],
        decide_telling(told, root, inputs.now),
    )
    return Decision(plan=ops.Plan(stages=stages, result=schedule(inputs, claim, going)), problem=problem)


def judge(inputs: Inputs) -> Claim | None:
    """What is true of the Tailnet; None while there is nothing new to say."""
    assert inputs.tailnet is not None
    probe = inputs.probe
    if problem := inputs.secret.explain(inputs.tailnet.spec.credentials.secretName, inputs.namespace):
        return Claim(status=False, reason=Reason.INVALID_SECRET, message=problem)
    if probe is None or (not probe.reachable and is_patient(inputs)):
        return None
    if not probe.reachable:
        message = f"{probe.server} does not answer: {probe.problem or 'no word'}"
        return Claim(status=False, reason=Reason.CONTROL_PLANE_UNREACHABLE, message=message)
    if not probe.ok or probe.problem:
        message = probe.problem or f"{probe.server} refuses {probe.identity}"
        return Claim(status=False, reason=Reason.INVALID_OAUTH, message=message)
    return Claim(status=True, reason=Reason.TAILNET_VALID, message=describe(probe))


def is_patient(inputs: Inputs) -> bool:
    """Whether the silence is short, and all was well before it."""
    before = find_before(inputs)
    return (
        before is not None
        and before.status == "True"
        and inputs.list_age is not None
        and inputs.list_age < PATIENCE
    )


def describe(probe: Probe) -> str:
    """Which server, what it is, who we are, what may be done: one line, the same for the same."""
    kind = f"{probe.dialect} {probe.version}" if probe.version else probe.dialect
    can = ", ".join(sorted(probe.capabilities)) or "nothing beyond keys and devices"
    return f"{probe.server} ({kind}) knows us as {probe.identity}; it can: {can}"


def explain(inputs: Inputs, claim: Claim | None) -> str:
    """Why nobody can use the membership; "" when they can. A server that is silent now and has answered before is no
    reason: who uses it says by itself what it misses."""
    if claim is None:
        before = find_before(inputs)
        if before is None or before.status == "Unknown":
            return NOT_CHECKED
        return "" if before.status == "True" else before.message
    silent = claim.reason is Reason.CONTROL_PLANE_UNREACHABLE and inputs.list_age is not None
    return "" if claim.status or silent else claim.message


def hold(inputs: Inputs, root: Root, claim: Claim | None) -> Claim | None:
    """What is said while something keeps a Tailnet that shall go."""
    before = find_before(inputs)
    users = ", ".join(inputs.users[:SHOWN_USERS])
    more = len(inputs.users) - SHOWN_USERS
    used = f"it is deleted as soon as nothing uses it; used by {users}" + (
        f" and {more} more" if more > 0 else ""
    )
    if claim is not None and not claim.status:
        return Claim(status=False, reason=claim.reason, message=f"{claim.message}; {used}")
    if claim is None and before is not None and before.status != "True":
        return None
    return Claim(status=True if claim or before else None, reason=Reason.TAILNET_IN_USE, message=used)


def decide_telling(claim: Claim | None, root: Root, now: datetime) -> tuple[ops.Op | None, ...]:
    """Status and event, each where it says something new."""
    if claim is None:
        return ()
    return claims.decide_condition(ConditionType.TAILNET_READY, claim, root, now), decide_event(claim, root)


def decide_event(claim: Claim, root: Root) -> ops.Emit | None:
    if not claims.changed(ConditionType.TAILNET_READY, claim, root):
        return None
    if claim.reason is Reason.TAILNET_IN_USE:
        return claims.emit(root, EventReason.TAILNET_IN_USE, claim.message)
    if claim.status:
        return claims.emit(root, EventReason.TAILNET_READY, claim.message, warning=False)
    return claims.emit(root, EventReason.TAILNET_NOT_READY, claim.message)


def schedule(inputs: Inputs, claim: Claim | None, going: bool) -> ops.Result:
    """When to look again if nothing happens."""
    assert inputs.tailnet is not None
    if going:
        return ops.Result(waiting_on="its users", requeue_after=LOOK_AGAIN)
    if not inputs.secret.known:
        name = inputs.tailnet.spec.credentials.secretName
        return ops.Result(waiting_on=f"Secret {inputs.namespace}/{name}", requeue_after=AWAIT_SECRET)
    if claim is None:
        left = PATIENCE - (inputs.list_age or 0.0)
        return ops.Result(waiting_on="the control plane", requeue_after=min(max(left, 1.0), RECHECK_REFUSED))
    if claim.status:
        return ops.Result(requeue_after=RECHECK_VALID)
    if claim.reason is Reason.INVALID_SECRET:
        return ops.SETTLED
    return ops.Result(waiting_on="the control plane", requeue_after=RECHECK_REFUSED)


def build_root(tailnet: Tailnet) -> Root:
    return Root(
        ref=ops.Ref(kind=DEFINITION.kind, namespace="", name=tailnet.metadata.name),
        api_version=f"{DEFINITION.group}/{DEFINITION.version}",
        parent="",
        meta=tailnet.metadata,
        conditions=tailnet.status.conditions,
    )


def find_before(inputs: Inputs) -> kube.Condition | None:
    conditions = inputs.tailnet.status.conditions if inputs.tailnet else ()
    return kube.find_condition(conditions, ConditionType.TAILNET_READY)
