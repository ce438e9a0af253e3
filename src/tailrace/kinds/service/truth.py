"""What is true of an exposed Service once the plan is carried out. Pure."""

from __future__ import annotations

from typing import Any

from tailrace.api import kube
from tailrace.api.conditions import ConditionType
from tailrace.fleet import services, truth, wish
from tailrace.fleet.claims import Claim, Claims
from tailrace.fleet.install import Defaults
from tailrace.kinds.service import condition
from tailrace.kinds.service.inputs import Case


def judge(case: Case) -> Claims | None:
    """The truth after this plan; None while the next second may say more."""
    w, service = case.world, case.service
    if truth.is_settling(w):
        return None
    named = truth.is_named(w)
    urls = condition.build_urls(service, w.state.fqdn) if named and w.state else ()
    return Claims(
        accepted=judge_accepted(case),
        provisioned=truth.PROVISIONED,
        online=truth.judge_online(w),
        further=((ConditionType.BACKEND_READY, condition.judge_backend(service, case.inputs.slices)),),
        official=services.judge_official(w),
        answer=", ".join(urls),
        fields=build_fields(case) if named else {},
    )


def judge_accepted(case: Case) -> Claim:
    return services.judge_accepted(case.choice.mode, case.choice.why, case.wish)


def build_fields(case: Case) -> dict[str, Any]:
    """status.loadBalancer of a load balancer: the name, then the addresses of the families that the Service has."""
    service, state = case.service, case.world.state
    if not wish.is_load_balancer(service, case.inputs.install.defaults) or state is None:
        return {}
    ips = service.spec.clusterIPs or (service.spec.clusterIP,)
    families = {":" in ip for ip in ips if ip and ip != "None"}
    addresses = [a for a in state.addresses if not families or (":" in a) in families]
    return {"loadBalancer": {"ingress": [{"hostname": state.fqdn}, *({"ip": a} for a in addresses)]}}


def read_fields(service: kube.Service, defaults: Defaults) -> dict[str, Any]:
    """The same as it stands there now; of a Service that is no load balancer of ours nothing."""
    shown = [
        {k: v for k, v in (("hostname", e.hostname), ("ip", e.ip)) if v}
        for e in service.status.loadBalancer.ingress
    ]
    mine = shown and wish.is_load_balancer(service, defaults)
    return {"loadBalancer": {"ingress": shown}} if mine else {}
