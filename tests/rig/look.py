"""What is there: the questions that every test of the rig ends with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from bench.grounds import HOME

from tailrace.api import names
from tailrace.sandbox.controlplane.control import ControlPlane
from tests.rig.apiserver import ApiServer

PATIENCE = 180.0
"""Seconds, on a machine that others load: nothing is measured by it, it only ends what would never come."""
_KINDS = "secrets,statefulsets,pods,serviceaccounts,roles,rolebindings"


async def kubectl(server: ApiServer, *arguments: str) -> str:
    return await asyncio.to_thread(server.kubectl, *arguments)


async def list_items(server: ApiServer, *arguments: str) -> list[Any]:
    items: list[Any] = json.loads(await kubectl(server, "get", *arguments, "-o", "json"))["items"]
    return items


async def list_children(server: ApiServer) -> list[str]:
    """Kind and name of everything that is ours."""
    items = await list_items(server, _KINDS, "-n", HOME, "-l", f"{names.MANAGED}=true")
    return sorted(f"{item['kind']} {item['metadata']['name']}" for item in items)


def list_devices(plane: ControlPlane) -> list[str]:
    return sorted(node.name for node in plane.tailnet.nodes.all())


async def wait_until(what: str, check: Callable[[], bool], limit: float = PATIENCE) -> None:
    """Look until it is so.

    Raises:
        AssertionError: it never was; `what` says what was waited for.
    """
    try:
        async with asyncio.timeout(limit):
            while not check():
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"waited {limit:.0f} s in vain until {what}") from None


async def wait_nothing_left(server: ApiServer, plane: ControlPlane, limit: float = PATIENCE) -> None:
    """Until nothing of ours is in the cluster and no device on the tailnet."""
    left: list[str] = []
    try:
        async with asyncio.timeout(limit):
            while left := [*await list_children(server), *list_devices(plane)]:
                await asyncio.sleep(0.3)
    except TimeoutError:
        raise AssertionError(f"still there: {left}") from None
