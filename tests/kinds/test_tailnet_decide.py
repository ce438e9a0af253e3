"""What is said of a Tailnet, as a table; when it may go; and its row for people."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tailrace.api import kube, names
from tailrace.api.conditions import Reason
from tailrace.api.tailnet import Tailnet, TailnetCredentials, TailnetSpec, TailnetStatus
from tailrace.kinds.tailnet import decide, inputs, view
from tailrace.plan import ops
from tailrace.tailnet.port import Capability, Probe

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
EARLIER = datetime(2026, 1, 1, tzinfo=UTC)
COMPLETE = {"client_id": "k1", "client_secret": "hush"}
WELL = Probe(
    dialect="headscale-v2",
    server="https://hs.lab.example",
    version="v0.30.0",
    identity="OAuth client k1",
    reachable=True,
    authenticated=True,
    capabilities=frozenset({Capability.RENAME, Capability.ROUTES}),
)
SILENT = replace(WELL, reachable=False, authenticated=False, problem="Connection refused.")
REFUSED = replace(WELL, authenticated=False, problem="No token for OAuth client k1: client revoked")
NARROW = replace(
    WELL, missing=("auth_keys",), problem="OAuth client k1 lacks auth_keys: grant it on the control plane."
)


def build_tailnet(
    *, ready: tuple[str, str, str] | None = None, held: bool = True, going: bool = False
) -> Tailnet:
    """A Tailnet named lab with the Secret `lab-oauth`; `ready` is what stands on it."""
    meta = kube.ObjectMeta(
        name="lab",
        uid="u1",
        resourceVersion="5",
        generation=2,
        finalizers=("foreign/one", *((names.FINALIZER,) if held else ())),
        deletionTimestamp=EARLIER if going else None,
    )
    conditions: tuple[kube.Condition, ...] = ()
    if ready is not None:
        status, reason, message = ready
        conditions = (
            kube.Condition(
                type="TailnetReady",
                status=status,
                reason=reason,
                message=message,
                observedGeneration=2,
                lastTransitionTime=EARLIER,
            ),
        )
    return Tailnet(
        metadata=meta,
        spec=TailnetSpec(
            loginUrl="https://hs.lab.example", credentials=TailnetCredentials(secretName="lab-oauth")
        ),
        status=TailnetStatus(conditions=conditions),
    )


def build_inputs(**changes: Any) -> inputs.Inputs:
    base = inputs.Inputs(
        name="lab",
        namespace="tailscale",
        tailnet=build_tailnet(),
        secret=inputs.Found(keys=COMPLETE),
        probe=WELL,
        list_age=1.0,
        now=NOW,
    )
    return replace(base, **changes)


def find_op[T](plan: ops.Plan, kind: type[T]) -> T | None:
    return next((op for op in plan.ops if isinstance(op, kind)), None)


def find_condition(plan: ops.Plan) -> dict[str, Any]:
    applied = find_op(plan, ops.ApplyStatus)
    assert applied is not None, "nothing is said"
    (condition,) = applied.status["conditions"]
    return dict(condition)


READY = ("True", "TailnetValid", decide.describe(WELL))

TABLE: dict[str, tuple[dict[str, Any], tuple[str, str, str], float | None]] = {
    "no Secret": (
        {"secret": inputs.Found(keys=None), "probe": None},
        ("False", "InvalidSecret", 'referenced secret "lab-oauth" does not exist in namespace "tailscale"'),
        None,
    ),
    "empty Secret": (
        {"secret": inputs.Found(keys={}), "probe": None},
        ("False", "InvalidSecret", 'Secret "lab-oauth" is empty'),
        None,
    ),
    "no client id": (
        {"secret": inputs.Found(keys={"client_secret": "s"}), "probe": None},
        ("False", "InvalidSecret", 'Secret "lab-oauth" is missing the client_id field'),
        None,
    ),
    "half a Secret": (
        {"secret": inputs.Found(keys={"client_id": "k"}), "probe": None},
        (
            "False",
            "InvalidSecret",
            'Secret "lab-oauth" must contain either a client_secret or an audience field',
        ),
        None,
    ),
    "no CA": (
        {"secret": inputs.Found(keys=COMPLETE, ca_problem="it is not PEM"), "probe": None},
        ("False", "InvalidSecret", 'ca.crt of Secret "lab-oauth" is of no use: it is not PEM'),
        None,
    ),
    "Secrets may not be read": (
        {"secret": inputs.Found(known=False, trouble="secrets is forbidden"), "probe": None},
        (
            "False",
            "InvalidSecret",
            'Secret "lab-oauth" in namespace "tailscale" cannot be read: secrets is forbidden',
        ),
        decide.AWAIT_SECRET,
    ),
    "revoked": (
        {"probe": REFUSED},
        ("False", "InvalidOAuth", "No token for OAuth client k1: client revoked"),
        decide.RECHECK_REFUSED,
    ),
    "too narrow": (
        {"probe": NARROW},
        ("False", "InvalidOAuth", "OAuth client k1 lacks auth_keys: grant it on the control plane."),
        decide.RECHECK_REFUSED,
    ),
    "well but for one thing": (
        {"probe": replace(WELL, problem="no tag may be given: name one in the policy.")},
        ("False", "InvalidOAuth", "no tag may be given: name one in the policy."),
        decide.RECHECK_REFUSED,
    ),
    "never answered": (
        {"probe": SILENT, "list_age": None},
        (
            "False",
            "ControlPlaneUnreachable",
            "https://hs.lab.example does not answer: Connection refused.",
        ),
        decide.RECHECK_REFUSED,
    ),
    "well": (
        {},
        (
            "True",
            "TailnetValid",
            "https://hs.lab.example (headscale-v2 v0.30.0) knows us as OAuth client k1; it can: rename, routes",
        ),
        decide.RECHECK_VALID,
    ),
}


@pytest.mark.parametrize("case", TABLE)
def test_what_is_said(case: str) -> None:
    """Status, reason and message; and when to look again by itself."""
    changes, said, again = TABLE[case]
    decision = decide.decide(build_inputs(**changes))
    condition = find_condition(decision.plan)
    assert (condition["status"], condition["reason"], condition["message"]) == said
    assert condition["observedGeneration"] == 2
    assert condition["lastTransitionTime"] == "2026-01-02T03:04:05Z"
    assert decision.plan.result.requeue_after == again
    assert decision.problem == ("" if said[0] == "True" else said[2])
    assert "hush" not in str(decision)
    event = find_op(decision.plan, ops.Emit)
    assert event is not None
    assert (event.warning, event.message) == (said[0] == "False", said[2])


@pytest.mark.parametrize("case", TABLE)
def test_the_same_is_said_once(case: str) -> None:
    """No write and no event when it stands there already."""
    changes, said, _ = TABLE[case]
    decision = decide.decide(build_inputs(**changes, tailnet=build_tailnet(ready=said)))
    assert decision.plan.ops == ()


def test_a_new_one_is_held_before_anything_else() -> None:
    plan = decide.decide(build_inputs(tailnet=build_tailnet(held=False))).plan
    assert isinstance(plan.stages[0][0], ops.Finalize)
    assert find_op(plan, ops.ApplyStatus) is not None


def test_a_short_silence_changes_nothing() -> None:
    """A server that restarts makes no noise; one that is away for three minutes does."""
    before = build_tailnet(ready=READY)
    short = decide.decide(build_inputs(probe=SILENT, tailnet=before, list_age=10.0))
    assert (short.plan.ops, short.problem) == ((), "")
    assert short.plan.result.requeue_after == 30.0
    late = decide.decide(build_inputs(probe=SILENT, tailnet=before, list_age=175.0))
    assert late.plan.result.requeue_after == 5.0
    long = decide.decide(build_inputs(probe=SILENT, tailnet=before, list_age=181.0))
    assert find_condition(long.plan)["reason"] == Reason.CONTROL_PLANE_UNREACHABLE


def test_a_short_silence_is_told_where_not_all_was_well_before() -> None:
    """There is nothing to be patient for."""
    before = build_tailnet(ready=("False", "InvalidOAuth", "revoked"))
    plan = decide.decide(build_inputs(probe=SILENT, tailnet=before, list_age=10.0)).plan
    assert find_condition(plan)["reason"] == Reason.CONTROL_PLANE_UNREACHABLE


def test_a_server_that_is_silent_now_keeps_no_user_from_saying_what_it_misses() -> None:
    """Its devices are known, as of then; only where they never were there is nothing to work with."""
    known = decide.decide(build_inputs(probe=SILENT, list_age=500.0))
    never = decide.decide(build_inputs(probe=SILENT, list_age=None))
    assert (known.problem, never.problem) == (
        "",
        "https://hs.lab.example does not answer: Connection refused.",
    )


@pytest.mark.parametrize(
    "ready, problem",
    [(None, decide.NOT_CHECKED), (READY, ""), (("False", "InvalidOAuth", "revoked"), "revoked")],
)
def test_until_it_is_checked_what_stands_there_counts(
    ready: tuple[str, str, str] | None, problem: str
) -> None:
    """An operator that starts anew makes nobody wait who did not wait before."""
    found = build_inputs(
        tailnet=build_tailnet(ready=ready), secret=inputs.Found(known=False), probe=None, list_age=None
    )
    decision = decide.decide(found)
    assert (decision.plan.ops, decision.problem) == ((), problem)
    assert decision.plan.result.waiting_on == "Secret tailscale/lab-oauth"


def test_the_time_of_the_last_change_moves_with_the_status_only() -> None:
    other = ("True", "TailnetValid", "another server")
    plan = decide.decide(build_inputs(tailnet=build_tailnet(ready=other))).plan
    assert find_condition(plan)["lastTransitionTime"] == "2026-01-01T00:00:00Z"


def test_what_uses_it_keeps_it_and_is_named() -> None:
    users = tuple(f"Service demo/s{n}" for n in range(7))
    decision = decide.decide(build_inputs(tailnet=build_tailnet(ready=READY, going=True), users=users))
    assert find_op(decision.plan, ops.Unfinalize) is None
    condition = find_condition(decision.plan)
    assert (condition["status"], condition["reason"]) == ("True", "InUse")
    assert condition["message"] == (
        "it is deleted as soon as nothing uses it; used by Service demo/s0, Service demo/s1, "
        "Service demo/s2, Service demo/s3, Service demo/s4 and 2 more"
    )
    assert (decision.problem, decision.plan.result.requeue_after) == ("", decide.LOOK_AGAIN)
    said = (condition["status"], condition["reason"], condition["message"])
    for probe in (WELL, None):
        again = build_inputs(tailnet=build_tailnet(ready=said, going=True), users=users, probe=probe)
        assert decide.decide(again).plan.ops == ()


def test_a_refused_credential_is_told_also_while_it_is_kept() -> None:
    found = build_inputs(tailnet=build_tailnet(going=True), users=("Connector office",), probe=REFUSED)
    condition = find_condition(decide.decide(found).plan)
    assert (condition["status"], condition["reason"]) == ("False", "InvalidOAuth")
    assert "client revoked; it is deleted as soon as" in condition["message"]
    assert "Connector office" in condition["message"]


def test_one_that_nobody_uses_goes_whatever_its_credential() -> None:
    """Other people's finalizers stay."""
    for probe in (WELL, REFUSED, SILENT, None):
        plan = decide.decide(build_inputs(tailnet=build_tailnet(going=True), probe=probe)).plan
        assert plan.ops == (
            ops.Unfinalize(
                ref=ops.Ref(kind="Tailnet", namespace="", name="lab"),
                resource_version="5",
                keep=("foreign/one",),
            ),
        )
    assert decide.decide(build_inputs(tailnet=build_tailnet(going=True, held=False))).plan.ops == ()


def test_one_that_is_gone_is_nothing_to_do() -> None:
    assert decide.decide(build_inputs(tailnet=None)).plan == ops.Plan()


def test_a_secret_is_in_no_repr() -> None:
    secret = inputs.CredentialSecret(
        metadata=kube.ObjectMeta(name="lab-oauth"), data={"client_secret": kube.encode_key("hush")}
    )
    assert inputs.decode_keys(secret) == {"client_secret": "hush"}
    assert inputs.decode_keys(None) is None
    for shown in (repr(secret), repr(build_inputs()), repr(inputs.Found(keys=COMPLETE))):
        assert "hush" not in shown
        assert kube.encode_key("hush") not in shown


def test_its_row_says_which_server_and_whether_it_can_be_used() -> None:
    row = view.build_row(build_tailnet(ready=READY))
    assert (row.object, row.urls) == ("tailnet/lab", ("https://hs.lab.example",))
    assert (row.ready, row.reason) == ("True", "TailnetValid")
    new = view.build_row(build_tailnet())
    assert (new.ready, new.reason) == ("", "Pending")
