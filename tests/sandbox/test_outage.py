"""Proxies that start while the control plane is away: each comes back as the device that it was, in the whole sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tailrace.cli import sandbox
from tailrace.sandbox.kubernetes.resources import Ref
from tailrace.sandbox.kubernetes.watching import Selection
from tailrace.sandbox.world import Options, World
from tests.sandbox.test_rebuild import OPTIONS, PATIENCE, ROOTS, build_manifests, has_condition

pytestmark = pytest.mark.anyio

PODS, SECRETS = Ref("", "v1", "pods"), Ref("", "v1", "secrets")
HOME = "tailscale"


def list_devices(world: World) -> set[tuple[str, str, tuple[str, ...], bool]]:
    return {(node.id, node.name, node.addresses, node.online) for node in world.plane.tailnet.nodes.all()}


def list_proxies(world: World, ref: Ref) -> list[dict[str, Any]]:
    """Their objects of one kind."""
    page = world.cluster.list(Selection(resource=world.cluster.registry.get(ref), namespace=HOME))
    return [found.doc for found in page.items if found.doc["metadata"]["name"].startswith("ts-")]


def count_requests(world: World) -> int:
    return sum("reissue_authkey" in proxy.get("data", {}) for proxy in list_proxies(world, SECRETS))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.05)


async def test_an_outage_in_which_all_proxies_start_changes_no_device(tmp_path: Path) -> None:
    """A Service, an egress and both replicas of a Connector. One more start is enough for each: there is no time for two."""
    async with await World.start(tmp_path, Options(dialect="headscale-0.29", pace=0.05)) as world:
        await sandbox.fill(world, build_manifests())
        async with sandbox.run_operator(world, **OPTIONS):
            await until(lambda: all(has_condition(world, place) for place in ROOTS))
            before = list_devices(world)
            await world.plane.refuse_connections()
            proxies = list_proxies(world, PODS)
            for proxy in proxies:
                await world.kubelet.crash(HOME, proxy["metadata"]["name"])
            await until(lambda: count_requests(world) == len(before) == len(proxies))
            await world.plane.accept_connections()
            await until(lambda: list_devices(world) == before and not count_requests(world))
            await until(lambda: all(has_condition(world, place) for place in ROOTS))
            assert list_devices(world) == before
