"""What is true of an egress Service once the plan is carried out. Pure."""

from __future__ import annotations

from tailrace.api.conditions import ConditionType
from tailrace.fleet import services, truth
from tailrace.fleet.claims import Claim, Claims
from tailrace.kinds.egress import target
from tailrace.kinds.egress.inputs import Case
from tailrace.kinds.egress.request import Request
from tailrace.proxy import spec


def judge(case: Case) -> Claims | None:
    """The truth after this plan; None while the next second may say more."""
    w = case.world
    if truth.is_settling(w):
        return None
    return Claims(
        accepted=judge_accepted(case.wish),
        provisioned=truth.PROVISIONED,
        online=truth.judge_online(w),
        further=((ConditionType.TARGET_READY, target.judge(case)),),
        official=services.judge_official(w),
        answer=tell_way(case),
    )


def judge_accepted(wanted: Request) -> Claim:
    return services.judge_accepted(spec.Mode.KERNEL, "egress works in no other", wanted)


def tell_way(case: Case) -> str:
    """From the name in the cluster to the far end."""
    meta, wanted = case.service.metadata, case.wish.target
    end = wanted.fqdn if isinstance(wanted, spec.TailnetName) else wanted.ip if wanted is not None else ""
    return f"{meta.name}.{meta.namespace}.svc.{case.inputs.install.cluster_domain} leads to {end}"
