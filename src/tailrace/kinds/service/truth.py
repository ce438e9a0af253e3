"""What is true of an exposed Service once the plan is carried out, and what to do where it is not good. Pure."""

from __future__ import annotations

import dataclasses

from tailrace.api import names
from tailrace.api.conditions import Reason
from tailrace.kinds.service import condition, request
from tailrace.kinds.service.condition import Claim, Claims
from tailrace.kinds.service.world import World, join
from tailrace.proxy import names as proxy_names


def judge(w: World) -> Claims | None:
    """The truth after this plan; None while the device list is older than the login, so that nothing half-true is
    written for the second that it takes."""
    i = w.inputs
    if w.joined and w.device is None and not i.tailnet.gone and not i.tailnet.problem:
        return None
    if w.device is not None and w.state is not None and not w.state.fqdn:
        return None  # containerboot writes the name right after the id
    online = judge_online(w)
    provisioned = Claim(status=True, reason=Reason.PROVISIONED, message="the proxy's objects exist")
    named = w.state is not None and bool(w.state.fqdn) and not i.tailnet.gone
    pending = "no Tailscale hostname known yet, waiting for proxy pod to finish auth"
    proxy = (
        Claim(status=True, reason=Reason.PROXY_CREATED, message=str(Reason.PROXY_CREATED))
        if named
        else Claim(status=False, reason=Reason.PROXY_PENDING, message=pending)
    )
    return Claims(
        accepted=judge_accepted(w),
        provisioned=provisioned,
        online=online,
        backend=condition.judge_backend(w.service, i.slices),
        proxy=proxy,
        urls=condition.build_urls(w.service, w.state.fqdn) if named and w.state else (),
        ingress=build_ingress(w, named=named),
    )


def judge_accepted(w: World) -> Claim:
    return Claim(status=True, reason=Reason.ACCEPTED, message=f"mode {w.choice.mode}: {w.choice.why}")


def judge_unreachable(w: World, problem: str) -> Claim:
    reason = Reason.CREDENTIALS_REFUSED if w.inputs.tailnet.denied else Reason.CONTROL_PLANE_UNREACHABLE
    return Claim(status=False, reason=reason, message=problem)


def judge_online(w: World) -> Claim:
    tailnet, state, device = w.inputs.tailnet, w.state, w.device
    if state is None or not state.device_id or (not state.fqdn and device is None and not tailnet.gone):
        return Claim(status=False, reason=Reason.WAITING_FOR_LOGIN, message=describe_pod(w))
    if tailnet.gone:
        return Claim(
            status=False,
            reason=Reason.DEVICE_GONE,
            message=f"device {state.device_id} was deleted on the control plane; the proxy joins again with a new key",
        )
    if device is None or not tailnet.fresh:
        return dataclasses.replace(judge_unreachable(w, tailnet.problem), status=None)
    where = f"{state.fqdn or device.name} ({', '.join(device.addresses)})"
    if not device.online:
        hint = f"look at pod {w.inputs.install.namespace}/{state.secret.metadata.name}"
        return Claim(status=False, reason=Reason.DISCONNECTED, message=f"{where} is not connected: {hint}")
    if not tailnet.can_tag and tuple(sorted(device.tags)) != w.wish.tags:
        return Claim(
            status=True,
            reason=Reason.TAGS_DIFFER,
            message=f"{where} is connected with tags {join(device.tags)} instead of {join(w.wish.tags)}, which cannot be "
            f"changed in place: set {names.RECREATE} to a new value to make it anew",
        )
    if device.name.lower() != w.wish.hostname and (tailnet.namesakes or not tailnet.can_rename):
        return Claim(
            status=True,
            reason=Reason.NAME_DIFFERS,
            message=f'{where} is connected; the name "{w.wish.hostname}" is taken by another device',
        )
    return Claim(status=True, reason=Reason.CONNECTED, message=f"{where} is connected")


def describe_pod(w: World) -> str:
    """What the proxy's pod does while we wait for its login; the ordinary steps are not told one by one, since each
    would be a write of the status."""
    pod, name = w.inputs.children.pod, proxy_names.build_child_name("svc", w.inputs.namespace, w.inputs.name)
    where = f"pod {w.inputs.install.namespace}/{name}-0"
    if pod is None:
        return f"waiting for {where} to join"
    waiting = [s.state.waiting for s in pod.status.containerStatuses if s.state.waiting]
    for reason in waiting:
        if reason.message:
            return f"{where} waits: {reason.reason}: {reason.message[:200]}"
    for condition_ in pod.status.conditions:
        if condition_.type == "PodScheduled" and condition_.status == "False" and condition_.message:
            return f"{where} is not scheduled: {condition_.message[:200]}"
    return f"waiting for {where} to join"


def build_ingress(w: World, *, named: bool) -> tuple[dict[str, str], ...] | None:
    """status.loadBalancer.ingress: the name, then the addresses of the families that the Service has."""
    if not request.is_load_balancer(w.service, w.inputs.install.defaults):
        return None
    if not named or w.state is None:
        return ()
    ips = w.service.spec.clusterIPs or (w.service.spec.clusterIP,)
    families = {":" in ip for ip in ips if ip and ip != "None"}
    addresses = [a for a in w.state.addresses if not families or (":" in a) in families]
    return ({"hostname": w.state.fqdn}, *({"ip": a} for a in addresses))
