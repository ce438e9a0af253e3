"""The StatefulSet controller's next step, as a table of worlds."""

from __future__ import annotations

from typing import Any

from tailrace.sandbox.workloads import statefulsets


def statefulset(
    *, replicas: int = 1, policy: str = "OrderedReady", note: str = "1", **spec: Any
) -> dict[str, Any]:
    template = {
        "metadata": {"labels": {"app": "px"}, "annotations": {"note": note}},
        "spec": {"containers": []},
    }
    return {
        "metadata": {"name": "px", "namespace": "ns", "uid": "u", "generation": 2},
        "spec": {"replicas": replicas, "podManagementPolicy": policy, "template": template} | spec,
    }


def running(of: dict[str, Any], ordinal: int, *, ready: bool = True, **metadata: Any) -> dict[str, Any]:
    pod = statefulsets.build_pod(of, ordinal, statefulsets.revision_of(of))
    pod["metadata"] |= metadata
    pod["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]}
    return pod


def made(step: statefulsets.Step) -> list[str]:
    return [pod["metadata"]["name"] for pod in step.create]


def test_pods_come_one_after_the_other_or_all_at_once() -> None:
    assert made(statefulsets.decide(statefulset(replicas=3), [])) == ["px-0"]
    assert made(statefulsets.decide(statefulset(replicas=3, policy="Parallel"), [])) == [
        "px-0",
        "px-1",
        "px-2",
    ]
    waiting = [running(statefulset(), 0, ready=False)]
    assert made(statefulsets.decide(statefulset(replicas=2), waiting)) == []


def test_a_new_template_replaces_the_highest_pod_first() -> None:
    old, new = statefulset(replicas=2), statefulset(replicas=2, note="2")
    step = statefulsets.decide(new, [running(old, 0), running(old, 1)])
    assert step.delete == ("px-1",)
    assert statefulsets.decide(new, [running(old, 0), running(new, 1, ready=False)]).delete == ()
    assert statefulsets.decide(new, [running(old, 0), running(new, 1)]).delete == ("px-0",)


def test_an_unready_pod_holds_up_its_own_update_when_ordered() -> None:
    """The trap of the real controller; Parallel does not have it."""
    stuck = [running(statefulset(), 0, ready=False)]
    assert statefulsets.decide(statefulset(note="2"), stuck).delete == ()
    parallel = [running(statefulset(policy="Parallel"), 0, ready=False)]
    assert statefulsets.decide(statefulset(note="2", policy="Parallel"), parallel).delete == ("px-0",)


def test_on_delete_waits_for_somebody_to_delete() -> None:
    new = statefulset(note="2", updateStrategy={"type": "OnDelete"})
    assert statefulsets.decide(new, [running(statefulset(), 0)]) == statefulsets.Step(
        status=statefulsets.build_status(new, [running(statefulset(), 0)], statefulsets.revision_of(new))
    )


def test_scaling_down_takes_the_highest() -> None:
    pods = [running(statefulset(), n) for n in range(3)]
    assert statefulsets.decide(statefulset(replicas=1), pods).delete == ("px-2",)
    assert statefulsets.decide(statefulset(replicas=1, policy="Parallel"), pods).delete == ("px-2", "px-1")


def test_a_set_on_its_way_out_makes_no_pods() -> None:
    going = statefulset()
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert made(statefulsets.decide(going, [])) == []


def test_status_moves_to_the_new_revision_when_all_pods_have_it() -> None:
    old, new = statefulset(), statefulset(note="2")
    before, after = statefulsets.revision_of(old), statefulsets.revision_of(new)
    new["status"] = {"currentRevision": before}
    status = statefulsets.decide(new, [running(old, 0)]).status
    assert (status["currentRevision"], status["updateRevision"], status["observedGeneration"]) == (
        before,
        after,
        2,
    )
    assert "updatedReplicas" not in status
    assert statefulsets.decide(new, [running(new, 0)]).status["currentRevision"] == after
