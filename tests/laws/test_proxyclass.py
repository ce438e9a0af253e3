"""The laws for a ProxyClass, and of what it does to proxies: it rolls those that it concerns and no others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace import errors
from tailrace.kinds.proxyclass.controller import ProxyClasses
from tailrace.kube import resources
from tailrace.kube.client import Kube
from tailrace.kube.resource import Key
from tests.laws.histories import WEB, Edit, change, examples, faults, histories
from tests.support.world import World, build_service, open_world

HOME, LATE = Key("", "home"), Key("demo", "late")
BARE: dict[str, Any] = {"metadata": {"name": "home", "generation": 1}, "spec": {}}


def reshape(spec: Mapping[str, Any]) -> Edit:
    """Somebody writes the class's spec, as a whole."""

    def edit(world: World[Any]) -> None:
        place = ("ProxyClass", "", "home")
        if place not in world.cluster.objects:
            world.cluster.put(resources.PROXY_CLASSES, BARE)
        found = world.cluster.objects[place]
        generation = found["metadata"]["generation"] + 1
        before = dict.fromkeys(found["spec"])
        body = {"metadata": {"generation": generation}, "spec": {**before, **spec}}
        world.cluster.edit(resources.PROXY_CLASSES, "", "home", body)

    return edit


def delete(world: World[Any]) -> None:
    if ("ProxyClass", "", "home") in world.cluster.objects:
        world.cluster.remove(("ProxyClass", "", "home"))


def label(value: str | None) -> Edit:
    return change({"metadata": {"labels": {"tailscale.com/proxy-class": value}}}, key=WEB)


EDITS: dict[str, Edit] = {
    "bare": reshape({}),
    "labels": reshape({"statefulSet": {"pod": {"labels": {"team": "a"}}}}),
    "metrics": reshape({"metrics": {"enable": True}}),
    "routes": reshape({"tailscale": {"acceptRoutes": True}}),
    "wrong": reshape({"statefulSet": {"labels": {"a b": "c"}}}),
    "deleted": delete,
    "named": label("home"),
    "not named": label(None),
}


async def settle(world: World[Any]) -> None:
    room = ProxyClasses(world.fleet, cast(Kube, world.cluster))
    for _ in range(4):  # the class is judged, then who uses it, until neither writes
        before = world.cluster.writes
        for _ in range(6):
            await world.reconcile(HOME, room=room)
        await world.settle(WEB, LATE)
        if world.cluster.writes == before:
            return
    raise AssertionError("it does not settle")


def start(world: World[Any]) -> None:
    world.cluster.put(resources.SERVICES, build_service())
    world.cluster.put(resources.SERVICES, build_service("late"))


def read_templates(world: World[Any]) -> dict[str, Any]:
    """The pod template of each proxy by its Service."""
    return {
        obj["metadata"]["labels"]["tailscale.com/parent-resource"]: obj["spec"]["template"]
        for place, obj in world.cluster.objects.items()
        if place[0] == "StatefulSet"
    }


@examples(30)
@given(history=histories(EDITS, 6), trouble=faults)
def test_any_history_settles_writes_nothing_then_and_ends_as_a_clean_start(
    history: list[str], trouble: list[errors.TailraceError | None]
) -> None:
    """Laws 1 to 3, of the class and of those who use it. A class that cannot be used leaves its proxies as they were,
    so a history that ends in one is compared by its conditions alone."""

    async def run() -> None:
        async with open_world() as world:
            start(world)
            world.cluster.faults.extend(trouble)
            for edit in history:
                EDITS[edit](world)
                await world.reconcile(WEB)
                world.cluster.run_machinery()
            await settle(world)
            writes = world.cluster.writes
            await settle(world)
            assert world.cluster.writes == writes
            ended = world.snapshot()
            usable = world.conditions()["Accepted"][1] == "Accepted"
            roots = {p: o for p, o in world.cluster.objects.items() if p[0] == "ProxyClass" or p[1] == "demo"}
        async with open_world() as clean:
            for (kind, *_), obj in roots.items():
                if kind in ("ProxyClass", "Service"):
                    resource = resources.BY_KIND[kind]
                    meta = {k: v for k, v in obj["metadata"].items() if k in KEPT}
                    clean.cluster.put(resource, {"metadata": meta, "spec": obj["spec"]})
            await settle(clean)
            found = clean.snapshot()
            if usable:
                assert found == ended
            else:
                assert clean.conditions()["Accepted"] == world.conditions()["Accepted"]

    anyio.run(run)


KEPT = {"name", "namespace", "annotations", "labels", "generation"}


@pytest.mark.anyio
@given(st.sampled_from(["labels", "metrics"]))
@examples(4)
async def test_a_change_of_class_rolls_exactly_the_pods_that_it_concerns(edit: str) -> None:
    async with open_world() as world:
        start(world)
        EDITS["named"](world)
        EDITS["bare"](world)
        await settle(world)
        before = read_templates(world)
        EDITS[edit](world)
        await settle(world)
        after = read_templates(world)
        assert after["late"] == before["late"]
        assert after["web"] != before["web"]
        EDITS["bare"](world)
        await settle(world)
        assert read_templates(world) == before


@pytest.mark.anyio
async def test_a_class_that_is_missing_or_not_ready_is_waited_for_and_named() -> None:
    async with open_world() as world:
        start(world)
        EDITS["named"](world)
        await settle(world)
        assert world.conditions()["Accepted"][1:] == (
            "ProxyClassNotReady",
            'ProxyClass "home" does not exist: make it, or take the name away',
        )
        assert world.plane.calls["mint_key"] == 1  # of the other Service
        EDITS["wrong"](world)
        await settle(world)
        assert 'ProxyClass "home" is not ready: ProxyClass is not valid' in world.conditions()["Accepted"][2]
        EDITS["bare"](world)
        await settle(world)
        assert world.conditions()["Ready"][1] in {"Ready", "NoEndpoints"}


@pytest.mark.anyio
async def test_metrics_are_found_and_gone_again() -> None:
    """A Service in front of the one pod, as long as the class asks for it."""
    async with open_world() as world:
        start(world)
        EDITS["named"](world)
        EDITS["metrics"](world)
        await settle(world)
        measured = [p for p in world.ours() if p[0] == "Service"]
        assert [name.endswith("-metrics") for *_, name in measured] == [True]
        EDITS["bare"](world)
        await settle(world)
        assert [p for p in world.ours() if p[0] == "Service"] == []
