"""What an egress Service was before it was led out is remembered twice: whichever copy somebody deletes, it comes back."""

from __future__ import annotations

from typing import Any

import pytest

from tailrace.kube import resources
from tests.laws.histories import WEB
from tests.support.world import World, build_egress, open_world

pytestmark = pytest.mark.anyio

FQDN = "tailscale.com/tailnet-fqdn"
WANTED = build_egress(**{FQDN: "db.tailnet.test"})


async def lead_out(world: World[Any]) -> dict[str, Any]:
    """Gives the spec as it was."""
    world.plane.add("db", user="somebody")
    world.cluster.put(resources.SERVICES, WANTED)
    before = dict(world.cluster.objects["Service", *WEB]["spec"])
    await world.settle(WEB)
    assert world.cluster.objects["Service", *WEB]["spec"] != before
    return before


def delete(world: World[Any], kind: str) -> None:
    """By hand."""
    world.cluster.remove(next(place for place in world.ours() if place[0] == kind))


def unannotate(world: World[Any]) -> None:
    world.cluster.edit(resources.SERVICES, *WEB, {"metadata": {"annotations": {FQDN: None}}})


def check_tidy(world: World[Any], before: dict[str, Any]) -> None:
    assert world.cluster.objects["Service", *WEB]["spec"] == before
    assert world.ours() == []


@pytest.mark.parametrize("kind", ["Service", "Secret"])
@pytest.mark.parametrize("noticed", [True, False])
async def test_one_copy_suffices(kind: str, noticed: bool) -> None:
    """Also when the Service ceases to lead out before the loss is seen."""
    async with open_world() as world:
        before = await lead_out(world)
        delete(world, kind)
        if noticed:
            await world.settle(WEB)
        unannotate(world)
        await world.settle(WEB)
        check_tidy(world, before)


async def test_the_copy_that_is_missing_is_filled_from_the_other() -> None:
    """So one may go after the other."""
    async with open_world() as world:
        before = await lead_out(world)
        for kind in ("Service", "Secret"):
            delete(world, kind)
            await world.settle(WEB)
        unannotate(world)
        await world.settle(WEB)
        check_tidy(world, before)


async def test_a_manifest_applied_again_beside_a_mistake_cuts_nothing_off() -> None:
    """It has the spec as it was, as `kubectl apply` writes it each time; a typing error in it keeps the Service led out."""
    async with open_world() as world:
        before = await lead_out(world)
        led = world.cluster.objects["Service", *WEB]["spec"]
        wrong = {"tailscale.com/hostname": "no_such-"}
        world.cluster.edit(
            resources.SERVICES,
            *WEB,
            {"metadata": {"annotations": wrong}, "spec": {**dict.fromkeys(led), **before}},
        )
        await world.settle(WEB)
        assert world.conditions()["Accepted"][:2] == ("False", "InvalidService")
        assert world.cluster.objects["Service", *WEB]["spec"]["externalName"] == led["externalName"]
        world.cluster.edit(resources.SERVICES, *WEB, {"metadata": {"annotations": {**wrong, FQDN: None}}})
        await world.settle(WEB)
        check_tidy(world, before)
