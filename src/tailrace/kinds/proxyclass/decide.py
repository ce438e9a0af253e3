"""Decide what to say about a ProxyClass. Pure and total.

    valid ─► ProxyClassReady True, with what its author should know
    not valid ─► False, what is wrong and how to write it; proxies keep the last state they had

It holds nothing: a class may be deleted at any time, and those who use it say that it is missing.
"""

from __future__ import annotations

from tailrace.api import proxyclass
from tailrace.api.conditions import ConditionType, EventReason, Reason
from tailrace.fleet import claims, removal
from tailrace.fleet.claims import Claim
from tailrace.fleet.world import Root
from tailrace.kinds.proxyclass import validate, warn
from tailrace.kinds.proxyclass.inputs import Inputs
from tailrace.plan import ops

VERSION = f"{proxyclass.DEFINITION.group}/{proxyclass.DEFINITION.version}"


def decide(i: Inputs) -> ops.Plan:
    """The plan for this world; without operations when the class says what is true already."""
    if i.given is None:
        return ops.Plan()
    root = build_root(i.given)
    if root.meta.deletionTimestamp is not None:
        # The official operator puts a finalizer there; one of its time may hold the class.
        return ops.Plan(stages=ops.stages([removal.decide_unfinalize(root)]), owner=root.owner)
    claim, told = judge(i, i.given)
    status = claims.decide_condition(ConditionType.PROXY_CLASS_READY, claim, root, i.now)
    events = told if claims.changed(ConditionType.PROXY_CLASS_READY, claim, root) else ()
    return ops.Plan(
        stages=ops.stages([status, *(claims.emit(root, reason, text) for reason, text in events)]),
        owner=root.owner,
    )


def build_root(given: proxyclass.ProxyClass) -> Root:
    ref = ops.Ref(kind="ProxyClass", namespace="", name=given.metadata.name)
    conditions = given.status.conditions
    return Root(ref=ref, api_version=VERSION, parent="", meta=given.metadata, conditions=conditions)


def judge(i: Inputs, given: proxyclass.ProxyClass) -> tuple[Claim, tuple[tuple[EventReason, str], ...]]:
    """What the condition says, and what is told by events when it says something new."""
    problems = validate.check_class(
        given, others=i.others, node_ports=i.node_ports, has_service_monitors=i.has_monitors
    )
    if problems:
        message = validate.describe(problems)
        refused = Claim(status=False, reason=Reason.PROXY_CLASS_INVALID, message=message)
        return refused, ((EventReason.INVALID_CLASS, message),)
    variables = warn.warn_variables(given)
    notes = warn.warn_class(given, mode=i.mode, pod_security=i.pod_security)
    message = " ".join((str(Reason.PROXY_CLASS_VALID) + ("." if notes else ""), *notes))
    valid = Claim(status=True, reason=Reason.PROXY_CLASS_VALID, message=message)
    return valid, (
        *((EventReason.CUSTOM_VARIABLE, text) for text in variables),
        *((EventReason.CLASS_WITHOUT_EFFECT, text) for text in notes),
    )
