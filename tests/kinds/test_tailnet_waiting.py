"""What names a Tailnet that is not there waits for it, says so, and goes on by itself, whatever kind it is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tailrace.api import names
from tailrace.kube import resources
from tailrace.kube.resource import Key, Resource
from tailrace.tailnet.memory import MemoryPlane
from tests.support.world import World, build_egress, build_service, open_world

pytestmark = pytest.mark.anyio

LAB = {names.TAILNET: "lab"}
FAR = {names.TAILNET_FQDN.replace("/", "__"): "db.tailnet.test"}
CONNECTOR: dict[str, Any] = {"metadata": {"name": "web"}, "spec": {"exitNode": True, "tailnet": "lab"}}


def put(world: World, resource: Resource[Any], document: dict[str, Any]) -> Key:
    """With the annotation that names the tailnet, where it is a Service."""
    if resource is resources.SERVICES:
        document["metadata"].setdefault("annotations", {}).update(LAB)
    world.cluster.put(resource, document)
    return Key(document["metadata"].get("namespace", ""), document["metadata"]["name"])


def said(world: World, resource: Resource[Any], key: Key, kind: str) -> tuple[str, str, str]:
    found = world.cluster.objects[(resource.kind, key.namespace, key.name)]["status"]["conditions"]
    return next((c["status"], c["reason"], c["message"]) for c in found if c["type"] == kind)


@pytest.mark.parametrize(
    ("resource", "document", "official"),
    [
        (resources.SERVICES, build_service, ("TailscaleProxyReady", "ProxyPending")),
        (resources.SERVICES, lambda: build_egress(**FAR), ("TailscaleProxyReady", "ProxyPending")),
        (resources.CONNECTORS, lambda: CONNECTOR, ("ConnectorReady", "ConnectorCreating")),
    ],
    ids=["service", "egress", "connector"],
)
async def test_a_tailnet_that_is_missing_is_waited_for(
    resource: Resource[Any], document: Any, official: tuple[str, str]
) -> None:
    async with open_world() as world:
        key = put(world, resource, document())
        await world.settle(key)
        assert said(world, resource, key, "Accepted") == (
            "False",
            "TailnetNotReady",
            world.fleet.tailnets.explain("lab"),
        )
        assert said(world, resource, key, official[0])[:2] == ("False", official[1])
        assert world.ours() == []
        member = world.fleet.tailnets.put("lab", MemoryPlane())
        listing = asyncio.create_task(member.devices.run())
        await member.devices.refresh()
        await world.reconcile(key)
        assert world.ours() != []
        await world.reconcile(key)
        assert said(world, resource, key, "Accepted")[0] == "True"
        listing.cancel()
        await asyncio.gather(listing, return_exceptions=True)


async def test_a_connector_uses_the_tailnet_that_it_names_before_it_has_a_proxy() -> None:
    async with open_world() as world:
        put(world, resources.CONNECTORS, CONNECTOR)
        assert world.fleet.list_users("lab") == ("Connector web",)
        assert world.fleet.list_users("") == world.fleet.list_users("other") == ()
