"""The operator inside the sandbox is started again, as its Deployment would do it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tailrace.cli import sandbox
from tailrace.sandbox.kubernetes.resources import Ref
from tailrace.sandbox.world import Options, World

pytestmark = pytest.mark.anyio
LEASE = ("coordination.k8s.io", "leases")


async def test_an_operator_that_lost_its_lease_comes_back(tmp_path: Path) -> None:
    """Somebody else takes the lease: the operator ends, starts again, and leads when the other is gone."""
    options = Options(metrics=sandbox.free_address(), pace=0.05)
    async with await World.start(tmp_path, options) as world:
        await sandbox.fill(world, [])
        async with sandbox.run_operator(world) as running:
            key = (sandbox.NAMESPACE, "tailrace")
            async with asyncio.timeout(30):
                while (lease := world.cluster.store.get(LEASE, key)) is None:
                    await asyncio.sleep(0.05)
            mine = lease.doc["spec"]["holderIdentity"]
            stolen = lease.doc | {
                "spec": lease.doc["spec"] | {"holderIdentity": "somebody", "leaseDurationSeconds": 1}
            }
            ref = Ref("coordination.k8s.io", "v1", "leases")
            world.cluster.update(ref, "tailrace", stolen, namespace=sandbox.NAMESPACE)
            async with asyncio.timeout(30):
                while world.cluster.store.all(LEASE)[key].doc["spec"]["holderIdentity"] != mine:
                    await asyncio.sleep(0.1)
            assert not running.task.done()
    assert "started again" in (tmp_path / "operator.log").read_text()
