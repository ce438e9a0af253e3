"""Two candidates for one lease on a clock that the test moves: never two leaders, and the standby acts in time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import msgspec
import pytest

from tailrace import errors
from tailrace.kube.client import Kube
from tailrace.runtime.leader import Elector, Lease, LeaseLost
from tests.support.clock import HeldClock

pytestmark = pytest.mark.anyio


class Server:
    """The one Lease of a memory API server, with optimistic locking; `down` makes every request fail."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.down = False
        self.requests = 0

    def _check(self) -> None:
        self.requests += 1
        if self.down:
            raise errors.Transient("away")

    async def get(self, resource: object, name: str, namespace: str) -> Lease:
        self._check()
        if self.lease is None:
            raise errors.NotFound("no lease")
        return msgspec.convert(self.lease, Lease)

    async def create(self, resource: object, obj: Mapping[str, Any]) -> Lease:
        self._check()
        if self.lease is not None:
            raise errors.Conflict("exists")
        return self._store(obj)

    async def replace(self, resource: object, obj: Mapping[str, Any]) -> Lease:
        self._check()
        assert self.lease is not None
        if obj["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise errors.Conflict("changed")
        return self._store(obj)

    def _store(self, obj: Mapping[str, Any]) -> Lease:
        self.version += 1
        plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(obj))
        plain["metadata"]["resourceVersion"] = str(self.version)
        self.lease = plain
        return msgspec.convert(self.lease, Lease)


def candidate(server: Server, clock: HeldClock, name: str) -> Elector:
    return Elector(
        cast(Kube, server),
        namespace="tailscale",
        name="tailrace",
        identity=name,
        clock=clock,
        chance=lambda: 0.0,
    )


def leads(elector: Elector) -> bool:
    return elector.leading


async def test_the_first_leads_and_the_second_stands_by() -> None:
    server, clock = Server(), HeldClock()
    first, second = candidate(server, clock, "one"), candidate(server, clock, "two")
    await first.acquire()
    waiting = asyncio.create_task(second.acquire())
    await clock.pass_time(5)
    assert (first.leading, second.leading, second.holder) == (True, False, "one")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_a_standby_takes_over_when_the_lease_has_run_out_and_not_before() -> None:
    """The leader dies without a word: fifteen seconds, judged by the standby's own clock, and at most a retry more."""
    server, clock = Server(), HeldClock()
    first, second = candidate(server, clock, "one"), candidate(server, clock, "two")
    await first.acquire()
    waiting = asyncio.create_task(second.acquire())
    await clock.pass_time(14)
    assert not leads(second)
    await clock.pass_time(4)
    assert leads(second)
    await waiting


async def test_a_released_lease_is_taken_at_once() -> None:
    server, clock = Server(), HeldClock()
    first, second = candidate(server, clock, "one"), candidate(server, clock, "two")
    await first.acquire()
    waiting = asyncio.create_task(second.acquire())
    await clock.pass_time(1)
    await first.release()
    await clock.pass_time(3)
    assert leads(second)
    await waiting


async def test_a_renewal_is_one_request_and_survives_that_somebody_labels_the_lease() -> None:
    """A leader writes without reading; when the lease was touched meanwhile it reads it and keeps what was added."""
    server, clock = Server(), HeldClock()
    leader = candidate(server, clock, "one")
    await leader.acquire()
    holding = asyncio.create_task(leader.hold())
    before = server.requests
    await clock.pass_time(6.5)
    assert server.requests - before == 3
    assert server.lease is not None
    server.lease["metadata"]["labels"] = {"team": "net"}
    server.version += 1
    server.lease["metadata"]["resourceVersion"] = str(server.version)
    await clock.pass_time(2)
    assert (server.requests - before, leader.leading) == (3 + 3, True)
    assert server.lease["metadata"]["labels"] == {"team": "net"}
    holding.cancel()
    await asyncio.gather(holding, return_exceptions=True)


async def test_a_leader_that_cannot_renew_stops_before_anybody_else_may_begin() -> None:
    server, clock = Server(), HeldClock()
    first, second = candidate(server, clock, "one"), candidate(server, clock, "two")
    await first.acquire()
    standby = asyncio.create_task(second.acquire())
    holding = asyncio.create_task(first.hold())
    await clock.pass_time(4)
    server.down = True
    for _ in range(12):
        await clock.pass_time(1)
        assert not (first.leading and second.leading)
    assert holding.done()
    assert isinstance(holding.exception(), LeaseLost)
    standby.cancel()
    await asyncio.gather(standby, return_exceptions=True)


async def test_a_leader_that_slept_finds_another_and_ends() -> None:
    """SIGSTOP for longer than the lease."""
    server, clock = Server(), HeldClock()
    first, second = candidate(server, clock, "one"), candidate(server, clock, "two")
    await first.acquire()
    standby = asyncio.create_task(second.acquire())
    await clock.pass_time(18)
    assert leads(second)
    holding = asyncio.create_task(first.hold())
    await clock.pass_time(3)
    assert isinstance(holding.exception(), LeaseLost)
    assert not leads(first)
    await standby


async def test_who_slept_may_not_act_from_the_first_instant_on() -> None:
    """Before the loop has come to the renewal: whatever else woke up first asks, and is refused."""
    server, clock = Server(), HeldClock()
    first = candidate(server, clock, "one")
    with pytest.raises(LeaseLost):
        first.check()
    await first.acquire()
    clock.time += 9.5
    first.check()
    clock.time += 1
    assert first.leading
    with pytest.raises(LeaseLost):
        first.check()
