"""What leading a Service out of the cluster comes to, and that it comes back as it was, on the memory twin. The laws that
hold for every kind are in `test_laws`."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from hypothesis import given

from tailrace import errors
from tailrace.kube import resources
from tests.laws.histories import (
    WEB,
    Trouble,
    annotate,
    change,
    examples,
    faults,
    histories,
    live_through,
    refusals,
    spoil,
)
from tests.laws.kinds import EGRESS, FOREIGN, LAN, approve, domain_of, find, lead_to_name, put_class
from tests.support.world import World, open_world

pytestmark = pytest.mark.anyio


async def test_a_service_leads_to_a_device() -> None:
    """From the annotation to Ready, in twelve writes at most and one key; named ports resolve."""
    async with open_world() as world:
        EGRESS.start(world)
        await world.settle(WEB)
        assert world.conditions()["TargetReady"][:2] == ("True", "TargetConnected")
        assert world.conditions()["Ready"][0] == world.conditions()["TailscaleProxyReady"][0] == "True"
        name = next(p[2] for p in world.ours() if p[0] == "Service")
        spec = world.cluster.objects["Service", *WEB]["spec"]
        assert spec["type"] == "ExternalName"
        assert spec["externalName"] == f"{name}.tailscale.svc.cluster.local"
        assert not {"selector", "clusterIP", "clusterIPs"} & spec.keys()
        ports = world.cluster.objects["Service", "tailscale", name]["spec"]["ports"]
        assert [(p["name"], p["port"], p["protocol"]) for p in ports] == [("http", 80, "TCP")]
        assert world.plane.calls["mint_key"] == 1
        assert world.cluster.writes + len(world.events) <= 12


@examples(40)
@given(history=histories(EGRESS.edits), trouble=faults, refused=refusals)
def test_a_service_that_no_longer_leads_out_is_what_it_was(
    history: list[str], trouble: list[errors.TailraceError | None], refused: Trouble
) -> None:
    """Law 5: the spec as the user wrote it, no condition, no finalizer, nothing of ours."""

    async def run() -> None:
        async with open_world() as world:
            EGRESS.start(world)
            wanted = dict(world.cluster.objects["Service", *WEB]["spec"])
            world.cluster.faults.extend(trouble)
            spoil(world.plane, refused)
            await live_through(world, [*history, "not exposed", "nowhere"], EGRESS.edits)
            await world.settle(WEB)
            service = world.cluster.objects["Service", *WEB]
            if "ports" in history:
                wanted["ports"] = service["spec"]["ports"]
            assert service["spec"] == wanted
            assert service["metadata"].get("finalizers", []) == []
            assert world.conditions() == {}
            assert world.ours() == []
            assert {d.name for d in world.plane.devices} == FOREIGN

    anyio.run(run)


async def test_what_the_user_made_of_it_meanwhile_wins() -> None:
    """Written while it leads out: rewritten, and given back. Written after: left alone."""
    mine = {"type": "ExternalName", "externalName": "elsewhere.example.org"}
    async with open_world() as world:
        EGRESS.start(world)
        await world.settle(WEB)
        change({"spec": mine})(world)
        await world.settle(WEB)
        assert world.cluster.objects["Service", *WEB]["spec"]["externalName"].startswith("ts-web-")
        EGRESS.edits["nowhere"](world)
        await world.settle(WEB)
        assert world.cluster.objects["Service", *WEB]["spec"]["externalName"] == "elsewhere.example.org"
    async with open_world() as world:
        EGRESS.start(world)
        await world.settle(WEB)
        EGRESS.edits["nowhere"](world)
        change({"spec": mine})(world)
        await world.settle(WEB)
        assert world.cluster.objects["Service", *WEB]["spec"]["externalName"] == "elsewhere.example.org"
        assert world.ours() == []


async def test_an_address_that_somebody_else_has_now_is_not_asked_for() -> None:
    async with open_world() as world:
        EGRESS.start(world)
        await world.settle(WEB)
        other = {"metadata": {"name": "other", "namespace": "demo"}, "spec": {"clusterIP": "10.96.0.7"}}
        world.cluster.put(resources.SERVICES, other)
        EGRESS.edits["nowhere"](world)
        await world.settle(WEB)
        spec = world.cluster.objects["Service", *WEB]["spec"]
        assert spec["selector"] == {"app": "web"}
        assert "clusterIP" not in spec


async def test_a_change_of_target_keeps_device_and_names() -> None:
    """The pod restarts; nothing else is new."""
    async with open_world() as world:
        EGRESS.start(world)
        put_class(world)
        annotate("tailscale.com/proxy-class", "routes")(world)
        approve(LAN)(world)
        await world.settle(WEB)
        before = (find(world.plane, "demo-web").id, sorted(world.ours()))
        EGRESS.edits["to a printer"](world)
        await world.settle(WEB)
        assert (find(world.plane, "demo-web").id, sorted(world.ours())) == before
        assert world.conditions()["TargetReady"][1] == "RouteServed"
        assert world.plane.calls["mint_key"] == 1


async def test_a_name_that_has_moved_to_other_addresses_restarts_the_pod() -> None:
    """A running proxy keeps to the old ones. While nobody has the name nothing restarts."""
    async with open_world() as world:
        EGRESS.start(world)
        await world.settle(WEB)
        before = read_template(world)
        world.plane.remove(find(world.plane, "db").id)
        await world.settle(WEB)
        assert world.conditions()["TargetReady"][1] == "TargetNotFound"
        assert read_template(world) == before
        world.plane.add("db", user="somebody")
        await world.settle(WEB)
        assert world.conditions()["TargetReady"][1] == "TargetConnected"
        assert read_template(world) != before


def read_template(world: World[Any]) -> Any:
    """What restarts the pod when it changes."""
    name = next(p for p in world.ours() if p[0] == "StatefulSet")
    return world.cluster.objects[name]["spec"]["template"]


async def test_an_exposed_service_becomes_an_egress_and_back_with_one_device() -> None:
    """The rooms hand it over; what was made stays where it can."""
    async with open_world() as world:
        EGRESS.start(world)
        EGRESS.edits["nowhere"](world)
        EGRESS.edits["exposed too"](world)
        await world.settle(WEB)
        device = find(world.plane, "demo-web").id
        EGRESS.edits["not exposed"](world)
        lead_to_name(world)
        await world.settle(WEB)
        assert find(world.plane, "demo-web").id == device
        assert world.conditions()["Ready"][0] == "True"
        assert "BackendReady" not in world.conditions()
        EGRESS.edits["nowhere"](world)
        EGRESS.edits["exposed too"](world)
        await world.settle(WEB)
        assert world.conditions()["Accepted"][0] == "True"
        assert "TargetReady" not in world.conditions()
        assert [p for p in world.ours() if p[0] == "Service"] == []


async def test_a_service_that_leads_to_its_own_proxy_leads_nowhere() -> None:
    async with open_world() as world:
        EGRESS.start(world)
        annotate("tailscale.com/tailnet-fqdn", f"demo-web.{domain_of(world.plane)}")(world)
        await world.settle(WEB)
        assert world.conditions()["TargetReady"][:2] == ("False", "TargetNotFound")


async def test_nothing_is_made_before_the_devices_of_the_tailnet_are_known() -> None:
    """The name may be somebody's."""
    async with open_world() as world:
        EGRESS.start(world)
        world.plane.break_down(errors.Transient("it is away"))
        for _ in range(3):
            await world.reconcile(WEB)
        assert world.ours() == []
        assert world.plane.calls["mint_key"] == 0


async def test_of_two_proxies_of_a_service_the_one_without_the_usual_name_goes() -> None:
    """Another operator made it, or a change of names did."""
    async with open_world() as world:
        EGRESS.start(world)
        await world.settle(WEB)
        before = sorted(world.ours())
        labels = next(o["metadata"]["labels"] for p, o in world.cluster.objects.items() if p[0] == "Secret")
        meta = {"name": "ts-old-0", "namespace": "tailscale", "labels": labels}
        world.cluster.put(resources.SECRETS, {"metadata": meta, "data": {}})
        await world.settle(WEB)
        assert sorted(world.ours()) == before
