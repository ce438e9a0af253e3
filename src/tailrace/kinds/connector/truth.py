"""What is true of a Connector once the plan is carried out. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from tailrace.api.conditions import ConditionType, Reason
from tailrace.api.connector import Connector, ConnectorStatus
from tailrace.fleet import truth
from tailrace.fleet.claims import Claim, Claims, Named
from tailrace.fleet.world import Root, World
from tailrace.kinds.connector import overlap, routes
from tailrace.kinds.connector.inputs import Case
from tailrace.plan import ops
from tailrace.tailnet import port

CREATED = Claim(status=True, reason=Reason.CONNECTOR_CREATED, message=str(Reason.CONNECTOR_CREATED))
NOBODY = Claim(
    status=False,
    reason=Reason.NO_REPLICAS,
    message="spec.replicas is 0: there is no device and nothing is routed",
)


def build_root(connector: Connector) -> Root:
    meta = connector.metadata
    return Root(
        ref=ops.Ref(kind="Connector", namespace="", name=meta.name),
        api_version="tailscale.com/v1alpha1",
        parent="connector",
        meta=meta,
        conditions=connector.status.conditions,
    )


def judge(case: Case) -> Claims | None:
    """The truth after this plan; None while the next second may say more."""
    if any(truth.is_settling(w) for w in case.worlds):
        return None
    accepted, fields = judge_accepted(case), build_fields(case)
    if not case.worlds:
        return Claims(
            accepted=accepted, online=NOBODY, official=(ConditionType.CONNECTOR_READY, CREATED), fields=fields
        )
    return Claims(
        accepted=accepted,
        provisioned=dataclasses.replace(truth.PROVISIONED, message="the proxies' objects exist"),
        online=judge_online(case.worlds),
        further=judge_routes(case),
        official=(ConditionType.CONNECTOR_READY, judge_official(case.worlds)),
        answer=describe_answer(case),
        fields=fields,
    )


def judge_accepted(case: Case) -> Claim:
    """With what its routes run into: told, and no reason not to be ready."""
    told = describe_overlaps(case)
    text = f"mode {case.choice.mode}: {case.choice.why}"
    return Claim(status=True, reason=Reason.ACCEPTED, message=". Note: ".join((text, *told)))


def describe_overlaps(case: Case) -> tuple[str, ...]:
    others = list_others(case)
    return overlap.describe(case.connector.metadata.name, case.wish.routes, case.inputs.around, others)


def list_own(case: Case) -> list[port.Device]:
    return [w.device for w in case.worlds if w.device is not None and not w.needs_key]


def list_others(case: Case) -> list[port.Device]:
    """Devices of the tailnet that are not this Connector's, those of surplus replicas not either."""
    states = (c.state for c in case.places.all if c.state is not None)
    own = {state.device_id for state in states}
    return [device for device in case.tailnet.devices if device.id not in own]


def judge_official(worlds: Sequence[World]) -> Claim:
    """The official operator's condition; its success does not wait for the devices, ours does."""
    waiting = [w.place.name for w in worlds if not truth.is_named(w)]
    if not waiting:
        return CREATED
    text = f"waiting for {', '.join(waiting)} to join the tailnet"
    return Claim(status=False, reason=Reason.CONNECTOR_CREATING, message=text)


def judge_online(worlds: Sequence[World]) -> Claim:
    """All of them connected; of several, how many are and what is with the others."""
    found = [truth.judge_online(w) for w in worlds]
    if len(found) == 1:
        return found[0]
    good = [claim for claim in found if claim.status]
    bad = [claim for claim in found if not claim.status]
    count = f"{len(good)} of {len(found)} connected"
    notes = [claim for claim in good if claim.reason is not Reason.CONNECTED]
    if not bad:
        reason = notes[0].reason if notes else Reason.CONNECTED
        return Claim(
            status=True,
            reason=reason,
            message="; ".join((count, *(claim.message for claim in notes or good))),
        )
    worst = next((claim for claim in bad if claim.status is False), bad[0])
    return dataclasses.replace(worst, message="; ".join((count, *(claim.message for claim in bad))))


def judge_routes(case: Case) -> tuple[Named, ...]:
    """`RoutesApproved`, as soon as there is a device; an app connector without routes of its own has nothing to say."""
    own, tailnet = list_own(case), case.tailnet
    if not own or not case.wish.routes:
        return ()
    if not tailnet.can_route:
        text = (
            "our credential may not ask about routes (with Tailscale or Headscale's OAuth clients that is the scope "
            "devices:routes): look on the control plane whether they are approved"
        )
        claim = Claim(status=None, reason=Reason.ROUTES_UNKNOWN, message=text)
    elif not tailnet.fresh:
        claim = Claim(status=None, reason=Reason.ROUTES_UNKNOWN, message=tailnet.problem)
    else:
        claim = routes.judge(
            case.wish.routes,
            own,
            list_others(case),
            can_approve=tailnet.can_route,
            approve=case.wish.approve,
        )
    return ((ConditionType.ROUTES_APPROVED, claim),)


def describe_answer(case: Case) -> str:
    """What Ready says when all is well."""
    served = ", ".join(case.wish.routes) or "the domains that the policy gives to it"
    names = ", ".join(w.state.fqdn for w in case.worlds if w.state is not None)
    return f"{served} by {names}"


# --- fields of the status --------------------------------------------------------------------------------------


def build_fields(case: Case) -> dict[str, Any]:
    """The official fields; the devices in the order of their replicas."""
    asked = case.connector.spec
    subnets = asked.subnetRouter.advertiseRoutes if asked.subnetRouter is not None else ()
    devices = [
        {"hostname": w.state.fqdn, "tailnetIPs": list(w.state.addresses)}
        for w in case.worlds
        if w.state is not None and truth.is_named(w)
    ]
    first = devices[0] if devices else {}
    plain = {
        "subnetRoutes": ",".join(subnets),
        "isExitNode": asked.exitNode,
        "isAppConnector": asked.appConnector is not None,
        "devices": devices,
        **first,
    }
    return shorten(plain)


def read_fields(connector: Connector) -> dict[str, Any]:
    """The same as it stands there now."""
    status: ConnectorStatus = connector.status
    devices = [{"hostname": d.hostname, "tailnetIPs": list(d.tailnetIPs)} for d in status.devices]
    return shorten(
        {
            "subnetRoutes": status.subnetRoutes,
            "isExitNode": status.isExitNode,
            "isAppConnector": status.isAppConnector,
            "devices": devices,
            "hostname": status.hostname,
            "tailnetIPs": list(status.tailnetIPs),
        }
    )


def shorten(plain: dict[str, Any]) -> dict[str, Any]:
    """Without what is empty: an applier that no longer has a field takes it away. A no is said."""
    return {key: value for key, value in plain.items() if value or value is False}
