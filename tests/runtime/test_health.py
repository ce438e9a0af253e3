"""Liveness apart from readiness, asked over real sockets as a kubelet and a Prometheus do."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import cast

import httpx2
import pytest

from tailrace import errors
from tailrace.kube.client import Kube
from tailrace.runtime import health
from tailrace.runtime.health import Health
from tailrace.runtime.leader import Elector, Lease, LeaseSpec
from tailrace.runtime.manager import Manager
from tests.support.clock import HeldClock

pytestmark = pytest.mark.anyio


@dataclass
class Turns:
    """A watch as liveness sees it."""

    name: str
    last_turn: float


@dataclass
class Source:
    """A watch as the manager sees it."""

    name: str = "services"
    problem: str | None = None
    whole: bool = False

    @property
    def synced(self) -> bool:
        return self.whole

    async def wait_synced(self) -> None:
        while not self.whole:
            await asyncio.sleep(0.001)

    async def run(self) -> None:
        await asyncio.Event().wait()


class Leases:
    """An API server whose one lease another process holds; at first it is away."""

    away = True

    async def get(self, resource: object, name: str, namespace: str) -> Lease:
        if self.away:
            raise errors.Transient("away")
        return Lease(spec=LeaseSpec(holderIdentity="one", leaseDurationSeconds=15))


@contextlib.asynccontextmanager
async def served(checked: Health) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the server; both end."""
    listening = health.listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    task = asyncio.create_task(health.serve(checked, listening))
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            yield client
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def ask(client: httpx2.AsyncClient, path: str) -> tuple[int, str]:
    response = await client.get(path)
    return response.status_code, response.text


async def test_a_loop_that_turns_is_alive_and_one_that_stopped_is_not() -> None:
    clock = HeldClock()
    checked = Health(clock=clock.monotonic)
    async with served(checked) as client:
        assert await ask(client, "/healthz") == (200, "ok\n")
        clock.time += health.LATE + 1
        status, text = await ask(client, "/healthz")
        assert (status, text) == (503, "loop: the event loop has not turned for 31 s\n")
        beating = asyncio.create_task(checked.beat())
        await asyncio.sleep(0)
        assert await ask(client, "/healthz") == (200, "ok\n")
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)


async def test_a_watch_that_neither_hears_nor_asks_is_dead_and_nothing_else_is() -> None:
    clock = HeldClock()
    checked = Health(clock=clock.monotonic)
    fresh, stuck = Turns("services", clock.time), Turns("pods", clock.time - health.QUIET - 1)
    checked.watch(fresh)
    async with served(checked) as client:
        assert (await ask(client, "/healthz"))[0] == 200
        checked.watch(stuck)
        assert await ask(client, "/healthz") == (503, "watch pods: no turn for 301 s\n")
        stuck.last_turn = clock.time
        assert (await ask(client, "/healthz"))[0] == 200


async def test_what_is_not_ready_is_told_and_does_not_make_it_dead() -> None:
    """A control plane that is away takes the pod out of service; a restart would not bring it back."""
    problem = "the control plane does not answer"
    checked = Health(ready={"synced": lambda: "", "control plane": lambda: problem})
    async with served(checked) as client:
        assert await ask(client, "/readyz") == (503, "control plane: the control plane does not answer\n")
        assert (await ask(client, "/healthz"))[0] == 200
        status, text = await ask(client, "/readyz?verbose")
        assert (status, text) == (
            503,
            "[+] synced ok\n[-] control plane the control plane does not answer\n",
        )
        problem = ""
        assert await ask(client, "/readyz") == (200, "ok\n")


async def test_a_manager_is_ready_once_its_watches_are_whole_and_it_leads() -> None:
    source, manager, stop = Source(problem="the API server refuses us"), Manager(), asyncio.Event()
    manager.add_reflector(source)
    checked = Health(ready={"synced": manager.check_synced, "lease": manager.check_role})
    running = asyncio.create_task(manager.run(stop))
    async with served(checked) as client:
        assert await ask(client, "/readyz") == (
            503,
            "synced: services: the API server refuses us\nlease: the lease has not been read yet\n",
        )
        source.whole = True
        async with asyncio.timeout(5):
            while (await ask(client, "/readyz"))[0] != 200:
                await asyncio.sleep(0.005)
        assert manager.leading
        stop.set()
        await running


async def test_a_standby_is_ready_and_a_candidate_that_cannot_read_the_lease_is_not() -> None:
    leases, clock, stop = Leases(), HeldClock(), asyncio.Event()
    elector = Elector(cast(Kube, leases), namespace="tailscale", name="tailrace", identity="two", clock=clock)
    manager = Manager(elector=elector)
    checked = Health(ready={"lease": manager.check_role})
    running = asyncio.create_task(manager.run(stop))
    async with served(checked) as client:
        await clock.pass_time(5)
        assert await ask(client, "/readyz") == (503, "lease: the lease has not been read yet\n")
        leases.away = False
        await clock.pass_time(5)
        assert await ask(client, "/readyz") == (200, "ok\n")
        assert not manager.leading
        stop.set()
        await running


async def test_metrics_are_served_in_the_format_that_is_asked_for() -> None:
    async with served(Health()) as client:
        plain = await client.get("/metrics")
        assert plain.headers["content-type"].startswith("text/plain")
        assert "# TYPE tailrace_leader gauge" in plain.text
        modern = await client.get(
            "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
        )
        assert modern.headers["content-type"].startswith("application/openmetrics-text")
        assert modern.text.endswith("# EOF\n")


async def test_an_address_that_is_taken_is_told_with_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(errors.Usage, match=f"127.0.0.1:{port}") as caught:
            health.listen("127.0.0.1", port)
        assert "TAILRACE_METRICS_ADDRESS" in caught.value.hint


async def test_signals_stay_with_whoever_owns_the_process() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with served(Health()) as client:
        await client.get("/healthz")
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


async def test_a_client_that_never_finishes_its_request_holds_up_no_end() -> None:
    async with served(Health()) as client:
        _, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost:")
        await writer.drain()
        await client.get("/healthz")
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
