"""When a proxy whose device is connected counts as hung: a table of pods."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tailrace.api import kube
from tailrace.api.conditions import Reason
from tailrace.fleet import progress, truth
from tailrace.fleet.claims import Claim, Claims
from tailrace.fleet.wish import Wish
from tailrace.fleet.world import Children, Place, Root, Tailnet, World
from tailrace.plan import ops
from tailrace.proxy import secret, spec
from tailrace.tailnet.port import Device, DeviceId
from tests.support.world import INSTALL

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LONG = 3600.0
UNREADY = "containers with unready status: [tailscale]"


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def build_pod(
    *, ready: str = "False", since: float | None = LONG, started: float = LONG, restarts: int = 0, **meta: Any
) -> kube.Pod:
    """A pod whose readiness changed `since` seconds ago, and whose container started `started` seconds ago."""
    changed = None if since is None else ago(since)
    condition = kube.PodCondition(type="Ready", status=ready, message=UNREADY, lastTransitionTime=changed)
    running = kube.ContainerState(running=kube.ContainerStateRunning(startedAt=ago(started)))
    container = kube.ContainerStatus(name="tailscale", restartCount=restarts, state=running)
    return kube.Pod(
        metadata=kube.ObjectMeta(name="ts-web-0", namespace="tailscale", **meta),
        status=kube.PodStatus(conditions=(condition,), containerStatuses=(container,)),
    )


def build_world(pod: kube.Pod | None, *, online: bool = True, joined: float = LONG) -> World:
    """A proxy that has joined `joined` seconds ago."""
    device = Device(
        id=DeviceId("n1"),
        name="web",
        hostname="web",
        fqdn="web.test",
        addresses=("100.64.0.1",),
        tags=("tag:k8s",),
        online=online,
        last_seen=None,
        created=ago(joined),
    )
    data = {"device_id": "n1", "device_fqdn": "web.test", "device_ips": '["100.64.0.1"]'}
    kept = kube.ProxySecret(
        data=kube.ProxySecretData(**{key: kube.encode_key(value) for key, value in data.items()})
    )
    children = Children(state=secret.read(kept), pod=pod)
    return World(
        install=INSTALL,
        root=Root(
            ref=ops.Ref(kind="Service", namespace="demo", name="web"),
            api_version="v1",
            parent="svc",
            meta=kube.ObjectMeta(name="web", namespace="demo"),
            conditions=(),
        ),
        wish=Wish(hostname="web", tags=("tag:k8s",)),
        mode=spec.Mode.KERNEL,
        place=Place(name="ts-web", secret_name="ts-web-0", children=children),
        tailnet=Tailnet(known=True, device=device),
        now=NOW,
    )


def tell(w: World) -> Claims:
    accepted = Claim(status=True, reason=Reason.ACCEPTED, message="")
    return Claims(accepted=accepted, provisioned=truth.PROVISIONED, online=truth.judge_online(w))


@pytest.mark.parametrize(
    ("pod", "joined", "reason", "again"),
    [
        pytest.param(None, LONG, Reason.CONNECTED, None, id="no pod: its end is seen elsewhere"),
        pytest.param(kube.Pod(), LONG, Reason.CONNECTED, None, id="no kubelet has looked at it"),
        pytest.param(build_pod(ready="True"), LONG, Reason.CONNECTED, None, id="ready"),
        pytest.param(build_pod(ready="Unknown"), LONG, Reason.CONNECTED, None, id="not known"),
        pytest.param(build_pod(since=None), LONG, Reason.CONNECTED, None, id="since nobody knows when"),
        pytest.param(build_pod(since=4), LONG, Reason.CONNECTED, 6.0, id="a moment ago"),
        pytest.param(build_pod(since=10), LONG, Reason.PROXY_NOT_READY, None, id="ten seconds ago"),
        pytest.param(build_pod(), LONG, Reason.PROXY_NOT_READY, None, id="long ago"),
        pytest.param(build_pod(), 3, Reason.CONNECTED, 7.0, id="it has only just joined"),
        pytest.param(build_pod(started=2), LONG, Reason.CONNECTED, 8.0, id="it has only just started"),
        pytest.param(
            build_pod(started=2, restarts=3),
            LONG,
            Reason.PROXY_NOT_READY,
            None,
            id="it restarts and restarts",
        ),
        pytest.param(
            build_pod(deletionTimestamp=ago(20)), LONG, Reason.CONNECTED, None, id="it is being replaced"
        ),
    ],
)
def test_a_proxy_that_is_not_ready_for_a_while_is_not_online(
    pod: kube.Pod | None, joined: float, reason: Reason, again: float | None
) -> None:
    """Not before its time, and at that moment it is looked at again; nobody asks the control plane meanwhile."""
    w = build_world(pod, joined=joined)
    told = tell(w)
    assert told.online is not None
    assert told.online.reason is reason
    assert told.online.status is (reason is Reason.CONNECTED)
    plan = progress.build_plan(w, (), told, quiet=False)
    assert plan.result.requeue_after == again
    assert not plan.interest


def test_it_is_said_which_pod_and_where_to_look() -> None:
    message = truth.judge_online(build_world(build_pod())).message
    for part in ("web.test (100.64.0.1)", "pod tailscale/ts-web-0", UNREADY):
        assert part in message
    assert "`kubectl describe pod -n tailscale ts-web-0`" in message
    assert "`kubectl logs -n tailscale ts-web-0`" in message


def test_a_device_that_is_not_connected_says_that() -> None:
    """It is the nearer cause, and the control plane is asked for news of it."""
    w = build_world(build_pod(), online=False)
    assert truth.judge_online(w).reason is Reason.DISCONNECTED
    assert progress.build_plan(w, (), tell(w), quiet=False).interest


def test_who_waits_for_the_control_plane_is_woken_and_looks_rarely_himself() -> None:
    """A hundred proxies without a network are no work for anybody; only what nobody tells of is asked for each second."""
    offline = build_world(build_pod(), online=False)
    unknown = dataclasses.replace(offline, tailnet=Tailnet(known=False))
    down = dataclasses.replace(
        offline, tailnet=Tailnet(known=False, fresh=False, problem="it does not answer")
    )
    accepted = tell(offline).accepted
    plans = (
        progress.build_plan(offline, (), tell(offline), quiet=False),
        progress.build_plan(down, (), tell(down), quiet=False),
        progress.wait_for_list(down, accepted),
        progress.build_plan(unknown, (), None, quiet=False),
        progress.wait_for_list(unknown, accepted),
    )
    assert [plan.result.requeue_after for plan in plans] == [10.0, 10.0, 10.0, 1.0, 1.0]
    assert all(plan.interest for plan in plans)


def test_what_was_ready_a_moment_ago_keeps_its_words() -> None:
    """No status is written when a pod gets ready late, as in an ordinary start."""
    young, ready = build_world(build_pod(since=4)), build_world(build_pod(ready="True"))
    assert truth.judge_online(young) == truth.judge_online(ready)
    late = dataclasses.replace(young, now=NOW + timedelta(seconds=6))
    assert truth.judge_online(late).reason is Reason.PROXY_NOT_READY
