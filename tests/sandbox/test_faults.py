"""What goes wrong on purpose: each switch by itself, and from the Kubernetes API's admin surface."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from tailrace.sandbox.faults import Faults
from tailrace.sandbox.world import World
from tests.sandbox.workloads.living import NS, living, pod, ready, state, until

pytestmark = pytest.mark.anyio
PODS = "/api/v1/namespaces/default/pods"


def test_status_answers_every_call_until_it_is_off() -> None:
    """With its Retry-After, and counted."""
    faults = Faults()
    assert faults.verdict() is None
    faults.set({"status": 503, "retry_after": 2})
    assert [faults.verdict(), faults.verdict()] == [(503, 2), (503, 2)]
    faults.clear()
    assert faults.verdict() is None
    assert faults.turned_away == 2


def test_fail_next_comes_first_and_ends_by_itself() -> None:
    """A few calls fail, whatever else is switched on."""
    faults = Faults(status=500)
    faults.fail_next(429, times=2, retry_after=1)
    assert [faults.verdict() for _ in range(3)] == [(429, 1), (429, 1), (500, None)]


def test_rate_lets_a_burst_through_and_says_when_to_come_back() -> None:
    """A bucket that fills with the clock."""
    now = [0.0]
    faults = Faults(clock=lambda: now[0])
    faults.set({"rate": 0.5, "burst": 2})
    assert [faults.verdict() for _ in range(3)] == [None, None, (429, 2)]
    now[0] = 2.0
    assert [faults.verdict() for _ in range(2)] == [None, (429, 2)]
    faults.set({})
    assert (faults.verdict(), faults.burst) == (None, 10)


async def test_delay_and_latency_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """All calls, and one kind of call."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    faults = Faults(delay=1.0, latency={("GET", "x"): 2.0})
    await faults.linger("GET", "x")
    await faults.linger("GET", "y")
    faults.clear()
    await faults.linger("GET", "x")
    assert slept == [3.0, 1.0]


@pytest.mark.parametrize(
    "switches",
    [
        {"nothing": 1},
        {"status": "503"},
        {"status": 99},
        {"status": True},
        {"rate": 0},
        {"burst": 0},
        {"burst": 1.5},
        {"delay": -1},
        {"delay": None},
    ],
)
def test_what_is_no_fault_changes_nothing(switches: dict[str, Any]) -> None:
    """A wrong name or value is refused as a whole."""
    faults = Faults(status=500)
    with pytest.raises(ValueError, match=next(iter(switches))):
        faults.set(switches)
    assert faults.status == 500


class Client:
    """HTTPS with one of the two tokens."""

    def __init__(self, world: World, http: httpx.AsyncClient) -> None:
        self.world, self._http = world, http

    async def call(self, method: str, path: str, body: Any = None, *, token: str = "") -> tuple[int, Any]:
        headers = {"authorization": f"Bearer {token or self.world.admin_token}"}
        answer = await self._http.request(method, self.world.url + path, json=body, headers=headers)
        return answer.status_code, answer.json() | {"headers": answer.headers}

    @asynccontextmanager
    async def watch(self, version: str) -> AsyncIterator[AsyncIterator[str]]:
        """The lines of a watch on pods."""
        headers = {"authorization": f"Bearer {self.world.admin_token}"}
        url = f"{self.world.url}{PODS}?watch=1&resourceVersion={version}"
        async with self._http.stream("GET", url, headers=headers) as answer:
            yield answer.aiter_lines()


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with living(tmp_path) as world:
        trust = ssl.create_default_context(cadata=world._ca_pem)
        async with httpx.AsyncClient(verify=trust, trust_env=False) as http:
            yield Client(world, http)


async def test_an_outage_spares_the_admin_surface(client: Client) -> None:
    """Every call fails with a Status until the same hand takes it back."""
    assert (await client.call("PUT", "/sandbox/faults", {"status": 503, "retry_after": 3}))[0] == 200
    code, answer = await client.call("GET", PODS)
    assert (code, answer["reason"], answer["headers"]["retry-after"]) == (503, "ServiceUnavailable", "3")
    assert (await client.call("PUT", "/sandbox/faults", {}))[0] == 200
    assert (await client.call("GET", PODS))[0] == 200
    await client.call("PUT", "/sandbox/faults", {"rate": 0.01, "burst": 1})
    assert [(await client.call("GET", PODS))[0] for _ in range(2)] == [200, 429]
    code, answer = await client.call("PUT", "/sandbox/faults", {"rate": 0})
    assert (code, answer["reason"]) == (400, "BadRequest")


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "faults"), ("POST", "watches/cut"), ("POST", "pods/default/web/crash"), ("POST", "clock")],
)
async def test_a_service_account_has_no_hand_in_it(client: Client, method: str, path: str) -> None:
    """The operator's token is refused, and so is nobody's."""
    assert (await client.call(method, f"/sandbox/{path}", {}, token=client.world.operator_token))[0] == 403
    assert (await client.call(method, f"/sandbox/{path}", {}, token="nobody"))[0] == 401


async def test_watches_are_cut_muted_and_too_old(client: Client) -> None:
    """A cut one ends, a mute one says nothing, and after a compaction the old version is gone."""
    _, listed = await client.call("GET", PODS)
    version = listed["metadata"]["resourceVersion"]
    async with client.watch(version) as stream:
        assert (await client.call("POST", "/sandbox/watches/cut"))[0] == 200
        assert [line async for line in stream] == []
    await client.call("POST", "/sandbox/watches/mute")
    async with client.watch(version) as stream:
        client.world.apply([pod("quiet")])
        await until(lambda: ready(client.world, "quiet"))
        await client.call("POST", "/sandbox/watches/unmute")
        client.world.apply([pod("heard")])
        assert json.loads(await anext(stream))["object"]["metadata"]["name"] == "heard"
    await client.call("POST", "/sandbox/history/compact")
    async with client.watch(version) as stream:
        said = json.loads(await anext(stream))
        assert (said["type"], said["object"]["code"]) == ("ERROR", 410)


async def test_a_pod_is_crashed_by_hand(client: Client) -> None:
    """It is started again; a pod that is not there is a bad request."""
    client.world.apply([pod("web")])
    await until(lambda: ready(client.world, "web"))
    assert (await client.call("POST", f"/sandbox/pods/{NS}/web/crash"))[0] == 200
    await until(lambda: state(client.world, "web")["restartCount"] == 1 and ready(client.world, "web"))
    code, answer = await client.call("POST", f"/sandbox/pods/{NS}/none/crash")
    assert (code, answer["message"]) == (400, "no pod none runs in namespace default")
    assert (await client.call("POST", "/sandbox/pods/web/crash"))[0] == 404


async def test_the_clock_jumps(client: Client) -> None:
    """Both the cluster's and the control plane's; a jump that is no number is refused."""
    before = client.world.now()
    assert (await client.call("POST", "/sandbox/clock", {"seconds": 7200}))[0] == 200
    assert (client.world.now() - before).total_seconds() >= 7200
    assert (client.world.plane.tailnet.now() - before).total_seconds() >= 7200
    for body in ({}, {"seconds": "soon"}, {"seconds": None}):
        assert (await client.call("POST", "/sandbox/clock", body))[0] == 400
