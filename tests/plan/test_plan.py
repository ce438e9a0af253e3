"""Plans as values: diff, ownership, words, and an executor that stops at the first failure."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace import errors
from tailrace.api import kube, names
from tailrace.kube.client import Kube
from tailrace.plan import diff, ops, ownership, words
from tailrace.plan.executor import Executor
from tailrace.proxy import names as proxy_names
from tailrace.tailnet.memory import MemoryPlane
from tests.support.cluster import MemoryCluster

OWNER = proxy_names.build_labels("svc", "demo", "web")
OTHER = proxy_names.build_labels("svc", "demo", "other")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_a_value_covers_itself(value: Any) -> None:
    assert diff.covers(value, value)


@given(st.dictionaries(st.text(max_size=3), json_values, max_size=3), json_values)
def test_fields_that_others_added_do_not_count(wanted: dict[str, Any], extra: Any) -> None:
    assert diff.covers({**wanted, "added-by-somebody": extra}, wanted)


def account(labels: dict[str, str], **notes: str) -> dict[str, Any]:
    meta = {"name": "ts-web", "namespace": "tailscale", "labels": labels, "annotations": notes}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}


def live_of(manifest: dict[str, Any]) -> kube.ServiceAccount:
    import msgspec

    return msgspec.convert(manifest, kube.ServiceAccount)


def test_what_is_so_already_costs_no_request() -> None:
    wanted = account(OWNER)
    first = diff.decide_apply(wanted, None)
    assert first is not None
    assert diff.decide_apply(wanted, live_of(dict(first.manifest))) is None


def test_a_field_that_we_no_longer_want_is_noticed() -> None:
    first = diff.decide_apply(account(OWNER, old="x"), None)
    assert first is not None
    assert diff.decide_apply(account(OWNER), live_of(dict(first.manifest))) is not None


def test_a_field_that_somebody_changed_is_noticed() -> None:
    first = diff.decide_apply(account(OWNER), None)
    assert first is not None
    changed = {**first.manifest, "metadata": {**first.manifest["metadata"], "labels": {}}}
    assert diff.decide_apply(account(OWNER), live_of(changed)) is not None


def delete(labels: dict[str, str]) -> ops.Delete:
    return ops.Delete(ref=ops.Ref(kind="Secret", namespace="tailscale", name="x"), uid="u", labels=labels)


@pytest.mark.parametrize("labels", [{}, OTHER, {**OWNER, names.PARENT_NAMESPACE: "prod"}])
def test_nothing_foreign_can_be_deleted(labels: dict[str, str]) -> None:
    with pytest.raises(errors.Bug, match="refused to delete"):
        ownership.check_plan(ops.Plan(stages=((delete(labels),),), owner=OWNER))


def test_nothing_can_be_applied_without_the_owners_labels() -> None:
    with pytest.raises(errors.Bug, match="refused to apply"):
        ownership.check_plan(ops.Plan(stages=((ops.Apply(manifest=account(OTHER)),),), owner=OWNER))


def test_a_plan_reads_aloud_and_holds_no_secret() -> None:
    from datetime import timedelta

    plan = ops.Plan(
        stages=(
            (ops.Finalize(ref=ops.Ref(kind="Service", namespace="demo", name="web")),),
            (
                ops.MintKey(tags=("tag:k8s",), ttl=timedelta(hours=1), description="d", into=account(OWNER)),
                delete(OWNER),
            ),
        )
    )
    assert words.describe(plan) == [
        "1. put the finalizer on Service demo/web",
        "2a. mint a single-use key for tag:k8s into ServiceAccount tailscale/ts-web",
        "2b. delete Secret tailscale/x",
    ]
    assert words.describe(ops.Plan()) == ["nothing to do"]


def build_executor(cluster: MemoryCluster, plane: MemoryPlane) -> Executor:
    return Executor(
        cluster=cast(Kube, cluster),
        planes=lambda name: plane,
        namespace="tailscale",
        record=lambda event: None,
        written=lambda kind, answer: None,
    )


@pytest.mark.anyio
async def test_stages_run_in_order_and_stop_at_the_first_failure() -> None:
    plane = MemoryPlane()
    cluster = MemoryCluster(plane)
    cluster.faults.extend([None, errors.Transient("cut")])
    named = [
        {**account(OWNER), "metadata": {**account(OWNER)["metadata"], "name": f"a{n}"}} for n in range(3)
    ]
    plan = ops.Plan(stages=tuple((ops.Apply(manifest=m),) for m in named), owner=OWNER)
    with pytest.raises(errors.Transient):
        await build_executor(cluster, plane).run(plan)
    assert [place[2] for place in cluster.objects] == ["a0"]


@pytest.mark.anyio
async def test_a_key_that_cannot_be_stored_is_revoked_at_once() -> None:
    """Law 4 for keys: a failure right after minting leaves none that would still admit a device."""
    from datetime import timedelta

    from tailrace.proxy import secret
    from tests.proxy.test_secret import build

    plane = MemoryPlane()
    cluster = MemoryCluster(plane)
    cluster.faults.append(errors.Transient("cut"))
    into = secret.build_secret(build(), notes={})
    into["metadata"]["labels"] = OWNER
    mint = ops.MintKey(tags=("tag:k8s",), ttl=timedelta(hours=1), description="d", into=into)
    with pytest.raises(errors.Transient):
        await build_executor(cluster, plane).run(ops.Plan(stages=((mint,),), owner=OWNER))
    assert plane.calls["mint_key"] == 1
    assert plane.usable_keys == ()


@pytest.mark.anyio
async def test_a_namesake_that_came_back_to_life_is_spared() -> None:
    plane = MemoryPlane()
    device = plane.add("web", tags=["tag:k8s"], online=True)
    op = ops.DeleteDevice(device=device.id, name="web", claim=ops.Claim.DEAD_NAMESAKE, tags=("tag:k8s",))
    with pytest.raises(errors.Conflict, match="came back to life"):
        await build_executor(MemoryCluster(plane), plane).run(ops.Plan(stages=((op,),)))
    assert len(plane.devices) == 1
