"""What a pod's status says: phases and conditions for every mixture of containers."""

from __future__ import annotations

from typing import Any

import pytest

from tailrace.sandbox.workloads import podstatus
from tailrace.sandbox.workloads.podstatus import ContainerState, Place

NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
UP = Place(ip="127.201.0.1", host_ip="127.0.0.1", mounted=True)
MOUNTING = Place(ip="127.201.0.1", host_ip="127.0.0.1", mounted=False)


def container(kind: str, name: str = "c") -> ContainerState:
    """`waits`, `runs`, `ready`, `restarting` after a crash, `done` or `failed` for good."""
    state = ContainerState(name, "i")
    if kind in ("runs", "ready"):
        state.started_at, state.ready = NOW, kind == "ready"
    if kind in ("restarting", "done", "failed"):
        code = 0 if kind == "done" else 1
        state.ended = {"exitCode": code, "reason": "Error", "startedAt": NOW, "finishedAt": NOW}
        state.over = kind != "restarting"
    return state


@pytest.mark.parametrize(
    ("kinds", "policy", "phase"),
    [
        (["waits"], "Always", "Pending"),
        (["ready", "waits"], "Always", "Pending"),
        (["runs"], "Always", "Running"),
        (["restarting"], "Always", "Running"),
        (["restarting", "runs"], "Always", "Running"),
        (["done"], "Never", "Succeeded"),
        (["done"], "OnFailure", "Succeeded"),
        (["failed"], "Never", "Failed"),
        (["failed", "done"], "Never", "Failed"),
        (["failed", "runs"], "Never", "Running"),
        (["restarting", "done"], "OnFailure", "Running"),
    ],
)
def test_phases(kinds: list[str], policy: str, phase: str) -> None:
    """The kubelet's `getPhase`."""
    assert podstatus.find_phase([container(kind) for kind in kinds], policy) == phase


def build(kinds: list[str], place: Place = UP, before: Any = None, now: str = NOW, **spec: Any) -> Any:
    states = [container(kind, f"c{n}") for n, kind in enumerate(kinds)]
    pod = {"metadata": {"generation": 2}, "spec": {"containers": [{"name": s.name} for s in states]} | spec}
    return podstatus.build(pod | {"status": before or {}}, place, states, now)


def said(status: Any) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c.get("reason", "")) for c in status["conditions"]}


def test_conditions_on_the_way_up() -> None:
    """Mounting, starting, one of two ready, all ready."""
    status = build(["waits"], MOUNTING)
    assert "podIP" not in status
    assert said(status)["PodReadyToStartContainers"] == ("False", "")
    assert said(status)["Initialized"] == ("True", "")
    status = build(["runs", "ready"])
    assert said(status)["Ready"] == said(status)["ContainersReady"] == ("False", "ContainersNotReady")
    assert status["conditions"][2]["message"] == "containers with unready status: [c0]"
    assert (status["podIP"], status["observedGeneration"]) == ("127.201.0.1", 2)
    status = build(["ready", "ready"])
    assert {on for on, _ in said(status).values()} == {"True"}


@pytest.mark.parametrize(("kind", "why"), [("done", "PodCompleted"), ("failed", "PodFailed")])
def test_conditions_of_a_pod_that_is_over(kind: str, why: str) -> None:
    """It is not ready, and says why."""
    status = build([kind], restartPolicy="Never")
    assert said(status)["Ready"] == said(status)["ContainersReady"] == ("False", why)


def test_initial_containers() -> None:
    """They wait with the volumes, then are done, at a time that stays."""
    initial = [{"name": "first", "image": "i"}]
    waiting = build(["waits"], MOUNTING, initContainers=initial)
    assert said(waiting)["Initialized"] == ("False", "ContainersNotInitialized")
    assert waiting["initContainerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
    done = build(["ready"], before=waiting, initContainers=initial)
    later = build(["ready"], before=done, now=LATER, initContainers=initial)
    assert later == done


def test_a_condition_keeps_its_time_until_it_turns() -> None:
    """`lastTransitionTime` is that of the last turn."""
    first = build(["runs"])
    same = build(["runs"], before=first, now=LATER)
    assert same == first
    turned = build(["ready"], before=first, now=LATER)
    times = {c["type"]: c["lastTransitionTime"] for c in turned["conditions"]}
    assert (times["Ready"], times["PodScheduled"]) == (LATER, NOW)


@pytest.mark.parametrize(
    ("kind", "state", "last"),
    [
        ("waits", "waiting", False),
        ("runs", "running", False),
        ("restarting", "waiting", True),
        ("failed", "terminated", False),
    ],
)
def test_container_states(kind: str, state: str, last: bool) -> None:
    """Exactly one state; what ended before is the last one."""
    document = container(kind).document()
    assert list(document["state"]) == [state]
    assert bool(document["lastState"]) is last
    assert document["ready"] is False
