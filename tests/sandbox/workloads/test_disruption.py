"""Budgets of disruptions and the ranges of the cluster, as an operator reads them. Numbers as a real server gave them."""

from __future__ import annotations

from functools import partial

import pytest

from tailrace.sandbox.kubernetes.resources import Ref
from tailrace.sandbox.kubernetes.status import ApiError
from tailrace.sandbox.world import POD_CIDR, SERVICE_CIDR, World
from tests.sandbox.workloads.living import NS, PODS, STATEFULSETS, Doc, find, pod, ready, until, workload

pytestmark = pytest.mark.anyio
BUDGETS = Ref("policy", "v1", "poddisruptionbudgets")


def budget(name: str, app: str, **spec: object) -> Doc:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": NS},
        "spec": {"selector": {"matchLabels": {"app": app}}, **spec},
    }


def numbers(world: World, name: str) -> tuple[int, int, int, int]:
    """Allowed, healthy, desired, expected."""
    status = world.cluster.get(BUDGETS, name, namespace=NS).get("status") or {}
    fields = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
    allowed, healthy, desired, expected = (status[field] for field in fields)
    (condition,) = status.get("conditions") or ({"status": "False"},)
    assert (condition["status"] == "True") is (allowed > 0)
    return allowed, healthy, desired, expected


async def shows(world: World, name: str, *expected: int) -> None:
    await until(lambda: numbers(world, name) == expected)


def evict(world: World, name: str) -> None:
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    world.cluster.create(PODS, eviction, namespace=NS, name=name, subresource="eviction")


def three(world: World) -> None:
    world.apply(
        [
            workload(
                "StatefulSet",
                "web",
                pod("web"),
                serviceName="x",
                replicas=3,
                podManagementPolicy="Parallel",
            )
        ]
    )


@pytest.mark.parametrize(
    "spec, allowed, desired",
    [
        ({"maxUnavailable": 1}, 1, 2),
        ({"maxUnavailable": "50%"}, 2, 1),
        ({"minAvailable": 2}, 1, 2),
        ({"minAvailable": "50%"}, 1, 2),
        ({"minAvailable": 3}, 0, 3),
        ({"maxUnavailable": 0}, 0, 3),
    ],
)
async def test_a_budget_says_how_many_pods_may_go(
    world: World, spec: Doc, allowed: int, desired: int
) -> None:
    three(world)
    world.apply([budget("b", "web", **spec)])
    await shows(world, "b", allowed, 3, desired, 3)


async def test_an_eviction_takes_what_the_budget_has_left(world: World) -> None:
    """One goes, the next is refused in the server's words, until the first is back."""
    three(world)
    world.apply([budget("b", "web", maxUnavailable=1)])
    await shows(world, "b", 1, 3, 2, 3)
    first = uid(world, "web-0")
    evict(world, "web-0")
    with pytest.raises(ApiError, match="Cannot evict pod as it would violate") as refused:
        evict(world, "web-1")
    cause = "The disruption budget b needs 2 healthy pods and has 2 currently"
    assert (refused.value.code, refused.value.details) == (
        429,
        {"causes": [{"reason": "DisruptionBudget", "message": cause}]},
    )
    await until(lambda: uid(world, "web-0") not in ("", first) and ready(world, "web-0"))
    await shows(world, "b", 1, 3, 2, 3)
    evict(world, "web-1")
    world.apply([budget("c", "web", minAvailable=1)])
    with pytest.raises(ApiError, match="more than one PodDisruptionBudget") as two:
        evict(world, "web-0")
    assert two.value.code == 500


async def test_a_budget_follows_the_size_that_was_asked_for(world: World) -> None:
    """What a controller wants counts, not what is there; without a controller there is no share of anything."""
    three(world)
    world.apply([pod("bare"), budget("b", "web", maxUnavailable=1)])
    world.apply([budget("most", "bare", maxUnavailable=1), budget("least", "bare", minAvailable=1)])
    world.apply([budget("none", "nothing", minAvailable=1)])
    await shows(world, "b", 1, 3, 2, 3)
    await shows(world, "most", 0, 1, 0, 0)
    await shows(world, "least", 0, 1, 1, 1)
    await shows(world, "none", 0, 0, 1, 0)
    world.cluster.patch(STATEFULSETS, "web", {"spec": {"replicas": 1}}, "merge", namespace=NS)
    await shows(world, "b", 1, 1, 0, 1)
    await until(partial(gone, world, "web-1"))


def uid(world: World, name: str) -> str:
    return str((find(world, "pods", name) or {"metadata": {"uid": ""}})["metadata"]["uid"])


def gone(world: World, name: str) -> bool:
    return find(world, "pods", name) is None


async def test_what_does_not_work_may_go(world: World) -> None:
    """A pod that waits always, one that is not ready as long as enough others are."""
    sleepy = pod("sleepy", labels={"app": "web"}, volumes=[{"name": "v", "secret": {"secretName": "none"}}])
    three(world)
    world.apply([sleepy, budget("b", "web", minAvailable=3)])
    await shows(world, "b", 0, 3, 3, 4)
    evict(world, "sleepy")
    await until(partial(gone, world, "sleepy"))


async def test_the_ranges_of_the_cluster_can_be_read(world: World) -> None:
    """Of pods at the node, of Services in their own object; and addresses are in them."""
    node = world.cluster.get(Ref("", "v1", "nodes"), "sandbox")
    assert (node["spec"]["podCIDR"], node["spec"]["podCIDRs"]) == (POD_CIDR, [POD_CIDR])
    assert {row["type"] for row in node["status"]["addresses"]} == {"InternalIP", "Hostname"}
    ranges = world.cluster.get(Ref("networking.k8s.io", "v1", "servicecidrs"), "kubernetes")
    assert ranges["spec"]["cidrs"] == [SERVICE_CIDR]
    assert ranges["status"]["conditions"][0]["status"] == "True"
