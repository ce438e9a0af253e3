"""Rows of the decisions about one proxy that a settled world does not show: what is said, and what is done, in between."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from tailrace.api import kube, names
from tailrace.api.conditions import Reason
from tailrace.fleet import provision, removal, truth
from tailrace.fleet.wish import Wish
from tailrace.fleet.world import Children, Place, Root, Tailnet, World
from tailrace.kube import resources
from tailrace.plan import ops
from tailrace.proxy import secret, spec, statefulset
from tailrace.proxy.names import build_labels
from tailrace.tailnet.port import Device, DeviceId
from tests.laws.histories import WEB, annotate, remove_devices
from tests.support.world import INSTALL, build_service, open_world
from tests.support.world import World as Stage

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
OWNER = build_labels("svc", "demo", "web")
DEVICE = Device(
    id=DeviceId("n1"),
    name="web",
    hostname="web",
    fqdn="web.test",
    addresses=("100.64.0.1",),
    tags=("tag:b", "tag:a"),
    online=True,
    last_seen=None,
)


def build_state(*, key: str = "", notes: dict[str, str] | None = None, **data: str) -> secret.State:
    """The Secret of a proxy; without `device_id` it has not joined."""
    config = msgspec.json.encode({"AuthKey": key} if key else {}).decode()
    encoded = {name: kube.encode_key(value) for name, value in data.items()}
    meta = kube.ObjectMeta(name="ts-web-0", namespace="tailscale", labels=OWNER, annotations=notes or {})
    return secret.read(
        kube.ProxySecret(metadata=meta, data=kube.ProxySecretData(config=kube.encode_key(config), **encoded))
    )


JOINED = build_state(device_id="n1", device_fqdn="web.test.", device_ips='["100.64.0.1"]')
NAMELESS = build_state(device_id="n1")


def build_pod(waiting: str = "", **status: Any) -> kube.Pod:
    state = kube.ContainerState(waiting=kube.ContainerStateWaiting(reason="BackOff", message=waiting))
    container = kube.ContainerStatus(name="tailscale", state=state if waiting else kube.ContainerState())
    return kube.Pod(
        metadata=kube.ObjectMeta(name="ts-web-0", namespace="tailscale"),
        status=kube.PodStatus(containerStatuses=(container,), **status),
    )


def build_world(
    tailnet: Tailnet, state: secret.State | None = JOINED, *, conditions: int = 0, **more: Any
) -> World:
    ref = ops.Ref(kind="Service", namespace="demo", name="web")
    said = (kube.Condition(type="Ready", status="False", reason="x"),) * conditions
    meta = kube.ObjectMeta(name="web", namespace="demo", finalizers=(names.FINALIZER, "example.org/mine"))
    return World(
        install=INSTALL,
        root=Root(ref=ref, api_version="v1", parent="svc", meta=meta, conditions=said),
        wish=Wish(hostname="web", tags=("tag:a", "tag:b")),
        mode=spec.Mode.KERNEL,
        place=Place(name="ts-web", secret_name="ts-web-0", children=Children(state=state, **more)),
        tailnet=tailnet,
        now=NOW,
    )


# --- what is true ------------------------------------------------------------------------------------------------

HEARD = Tailnet(known=True, device=DEVICE)
STALE = Tailnet(known=True, fresh=False, problem="it does not answer", device=DEVICE)
PLAIN = dataclasses.replace(DEVICE, tags=("tag:a",))
RENAMED = dataclasses.replace(DEVICE, name="web-1")
UNSCHEDULED = kube.PodCondition(type="PodScheduled", status="False", message="no node has room")


@pytest.mark.parametrize(
    ("world", "reason", "status", "part"),
    [
        (build_world(HEARD), Reason.CONNECTED, True, "web.test (100.64.0.1)"),
        (build_world(STALE), Reason.CONTROL_PLANE_UNREACHABLE, None, "it does not answer"),
        (
            build_world(dataclasses.replace(STALE, denied=True)),
            Reason.CREDENTIALS_REFUSED,
            None,
            "it does not answer",
        ),
        (build_world(dataclasses.replace(HEARD, can_tag=False)), Reason.CONNECTED, True, "is connected"),
        (
            build_world(Tailnet(known=True, device=PLAIN, can_tag=False)),
            Reason.TAGS_DIFFER,
            True,
            f"tags tag:a instead of tag:a,tag:b, which cannot be changed in place: set {names.RECREATE}",
        ),
        (build_world(Tailnet(known=True, device=PLAIN)), Reason.CONNECTED, True, "is connected"),
        (
            build_world(Tailnet(known=True, device=RENAMED, can_rename=False)),
            Reason.NAME_DIFFERS,
            True,
            '"web" is taken',
        ),
        (build_world(Tailnet(known=True, device=RENAMED)), Reason.CONNECTED, True, "is connected"),
        (build_world(Tailnet(known=True, gone=True)), Reason.DEVICE_GONE, False, "device n1 was deleted"),
        (
            build_world(Tailnet(known=True), None, pod=build_pod(conditions=(UNSCHEDULED,))),
            Reason.WAITING_FOR_LOGIN,
            False,
            "pod tailscale/ts-web-0 is not scheduled: no node has room",
        ),
        (
            build_world(Tailnet(known=True), None, pod=build_pod("no such image")),
            Reason.WAITING_FOR_LOGIN,
            False,
            "waits: BackOff: no such image",
        ),
    ],
)
def test_what_is_said_of_a_device(world: World, reason: Reason, status: bool | None, part: str) -> None:
    told = truth.judge_online(world)
    assert (told.reason, told.status) == (reason, status)
    assert part in told.message


@pytest.mark.parametrize(
    ("world", "settling"),
    [
        pytest.param(build_world(HEARD), False, id="there"),
        pytest.param(build_world(Tailnet(known=True)), True, id="the list is older than the login"),
        pytest.param(build_world(Tailnet(known=True, problem="away")), False, id="nobody will tell soon"),
        pytest.param(build_world(HEARD, NAMELESS), True, id="its name comes next"),
        pytest.param(
            build_world(HEARD, NAMELESS, pod=build_pod("back-off")), False, id="it will not come to a name"
        ),
    ],
)
def test_nothing_half_true_is_said_and_what_lasts_is(world: World, settling: bool) -> None:
    assert truth.is_settling(world) is settling


@pytest.mark.parametrize(
    ("world", "quiet"),
    [
        pytest.param(build_world(Tailnet(known=True), None), True, id="it has only just begun"),
        pytest.param(
            build_world(Tailnet(known=True), None, conditions=1), False, id="something was said before"
        ),
        pytest.param(build_world(HEARD), False, id="it has joined"),
        pytest.param(build_world(Tailnet(known=False, problem="away"), None), False, id="nobody answers"),
        pytest.param(
            build_world(Tailnet(known=True), None, pod=build_pod("no such image")),
            False,
            id="it cannot start",
        ),
    ],
)
def test_a_start_is_not_told_unless_it_hangs(world: World, quiet: bool) -> None:
    assert truth.is_starting(world) is quiet


# --- what is done ------------------------------------------------------------------------------------------------


def test_a_name_that_another_device_has_is_not_asked_for() -> None:
    """It is asked for once that one is gone."""
    taken = Tailnet(known=True, device=RENAMED, namesakes=(DEVICE,))
    assert provision.decide_device(build_world(taken)) == []
    free = dataclasses.replace(taken, namesakes=())
    assert provision.decide_device(build_world(free)) == [ops.RenameDevice(device="n1", name="web")]


def test_a_pod_is_bumped_only_when_it_is_older_than_its_configuration_and_stays() -> None:
    changed = NOW - timedelta(seconds=5)
    notes = {names.REFRESH: "2", names.REFRESHED_AT: changed.isoformat()}
    state = build_state(device_id="n1", notes=notes)

    def touch(started: datetime, **meta: Any) -> ops.Op | None:
        shown = kube.ObjectMeta(name="ts-web-0", namespace="tailscale", creationTimestamp=started, **meta)
        return provision.decide_touch(build_world(HEARD, state, pod=kube.Pod(metadata=shown)))

    old = changed - timedelta(seconds=60)
    ref = ops.Ref(kind="Pod", namespace="tailscale", name="ts-web-0")
    assert touch(old) == ops.AnnotatePod(ref=ref, key=names.REFRESH, value="2")
    assert touch(changed) is None
    assert touch(old, annotations={names.REFRESH: "2"}) is None
    assert touch(old, deletionTimestamp=NOW) is None


def test_a_workload_that_is_going_is_made_anew_when_it_is_gone() -> None:
    going = kube.ObjectMeta(name="ts-web", namespace="tailscale", deletionTimestamp=NOW)
    world = build_world(HEARD, statefulset=kube.StatefulSet(metadata=going))
    proxy = provision.build_spec(world, spec.Address(ip="10.96.0.7"))
    assert provision.decide_statefulset(world, proxy) is None


def test_a_workload_that_selects_a_former_objects_pods_goes_first() -> None:
    """A selector cannot be changed: an object of the same name that was made anew has another uid."""
    meta = kube.ObjectMeta(name="ts-web", namespace="tailscale", uid="u1", annotations={names.APPLIED: "x"})
    empty = build_world(HEARD)
    proxy = provision.build_spec(empty, spec.Address(ip="10.96.0.7"))
    wanted = statefulset.build_statefulset(proxy)["spec"]

    def decide_over(selector: dict[str, str]) -> ops.Op | None:
        body = msgspec.Raw(msgspec.json.encode({**wanted, "selector": {"matchLabels": selector}}))
        live = kube.StatefulSet(metadata=meta, spec=body)
        return provision.decide_statefulset(build_world(HEARD, statefulset=live), proxy)

    assert isinstance(decide_over({"app": "a former uid"}), ops.Delete)
    assert isinstance(decide_over(wanted["selector"]["matchLabels"]), ops.Apply)


def test_what_is_going_already_is_not_deleted_again() -> None:
    here = kube.ObjectMeta(name="ts-web-metrics", namespace="tailscale")
    going = kube.ObjectMeta(name="ts-web-old", namespace="tailscale", deletionTimestamp=NOW)
    others = tuple(("Service", kube.Service(metadata=meta)) for meta in (here, going))
    found = [op for op in provision.decide_others(others, []) if op is not None]
    assert [op.ref.name for op in found if isinstance(op, ops.Delete)] == ["ts-web-metrics"]
    assert len(found) == 1


def test_what_a_new_device_replaces_stands_on_the_pod_so_that_it_restarts() -> None:
    """A running client does not notice that its device is gone."""

    def replaces(tailnet: Tailnet, recreate: str = "") -> str:
        world = build_world(tailnet)
        wish = dataclasses.replace(world.wish, recreate=recreate)
        return provision.build_spec(
            dataclasses.replace(world, wish=wish), spec.Address(ip="10.0.0.1")
        ).replaces

    assert replaces(HEARD) == ""
    assert replaces(HEARD, recreate="1") == "n1"
    assert replaces(Tailnet(known=True, gone=True)) == "n1"


@pytest.mark.anyio
async def test_a_running_pod_is_bumped_when_its_configuration_changes() -> None:
    """Or the kubelet would look for a minute at what it has."""
    async with open_world() as world:
        world.cluster.put(resources.SERVICES, build_service())
        await world.settle(WEB)
        (place,) = (p for p in world.ours() if p[0] == "Secret")
        (pod,) = (p for p in world.cluster.objects if p[0] == "Pod")
        known = {"metadata": {"annotations": {names.REFRESHED_AT: "2026-01-01T00:00:00+00:00"}}}
        started = {"metadata": {"creationTimestamp": "2026-01-02T00:00:00Z"}}
        world.cluster.edit(resources.SECRETS, place[1], place[2], known)
        world.cluster.edit(resources.PODS, pod[1], pod[2], started)
        await world.settle(WEB)
        assert names.REFRESH not in world.cluster.objects[pod]["metadata"].get("annotations", {})
        annotate("tailscale.com/hostname", "other")(world)
        await world.settle(WEB)
        refresh = world.cluster.objects[place]["metadata"]["annotations"][names.REFRESH]
        assert world.cluster.objects[pod]["metadata"]["annotations"][names.REFRESH] == refresh


def test_a_device_that_somebody_deleted_is_told_by_an_event() -> None:
    """Once: as soon as another key waits it is no news."""
    gone = Tailnet(known=True, gone=True)
    (event,) = provision.decide_events(build_world(gone))
    assert isinstance(event, ops.Emit)
    assert "device n1 was deleted" in event.message
    assert provision.decide_events(build_world(gone, build_state(key="k", device_id="n1"))) == []


def test_a_proxy_of_another_tailnet_logs_in_there() -> None:
    home = spec.Home(login_server="https://lab.test", ca_pem="pem", private_logs=True)
    image = provision.build_image(build_world(dataclasses.replace(HEARD, home=home)))
    assert (image.login_server, image.ca_pem, image.private_logs) == ("https://lab.test", "pem", True)
    assert provision.build_image(build_world(HEARD)) == INSTALL.image


@pytest.mark.anyio
async def test_a_key_for_other_tags_is_taken_back_before_anybody_used_it() -> None:
    async with open_world() as world:
        world.cluster.put(resources.SERVICES, build_service())
        await world.reconcile(WEB)
        (first,) = world.plane.usable_keys
        annotate("tailscale.com/tags", "tag:b")(world)
        await world.reconcile(WEB)
        (second,) = world.plane.usable_keys
        assert first.id != second.id
        assert second.tags == ("tag:b",)


@pytest.mark.anyio
async def test_a_key_waits_until_the_proxy_whose_device_was_deleted_has_used_it() -> None:
    """Its Secret still names the former device: that it has joined once does not mean that it has used this key."""
    async with open_world() as world:
        world.cluster.put(resources.SERVICES, build_service())
        await world.settle(WEB)
        remove_devices(world)
        for _ in range(5):
            await world.reconcile(WEB)
        assert world.plane.calls["mint_key"] == 2
        assert await read_state(world)
        await world.settle(WEB)
        assert world.plane.calls["mint_key"] == 2
        assert not await read_state(world)


async def read_state(world: Stage[Any]) -> str:
    """The key that waits in the Secret."""
    name = next(p[2] for p in world.ours() if p[0] == "Secret")
    return secret.find_key(await world.cluster.get(resources.SECRETS, name, "tailscale"))


@pytest.mark.anyio
async def test_a_device_that_was_deleted_and_shall_be_new_is_made_anew_once() -> None:
    """Both at once: what somebody deleted is not deleted again after it came back."""
    async with open_world() as world:
        world.cluster.put(resources.SERVICES, build_service())
        await world.settle(WEB)
        remove_devices(world)
        annotate("tailrace.dev/recreate", "1")(world)
        await world.settle(WEB)
        assert world.plane.calls["mint_key"] == 2


# --- what goes ---------------------------------------------------------------------------------------------------


def build_leaving(children: Children, **changes: Any) -> removal.Leaving:
    values: dict[str, Any] = {"tailnet": "", "since": NOW, **changes}
    return removal.Leaving(
        install=INSTALL, label="Service demo/web", owner=OWNER, proxies=(children,), now=NOW, **values
    )


def decide(children: Children, **changes: Any) -> list[ops.Op]:
    return list(removal.decide_removal(build_leaving(children, **changes)).ops)


WAITING = build_state(key="k", notes={names.KEY_ID: "k1", names.TAILNET: "lab"}, device_id="n1")
LATE = NOW - INSTALL.delete_deadline - timedelta(seconds=1)


def test_nothing_is_deleted_while_the_pod_runs() -> None:
    """Also when the StatefulSet is gone already: a device must be idle when it goes, or its client joins again."""
    plan = removal.decide_removal(build_leaving(Children(state=JOINED, pod=build_pod())))
    assert plan.ops == ()
    assert plan.result.waiting_on == "the proxy's end"


def test_a_device_and_its_key_go_and_after_the_deadline_the_device_is_remembered() -> None:
    """Nothing is asked of a control plane that has not answered for so long."""
    device, key, gone = (
        decide(Children(state=WAITING))[1],
        decide(Children(state=WAITING))[0],
        ops.Claim.IDENTITY,
    )
    assert key == ops.RevokeKey(key="k1")
    assert device == ops.DeleteDevice(device="n1", name="", claim=gone)
    recorded, *objects = decide(Children(state=WAITING), since=LATE)
    assert isinstance(recorded, ops.RecordOrphan)
    assert recorded.device == "n1"
    assert all(isinstance(op, ops.Delete) for op in objects)


def test_an_orphan_of_another_tailnet_is_remembered_with_it() -> None:
    """Two control planes may both count their devices from 1."""
    recorded, *_ = decide(Children(state=WAITING), since=LATE, tailnet="lab")
    assert isinstance(recorded, ops.RecordOrphan)
    assert recorded.device == "lab.n1"
    note = msgspec.json.decode(recorded.note)
    assert (note["tailnet"], note["device"]) == ("lab", "n1")


def test_the_tailnet_of_what_goes_stands_on_its_secrets() -> None:
    assert removal.find_tailnet((Children(), Children(state=WAITING))) == "lab"
    assert removal.find_tailnet((Children(),)) == ""


def test_finalizers_of_others_stay() -> None:
    found = removal.decide_unfinalize(build_world(HEARD).root)
    assert found is not None
    assert found.keep == ("example.org/mine",)


def test_what_is_deleted_is_the_object_that_was_seen() -> None:
    """A Secret as it was seen, too: the proxy may have written into it who it is."""
    meta = kube.ObjectMeta(name="x", namespace="tailscale", uid="u1", resourceVersion="7", labels=OWNER)
    gone = removal.build_delete("Secret", kube.ProxySecret(metadata=meta))
    assert (gone.uid, gone.version) == ("u1", "7")
    gone = removal.build_delete("Role", kube.Role(metadata=meta))
    assert (gone.uid, gone.version) == ("u1", "")
