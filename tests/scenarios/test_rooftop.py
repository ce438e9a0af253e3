"""Power from the roof: panels for people on the tailnet, and a collector in the cluster that asks a device in a house far
away. Everything that may be missing on that way is named, one after the other, until the readings arrive."""

from __future__ import annotations

from pathlib import Path

import pytest

from tailrace.sandbox.controlplane.records import Dialect
from tests.scenarios.stage import DIALECTS, Device, Stage, raise_stage

pytestmark = pytest.mark.anyio

HOUSE, INVERTER, BATTERY = "192.168.47.0/24", "192.168.47.20", "192.168.47.21"
WAY, PANELS, WEATHER = "service/rooftop/house", "service/rooftop/panels", "service/rooftop/weather"
ALIAS = "house.rooftop.svc.cluster.local"


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_collector_in_the_cluster_reads_a_device_in_a_house(tmp_path: Path, dialect: Dialect) -> None:
    """The manifests are there before the operator is, as after a first rollout of everything at once."""
    async with raise_stage(tmp_path, dialect, early="rooftop") as stage:
        stage.world.host(INVERTER, lan="house", name="inverter", http=(8090,))
        stage.world.host(BATTERY, lan="house", name="battery", http=(8090,))
        attic = stage.join("attic", routes=[HOUSE], lan="house")
        await see_the_panels(stage)
        await name_what_is_missing(stage, attic)
        await read(stage, attic)
        await lead_elsewhere(stage)
        await ask_for_the_weather(stage)
        await withdraw(stage)


async def see_the_panels(stage: Stage) -> None:
    """By annotation: a name and a tag of its own, and no public address."""
    await stage.settled(PANELS)
    node = stage.node("rooftop-panels")
    assert node.tags == ("tag:k8s",)
    visitor = stage.join("tablet")
    for name in (node.name, node.fqdn, node.addresses[0]):
        assert (await stage.ask(name, by=visitor)).startswith("pod: panels-")
    assert not stage.get(PANELS)["status"].get("loadBalancer")


async def name_what_is_missing(stage: Stage, attic: Device) -> None:
    """The proxy takes no routes; its class is not there; nobody approved the route; the router is off."""
    message = await stage.says(WAY, "TargetReady", "RouteNotAccepted", INVERTER)
    assert "spec.tailscale.acceptRoutes: true" in message
    assert f"the route {HOUSE} to {INVERTER} is advertised by attic" in message
    assert stage.condition(WAY).status == "False"
    assert await stage.ask(ALIAS, 8090) == ""

    stage.annotate(WAY, proxy_class="take-routes")
    await stage.says(WAY, "Accepted", "ProxyClassNotReady", '"take-routes"')
    await stage.apply("take-routes")
    message = await stage.says(WAY, "TargetReady", "RouteNotApproved", HOUSE, "attic")
    assert f'{{"autoApprovers": {{"routes": {{"{HOUSE}": ["visitor@' in message
    if stage.world.plane.dialect != "tailscale":
        assert f"headscale nodes approve-routes --identifier {attic.id} --routes {HOUSE}" in message

    attic.disconnect()
    stage.approve("attic", HOUSE)
    await stage.says(WAY, "TargetReady", "RouterOffline", "attic")
    assert await stage.ask(ALIAS, 8090) == ""
    attic.connect()
    await stage.says(WAY, "TargetReady", "RouteServed", "attic", HOUSE)


async def read(stage: Stage, attic: Device) -> None:
    """Readings arrive under a name that the collector keeps; when the router goes, that is said, and mends itself."""
    await stage.settled(WAY)
    await stage.answered("host: inverter", ALIAS, 8090)
    [secret] = stage.children(WAY, "secret")
    assert '"acceptRoutes":true' in stage.config_of(secret)
    attic.disconnect()
    await stage.says(WAY, "TargetReady", "RouterOffline", "attic")
    await stage.answered("", ALIAS, 8090)
    attic.connect()
    await stage.settled(WAY)
    await stage.answered("host: inverter", ALIAS, 8090)


async def lead_elsewhere(stage: Stage) -> None:
    """One edit: same name in the cluster, same device of the tailnet, another end. A bad edit cuts nothing off."""
    before = stage.get(WAY)["spec"]["externalName"], {node.id for node in stage.nodes()}
    stage.annotate(WAY, tailnet_fqdn="inverter.example.ts.net")
    await stage.says(WAY, "Accepted", "InvalidService", "exclude each other")
    await stage.told(WAY, "INVALIDSERVICE", "exclude each other")
    await stage.answered("host: inverter", ALIAS, 8090)
    stage.annotate(WAY, tailnet_fqdn=None, tailnet_ip=BATTERY)
    await stage.says(WAY, "TargetReady", "RouteServed", BATTERY)
    await stage.answered("host: battery", ALIAS, 8090)
    await stage.settled(WAY)
    assert (stage.get(WAY)["spec"]["externalName"], {node.id for node in stage.nodes()}) == before


async def ask_for_the_weather(stage: Stage) -> None:
    """A device by its full name, which does not exist yet: its proxy cannot start, and the Service says why until it is
    there."""
    name = f"weather.{stage.world.plane.tailnet.base_domain}"
    await stage.apply("rooftop-weather")
    stage.annotate(WEATHER, tailnet_fqdn=name)
    await stage.says(WEATHER, "TargetReady", "TargetNotFound", f'"{name}"')
    assert stage.condition(WEATHER).status == "False"
    stage.join("weather")
    await stage.settled(WEATHER)
    await stage.answered("device: weather", "weather.rooftop.svc.cluster.local")
    stage.delete(WEATHER)


async def withdraw(stage: Stage) -> None:
    """Un-annotated, the Service is what it was; the rest is deleted; nothing is left."""
    stage.annotate(WAY, tailnet_ip=None, proxy_class=None)
    await stage.until(lambda: stage.get(WAY)["spec"]["externalName"] == "not-yet.invalid")
    assert stage.get(WAY)["spec"]["ports"] == [
        {"name": "readings", "port": 8090, "protocol": "TCP", "targetPort": 8090}
    ]
    stage.delete(PANELS, "proxyclass/take-routes")
    await stage.nothing_left()
