"""The operator inside the sandbox is started again, as its Deployment would do it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tailrace.api import names
from tailrace.cli import sandbox
from tailrace.cli.exits import Exit
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


async def test_once_waits_for_every_kind_and_says_why_one_is_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A Connector whose route nobody approves; approved, all is well."""
    monkeypatch.setattr(sandbox, "_QUIET", 3.0)
    monkeypatch.setattr(sandbox, "_CALM", 0.3)
    office = {
        "apiVersion": "tailscale.com/v1alpha1",
        "kind": "Connector",
        "metadata": {"name": "office", "annotations": {}},
        "spec": {"subnetRouter": {"advertiseRoutes": ["172.20.7.0/24"]}},
    }
    options = Options(metrics=sandbox.free_address(), pace=0.05)
    async with await World.start(tmp_path, options) as world:
        await sandbox.fill(world, [office])
        async with sandbox.run_operator(world) as running:
            assert await sandbox.settle(world, running, asyncio.Event()) == Exit.NOT_READY
            out, err = capsys.readouterr()
            assert "RoutesNotApproved" in out
            assert "connector/office: not approved: 172.20.7.0/24 on office-connector" in err
            world.apply(
                [office | {"metadata": {"name": "office", "annotations": {names.APPROVE_ROUTES: "true"}}}]
            )
            assert await sandbox.settle(world, running, asyncio.Event()) == Exit.OK
            assert capsys.readouterr().err == ""
