"""What carrying a plan out keeps to: whom it asks before it acts, which tailnet it acts on, whom it tells."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, cast

import pytest

from tailrace import errors
from tailrace.kube import resources
from tailrace.kube.client import Kube
from tailrace.plan import ops
from tailrace.plan.executor import Executor
from tailrace.proxy import names as proxy_names
from tailrace.proxy import secret
from tailrace.tailnet.memory import MemoryPlane
from tests.proxy.test_secret import build
from tests.support.cluster import MemoryCluster
from tests.support.world import build_service

pytestmark = pytest.mark.anyio

OWNER = proxy_names.build_labels("svc", "demo", "web")
WEB = ops.Ref(kind="Service", namespace="demo", name="web")


class Stage:
    """A cluster, the operator's own tailnet and one more, and an executor between them."""

    def __init__(self, *, allowed: bool = True) -> None:
        self.own, self.lab = MemoryPlane(), MemoryPlane()
        self.cluster = MemoryCluster(self.own)
        self.written: list[tuple[str, str]] = []
        self.allowed = allowed
        self.executor = Executor(
            cluster=cast(Kube, self.cluster),
            planes=lambda name: {"": self.own, "lab": self.lab}[name],
            namespace="tailscale",
            record=lambda event: None,
            written=lambda kind, answer: self.written.append((kind, answer.metadata.name)),
            allow=self.allow,
        )

    def allow(self) -> None:
        if not self.allowed:
            raise errors.Transient("this process leads no longer")

    async def run(self, *found: ops.Op, tailnet: str = "") -> None:
        await self.executor.run(ops.Plan(stages=(found,), owner=OWNER, tailnet=tailnet))


def build_account(name: str = "ts-web", **labels: str) -> dict[str, Any]:
    meta = {"name": name, "namespace": "tailscale", "labels": {**OWNER, **labels}}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}


def build_mint() -> ops.MintKey:
    into = secret.build_secret(build(), notes={})
    into["metadata"]["labels"] = OWNER
    return ops.MintKey(tags=("tag:k8s",), ttl=timedelta(hours=1), description="d", into=into)


def delete(name: str, uid: str) -> ops.Delete:
    ref = ops.Ref(kind="ServiceAccount", namespace="tailscale", name=name)
    return ops.Delete(ref=ref, uid=uid, labels=OWNER)


async def test_a_plan_that_touches_something_foreign_does_nothing_at_all() -> None:
    """Not even what stands before it."""
    stage = Stage()
    foreign = build_account("theirs", **{"tailscale.com/parent-resource": "other"})
    with pytest.raises(errors.Bug):
        await stage.run(ops.Apply(manifest=build_account()), ops.Apply(manifest=foreign))
    assert stage.cluster.objects == {}


async def test_what_is_made_anew_under_the_name_meanwhile_is_not_deleted() -> None:
    stage = Stage()
    stage.cluster.put(resources.SERVICE_ACCOUNTS, build_account())
    place = ("ServiceAccount", "tailscale", "ts-web")
    with pytest.raises(errors.Conflict):
        await stage.run(delete("ts-web", "the former one's"))
    assert place in stage.cluster.objects
    await stage.run(delete("ts-web", stage.cluster.objects[place]["metadata"]["uid"]))
    assert place not in stage.cluster.objects


async def test_every_write_is_told_with_what_the_server_made_of_it() -> None:
    """So that the next decision does not see the world before it."""
    stage = Stage()
    stage.cluster.put(resources.SERVICES, build_service())
    await stage.run(ops.Apply(manifest=build_account()))
    await stage.run(ops.Finalize(ref=WEB))
    await stage.run(build_mint())
    assert [kind for kind, _ in stage.written] == ["ServiceAccount", "Service", "Secret"]


async def test_what_is_done_on_a_control_plane_is_done_on_the_plans_tailnet() -> None:
    """Keys and devices alike; ids mean nothing on another."""
    stage = Stage()
    ours, theirs = stage.own.add("web", tags=["tag:k8s"]), stage.lab.add("web", tags=["tag:k8s"])
    assert ours.id == theirs.id
    await stage.run(build_mint(), tailnet="lab")
    assert (stage.own.calls["mint_key"], stage.lab.calls["mint_key"]) == (0, 1)
    await stage.run(ops.DeleteDevice(device=theirs.id, name="web", claim=ops.Claim.IDENTITY), tailnet="lab")
    assert (len(stage.own.devices), stage.lab.devices) == (1, ())


async def test_a_process_that_may_not_act_changes_nothing_on_a_control_plane() -> None:
    """It may have lost the lead since the decision."""
    stage = Stage(allowed=False)
    device = stage.own.add("web", tags=["tag:k8s"])
    for op in (
        build_mint(),
        ops.DeleteDevice(device=device.id, name="web", claim=ops.Claim.IDENTITY),
        ops.RenameDevice(device=device.id, name="other"),
    ):
        with pytest.raises(errors.Transient, match="leads no longer"):
            await stage.run(op)
    assert stage.own.devices == (device,)
    assert stage.own.calls["mint_key"] == 0


async def test_the_lead_is_asked_for_again_after_a_namesake_was_looked_at() -> None:
    stage = Stage()
    device = stage.own.add("web", tags=["tag:k8s"], online=False)
    look = stage.own.get_device

    async def lose(wanted: Any) -> Any:
        stage.allowed = False
        return await look(wanted)

    stage.own.get_device = lose  # type: ignore[method-assign, assignment]
    op = ops.DeleteDevice(device=device.id, name="web", claim=ops.Claim.DEAD_NAMESAKE, tags=("tag:k8s",))
    with pytest.raises(errors.Transient, match="leads no longer"):
        await stage.run(op)
    assert len(stage.own.devices) == 1


async def test_a_namesake_with_a_tag_that_is_not_ours_is_spared() -> None:
    stage = Stage()
    device = stage.own.add("web", tags=["tag:k8s", "tag:prod"], online=False)
    op = ops.DeleteDevice(device=device.id, name="web", claim=ops.Claim.DEAD_NAMESAKE, tags=("tag:k8s",))
    with pytest.raises(errors.Conflict):
        await stage.run(op)
    assert len(stage.own.devices) == 1


async def test_a_key_whose_storing_is_cut_short_is_revoked() -> None:
    """The process ends between the two: no key lies about."""
    stage = Stage()
    begun = asyncio.Event()

    async def hang(*_: Any, **__: Any) -> Any:
        begun.set()
        await asyncio.Event().wait()

    stage.cluster.apply = hang  # type: ignore[method-assign]
    running = asyncio.create_task(stage.run(build_mint()))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert stage.own.calls["mint_key"] == 1
    assert stage.own.usable_keys == ()


async def test_what_somebody_wrote_in_between_is_not_written_over() -> None:
    """Of the user's own fields, and of a list of finalizers."""
    stage = Stage()
    stage.cluster.put(resources.SERVICES, build_service())
    for op in (
        ops.PatchSpec(ref=WEB, resource_version="0", spec={"type": "ExternalName"}),
        ops.Unfinalize(ref=WEB, resource_version="0", keep=()),
    ):
        with pytest.raises(errors.Conflict):
            await stage.run(op)


async def test_a_workload_goes_after_its_pods_and_all_else_at_once() -> None:
    """In the foreground it stays until its device is idle."""
    stage = Stage()
    asked: dict[str, str] = {}

    async def note(resource: Any, name: str, namespace: str, **how: Any) -> None:
        asked[resource.kind] = how["propagation"]

    stage.cluster.delete = note  # type: ignore[method-assign, assignment]
    workload = ops.Ref(kind="StatefulSet", namespace="tailscale", name="ts-web")
    await stage.run(ops.Delete(ref=workload, uid="u", labels=OWNER), delete("ts-web", "u"))
    assert asked == {"StatefulSet": "Foreground", "ServiceAccount": "Background"}


async def test_the_orphan_record_is_made_with_its_first_entry_and_grows_with_the_next() -> None:
    stage = Stage()
    place = ("ConfigMap", "tailscale", "tailrace-orphans")
    await stage.run(ops.RecordOrphan(device="n1", note="a"))
    await stage.run(ops.RecordOrphan(device="n2", note="b"))
    assert stage.cluster.objects[place]["data"] == {"n1": "a", "n2": "b"}
    await stage.run(ops.ForgetOrphan(device="n1"))
    assert stage.cluster.objects[place]["data"] == {"n2": "b"}
