"""Everything that can be pulled at the API level is pulled while Services come and go: what counts is how it ends.

Nothing double, nothing left, names clean.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tailrace import errors
from tailrace.api import names
from tailrace.kube import resources
from tailrace.kube.client import Kube
from tailrace.proxy import names as proxy_names
from tailrace.sandbox.controlplane.control import ControlPlane
from tests.rig import look
from tests.rig.apiserver import ApiServer
from tests.rig.operators import Operators

pytestmark = pytest.mark.anyio

SERVICES = 50
KILLS = 50
HANDS = 5  # that change things at once
POD = "tailrace-0"  # a container that is restarted keeps its pod's name, and with it the lease
CHILDREN = ("Pod", "Role", "RoleBinding", "Secret", "ServiceAccount", "StatefulSet")


class Crowd:
    """Services that come, change their names, are un-exposed, made anew and go. `wished`: what must be in the end."""

    def __init__(self, cluster: Kube, space: str, chance: random.Random) -> None:
        self._cluster, self._space, self._chance = cluster, space, chance
        self._versions = itertools.count(1)
        self.wished: dict[str, str] = {}  # hostname by Service

    async def churn(self, count: int, pause: float) -> None:
        """`count` Services come, and others of them change or go meanwhile; `pause` seconds between two changes."""
        async with asyncio.TaskGroup() as hands:
            for hand in range(HANDS):
                mine = [f"cable-{number:02}" for number in range(hand, count, HANDS)]
                hands.create_task(self._work(mine, pause))

    async def clear(self) -> None:
        self.wished.clear()
        for service in await self._cluster.list(resources.SERVICES, self._space):
            await self._insist(self._delete, service.metadata.name)

    async def _work(self, mine: list[str], pause: float) -> None:
        there: list[str] = []
        for name in mine:
            await self._insist(self._expose, name)
            there.append(name)
            await asyncio.sleep(self._chance.uniform(0.5, 1.5) * pause)
            change = self._chance.choice([self._expose, self._delete, self._unexpose, self._make_anew])
            await self._insist(change, self._chance.choice(there))
            await asyncio.sleep(self._chance.uniform(0.5, 1.5) * pause)

    async def _insist(self, work: Callable[[str], Awaitable[None]], name: str) -> None:
        """The API server may be away, or its answer lost: everything here may be done twice."""
        async with asyncio.timeout(look.PATIENCE):
            while True:
                with contextlib.suppress(errors.TailraceError):
                    await work(name)
                    return
                await asyncio.sleep(0.2)

    async def _expose(self, name: str) -> None:
        """A new one, a new name for one that is there, or once more."""
        hostname = f"{name}-{next(self._versions)}" if name in self.wished else f"{self._space}-{name}"
        await self._apply(name, {names.EXPOSE: "true", names.HOSTNAME: hostname})
        self.wished[name] = hostname

    async def _unexpose(self, name: str) -> None:
        await self._apply(name, {})
        self.wished.pop(name, None)

    async def _delete(self, name: str) -> None:
        with contextlib.suppress(errors.NotFound):
            await self._cluster.delete(resources.SERVICES, name, self._space)
        self.wished.pop(name, None)
        with contextlib.suppress(errors.NotFound):
            while True:
                await self._cluster.get(resources.SERVICES, name, self._space)
                await asyncio.sleep(0.2)

    async def _make_anew(self, name: str) -> None:
        await self._delete(name)
        await self._expose(name)

    async def _apply(self, name: str, annotations: dict[str, str]) -> None:
        meta = {"name": name, "namespace": self._space, "annotations": annotations}
        body: dict[str, Any] = {"metadata": meta, "spec": {"ports": [{"name": "http", "port": 80}]}}
        await self._cluster.apply(resources.SERVICES, body, manager="crowd")


@contextlib.asynccontextmanager
async def gather_crowd(server: ApiServer, space: str) -> AsyncIterator[Crowd]:
    """In a namespace of their own, which goes with them."""
    await look.kubectl(server, "create", "namespace", space)
    async with Kube.connect(kubeconfig=server.kubeconfig) as cluster:
        yield Crowd(cluster, space, random.Random(space))
    await look.kubectl(server, "delete", "namespace", space, "--wait=false")


async def wait_wished(server: ApiServer, plane: ControlPlane, crowd: Crowd, space: str) -> None:
    """Until exactly what is wished is there, and every Service of it says so."""
    owned = [proxy_names.build_child_name("svc", space, name) for name in crowd.wished]
    suffix = {"Secret": "-0", "Pod": "-0"}
    children = sorted(f"{kind} {name}{suffix.get(kind, '')}" for name in owned for kind in CHILDREN)
    wished = (sorted(crowd.wished.values()), children)
    found: tuple[list[str], list[str]] = ([], [])
    wrong: list[Any] = []
    try:
        async with asyncio.timeout(look.PATIENCE):
            while found != wished or wrong:
                await asyncio.sleep(0.3)
                wrong = await list_wrong(server, crowd, space)
                found = (look.list_devices(plane), await look.list_children(server))
    except TimeoutError:
        nodes = [f"{node.id} {node.name} {node.online}" for node in plane.tailnet.nodes.all()]
        raise AssertionError(f"wished: {wished}\nfound: {found}\nnodes: {nodes}\nwrong: {wrong}") from None


async def list_wrong(server: ApiServer, crowd: Crowd, space: str) -> list[Any]:
    """The Services that do not say what is so: the wished ones that they are online, every other nothing of ours."""
    wrong = []
    for item in await look.list_items(server, "services", "-n", space):
        conditions = item["status"].get("conditions", [])
        online = any(c["type"] == "Online" and c["status"] == "True" for c in conditions)
        ours = bool(conditions) or names.FINALIZER in item["metadata"].get("finalizers", ())
        wished = item["metadata"]["name"] in crowd.wished
        if not (online if wished else not ours):
            wrong.append((item["metadata"], conditions))
    return wrong


def count_waiting_keys(plane: ControlPlane) -> int:
    """Keys that could still be used: of a mint whose answer never came to anybody. They expire by themselves."""
    now = plane.tailnet.now()
    return sum(key.usable(now) for key in plane.tailnet.keys.values())


async def kill_at_random(operators: Operators, chance: random.Random) -> None:
    """Each life ends within a second of its beginning to act, but for the last: without one no Service goes."""
    token = operators.mint_token()
    for _ in range(KILLS):
        operator = operators.start(pod=POD, token=token)
        await operator.wait_said("leading")
        await asyncio.sleep(chance.uniform(0.0, 0.7))
        operator.kill()
    operators.start(pod=POD, token=token)


async def test_an_operator_killed_fifty_times_while_fifty_services_come_and_go_ends_with_what_is_wished(
    server: ApiServer, tailnet: ControlPlane, operators: Operators
) -> None:
    space = "killed"
    async with gather_crowd(server, space) as crowd:
        async with asyncio.TaskGroup() as both:
            both.create_task(kill_at_random(operators, random.Random(KILLS)))
            both.create_task(crowd.churn(SERVICES, pause=1.5))
        assert crowd.wished
        await wait_wished(server, tailnet, crowd, space)
        assert count_waiting_keys(tailnet) <= KILLS
        await crowd.clear()
        await look.wait_nothing_left(server, tailnet)
    assert count_waiting_keys(tailnet) <= KILLS
    assert "forbidden" not in operators.read_logs()
    assert "a fault of ours" not in operators.read_logs()


async def test_an_api_server_restarted_under_load_changes_nothing_about_the_end(
    server: ApiServer, tailnet: ControlPlane, operators: Operators
) -> None:
    """Once without being asked, once orderly; an operator that cannot renew its lease meanwhile ends and begins anew.

    A server that has just begun to listen knows no roles for a moment and forbids everything: that must pass too.
    """
    space = "restarted"
    keeping = asyncio.create_task(operators.keep(pod=POD))
    try:
        async with gather_crowd(server, space) as crowd:
            async with asyncio.TaskGroup() as both:
                both.create_task(crowd.churn(SERVICES // 4, pause=0.5))
                for kill in (True, False):
                    await asyncio.sleep(1.0)
                    await asyncio.to_thread(server.restart, kill=kill)
            await wait_wished(server, tailnet, crowd, space)
            await crowd.clear()
            await look.wait_nothing_left(server, tailnet)
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
    assert count_waiting_keys(tailnet) <= len(operators.made) - 1
