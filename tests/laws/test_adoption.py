"""Taking over what the official operator made: the same device under the same name, no key, nothing of it left; and standing
back while it runs."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import anyio
import pytest
from hypothesis import given

from tailrace import errors
from tailrace.api import kube
from tailrace.kube import resources
from tailrace.kube.resource import Key
from tailrace.proxy import secret
from tailrace.tailnet.port import KeyRequest
from tests.laws.histories import WEB, examples, faults
from tests.support import official
from tests.support.world import HOME, World, build_service, open_world

pytestmark = pytest.mark.anyio

OPERATOR = ("Deployment", HOME, "operator")


@contextlib.asynccontextmanager
async def open_official(
    *, joined: bool = True, replicas: int = 0
) -> AsyncIterator[tuple[World, official.Proxy]]:
    """A world that the official operator has worked on."""
    async with open_world() as world:
        world.cluster.feed(resources.DEPLOYMENTS, world.fleet.stores.deployments)
        world.cluster.put(resources.SERVICES, build_service())
        uid = world.cluster.objects["Service", "demo", "web"]["metadata"]["uid"]
        if joined:
            device = world.plane.add("demo-web", tags=["tag:k8s"])
            proxy = official.Proxy(uid=uid, device=device.id, addresses=device.addresses)
        else:
            proxy = official.Proxy(uid=uid, key=await mint(world))
        for child in official.build_children(proxy):
            world.cluster.put(resources.BY_KIND[child["kind"]], child)
        world.cluster.edit(resources.SERVICES, "demo", "web", official.build_root_marks())
        world.cluster.put(resources.DEPLOYMENTS, official.build_operator(replicas))
        world.plane.calls.clear()
        yield world, proxy


async def mint(world: World) -> str:
    key = await world.plane.mint_key(KeyRequest(tags=("tag:k8s",), ttl=timedelta(hours=1), description=""))
    return key.secret


def read_secret(world: World, proxy: official.Proxy) -> dict[str, str]:
    data: dict[str, Any] = world.cluster.objects["Secret", HOME, f"{proxy.base}-0"]["data"]
    return {key: kube.decode_key(value) for key, value in data.items()}


async def test_a_device_of_the_official_operator_stays_what_it_is() -> None:
    async with open_official() as (world, proxy):
        before = world.plane.devices
        await world.settle(WEB)
        assert [(d.id, d.name, d.addresses) for d in world.plane.devices] == [
            (d.id, d.name, d.addresses) for d in before
        ]
        assert world.plane.calls["mint_key"] == world.plane.calls["delete_device"] == 0
        assert world.conditions()["Ready"][1] == "NoEndpoints"  # the memory cluster has none
        assert world.conditions()["Online"][:2] == ("True", "Connected")
        kept = read_secret(world, proxy)
        assert kept["device_id"] == proxy.device
        assert kept["_machinekey"] == "privkey:00"
        assert "cap-95.hujson" not in kept
        workload = world.cluster.objects["StatefulSet", HOME, proxy.base]
        pod = workload["spec"]["template"]["spec"]
        assert pod["serviceAccountName"] == proxy.base
        assert "tailscaledconfig-0" not in str(pod)
        assert ("Service", HOME, proxy.base) not in world.cluster.objects


async def test_a_proxy_that_has_not_joined_yet_joins_with_the_key_that_it_was_given() -> None:
    async with open_official(joined=False) as (world, proxy):
        await world.settle(WEB)
        assert [d.name for d in world.plane.devices] == ["demo-web"]
        assert world.plane.calls["mint_key"] == 0
        assert not [name for name, text in read_secret(world, proxy).items() if proxy.key in text]


async def test_while_the_official_operator_runs_its_proxies_are_left_alone() -> None:
    """Said on the object with the command that ends it, once; then everything is taken over by itself."""
    async with open_official(replicas=1) as (world, proxy):
        before = {p: o for p, o in world.cluster.objects.items() if p[0] != "Service"}
        for _ in range(3):
            plan = await world.reconcile(WEB)
        assert plan.ops == ()
        assert plan.result.waiting_on == "the official operator's end"
        status, reason, message = world.conditions()["Accepted"]
        assert (status, reason) == ("False", "OfficialOperatorRunning")
        assert "kubectl scale deployment operator --replicas=0 -n tailscale" in message
        assert world.conditions()["TailscaleProxyReady"][0] == "True"
        assert [event.reason for event in world.events] == ["OfficialOperatorRunning"]
        assert before == {p: o for p, o in world.cluster.objects.items() if p[0] != "Service"}
        world.cluster.edit(resources.DEPLOYMENTS, HOME, "operator", {"spec": {"replicas": 0}})
        await world.settle(WEB)
        assert world.conditions()["Accepted"][0] == "True"
        assert [d.id for d in world.plane.devices] == [proxy.device]


async def test_what_we_made_ourselves_does_not_mind_an_official_operator() -> None:
    async with open_world() as world:
        world.cluster.feed(resources.DEPLOYMENTS, world.fleet.stores.deployments)
        world.cluster.put(resources.SERVICES, build_service())
        await world.settle(WEB)
        world.cluster.put(resources.DEPLOYMENTS, official.build_operator())
        assert (await world.reconcile(WEB)).ops == ()
        assert world.conditions()["Accepted"][0] == "True"


async def test_our_own_deployment_of_that_name_is_not_taken_for_the_official_one() -> None:
    async with open_official(replicas=1) as (world, proxy):
        labels = {"app.kubernetes.io/name": "tailrace", "app": None}
        body = {"spec": {"template": {"metadata": {"labels": labels}}}}
        world.cluster.edit(resources.DEPLOYMENTS, HOME, "operator", body)
        await world.settle(WEB)
        assert [d.id for d in world.plane.devices] == [proxy.device]


async def test_an_adopted_service_is_removed_without_a_trace() -> None:
    async with open_official() as (world, _):
        world.cluster.remove(("Service", "demo", "web"))
        await world.settle(WEB)
        assert world.ours() == []
        assert world.plane.devices == ()


@examples(20)
@given(trouble=faults)
def test_a_fault_at_any_write_still_ends_with_the_same_device(
    trouble: list[errors.TailraceError | None],
) -> None:
    async def run() -> None:
        async with open_official() as (world, proxy):
            world.cluster.faults.extend(trouble)
            await world.settle(WEB)
            assert [d.id for d in world.plane.devices] == [proxy.device]
            assert world.plane.calls["mint_key"] == 0
            assert "cap-95.hujson" not in read_secret(world, proxy)
            live = await world.cluster.get(resources.SECRETS, f"{proxy.base}-0", HOME)
            assert secret.find_key(live) == ""

    anyio.run(run)


async def test_both_replicas_of_an_official_connector_keep_their_devices() -> None:
    """One StatefulSet with two pods there, a proxy for each here: the Secrets are the same, and so are the devices."""
    key = Key("", "home")
    async with open_world() as world:
        world.cluster.feed(resources.DEPLOYMENTS, world.fleet.stores.deployments)
        spec = {
            "subnetRouter": {"advertiseRoutes": ["192.168.47.0/24"]},
            "replicas": 2,
            "hostnamePrefix": "home",
        }
        meta = {"name": "home", "finalizers": ["tailscale.com/finalizer"]}
        world.cluster.put(resources.CONNECTORS, {"metadata": meta, "spec": spec})
        uid = world.cluster.objects["Connector", "", "home"]["metadata"]["uid"]
        for ordinal in range(2):
            device = world.plane.add(f"home-{ordinal}", tags=["tag:k8s"])
            proxy = official.Proxy(
                uid=uid,
                name="home",
                namespace="",
                parent="connector",
                hostname=f"home-{ordinal}",
                device=device.id,
                fqdn=f"home-{ordinal}.tailnet.test.",
                addresses=device.addresses,
            )
            secret_ = official.build_secret(proxy)
            secret_["metadata"]["name"] = f"{proxy.base}-{ordinal}"
            world.cluster.put(resources.SECRETS, secret_)
        world.cluster.put(resources.SERVICES, official.build_headless(proxy))
        workload = official.build_statefulset(proxy)
        workload["spec"]["replicas"] = 2
        world.cluster.put(resources.STATEFUL_SETS, workload)
        world.plane.calls.clear()
        before = [(d.id, d.name) for d in world.plane.devices]
        await world.settle(key)
        assert [(d.id, d.name) for d in world.plane.devices] == before
        assert world.plane.calls["mint_key"] == world.plane.calls["delete_device"] == 0
        kinds = sorted((kind, name) for kind, _, name in world.ours() if kind in {"StatefulSet", "Service"})
        assert kinds == [("StatefulSet", f"{proxy.base}-0"), ("StatefulSet", f"{proxy.base}-1")]
        assert world.conditions("home", "", "Connector")["ConnectorReady"][0] == "True"


async def test_an_official_egress_keeps_its_device_and_leads_on() -> None:
    """Its headless Service has the proxy's name, as ours has: the name in the user's Service stays what it is."""
    async with open_world() as world:
        world.cluster.feed(resources.DEPLOYMENTS, world.fleet.stores.deployments)
        world.plane.add("db", tags=["tag:db"])
        device = world.plane.add("demo-web", tags=["tag:k8s"])
        service = build_service(**{"tailscale.com__tailnet-fqdn": "db.tailnet.test"})
        del service["metadata"]["annotations"]["tailscale.com/expose"]
        world.cluster.put(resources.SERVICES, service)
        uid = world.cluster.objects["Service", "demo", "web"]["metadata"]["uid"]
        proxy = official.Proxy(uid=uid, device=device.id, addresses=device.addresses)
        name = f"{proxy.base}.{HOME}.svc.cluster.local"
        led = {"type": "ExternalName", "externalName": name, "selector": None, "clusterIP": None}
        world.cluster.edit(resources.SERVICES, "demo", "web", {"spec": led})
        world.cluster.edit(resources.SERVICES, "demo", "web", official.build_root_marks())
        for child in official.build_children(proxy):
            world.cluster.put(resources.BY_KIND[child["kind"]], child)
        world.plane.calls.clear()
        await world.settle(WEB)
        assert world.plane.calls["mint_key"] == world.plane.calls["delete_device"] == 0
        assert device.id in {d.id for d in world.plane.devices}
        assert world.cluster.objects["Service", "demo", "web"]["spec"]["externalName"] == name
        assert world.conditions()["TargetReady"][0] == "True"
