"""What is true of a Service, as conditions that say what to do. Pure.

`Claims` is the truth in our words; `build_status` turns it into the status we apply, keeping the time of the last
change; `decide_status` leaves the write out when nothing changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tailrace.api import kube
from tailrace.api.conditions import ConditionType, Reason
from tailrace.plan import diff, ops

OURS = frozenset(ConditionType)


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """One condition's content. `status` None means Unknown."""

    status: bool | None
    reason: Reason
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Claims:
    """All that we say about a Service. A claim of None is not made."""

    accepted: Claim
    provisioned: Claim | None = None
    online: Claim | None = None
    backend: Claim | None = None
    proxy: Claim | None = None  # the official operator's condition
    urls: tuple[str, ...] = ()
    ingress: tuple[Mapping[str, str], ...] | None = (
        None  # status.loadBalancer.ingress; None: not a load balancer
    )


def derive_ready(claims: Claims) -> Claim:
    """Ready is the first of the others that is not true; a proxy that is online was provisioned."""
    provisioned = None if claims.online and claims.online.status else claims.provisioned
    for claim in (claims.accepted, provisioned, claims.online, claims.backend):
        if claim is not None and claim.status is not True:
            return claim
    answers = ", ".join(claims.urls) or "the device answers"
    return Claim(status=True, reason=Reason.READY, message=answers)


def build_status(claims: Claims, live: kube.Service, now: datetime) -> dict[str, Any]:
    """Our part of the Service's status, in a stable order."""
    wanted = (
        (ConditionType.PROXY_READY, claims.proxy),
        (ConditionType.ACCEPTED, claims.accepted),
        (ConditionType.PROVISIONED, claims.provisioned),
        (ConditionType.ONLINE, claims.online),
        (ConditionType.BACKEND_READY, claims.backend),
        (ConditionType.READY, derive_ready(claims)),
    )
    status: dict[str, Any] = {
        "conditions": [build_condition(kind, claim, live, now) for kind, claim in wanted if claim is not None]
    }
    if claims.ingress:
        status["loadBalancer"] = {"ingress": [dict(entry) for entry in claims.ingress]}
    return status


def build_condition(kind: ConditionType, claim: Claim, live: kube.Service, now: datetime) -> dict[str, Any]:
    status = "Unknown" if claim.status is None else str(claim.status)
    before = kube.find_condition(live.status.conditions, kind)
    kept = before.lastTransitionTime if before is not None and before.status == status else None
    condition: dict[str, Any] = {
        "type": str(kind),
        "status": status,
        "reason": str(claim.reason),
        "message": claim.message,
        "lastTransitionTime": (kept or now).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    if live.metadata.generation:  # the server drops a zero, and Services of many versions have no generation
        condition["observedGeneration"] = live.metadata.generation
    return condition


def decide_status(claims: Claims, live: kube.Service, now: datetime) -> ops.ApplyStatus | None:
    """The status write, or None when the live status says so already and nothing more of ours stands there."""
    status = build_status(claims, live, now)
    conditions = {c["type"]: c for c in status["conditions"]}
    current = {
        c["type"]: c for c in diff.to_plain(live).get("status", {}).get("conditions", []) if c["type"] in OURS
    }
    ingress = status.get("loadBalancer", {}).get("ingress", [])
    shown = [
        {k: v for k, v in (("hostname", e.hostname), ("ip", e.ip)) if v}
        for e in live.status.loadBalancer.ingress
    ]
    same_ingress = claims.ingress is None or ingress == shown
    if same_ingress and current == conditions:
        return None
    return build_apply(live, status)


def decide_clear(live: kube.Service) -> ops.ApplyStatus | None:
    """Take back everything that we said, or None when nothing of it stands there."""
    if any(c.type in OURS for c in live.status.conditions):
        return build_apply(live, {})
    return None


def build_apply(live: kube.Service, status: Mapping[str, Any]) -> ops.ApplyStatus:
    ref = ops.Ref(kind="Service", namespace=live.metadata.namespace, name=live.metadata.name)
    return ops.ApplyStatus(ref=ref, api_version="v1", status=status)


def changed(kind: ConditionType, claim: Claim, live: kube.Service) -> bool:
    """Would this claim say something new? Events are told on change only."""
    before = kube.find_condition(live.status.conditions, kind)
    return before is None or (before.reason, before.message) != (str(claim.reason), claim.message)


def judge_backend(service: kube.Service, slices: tuple[kube.EndpointSlice, ...]) -> Claim:
    """Is there something behind the Service that can answer?"""
    if service.spec.type == "ExternalName":
        return Claim(
            status=True,
            reason=Reason.EXTERNAL_NAME,
            message=f"{service.spec.externalName} is outside the cluster and is not checked",
        )
    endpoints = [e for s in slices for e in s.endpoints or ()]
    ready = sum(1 for e in endpoints if e.conditions.ready is not False)
    if ready:
        return Claim(status=True, reason=Reason.ENDPOINTS_READY, message="endpoints are ready")
    if endpoints:
        return Claim(
            status=False,
            reason=Reason.NO_READY_ENDPOINTS,
            message="no endpoint of the Service is ready: look at its pods and their readiness probes",
        )
    selector = ",".join(f"{k}={v}" for k, v in sorted(service.spec.selector.items()))
    hint = (
        f"no pod matches its selector {selector}" if selector else "it has no selector and no EndpointSlice"
    )
    return Claim(status=False, reason=Reason.NO_ENDPOINTS, message=f"nothing is behind the Service: {hint}")


def build_urls(service: kube.Service, host: str) -> tuple[str, ...]:
    """A working address for each port: `http(s)://host:port` where name or protocol say so, else `tcp://`, `udp://`."""
    return tuple(f"{guess_scheme(port)}://{host}:{port.port}" for port in service.spec.ports) or (host,)


def guess_scheme(port: kube.ServicePort) -> str:
    """The scheme that most likely works. A well-known port number decides only where name and appProtocol are silent."""
    if port.protocol != "TCP":
        return port.protocol.lower()
    said = (port.appProtocol or port.name).lower()
    if said.startswith("https") or (not said and port.port in {443, 8443}):
        return "https"
    web = said.startswith(("http", "web", "kubernetes.io/h2c", "kubernetes.io/ws"))
    return "http" if web or (not said and port.port in {80, 3000, 8000, 8080}) else "tcp"
