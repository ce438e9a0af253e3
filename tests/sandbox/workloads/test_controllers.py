"""The controllers in a running world: workloads get their pods, in order, and give them back."""

from __future__ import annotations

from typing import Any

import pytest

from tailrace.sandbox.kubernetes.core import Call
from tailrace.sandbox.kubernetes.deletion import Removal
from tailrace.sandbox.kubernetes.resources import Ref
from tailrace.sandbox.workloads import endpoints
from tailrace.sandbox.world import World
from tests.sandbox.workloads.living import (
    DEPLOYMENTS,
    NS,
    SERVICES,
    STATEFULSETS,
    find,
    pod,
    ready,
    service,
    told,
    until,
    workload,
)

pytestmark = pytest.mark.anyio
NAMESPACES = Ref("", "v1", "namespaces")
PRIVILEGED = {"name": "app", "image": "a:1", "securityContext": {"privileged": True}}


def names(world: World, kind: str = "pods", group: str = "") -> list[str]:
    return sorted(name for _, name in world.cluster.store.all((group, kind)))


def restrict(world: World, level: str) -> None:
    labels = {"pod-security.kubernetes.io/enforce": level}
    world.cluster.patch(NAMESPACES, NS, {"metadata": {"labels": labels}}, "merge")


def slices(world: World) -> dict[str, Any]:
    return {
        name: s.doc
        for (_, name), s in world.cluster.store.all(("discovery.k8s.io", "endpointslices")).items()
    }


async def test_statefulset_starts_in_order_and_updates_from_the_top(world: World) -> None:
    """One pod after the other upwards; a new template replaces them downwards, each ready before the next."""
    order: list[str] = []
    world.cluster.store.listen(("", "pods"), lambda c: order.append(f"{c.type[0]}{c.key[1]}"))
    world.apply([workload("StatefulSet", "db", pod("db"), serviceName="db", replicas=3)])
    await until(lambda: ready(world, "db-2"))
    assert [e for e in order if e[0] == "A"] == ["Adb-0", "Adb-1", "Adb-2"]
    order.clear()
    new = pod("db", {"name": "app", "image": "app:2"})
    world.apply([workload("StatefulSet", "db", new, serviceName="db", replicas=3)])
    await until(lambda: "Adb-0" in order and ready(world, "db-0"))
    assert [e for e in order if e[0] != "M"] == ["Ddb-2", "Adb-2", "Ddb-1", "Adb-1", "Ddb-0", "Adb-0"]
    await until(lambda: (find(world, "statefulsets", "db") or {})["status"].get("readyReplicas") == 3)
    status = (find(world, "statefulsets", "db") or {})["status"]
    assert status["currentRevision"] == status["updateRevision"]
    world.cluster.patch(STATEFULSETS, "db", {"spec": {"replicas": 1}}, "merge", namespace=NS)
    await until(lambda: names(world) == ["db-0"])


@pytest.mark.parametrize("how", ["Background", "Foreground"])
async def test_pods_go_with_their_statefulset(world: World, how: Any) -> None:
    """By cascade; with an orphaning deletion they stay."""
    world.apply([workload("StatefulSet", "db", pod("db"), serviceName="db", replicas=2)])
    await until(lambda: ready(world, "db-1"))
    world.cluster.delete(STATEFULSETS, "db", namespace=NS, removal=Removal(propagation=how))
    await until(lambda: not names(world) and not names(world, "statefulsets", "apps"))
    world.apply([workload("StatefulSet", "db", pod("db"), serviceName="db", replicas=1)])
    await until(lambda: ready(world, "db-0"))
    world.cluster.delete(STATEFULSETS, "db", namespace=NS, removal=Removal(propagation="Orphan"))
    await until(lambda: not names(world, "statefulsets", "apps"))
    assert names(world) == ["db-0"]


async def test_a_deleted_pod_of_a_statefulset_comes_back(world: World) -> None:
    """Under its name, as another object."""
    world.apply([workload("StatefulSet", "db", pod("db"), serviceName="db", replicas=1)])
    await until(lambda: ready(world, "db-0"))
    uid = (find(world, "pods", "db-0") or {})["metadata"]["uid"]
    world.cluster.delete(Ref("", "v1", "pods"), "db-0", namespace=NS)
    await until(
        lambda: ready(world, "db-0") and (find(world, "pods", "db-0") or {})["metadata"]["uid"] != uid
    )


@pytest.mark.parametrize(
    ("level", "why"),
    [
        ("baseline", 'violates PodSecurity "baseline:latest": privileged (container "app" must not set'),
        ("restricted", 'violates PodSecurity "restricted:latest": privileged (container "app" must not set'),
    ],
)
async def test_pod_security_refuses_pods_and_warns_about_workloads(
    world: World, level: str, why: str
) -> None:
    """The StatefulSet is taken; its pod is refused in an event, and made once the namespace allows it."""
    restrict(world, level)
    call = Call()
    labels = {"pod-security.kubernetes.io/warn": level}
    world.cluster.patch(NAMESPACES, NS, {"metadata": {"labels": labels}}, "merge")
    doc = workload("StatefulSet", "px", pod("px", PRIVILEGED), serviceName="px", replicas=1)
    world.cluster.create(STATEFULSETS, doc, namespace=NS, call=call)
    assert next(w for w in call.warnings if "privileged" in w).startswith("would violate PodSecurity")
    await until(lambda: told(world, "FailedCreate"))
    (message,) = told(world, "FailedCreate")
    assert message.startswith(
        'Create Pod px-0 in StatefulSet px failed error: pods "px-0" is forbidden: ' + why
    )
    assert not names(world)
    restrict(world, "privileged")
    await until(lambda: ready(world, "px-0"))


async def test_a_refused_deployment_says_so_up_to_the_top(world: World) -> None:
    """Event on the ReplicaSet, condition on it and on the Deployment; both go once pods are allowed."""
    restrict(world, "baseline")
    world.apply([workload("Deployment", "web", pod("web", PRIVILEGED), replicas=1)])
    await until(lambda: "ReplicaFailure" in str(find(world, "deployments", "web")))
    assert told(world, "FailedCreate")[0].startswith('Error creating: pods "web-')
    restrict(world, "privileged")
    await until(lambda: (find(world, "deployments", "web") or {})["status"].get("readyReplicas") == 1)
    await until(lambda: "ReplicaFailure" not in str(find(world, "deployments", "web")))


@pytest.mark.parametrize("strategy", ["RollingUpdate", "Recreate"])
async def test_deployment_rolls_out_scales_and_goes(world: World, strategy: str) -> None:
    """Two templates, a scale, an undo, a deletion; status and revision follow."""

    def settled(count: int, revision: int) -> bool:
        doc = find(world, "deployments", "web") or {}
        status = doc.get("status") or {}
        annotations = doc["metadata"].get("annotations") or {}
        counts = {
            status.get(f) for f in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
        }
        return (
            counts == {count}
            and status["observedGeneration"] == doc["metadata"]["generation"]
            and annotations.get("deployment.kubernetes.io/revision") == str(revision)
            and len(names(world)) == count
        )

    def roll(image: str, count: int) -> None:
        template = pod("web", {"name": "app", "image": image})
        world.apply([workload("Deployment", "web", template, replicas=count, strategy={"type": strategy})])

    roll("app:1", 3)
    await until(lambda: settled(3, 1))
    roll("app:2", 3)
    await until(lambda: settled(3, 2))
    roll("app:2", 5)
    await until(lambda: settled(5, 2))
    roll("app:1", 2)
    await until(lambda: settled(2, 3))
    assert len(names(world, "replicasets", "apps")) == 2
    reasons = {
        c["type"]: c["reason"] for c in (find(world, "deployments", "web") or {})["status"]["conditions"]
    }
    assert reasons == {"Available": "MinimumReplicasAvailable", "Progressing": "NewReplicaSetAvailable"}
    world.cluster.delete(DEPLOYMENTS, "web", namespace=NS)
    await until(lambda: not names(world) and not names(world, "replicasets", "apps"))


async def test_slices_follow_pods_and_leave_what_is_written_by_hand(world: World) -> None:
    """Ready, gone, without selector, with the Service itself."""
    world.apply([pod("web"), service("web"), service("ext", selector=None)])
    await until(
        lambda: "web-0" in slices(world) and slices(world)["web-0"]["endpoints"][0]["conditions"]["ready"]
    )
    hand = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "mine", "namespace": NS, "labels": {endpoints.SERVICE_NAME: "ext"}},
        "addressType": "IPv4",
        "ports": [{"port": 80}],
        "endpoints": [{"addresses": ["10.1.2.3"]}],
    }
    world.apply([hand])
    world.cluster.delete(Ref("", "v1", "pods"), "web", namespace=NS)
    await until(lambda: "web-0" not in slices(world) or not slices(world)["web-0"]["endpoints"])
    world.cluster.delete(SERVICES, "web", namespace=NS)
    await until(lambda: list(slices(world)) == ["mine"])


async def test_namespaces_have_an_account_and_the_certificate(world: World) -> None:
    """Also again when somebody deletes them."""
    world.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "new"}}])
    await until(lambda: find(world, "serviceaccounts", "default", "new"))
    await until(lambda: "BEGIN CERTIFICATE" in str(find(world, "configmaps", "kube-root-ca.crt", "new")))
    world.cluster.delete(Ref("", "v1", "serviceaccounts"), "default", namespace="new")
    await until(lambda: find(world, "serviceaccounts", "default", "new"))
