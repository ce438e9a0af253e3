"""The four laws for exposing a Service: settles, idempotent, history-free, tidy; with faults at any single write, to the
cluster and to the tailnet. Many histories, on the memory twin; `test_dialects` has fewer, over HTTP."""

from __future__ import annotations

from datetime import timedelta

import anyio
import pytest
from hypothesis import given

from tailrace import errors
from tailrace.api import kube
from tailrace.kube import resources
from tailrace.kube.resource import Key
from tailrace.proxy import secret
from tailrace.tailnet.memory import MemoryPlane
from tests.laws.histories import (
    EDITS,
    WEB,
    Trouble,
    edits,
    examples,
    faults,
    live_through,
    refusals,
    spoil,
)
from tests.support.world import build_service, open_world

pytestmark = pytest.mark.anyio


async def test_an_exposed_service_becomes_a_device_that_answers() -> None:
    """From the annotation to Ready, in ten writes at most and one key."""
    async with open_world() as world:
        world.cluster.put(resources.SERVICES, build_service())
        await world.settle(WEB)
        assert world.conditions()["Online"][:2] == ("True", "Connected")
        assert world.conditions()["TailscaleProxyReady"][0] == "True"
        assert [d.name for d in world.plane.devices] == ["demo-web"]
        assert world.plane.calls["mint_key"] == 1
        assert world.cluster.writes + len(world.events) <= 10
        assert world.plane.usable_keys == ()


async def test_no_key_lies_about_after_login() -> None:
    """The key is dropped from the Secret once the device is there, and appears in no event."""
    async with open_world() as world:
        world.cluster.put(resources.SERVICES, build_service())
        await world.settle(WEB)
        name = next(p[2] for p in world.ours() if p[0] == "Secret")
        found: kube.ProxySecret = await world.cluster.get(resources.SECRETS, name, "tailscale")
        assert secret.find_key(found) == ""
        assert not any("key" in event.message for event in world.events)


slow = examples(40)


@slow
@given(history=edits, trouble=faults, refused=refusals)
def test_any_history_settles_and_then_writes_nothing(
    history: list[str], trouble: list[errors.TailraceError | None], refused: Trouble
) -> None:
    """Laws 1 and 2."""

    async def run() -> None:
        async with open_world() as world:
            world.cluster.put(resources.SERVICES, build_service())
            world.cluster.faults.extend(trouble)
            spoil(world.plane, refused)
            for edit in history:
                await world.reconcile(WEB)
                EDITS[edit](world)
                world.cluster.run_machinery()
            await world.settle(WEB)
            writes = world.cluster.writes
            plan = await world.reconcile(WEB)
            assert plan.ops == ()
            assert world.cluster.writes == writes

    anyio.run(run)


@slow
@given(history=edits, trouble=faults, refused=refusals)
def test_any_history_ends_in_the_same_world_as_a_clean_start(
    history: list[str], trouble: list[errors.TailraceError | None], refused: Trouble
) -> None:
    """Law 3: what the Service says now decides, not how it got there."""

    async def run() -> None:
        async with open_world() as world:
            world.cluster.put(resources.SERVICES, build_service())
            world.cluster.faults.extend(trouble)
            spoil(world.plane, refused)
            await live_through(world, history)
            await world.settle(WEB)
        service = world.cluster.objects["Service", "demo", "web"]
        async with open_world() as clean:
            notes = service["metadata"].get("annotations", {})
            clean.cluster.put(
                resources.SERVICES,
                {
                    "metadata": {"name": "web", "namespace": "demo", "annotations": notes},
                    "spec": service["spec"],
                },
            )
            await clean.settle(WEB)
            assert world.snapshot() == clean.snapshot()

    anyio.run(run)


@slow
@given(history=edits, trouble=faults, refused=refusals)
def test_a_deleted_service_leaves_nothing(
    history: list[str], trouble: list[errors.TailraceError | None], refused: Trouble
) -> None:
    """Law 4: nothing in the cluster, nothing in the tailnet, no key; what is foreign stays."""

    async def run() -> None:
        async with open_world() as world:
            stranger = world.plane.add("laptop", user="somebody")
            world.cluster.put(resources.SERVICES, build_service())
            world.cluster.faults.extend(trouble)
            spoil(world.plane, refused)
            for edit in history:
                await world.reconcile(WEB)
                if edit != "device deleted":
                    EDITS[edit](world)
                world.cluster.run_machinery()
            world.cluster.remove(("Service", "demo", "web"))
            await world.settle(WEB)
            assert world.ours() == []
            assert [d.id for d in world.plane.devices] == [stranger.id]
            # A key that could neither be stored nor taken back ends by itself, within the hour.
            assert len(world.plane.usable_keys) <= sum(method == "revoke_key" for method, _ in refused)
            assert ("Service", "demo", "web") not in world.cluster.objects

    anyio.run(run)


async def test_a_control_plane_that_is_down_holds_a_deletion_for_the_deadline_only() -> None:
    """After the deadline the finalizer goes, the device is remembered, and deleted when the control plane is back."""
    async with open_world(delete_deadline=timedelta(seconds=-1)) as world:
        world.cluster.put(resources.SERVICES, build_service())
        await world.settle(WEB)
        world.plane.break_down(errors.Transient("it is away"))
        world.cluster.remove(("Service", "demo", "web"))
        for _ in range(6):
            world.cluster.run_machinery()
            await world.reconcile(WEB)
        assert ("Service", "demo", "web") not in world.cluster.objects
        assert len(world.plane.devices) == 1
        world.plane.break_down(None)
        await world.sweep()
        assert not world.plane.devices


async def test_a_dead_namesake_of_ours_makes_room_and_a_living_one_does_not() -> None:
    """`replace-offline`, the default."""
    async with open_world() as world:
        dead = world.plane.add("demo-web", tags=["tag:k8s"], online=False)
        world.cluster.put(resources.SERVICES, build_service())
        await world.settle(WEB)
        assert [(d.name, d.id == dead.id) for d in world.plane.devices] == [("demo-web", False)]
    async with open_world() as world:
        world.plane.add("demo-web", user="somebody")
        world.cluster.put(resources.SERVICES, build_service())
        await world.settle(WEB)
        assert world.conditions()["Accepted"][1] == "NameConflict"
        assert world.plane.calls["mint_key"] == 0


async def test_of_two_services_with_one_hostname_the_older_wins() -> None:
    async with open_world() as world:
        for name, made in (("web", "2026-01-01T00:00:00Z"), ("late", "2026-01-02T00:00:00Z")):
            service = build_service(name, **{"tailscale.com__hostname": "shared"})
            service["metadata"]["creationTimestamp"] = made
            world.cluster.put(resources.SERVICES, service)
        await world.settle(WEB, Key("demo", "late"))
        assert world.conditions("web")["Accepted"][1] == "Accepted"
        assert world.conditions("late")["Accepted"][1] == "HostnameTaken"
        assert len(world.plane.devices) == 1


async def test_a_cluster_without_privileged_pods_gets_userspace_proxies() -> None:
    async with open_world() as world:
        world.cluster.privileged = False
        world.cluster.put(resources.SERVICES, build_service())
        await world.settle(WEB)
        assert "userspace" in world.conditions()["Accepted"][2]


async def test_a_slip_in_an_annotation_is_named_also_when_it_comes_later() -> None:
    """In the condition for as long as it stands, and in one event."""
    async with open_world() as world:
        world.cluster.put(resources.SERVICES, build_service())
        await world.settle(WEB)
        world.cluster.put(resources.SERVICES, build_service(**{"tailscale.com__hostnmae": "shop"}))
        await world.settle(WEB)
        slip = "tailscale.com/hostnmae is not known (did you mean tailscale.com/hostname?)"
        assert slip in world.conditions()["Accepted"][2]
        assert [e.message for e in world.events if e.reason == "UnknownAnnotation"] == [slip]


async def test_a_refused_tag_is_told_and_nothing_is_left_half_done() -> None:
    async with open_world(MemoryPlane(tags=["tag:k8s"])) as world:
        world.cluster.put(resources.SERVICES, build_service(**{"tailscale.com__tags": "tag:foreign"}))
        for _ in range(4):
            world.cluster.run_machinery()
            await world.reconcile(WEB)
        assert world.conditions()["Provisioned"][:2] == ("False", "CredentialsRefused")
        assert "tag:foreign" in world.conditions()["Provisioned"][2]
