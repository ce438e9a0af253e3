"""What is true of one proxy once its plan is carried out, and what to do where it is not good. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from datetime import datetime, timedelta

from tailrace.api import kube, names
from tailrace.api.conditions import Reason
from tailrace.fleet.claims import Claim
from tailrace.fleet.world import World, join

PROVISIONED = Claim(status=True, reason=Reason.PROVISIONED, message="the proxy's objects exist")
QUIET = timedelta(seconds=3)
"""How long a proxy may take to come up before it is told that it does. Most are there by then: a write less for each."""

HUNG = timedelta(seconds=10)
"""How long the pod of a connected device may not be ready before that is told: an ordinary start is over by then."""


def is_settling(w: World) -> bool:
    """Whether the next second may say more than this one: nothing half-true is written meanwhile.

    The device list is older than the login; or containerboot has written the id and not yet the name, which it never does
    when the target of an egress has no device: it ends instead, again and again.
    """
    if w.unsure and not w.tailnet.problem:
        return True
    nameless = w.device is not None and w.state is not None and not w.state.fqdn
    return nameless and not waits(w.children.pod)


def is_named(w: World) -> bool:
    """Whether it has joined and its name is known."""
    return w.state is not None and bool(w.state.fqdn) and not w.tailnet.gone


def is_starting(w: World) -> bool:
    """Whether the proxy is coming up as it should, so early that nothing needs to be said about it."""
    if w.root.conditions or w.joined or w.tailnet.problem:
        return False
    workload, pod = w.children.statefulset, w.children.pod
    since = workload.metadata.creationTimestamp if workload is not None else w.now
    return since is not None and w.now - since < QUIET and not waits(pod)


def waits(pod: kube.Pod | None) -> bool:
    """Whether a container of it cannot start, or not again so soon."""
    return pod is not None and any(
        s.state.waiting and s.state.waiting.message for s in pod.status.containerStatuses
    )


def judge_unreachable(w: World, problem: str) -> Claim:
    reason = Reason.CREDENTIALS_REFUSED if w.tailnet.denied else Reason.CONTROL_PLANE_UNREACHABLE
    return Claim(status=False, reason=reason, message=problem)


def find_unready(pod: kube.Pod | None) -> kube.PodCondition | None:
    """The pod's condition `Ready` while it is false; one that is going has nothing to say."""
    if pod is None or pod.metadata.deletionTimestamp is not None:
        return None
    return next((c for c in pod.status.conditions if c.type == "Ready" and c.status == "False"), None)


def find_hang(w: World) -> datetime | None:
    """Since when the proxy could have been ready and is not, although its device is connected; None when all is well.

    A start may take long before that: the image is fetched, the login waits. A container that was started again counts
    from when the pod ceased to be ready: one that comes and goes would else be told as well again and again.
    """
    pod, device = w.children.pod, w.device
    unready = find_unready(pod)
    if pod is None or unready is None or unready.lastTransitionTime is None:
        return None
    if device is None or not device.online:
        return None
    first = (s.state.running for s in pod.status.containerStatuses if not s.restartCount)
    since = (unready.lastTransitionTime, device.created, *(run.startedAt for run in first if run is not None))
    return max(moment for moment in since if moment is not None)


def is_hung(w: World) -> bool:
    """Whether it is so for long enough to be told."""
    since = find_hang(w)
    return since is not None and w.now - since >= HUNG


def find_recheck(worlds: Iterable[World]) -> float | None:
    """Seconds until the first of the proxies that are not ready yet counts as hung, unless it gets ready before."""
    found = ((find_hang(w), w.now) for w in worlds if not is_hung(w))
    return min(
        ((since + HUNG - now).total_seconds() for since, now in found if since is not None), default=None
    )


def is_expected(w: World) -> bool:
    """Whether the control plane is to say something new before the proxy is online."""
    claim = judge_online(w)
    return not claim.status and claim.reason is not Reason.PROXY_NOT_READY


def judge_online(w: World) -> Claim:
    tailnet, state, device = w.tailnet, w.state, w.device
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
    if w.asks:
        return Claim(status=False, reason=Reason.DISCONNECTED, message=f"{where} {describe_plea(w)}")
    if not device.online:
        return Claim(
            status=False,
            reason=Reason.DISCONNECTED,
            message=f"{where} is not connected: look at {w.where}",
        )
    if is_hung(w):
        return Claim(
            status=False,
            reason=Reason.PROXY_NOT_READY,
            message=f"{where} is connected, but {describe_hang(w)}",
        )
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


def describe_plea(w: World) -> str:
    """What becomes of a proxy that asks for another key."""
    if w.tailnet.problem:
        return f"could not log in, and is started again when the control plane answers: {w.tailnet.problem}"
    if w.needs_key:
        return "cannot log in any more: it joins again with a new key, as another device"
    return f"could not log in: {w.where} is started again"


def describe_hang(w: World) -> str:
    """Which pod is not ready, what the kubelet says of it, and where to look."""
    unready, place = find_unready(w.children.pod), f"-n {w.install.namespace} {w.place.name}-0"
    said = f" ({unready.message[:200]})" if unready is not None and unready.message else ""
    return f"{w.where} is not ready{said}: look at `kubectl describe pod {place}` and `kubectl logs {place}`"


def describe_pod(w: World) -> str:
    """What the proxy's pod does while we wait for its login; the ordinary steps are not told one by one, since each
    would be a write of the status."""
    pod = w.children.pod
    if pod is None:
        return f"waiting for {w.where} to join"
    waiting = [s.state.waiting for s in pod.status.containerStatuses if s.state.waiting]
    for reason in waiting:
        if reason.message:
            return f"{w.where} waits: {reason.reason}: {reason.message[:200]}"
    for condition_ in pod.status.conditions:
        if condition_.type == "PodScheduled" and condition_.status == "False" and condition_.message:
            return f"{w.where} is not scheduled: {condition_.message[:200]}"
    return f"waiting for {w.where} to join"
