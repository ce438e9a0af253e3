"""What is left over and who may take it: every row of the judgement, and the sweeper over it on the memory twin."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from tailrace import errors
from tailrace.api import kube, names
from tailrace.kinds.sweep import judge
from tailrace.kinds.sweep.controller import AT_ONCE, FIRST, PERIOD, Kind, Sweeper
from tailrace.kinds.sweep.inputs import Inputs, Remembered
from tailrace.kinds.sweep.judge import Finding, Verdict, What
from tailrace.kube import resources
from tailrace.kube.resource import Key, key_of
from tailrace.observe import metrics
from tailrace.plan import ops
from tailrace.proxy import names as proxy_names
from tailrace.proxy import secret
from tailrace.tailnet import port
from tailrace.tailnet.memory import MemoryPlane
from tests.laws.histories import WEB
from tests.support.world import World, build_service, open_world

NOW = datetime(2026, 1, 2, tzinfo=UTC)
LONG_AGO = NOW - timedelta(hours=1)

DEAD = port.Device(
    id=port.DeviceId("9"),
    name="demo-web",
    hostname="demo-web",
    fqdn=None,
    addresses=("100.64.0.9",),
    tags=("tag:k8s",),
    online=False,
    last_seen=LONG_AGO,
)
KEY = port.KeyInfo(
    id=port.KeyId("k1"),
    description="",
    tags=("tag:k8s",),
    created=LONG_AGO,
    expires=None,
    usable=True,
)
ENTRY = Remembered(key="9", device="9", name="demo-old.tailnet.test", object="Service demo/old", tailnet="")


def build_state(
    name: str = "web", *, device: str = "1", key: str = "", parent: str = "svc", **notes: str
) -> secret.State:
    """The Secret of a proxy; with `key` one waits in it."""
    config = {"Hostname": f"demo-{name}"} | ({"AuthKey": key} if key else {})
    found = kube.ProxySecret(
        metadata=kube.ObjectMeta(
            name=f"ts-{name}-0",
            namespace="tailscale",
            labels=proxy_names.build_labels(parent, "demo", name),
            annotations={k.replace("__", "/").replace("_", "-"): v for k, v in notes.items()},
        ),
        data=kube.ProxySecretData(
            config=kube.encode_key(msgspec.json.encode(config).decode()), device_id=kube.encode_key(device)
        ),
    )
    return secret.read(found)


def build_inputs(**changes: Any) -> Inputs:
    """One Service `demo/web` with its proxy, nothing left over."""
    usual = Inputs(
        cluster="prod",
        tags=("tag:k8s",),
        tailnet="",
        states=(build_state(),),
        roots={"svc": frozenset({("demo", "web")}), "connector": frozenset()},
        now=NOW,
    )
    return dataclasses.replace(usual, **changes)


def judge_one(**changes: Any) -> Finding:
    (found,) = judge.judge(build_inputs(**changes))
    return found


def change(device: port.Device, **changes: Any) -> tuple[port.Device, ...]:
    return (dataclasses.replace(device, **changes),)


# --- devices ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "verdict", "why"),
    [
        ({}, Verdict.NAMED, "an object of this cluster has its name"),
        ({"name": "demo-web-1"}, Verdict.NAMED, "an object of this cluster has its name"),
        ({"name": "demo-web-2", "hostname": "demo-web-2"}, Verdict.SHARED, "another cluster"),
        ({"name": "other", "hostname": "other"}, Verdict.SHARED, "another cluster"),
        ({"online": True, "last_seen": None}, Verdict.KEPT, "it is connected"),
        ({"tags": ("tag:k8s", "tag:prod")}, Verdict.KEPT, "tags that are not ours (tag:prod)"),
        ({"last_seen": NOW - timedelta(minutes=9)}, Verdict.KEPT, "a moment ago"),
        ({"last_seen": None}, Verdict.KEPT, "does not say"),
        ({"last_seen": None, "created": LONG_AGO}, Verdict.NAMED, "has its name"),
    ],
)
def test_a_device_that_no_object_has(changes: dict[str, Any], verdict: Verdict, why: str) -> None:
    found = judge_one(devices=change(DEAD, **changes))
    assert (found.what, found.verdict) == (What.DEVICE, verdict)
    assert why in found.why


@pytest.mark.parametrize(
    "changes",
    [
        {"devices": change(DEAD, id="1")},
        {"devices": (DEAD,), "claimed": frozenset({"9"})},
        {"devices": change(DEAD, tags=("tag:server",))},
        {"devices": change(DEAD, tags=())},
    ],
    ids=["of a proxy of ours", "of a Secret of somebody else", "other tags", "somebody's laptop"],
)
def test_what_is_none_of_our_business_is_not_even_listed(changes: dict[str, Any]) -> None:
    assert judge.judge(build_inputs(**changes)) == ()


def test_tags_and_names_of_our_objects_count_as_ours() -> None:
    state = build_state(**{"tailrace.dev__key_tags": "tag:db,tag:k8s"})
    found = judge_one(states=(state,), devices=change(DEAD, tags=("tag:db",)))
    assert found.verdict is Verdict.NAMED


def test_two_headscales_count_alike_so_an_id_is_claimed_on_its_own_tailnet_only() -> None:
    elsewhere = build_state(**{names.TAILNET.replace("/", "__"): "home"})
    assert judge_one(states=(elsewhere,), devices=change(DEAD, id="1")).what is What.DEVICE


def test_two_headscales_count_alike_so_the_orphan_record_too_is_of_its_own_tailnet() -> None:
    elsewhere = dataclasses.replace(ENTRY, tailnet="home")
    assert judge_one(devices=(DEAD,), remembered=(elsewhere,)).what is What.DEVICE


def test_a_device_is_looked_at_once_more_before_it_goes() -> None:
    inputs = build_inputs(devices=(DEAD,))
    (op,) = judge.decide(judge.judge(inputs)[0], inputs).ops
    assert isinstance(op, ops.DeleteDevice)
    assert (op.claim, op.tags) == (ops.Claim.DEAD_NAMESAKE, ("tag:k8s",))


def test_the_orphan_record_is_proof_even_of_a_device_that_is_connected() -> None:
    inputs = build_inputs(remembered=(ENTRY,), devices=change(DEAD, online=True, last_seen=None))
    (found,) = judge.judge(inputs)
    assert (found.what, found.verdict) == (What.ORPHAN, Verdict.OURS)
    assert [type(op) for op in judge.decide(found, inputs).ops] == [ops.DeleteDevice, ops.ForgetOrphan]


def test_an_orphan_is_forgotten_under_the_key_of_its_own_tailnet() -> None:
    """Both may count their devices alike."""
    lab = dataclasses.replace(ENTRY, key="lab.9", tailnet="lab")
    inputs = build_inputs(remembered=(ENTRY, lab), tailnet="lab")
    (found,) = judge.judge(inputs)
    plan = judge.decide(found, inputs)
    assert (plan.tailnet, plan.ops[1]) == ("lab", ops.ForgetOrphan(device="lab.9"))


def test_a_name_of_the_orphan_record_is_a_name_of_ours() -> None:
    found = judge.judge(
        build_inputs(
            remembered=(ENTRY,), devices=change(DEAD, id="10", name="demo-old-1", hostname="demo-old")
        )
    )
    assert [f.verdict for f in found if f.what is What.DEVICE] == [Verdict.NAMED]


# --- keys ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "verdict"),
    [
        ({"description": "tailrace prod demo web"}, Verdict.OURS),
        ({"description": "tailrace prod demo gone"}, Verdict.NAMED),
        ({"description": "tailrace other demo web"}, Verdict.SHARED),
        ({"description": "tailrace production demo web"}, Verdict.SHARED),
        ({"description": "tailrace other demo web", "tags": ("tag:x",)}, None),
        ({"description": "by hand"}, None),
        ({"description": ""}, None),
        ({"description": "tailrace prod demo web", "usable": False}, None),
        ({"description": "tailrace prod demo web", "created": NOW - timedelta(minutes=9)}, None),
        ({"description": "tailrace prod demo web", "created": None}, None),
        ({"id": "k7"}, Verdict.OURS),
    ],
)
def test_a_key_that_nobody_waits_for(key: dict[str, Any], verdict: Verdict | None) -> None:
    state = build_state(**{"tailrace.dev__key_id": "k7"})
    found = judge.judge(build_inputs(states=(state,), keys=(dataclasses.replace(KEY, **key),)))
    assert [f.verdict for f in found] == ([verdict] if verdict else [])


def test_a_key_that_waits_for_its_login_is_needed() -> None:
    state = build_state(device="", key="secret", **{"tailrace.dev__key_id": "k1"})
    key = dataclasses.replace(KEY, description="tailrace prod demo web")
    assert judge.judge(build_inputs(states=(state,), keys=(key,))) == ()


def test_a_cluster_without_a_name_proves_nothing_by_a_description() -> None:
    key = dataclasses.replace(KEY, description="tailrace demo web")
    assert judge_one(cluster="", keys=(key,)).verdict is Verdict.SHARED


# --- proxies ---------------------------------------------------------------------------------------------------


def test_a_proxy_whose_object_is_gone_goes_and_one_of_a_kind_not_served_stays() -> None:
    served = judge_one(states=(build_state("gone"),))
    assert (served.what, served.verdict, served.owner) == (What.PROXY, Verdict.OURS, ("svc", "demo", "gone"))
    foreign = judge_one(states=(build_state("gone", parent="ingress"),))
    assert (foreign.verdict, "does not serve" in foreign.why) == (Verdict.KEPT, True)


def test_a_workload_without_a_secret_is_on_our_own_tailnet() -> None:
    """Nothing says which it joined, and it is found once."""
    meta = kube.ObjectMeta(name="ts-gone", labels=proxy_names.build_labels("svc", "demo", "gone"))
    workloads = (kube.StatefulSet(metadata=meta),)
    assert judge_one(workloads=workloads).owner == ("svc", "demo", "gone")
    assert judge.judge(build_inputs(workloads=workloads, tailnet="lab")) == ()


def test_a_connector_whose_kind_was_taken_out_of_the_cluster_has_no_object() -> None:
    assert judge_one(states=(build_state("router", parent="connector"),)).verdict is Verdict.OURS


# --- the sweeper -----------------------------------------------------------------------------------------------


def build_sweeper(world: World, woken: list[Key]) -> Sweeper:
    services = world.fleet.stores.services
    kind = Kind(list_keys=lambda: [key_of(s) for s in services.list()], wake=woken.append)
    return Sweeper(world.fleet, {"svc": kind})


@pytest.mark.anyio
async def test_the_sweeper_takes_keys_of_ours_and_wakes_the_room_of_a_lost_proxy() -> None:
    async with open_world(cluster_name="prod") as world:
        world.cluster.put(resources.SERVICES, build_service())
        await world.settle(WEB)
        forgotten = await mint(world.plane, "tailrace prod demo web")
        foreign = await mint(world.plane, "tailrace prod demo other")
        world.plane.add("demo-web", tags=["tag:k8s"], online=False)
        woken: list[Key] = []
        sweeper = build_sweeper(world, woken)
        before = metrics.SWEPT.labels("key")._value.get()
        result = await sweeper.reconcile(Key("", ""))
        assert (result.requeue_after, woken) == (PERIOD, [])
        assert {k.id for k in world.plane.usable_keys} == {forgotten, foreign}  # both are young
        grow_old(world.plane)
        await sweeper.reconcile(Key("", ""))
        assert {k.id for k in world.plane.usable_keys} == {foreign}
        assert metrics.SWEPT.labels("key")._value.get() == before + 1
        assert len(world.plane.devices) == 2  # devices are for a person to judge
        world.cluster._drop(("Service", "demo", "web"))
        await sweeper.reconcile(Key("", ""))
        assert woken == [WEB]


@pytest.mark.anyio
async def test_a_credential_that_may_not_list_keys_and_a_tailnet_that_is_away_sweep_nothing() -> None:
    async with open_world(cluster_name="prod") as world:
        world.plane.fail("list_keys", errors.Denied("no"))
        await world.reconcile(WEB)
        sweeper = build_sweeper(world, [])
        assert (await sweeper.reconcile(Key("", ""))).requeue_after == PERIOD
        assert (await sweeper.reconcile(Key("", "away"))).requeue_after is None
        assert world.plane.calls["revoke_key"] == 0


@pytest.mark.anyio
async def test_nothing_is_swept_by_a_list_that_is_old() -> None:
    """What it knew of devices may no longer be so; it is looked at again before a whole period is over."""
    async with open_world(cluster_name="prod") as world:
        world.cluster.put(resources.SERVICES, build_service())
        await world.settle(WEB)
        await mint(world.plane, "tailrace prod demo web")
        grow_old(world.plane)
        world.plane.break_down(errors.Transient("it is away"))
        await world.reconcile(WEB)
        assert (await build_sweeper(world, []).reconcile(Key("", ""))).requeue_after == FIRST
        assert len(world.plane.usable_keys) == 1


@pytest.mark.anyio
async def test_a_tailnet_that_cannot_be_used_is_not_swept() -> None:
    async with open_world(cluster_name="prod") as world:
        await world.reconcile(WEB)
        (own,) = world.fleet.tailnets.all()
        own.problem = "its credential is refused"
        assert (await build_sweeper(world, []).reconcile(Key("", ""))).requeue_after == FIRST
        assert world.plane.calls["list_keys"] == 0


@pytest.mark.anyio
async def test_a_sweep_takes_a_few_at_a_time() -> None:
    async with open_world(cluster_name="prod") as world:
        world.cluster.put(resources.SERVICES, build_service())
        await world.settle(WEB)
        for _ in range(AT_ONCE + 2):
            await mint(world.plane, "tailrace prod demo web")
        grow_old(world.plane)
        sweeper = build_sweeper(world, [])
        await sweeper.reconcile(Key("", ""))
        left = [len(world.plane.usable_keys)]
        await sweeper.reconcile(Key("", ""))
        assert [*left, len(world.plane.usable_keys)] == [2, 0]


async def mint(plane: MemoryPlane, description: str) -> str:
    wanted = port.KeyRequest(tags=("tag:k8s",), ttl=timedelta(hours=1), description=description)
    return (await plane.mint_key(wanted)).id


def grow_old(plane: MemoryPlane) -> None:
    for key in plane._keys.values():
        key.info = dataclasses.replace(key.info, created=datetime.now(UTC) - timedelta(minutes=20))


# --- the rooms that are woken ----------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_what_lost_its_object_while_nobody_looked_is_taken_away_by_its_room() -> None:
    """A Service deleted past its finalizer, and a Connector that went with its definition."""
    routes = Key("", "routes")
    async with open_world() as world:
        laptop = world.plane.add("laptop", user="somebody")
        world.cluster.put(resources.SERVICES, build_service())
        connector = {
            "metadata": {"name": "routes"},
            "spec": {"exitNode": True, "replicas": 2, "hostnamePrefix": "r"},
        }
        world.cluster.put(resources.CONNECTORS, connector)
        await world.settle(WEB, routes)
        assert len(world.plane.devices) == 4
        for place in (("Service", "demo", "web"), ("Connector", "", "routes")):
            world.cluster._drop(place)
        await world.settle(WEB, routes)
        assert world.ours() == []
        assert [d.id for d in world.plane.devices] == [laptop.id]
