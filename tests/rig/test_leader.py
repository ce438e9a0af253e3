"""Two operators on a real kube-apiserver: never two of them write, whatever happens to the one that leads.

Who wrote when is the audit log's word: each process has a token of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Sequence

import pytest

from tailrace.api import names
from tailrace.kube import resources
from tailrace.kube.client import Kube
from tailrace.runtime.leader import Terms
from tailrace.sandbox.controlplane.control import ControlPlane
from tests.rig import audit, look
from tests.rig.apiserver import ApiServer
from tests.rig.operators import Operator, Operators

pytestmark = pytest.mark.anyio

SPACE = "leader"
LEASE = Terms().duration
GRACE = 5.0  # seconds after the lease has run out
LOAD = 0.1  # seconds between two changes: there is always something to write


@contextlib.asynccontextmanager
async def keep_busy(server: ApiServer) -> AsyncIterator[None]:
    """Services come, change and go all the time, so that a leader never rests; none is left."""
    async with Kube.connect(kubeconfig=server.kubeconfig) as cluster:

        async def change() -> None:
            number = 0
            while True:
                meta = {"name": f"busy-{number % 4}", "namespace": SPACE}
                wish = {names.EXPOSE: "true", names.HOSTNAME: f"busy-{number % 4}-{number // 4 % 2}"}
                await cluster.apply(
                    resources.SERVICES,
                    {"metadata": {**meta, "annotations": wish}, "spec": {"ports": [{"port": 80}]}},
                    manager="busy",
                )
                number += 1
                await asyncio.sleep(LOAD)

        working = asyncio.create_task(change())
        try:
            yield
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            for service in await cluster.list(resources.SERVICES, SPACE):
                await cluster.delete(resources.SERVICES, service.metadata.name, SPACE)


def list_writes(server: ApiServer, operators: Sequence[Operator]) -> list[audit.Call]:
    """What these processes changed, the lease included, in order."""
    tokens = {operator.token for operator in operators}
    return [call for call in audit.read(server.audit_log) if call.token in tokens and call.writes]


def find_intruders(writes: Sequence[audit.Call]) -> list[str]:
    """Writes of a process that was not the last to write the lease."""
    holder, found = "", []
    for call in writes:
        if call.resource == "leases":
            holder = call.token
        elif call.token != holder:
            found.append(call.target)
    return found


async def wait_write(server: ApiServer, operator: Operator) -> None:
    """Until this process has written something that is not the lease."""

    def wrote() -> bool:
        return any(call.resource != "leases" for call in list_writes(server, [operator]))

    await look.wait_until(f"{operator.name} acts", wrote, LEASE + GRACE + 10)


async def test_a_standby_takes_over_from_the_dead_and_the_sleeping_and_never_do_two_write(
    server: ApiServer, tailnet: ControlPlane, operators: Operators
) -> None:
    """The first leader is killed; the second is paused for longer than its lease, and continued when a third acts."""
    await look.kubectl(server, "create", "namespace", SPACE)
    first = operators.start()
    await first.wait_said("leading")
    second = operators.start()
    await second.wait_said("standing by")
    async with keep_busy(server):
        await wait_write(server, first)

        first.kill()
        dead = time.time()
        await wait_write(server, second)

        third = operators.start()  # not before: of two that stand by, either may win
        await third.wait_said("standing by")
        second.signal(signal.SIGSTOP)
        asleep = time.time()
        await wait_write(server, third)
        second.signal(signal.SIGCONT)
        awake = time.time()
        assert await second.wait_ended() != 0  # whoever lost the lease ends, and is restarted by its kubelet

    writes = list_writes(server, [first, second, third])
    acts = [call for call in writes if call.resource != "leases"]
    assert find_intruders(writes) == []
    assert {call.token for call in acts} == {first.token, second.token, third.token}
    took = min(call.at.timestamp() for call in acts if call.token == second.token)
    assert took - dead < LEASE + GRACE
    took = min(call.at.timestamp() for call in acts if call.token == third.token)
    assert took - asleep < LEASE + GRACE
    assert [
        call.target for call in writes if call.token == second.token and call.at.timestamp() > awake
    ] == []

    await look.wait_nothing_left(server, tailnet)
    await look.kubectl(server, "delete", "namespace", SPACE, "--wait=false")
    assert "forbidden" not in operators.read_logs()
