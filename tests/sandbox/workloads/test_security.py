"""Pod security at admission: which request is refused, which only warned about, which is nobody's business."""

from __future__ import annotations

from typing import Any

import pytest

from tailrace.sandbox.kubernetes.cluster import Cluster
from tailrace.sandbox.kubernetes.core import Call
from tailrace.sandbox.kubernetes.resources import Ref
from tailrace.sandbox.kubernetes.status import ApiError
from tailrace.sandbox.workloads.security import PodSecurity
from tests.sandbox.workloads.living import NS, pod, workload

NAMESPACES, PODS = Ref("", "v1", "namespaces"), Ref("", "v1", "pods")
LABEL = "pod-security.kubernetes.io/"
PRIVILEGED = {"name": "app", "image": "a:1", "securityContext": {"privileged": True}}
KINDS = {"StatefulSet": "statefulsets", "Deployment": "deployments", "ReplicaSet": "replicasets"}


@pytest.fixture
def cluster() -> Cluster:
    made = Cluster()

    def pods_in(namespace: str) -> list[dict[str, Any]]:
        return [s.doc for key, s in made.store.all(("", "pods")).items() if key[0] == namespace]

    made.core.admission.append(PodSecurity(made.core.namespace, pods_in))
    return made


def label(cluster: Cluster, **modes: str) -> list[str]:
    """The warnings of the change."""
    call = Call()
    labels = {LABEL + mode.replace("_", "-"): level for mode, level in modes.items()}
    cluster.patch(NAMESPACES, NS, {"metadata": {"labels": labels}}, "merge", call=call)
    return call.warnings


def create(cluster: Cluster, kind: str, doc: dict[str, Any]) -> list[str]:
    call = Call()
    cluster.create(Ref("apps", "v1", KINDS[kind]), doc, namespace=NS, call=call)
    return call.warnings


@pytest.mark.parametrize("level", ["baseline", "restricted"])
def test_a_privileged_pod_is_refused_in_the_real_words(cluster: Cluster, level: str) -> None:
    """403 with the policy, its version and every violation."""
    label(cluster, enforce=level)
    with pytest.raises(ApiError) as refused:
        cluster.create(PODS, pod("px", PRIVILEGED), namespace=NS)
    assert (refused.value.code, refused.value.reason) == (403, "Forbidden")
    start = f'pods "px" is forbidden: violates PodSecurity "{level}:latest": privileged '
    assert refused.value.message.startswith(
        start + '(container "app" must not set securityContext.privileged=true)'
    )
    if level == "restricted":
        assert 'seccompProfile (pod or container "app" must set' in refused.value.message


@pytest.mark.parametrize("kind", KINDS)
def test_a_workload_is_taken_with_a_warning(cluster: Cluster, kind: str) -> None:
    """Also by a namespace that would refuse its pods; an update warns only when the template changes."""
    label(cluster, enforce="baseline", warn="baseline")
    doc = workload(
        kind, "px", pod("px", PRIVILEGED), **({"serviceName": "x"} if kind == "StatefulSet" else {})
    )
    warnings = create(cluster, kind, doc)
    assert [w.partition(":")[0] for w in warnings] == ['would violate PodSecurity "baseline']
    call, ref = Call(), Ref("apps", "v1", KINDS[kind])
    cluster.patch(ref, "px", {"spec": {"replicas": 3}}, "merge", namespace=NS, call=call)
    assert not call.warnings


def test_without_labels_everything_is_allowed(cluster: Cluster) -> None:
    """No refusal, no warning; a harmless pod is fine in a baseline namespace."""
    cluster.create(PODS, pod("px", PRIVILEGED), namespace=NS)
    assert not create(cluster, "Deployment", workload("Deployment", "px", pod("px", PRIVILEGED)))
    label(cluster, enforce="baseline")
    cluster.create(PODS, pod("ok"), namespace=NS)


def test_pods_that_run_are_left_alone_and_told_about(cluster: Cluster) -> None:
    """A stricter namespace warns about what is in it; status and metadata of such a pod can still be written."""
    cluster.create(PODS, pod("px", PRIVILEGED), namespace=NS)
    warnings = label(cluster, enforce="baseline")
    assert warnings[0].startswith(
        'existing pods in namespace "default" violate the new PodSecurity enforce level'
    )
    cluster.patch(PODS, "px", {"metadata": {"annotations": {"a": "b"}}}, "merge", namespace=NS)


def test_a_level_that_there_is_not_is_refused(cluster: Cluster) -> None:
    """As the namespace's own error."""
    with pytest.raises(ApiError, match=r"pod-security.kubernetes.io/enforce\]: Invalid value: \"strict\""):
        label(cluster, enforce="strict")
