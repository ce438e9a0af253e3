"""The world as a whole: its files, its doors, its end, and that it keeps nothing of what went."""

from __future__ import annotations

import asyncio
import json
import ssl
import stat
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import yaml

from tailrace.errors import Usage
from tailrace.sandbox.controlplane.records import Dialect
from tailrace.sandbox.kubernetes.garbage import GarbageCollector
from tailrace.sandbox.workloads import controllers, routes
from tailrace.sandbox.workloads.loop import View
from tailrace.sandbox.world import Options, World
from tests.sandbox.workloads.living import (
    NS,
    SERVICES,
    STATEFULSETS,
    find,
    give_rights,
    living,
    pod,
    proxy,
    ready,
    secret,
    service,
    until,
    workload,
)

pytestmark = pytest.mark.anyio


async def ask(world: World, path: str, token: str) -> int:
    trust = ssl.create_default_context(cadata=world._ca_pem)
    async with httpx.AsyncClient(verify=trust, trust_env=False) as http:
        answer = await http.get(world.url + path, headers={"authorization": f"Bearer {token}"})
        return int(answer.status_code)


@pytest.mark.parametrize("dialect", ["tailscale", "headscale-0.29", "headscale-0.30"])
async def test_the_folder_is_private_and_tells_everything(tmp_path: Path, dialect: Dialect) -> None:
    """Kubeconfigs and the address book lead to what runs, with the rights that they say; only the owner reads them."""
    (tmp_path / "kubeconfig").write_text("old")
    (tmp_path / "kubeconfig").chmod(0o644)
    async with await World.start(tmp_path, Options(dialect=dialect, metrics="127.0.0.1:9")) as world:
        for name in ("kubeconfig", "operator.kubeconfig", "sandbox.json", "apiserver.key"):
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600, name
        book = json.loads((tmp_path / "sandbox.json").read_text())
        assert book == world.address_book()
        assert book["operator"] == {"namespace": "tailscale", "metrics": "127.0.0.1:9"}
        assert (book["controlPlane"]["dialect"], book["controlPlane"]["url"]) == (dialect, world.plane.url)
        users = {}
        for name in ("kubeconfig", "operator.kubeconfig"):
            config = yaml.safe_load((tmp_path / name).read_text())
            assert config["clusters"][0]["cluster"]["server"] == world.url == book["kubernetes"]["url"]
            users[name] = config["users"][0]["user"]["token"]
        assert await ask(world, "/api/v1/secrets", users["kubeconfig"]) == 200
        assert await ask(world, "/api/v1/secrets", users["operator.kubeconfig"]) == 403


async def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """As the user's mistake, before anything runs."""
    (tmp_path / "file").write_text("")
    with pytest.raises(Usage, match="cannot be written"):
        await World.start(tmp_path / "file")


async def test_the_api_goes_away_and_comes_back(world: World) -> None:
    """Refused on the same port meanwhile; what it knew is still there, and pods run on."""
    world.apply([pod("web")])
    await until(lambda: ready(world, "web"))
    await world.refuse_connections()
    await world.refuse_connections()
    with pytest.raises(httpx.ConnectError):
        await ask(world, "/api", world.admin_token)
    assert (await world.fetch((find(world, "pods", "web") or {})["status"]["podIP"]))[0] == 200
    await world.accept_connections()
    assert await ask(world, f"/api/v1/namespaces/{NS}/pods/web", world.admin_token) == 200


@pytest.mark.parametrize("before", ["nothing", "api", "plane", "network", "kubelet", "twice"])
async def test_everything_closes_in_any_order(tmp_path: Path, before: str) -> None:
    """Whatever ended first, the rest ends, with pods and connections in it."""
    world = await World.start(tmp_path, Options(pace=0.01))
    give_rights(world)
    world.apply([pod("web"), service("web"), pod("dev", proxy())])
    await until(lambda: ready(world, "web") and ready(world, "dev"))
    match before:
        case "api":
            await world.refuse_connections()
        case "plane":
            await world.plane.refuse_connections()
        case "network":
            for listener in tuple(world.network._listeners):
                listener.close(cut=True)
        case "kubelet":
            await world.kubelet.close()
        case "twice":
            await world.close()
    await world.close()
    assert not world.network._listeners
    assert not world.network._serving
    assert not world.kubelet._runs


async def test_a_start_that_fails_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last step breaks: what was started before it ends (the suite turns leaks into errors)."""

    def refuse(self: World, name: str, text: str) -> None:
        raise OSError("no space")

    monkeypatch.setattr(World, "write", refuse)
    with pytest.raises(OSError, match="no space"):
        await World.start(tmp_path)


def is_open(world: World, name: str) -> bool:
    address = world.resolve("web.default.svc.cluster.local")[0]
    return ready(world, name) and bool(world.network.listening(address))


async def test_two_worlds_at_once(tmp_path: Path) -> None:
    """The same addresses twice: each answers with its own pods."""
    async with AsyncExitStack() as stack:
        worlds = [await stack.enter_async_context(living(tmp_path / name)) for name in ("a", "b")]
        for world, name in zip(worlds, ("a", "b"), strict=True):
            world.apply([pod(name, labels={"app": "web"}), service("web")])
        for world, name in zip(worlds, ("a", "b"), strict=True):
            await until(partial(is_open, world, name))
        addresses = [world.resolve("web.default.svc.cluster.local") for world in worlds]
        assert addresses[0] == addresses[1]
        answers = [
            (await world.fetch("web.default.svc.cluster.local"))[1].splitlines()[0] for world in worlds
        ]
        assert answers == [b"pod: a", b"pod: b"]


async def test_documents_are_applied_or_refused_with_a_word(world: World) -> None:
    """An unknown kind and an invalid manifest name themselves."""
    assert world.knows({"apiVersion": "apps/v1", "kind": "Deployment"})
    assert not world.knows({"apiVersion": "x/v1", "kind": "Y"})
    with pytest.raises(Usage, match="knows no kind Y in x/v1"):
        world.apply([{"apiVersion": "x/v1", "kind": "Y", "metadata": {"name": "a"}}])
    with pytest.raises(Usage, match="Service web is refused"):
        world.apply([service("web", ports=[{"port": 0}])])
    with pytest.raises(OSError, match="no device is called nobody"):
        await world.dial("nobody", 80)


async def test_two_hundred_pods_need_few_writes(world: World) -> None:
    """Each pod costs its creation, its binding and two or three statuses: counted, not timed."""
    world.apply(
        [
            workload(
                "StatefulSet",
                "many",
                pod("many"),
                serviceName="x",
                replicas=200,
                podManagementPolicy="Parallel",
            )
        ]
    )
    version = world.cluster.store.version
    await until(lambda: (find(world, "statefulsets", "many") or {})["status"].get("readyReplicas") == 200)
    writes = world.cluster.store.version - version
    assert writes <= 200 * 5 + 250
    assert len(world.kubelet._runs) == 200


def sizes(world: World) -> dict[str, Any]:
    """How much everything keeps that could grow."""
    found: dict[str, Any] = {
        ".".join(kind): len(world.cluster.store.all(kind))
        for kind in world.cluster.store.kinds()
        if kind[1] != "events"
    }
    found |= {
        "tasks": len(asyncio.all_tasks()),
        "listeners": len(world.network._listeners),
        "serving": len(world.network._serving),
        "watchers": len(world.network._watchers),
        "runs": len(world.kubelet._runs) + len(world.kubelet._by_key) + len(world.kubelet._mounting),
    }
    heard = [cell for listeners in world.cluster.store._listeners.values() for cell in listeners]
    found["hearing"] = len(heard)
    for number, listener in enumerate(heard):
        owner = getattr(listener, "__self__", None)
        if isinstance(owner, View):
            found[f"view {number}"] = (len(owner._by_namespace), len(owner._by_owner), len(list(owner)))
        if isinstance(owner, GarbageCollector):
            found["garbage"] = (len(owner._dependents), len(owner._alive))
        if isinstance(owner, routes.ServiceRoutes):
            found["routes"] = len(owner._forwards)
    return found


async def test_nothing_is_kept_of_what_went(world: World) -> None:
    """Ten cycles of a Service with a workload, a proxy and its Secret: every count returns to where it was."""
    give_rights(world)

    async def cycle() -> None:
        mounted = pod("web", volumes=[{"name": "conf", "secret": {"secretName": "conf"}}])
        sidecar = pod("dev", proxy())
        world.apply(
            [
                secret("conf", a="b"),
                workload("StatefulSet", "web", mounted, serviceName="web"),
                service("web"),
            ]
        )
        world.apply([sidecar])
        await until(lambda: ready(world, "web-0") and ready(world, "dev"))
        address = (find(world, "services", "web") or {})["spec"]["clusterIP"]
        await until(lambda: world.network.listening(address))
        assert (await world.fetch(address))[0] == 200
        world.cluster.delete(SERVICES, "web", namespace=NS)
        world.cluster.delete(STATEFULSETS, "web", namespace=NS)
        world.cluster.delete(controllers.PODS, "dev", namespace=NS)
        await until(
            lambda: (
                not world.kubelet._runs
                and not world.cluster.store.all(("discovery.k8s.io", "endpointslices"))
            )
        )
        await until(lambda: not world.network._serving and not world.network.listening(address))
        await asyncio.sleep(0.01)

    await cycle()
    before = sizes(world)
    for _ in range(9):
        await cycle()
    after = sizes(world)
    events = after.pop("garbage")[1] - before.pop("garbage")[1]
    assert after == before
    assert events <= 9 * 4, "only Events are left, for their hour"
