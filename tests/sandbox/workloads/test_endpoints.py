"""EndpointSlices, the routes that follow from them, and namespace policies."""

from __future__ import annotations

from typing import Any

import pytest

from tailrace.sandbox.workloads import endpoints, namespacepolicy
from tailrace.sandbox.workloads.dataplane import Door, Way, build_routes


def service(**spec: Any) -> dict[str, Any]:
    base = {
        "clusterIP": "127.96.0.9",
        "selector": {"app": "web"},
        "ports": [{"port": 80, "targetPort": "http"}],
    }
    return {"metadata": {"name": "web", "namespace": "ns", "uid": "s"}, "spec": base | spec}


def pod(name: str, ip: str, *, ready: bool = True, port: int = 3000, **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "ns", "uid": name, "labels": {"app": "web"}} | metadata,
        "spec": {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": port}]}]},
        "status": {"podIP": ip, "phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]},
    }


def test_only_ready_pods_are_routed_to() -> None:
    """A named port is looked up in each pod; one that is not ready, or is going, gets nothing."""
    pods = [
        pod("a", "127.10.0.1"),
        pod("b", "127.10.0.2", port=4000),
        pod("c", "127.10.0.3", ready=False),
        pod("d", "127.10.0.4", deletionTimestamp="2026-01-01T00:00:00Z"),
        pod("e", "127.10.0.5", labels={"app": "other"}),
    ]
    slices = endpoints.build_slices(service(), pods)
    assert [s["ports"][0]["port"] for s in slices] == [3000, 4000]
    targets = (("127.10.0.1", 3000), ("127.10.0.2", 4000))
    assert build_routes(service(), slices) == {Door("tcp", "127.96.0.9", 80): Way(targets)}


def test_a_service_without_ready_pods_has_no_door() -> None:
    assert (
        build_routes(service(), endpoints.build_slices(service(), [pod("a", "127.10.0.1", ready=False)]))
        == {}
    )
    assert endpoints.build_slices(service(selector=None), [pod("a", "127.10.0.1")]) == []


def test_headless_services_have_endpoints_but_no_door() -> None:
    headless = service(clusterIP="None")
    slices = endpoints.build_slices(headless, [pod("a", "127.10.0.1")])
    assert "service.kubernetes.io/headless" in slices[0]["metadata"]["labels"]
    assert build_routes(headless, slices) == {}


ENFORCE = "pod-security.kubernetes.io/enforce"
PRIVILEGED = {"containers": [{"name": "a", "securityContext": {"privileged": True}}]}


@pytest.mark.parametrize(
    "labels, enforce, warn",
    [
        ({}, "privileged:latest", "privileged:latest"),
        ({ENFORCE: "restricted"}, "restricted:latest", "restricted:latest"),
        ({ENFORCE: "baseline", f"{ENFORCE}-version": "v1.30"}, "baseline:v1.30", "baseline:v1.30"),
        (
            {ENFORCE: "baseline", "pod-security.kubernetes.io/warn": "privileged"},
            "baseline:latest",
            "privileged:latest",
        ),
        ({ENFORCE: "strict"}, "restricted:latest", "privileged:latest"),
    ],
)
def test_levels_by_label(labels: dict[str, str], enforce: str, warn: str) -> None:
    policy = namespacepolicy.read_policy(labels)
    assert (str(policy.enforce), str(policy.warn)) == (enforce, warn)


def test_the_sentences_of_the_server() -> None:
    policy = namespacepolicy.read_policy({ENFORCE: "baseline"})
    detail = 'privileged (container "a" must not set securityContext.privileged=true)'
    assert (
        namespacepolicy.refuse_pod(policy, {}, PRIVILEGED)
        == f'violates PodSecurity "baseline:latest": {detail}'
    )
    assert (
        namespacepolicy.warn_about(policy, {}, PRIVILEGED)
        == f'would violate PodSecurity "baseline:latest": {detail}'
    )
    pods = [{"metadata": {"name": name}, "spec": PRIVILEGED} for name in ("b", "a", "c")]
    assert namespacepolicy.warn_about_existing("ns", namespacepolicy.Policy(), policy, pods) == [
        'existing pods in namespace "ns" violate the new PodSecurity enforce level "baseline:latest"',
        "a (and 2 other pods): privileged",
    ]
