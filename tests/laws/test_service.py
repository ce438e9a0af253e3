"""What exposing a Service comes to, from its annotation to its device and back, on the memory twin. The laws that hold for
every history are in `test_laws`."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tailrace import errors
from tailrace.api import kube
from tailrace.kube import resources
from tailrace.kube.resource import Key
from tailrace.proxy import secret
from tailrace.tailnet.memory import MemoryPlane
from tests.laws.histories import WEB
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
