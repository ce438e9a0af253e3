"""The four laws for leading a Service out of the cluster, and a fifth: it comes back as it was. Faults at any single write,
to the cluster and to the tailnet; a target that changes, routers that come and go, a class that is not there yet. Many
histories on the memory twin, some over HTTP on every control plane."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import anyio
import pytest
from hypothesis import given

from tailrace import errors
from tailrace.kube import resources
from tailrace.sandbox.controlplane.records import Dialect
from tailrace.tailnet import port
from tailrace.tailnet.memory import MemoryPlane
from tests.laws.histories import (
    WEB,
    Edit,
    Trouble,
    annotate,
    change,
    examples,
    faults,
    histories,
    live_through,
    refusals,
    remove_devices,
    spoil,
)
from tests.support.faults import UNDONE, UNHEARD, Fault, scripts
from tests.support.tailnets import CLIENT, Tailnet, open_emulated
from tests.support.world import World, build_class, build_egress, open_world, open_world_on

pytestmark = pytest.mark.anyio

FQDN, IP, EXPOSE = "tailscale.com/tailnet-fqdn", "tailscale.com/tailnet-ip", "tailscale.com/expose"
LAN, PRINTER = "192.168.1.0/24", "192.168.1.20"


def find(tailnet: Tailnet, name: str) -> port.Device:
    return next(d for d in tailnet.devices if d.name == name)


def lead_to(**notes: str | None) -> Edit:
    """Somebody writes one target, and takes the others away."""
    body = {FQDN: None, IP: None, **{f"tailscale.com/{k}": v for k, v in notes.items()}}
    return change({"metadata": {"annotations": body}})


def lead_to_name(world: World[Any]) -> None:
    lead_to(**{"tailnet-fqdn": f"db.{domain_of(world.plane)}"})(world)


def turn(name: str, *, on: bool) -> Edit:
    return lambda world: world.plane.set_online(find(world.plane, name).id, on)


def approve(*routes: str) -> Edit:
    return lambda world: world.plane.approve(find(world.plane, "router").id, routes)


def drop_class(world: World[Any]) -> None:
    if ("ProxyClass", "", "routes") in world.cluster.objects:
        world.cluster.remove(("ProxyClass", "", "routes"))


def put_class(world: World[Any]) -> None:
    world.cluster.put(resources.PROXY_CLASSES, build_class())


EDITS: dict[str, Edit] = {
    "to a name": lead_to_name,
    "to a stranger": lead_to(**{"tailnet-fqdn": "nobody.example.org"}),
    "to a printer": lead_to(**{"tailnet-ip": PRINTER}),
    "nowhere": lead_to(),
    "hostname": annotate("tailscale.com/hostname", "other"),
    "tags": annotate("tailscale.com/tags", "tag:a,tag:b"),
    "class": annotate("tailscale.com/proxy-class", "routes"),
    "class appears": put_class,
    "class disappears": drop_class,
    "ports": change({"spec": {"ports": [{"port": 53, "name": "dns", "protocol": "UDP"}]}}),
    "device deleted": remove_devices,
    "target offline": turn("db", on=False),
    "target online": turn("db", on=True),
    "router offline": turn("router", on=False),
    "router online": turn("router", on=True),
    "route approved": approve(LAN),
    "route refused": approve(),
    "exposed too": annotate(EXPOSE, "true"),
    "not exposed": annotate(EXPOSE, None),
}
MENDED = ["class appears", "not exposed"]
"""What is refused keeps what ran before, whatever that was: a history that shall be forgotten ends without refusal."""

edits = histories(EDITS)


def domain_of(tailnet: Tailnet) -> str:
    """The tailnet's base domain."""
    return (find(tailnet, "db").fqdn or "").partition(".")[2]


def furnish(tailnet: Tailnet) -> None:
    """What is in the tailnet beside us."""
    tailnet.add("db", user="somebody")
    tailnet.add("router", user="somebody-else", routes=[LAN])


def begin(world: World[Any]) -> None:
    furnish(world.plane)
    world.cluster.put(resources.SERVICES, build_egress())
    lead_to_name(world)


async def check_idempotent(world: World[Any]) -> None:
    writes = world.cluster.writes
    plan = await world.reconcile(WEB)
    assert plan.ops == ()
    assert world.cluster.writes == writes


async def build_clean_start(world: World[Any]) -> dict[Any, Any]:
    """What the Service as it is now comes to where nothing ever happened, in a tailnet that is as it is now."""
    service = world.cluster.objects["Service", *WEB]
    async with open_world(MemoryPlane(domain=domain_of(world.plane))) as clean:
        furnish(clean.plane)
        for name in ("db", "router"):
            there = find(world.plane, name)
            clean.plane.set_online(find(clean.plane, name).id, there.online)
            clean.plane.approve(find(clean.plane, name).id, there.enabled_routes)
        notes = service["metadata"].get("annotations", {})
        meta = {"name": WEB.name, "namespace": WEB.namespace, "annotations": notes}
        clean.cluster.put(resources.SERVICES, {"metadata": meta, "spec": service["spec"]})
        put_class(clean)
        await clean.settle(WEB)
        return clean.snapshot()


def spoil_all(world: World[Any], trouble: Iterable[errors.TailraceError | None]) -> None:
    world.cluster.faults.extend(trouble)


slow = examples(40)


async def test_a_service_leads_to_a_device() -> None:
    """From the annotation to Ready, in twelve writes at most and one key; named ports resolve."""
    async with open_world() as world:
        begin(world)
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


@slow
@given(history=edits, trouble=faults, refused=refusals)
def test_any_history_settles_and_then_writes_nothing(
    history: list[str], trouble: list[errors.TailraceError | None], refused: Trouble
) -> None:
    """Laws 1 and 2."""

    async def run() -> None:
        async with open_world() as world:
            begin(world)
            spoil_all(world, trouble)
            spoil(world.plane, refused)
            await live_through(world, history, EDITS)
            await world.settle(WEB)
            await check_idempotent(world)

    anyio.run(run)


@slow
@given(history=edits, trouble=faults, refused=refusals)
def test_any_history_ends_in_the_same_world_as_a_clean_start(
    history: list[str], trouble: list[errors.TailraceError | None], refused: Trouble
) -> None:
    """Law 3: what the Service says now decides, not how it got there."""

    async def run() -> None:
        async with open_world() as world:
            begin(world)
            spoil_all(world, trouble)
            spoil(world.plane, refused)
            await live_through(world, [*history, *MENDED], EDITS)
            await world.settle(WEB)
            assert world.snapshot() == await build_clean_start(world)

    anyio.run(run)


@slow
@given(history=edits, trouble=faults, refused=refusals)
def test_a_deleted_service_leaves_nothing(
    history: list[str], trouble: list[errors.TailraceError | None], refused: Trouble
) -> None:
    """Law 4: nothing in the cluster, nothing in the tailnet, no key; what is foreign stays."""

    async def run() -> None:
        async with open_world() as world:
            begin(world)
            spoil_all(world, trouble)
            spoil(world.plane, refused)
            await live_through(world, history, EDITS)
            world.cluster.remove(("Service", *WEB))
            await world.settle(WEB)
            assert world.ours() == []
            assert {d.name for d in world.plane.devices} == {"db", "router"}
            assert len(world.plane.usable_keys) <= sum(method == "revoke_key" for method, _ in refused)
            assert ("Service", *WEB) not in world.cluster.objects

    anyio.run(run)


@slow
@given(history=edits, trouble=faults, refused=refusals)
def test_a_service_that_no_longer_leads_out_is_what_it_was(
    history: list[str], trouble: list[errors.TailraceError | None], refused: Trouble
) -> None:
    """Law 5: the spec as the user wrote it, no condition, no finalizer, nothing of ours."""

    async def run() -> None:
        async with open_world() as world:
            begin(world)
            wanted = dict(world.cluster.objects["Service", *WEB]["spec"])
            spoil_all(world, trouble)
            spoil(world.plane, refused)
            await live_through(world, [*history, "not exposed", "nowhere"], EDITS)
            await world.settle(WEB)
            service = world.cluster.objects["Service", *WEB]
            if "ports" in history:
                wanted["ports"] = service["spec"]["ports"]
            assert service["spec"] == wanted
            assert service["metadata"].get("finalizers", []) == []
            assert world.conditions() == {}
            assert world.ours() == []
            assert {d.name for d in world.plane.devices} == {"db", "router"}

    anyio.run(run)


async def test_what_the_user_made_of_it_meanwhile_wins() -> None:
    """Written while it leads out: rewritten, and given back. Written after: left alone."""
    mine = {"type": "ExternalName", "externalName": "elsewhere.example.org"}
    async with open_world() as world:
        begin(world)
        await world.settle(WEB)
        change({"spec": mine})(world)
        await world.settle(WEB)
        assert world.cluster.objects["Service", *WEB]["spec"]["externalName"].startswith("ts-web-")
        EDITS["nowhere"](world)
        await world.settle(WEB)
        assert world.cluster.objects["Service", *WEB]["spec"]["externalName"] == "elsewhere.example.org"
    async with open_world() as world:
        begin(world)
        await world.settle(WEB)
        EDITS["nowhere"](world)
        change({"spec": mine})(world)
        await world.settle(WEB)
        assert world.cluster.objects["Service", *WEB]["spec"]["externalName"] == "elsewhere.example.org"
        assert world.ours() == []


async def test_an_address_that_somebody_else_has_now_is_not_asked_for() -> None:
    async with open_world() as world:
        begin(world)
        await world.settle(WEB)
        other = {"metadata": {"name": "other", "namespace": "demo"}, "spec": {"clusterIP": "10.96.0.7"}}
        world.cluster.put(resources.SERVICES, other)
        EDITS["nowhere"](world)
        await world.settle(WEB)
        spec = world.cluster.objects["Service", *WEB]["spec"]
        assert spec["selector"] == {"app": "web"}
        assert "clusterIP" not in spec


async def test_a_change_of_target_keeps_device_and_names() -> None:
    """The pod restarts; nothing else is new."""
    async with open_world() as world:
        begin(world)
        put_class(world)
        annotate("tailscale.com/proxy-class", "routes")(world)
        approve(LAN)(world)
        await world.settle(WEB)
        before = (find(world.plane, "demo-web").id, sorted(world.ours()))
        EDITS["to a printer"](world)
        await world.settle(WEB)
        assert (find(world.plane, "demo-web").id, sorted(world.ours())) == before
        assert world.conditions()["TargetReady"][1] == "RouteServed"
        assert world.plane.calls["mint_key"] == 1


async def test_a_name_that_has_moved_to_other_addresses_restarts_the_pod() -> None:
    """A running proxy keeps to the old ones. While nobody has the name nothing restarts."""
    async with open_world() as world:
        begin(world)
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
        begin(world)
        EDITS["nowhere"](world)
        EDITS["exposed too"](world)
        await world.settle(WEB)
        device = find(world.plane, "demo-web").id
        EDITS["not exposed"](world)
        lead_to_name(world)
        await world.settle(WEB)
        assert find(world.plane, "demo-web").id == device
        assert world.conditions()["Ready"][0] == "True"
        assert "BackendReady" not in world.conditions()
        EDITS["nowhere"](world)
        EDITS["exposed too"](world)
        await world.settle(WEB)
        assert world.conditions()["Accepted"][0] == "True"
        assert "TargetReady" not in world.conditions()
        assert [p for p in world.ours() if p[0] == "Service"] == []


CONTROL_PLANES: list[tuple[Dialect, tuple[str, ...]]] = [
    ("tailscale", CLIENT),
    ("headscale-0.29", ("api_key",)),
    ("headscale-0.30", ("api_key",)),
]


@pytest.mark.parametrize(("dialect", "names"), CONTROL_PLANES, ids=["tailscale", "0.29", "0.30"])
@examples(10, shrink=False)
@given(
    history=edits,
    trouble=faults,
    before=scripts(*UNDONE, *UNHEARD, most=12),
    after=scripts(*UNDONE, *UNHEARD, most=12),
)
def test_the_four_laws_on_every_control_plane(
    dialect: Dialect,
    names: tuple[str, ...],
    history: list[str],
    trouble: list[Any],
    before: list[Fault | None],
    after: list[Fault | None],
) -> None:
    """Settles, writes nothing then, is as after a clean start, and leaves nothing when the Service goes."""

    async def run() -> None:
        async with (
            open_emulated(dialect, names) as tailnet,
            open_world_on(tailnet, tailnet.edge) as world,
        ):
            begin(world)
            spoil_all(world, trouble)
            tailnet.faults.script.extend(before)
            await live_through(world, [*history, *MENDED], EDITS)
            await world.settle(WEB)
            await check_idempotent(world)
            assert world.snapshot() == await build_clean_start(world)

            world.cluster.remove(("Service", *WEB))
            tailnet.faults.script.extend(after)
            await world.settle(WEB)
            assert world.ours() == []
            assert {d.name for d in tailnet.devices} == {"db", "router"}

    anyio.run(run)
