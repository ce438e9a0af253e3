"""What a pod's status says: containers' states, conditions, phase. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Doc = Mapping[str, Any]
_READY_OF = {True: "True", False: "False"}


@dataclass(slots=True)
class ContainerState:
    """One container as the kubelet knows it."""

    name: str
    image: str
    restarts: int = 0
    ready: bool = False
    started_at: str = ""  # empty: it does not run
    waiting: tuple[str, str] = ("ContainerCreating", "")  # reason, message
    ended: dict[str, Any] | None = None  # the last run: exitCode, reason, startedAt, finishedAt
    over: bool = False  # it will not be started again
    log: list[str] = field(default_factory=list, repr=False)

    def document(self) -> dict[str, Any]:
        if self.over and self.ended:
            state: dict[str, Any] = {"terminated": self.ended}
        elif self.started_at:
            state = {"running": {"startedAt": self.started_at}}
        else:
            reason, message = self.waiting
            state = {"waiting": {"reason": reason} | ({"message": message} if message else {})}
        running = bool(self.started_at) and not self.over
        return {
            "name": self.name,
            "state": state,
            "lastState": {"terminated": self.ended} if self.ended and not self.over else {},
            "ready": self.ready and running,
            "restartCount": self.restarts,
            "image": self.image,
            "imageID": "",
            "started": running,
        }


def build(pod: Doc, ip: str, host_ip: str, states: Sequence[ContainerState], now: str) -> dict[str, Any]:
    """The whole status. `states` are those of the main containers; the ones before have done their work."""
    before = pod.get("status") or {}
    mounted = all(state.waiting[0] != "ContainerCreating" or state.started_at for state in states)
    unready = [state.name for state in states if not (state.ready and state.started_at)]
    text = f"containers with unready status: [{' '.join(unready)}]"
    over = [state.ended for state in states if state.over and state.ended]
    failed = any(ended["exitCode"] for ended in over)
    phase = "Running" if any(state.started_at or state.ended for state in states) else "Pending"
    if len(over) == len(states):
        phase = "Failed" if failed else "Succeeded"
    ready = not unready
    why = "" if ready else "PodCompleted" if phase == "Succeeded" else "ContainersNotReady"
    rows = [
        ("PodReadyToStartContainers", mounted, "", ""),
        ("Initialized", mounted, "", ""),
        ("Ready", ready, why, "" if ready else text),
        ("ContainersReady", ready, why, "" if ready else text),
        ("PodScheduled", True, "", ""),
    ]
    status: dict[str, Any] = {
        "observedGeneration": pod["metadata"].get("generation", 1),
        "phase": phase,
        "conditions": conditions(before.get("conditions") or (), rows, now),
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "startTime": before.get("startTime") or now,
        "containerStatuses": [state.document() for state in sorted(states, key=lambda s: s.name)],
        "qosClass": before.get("qosClass", "BestEffort"),
    }
    if mounted:
        status |= {"podIP": ip, "podIPs": [{"ip": ip}]}
    if initial := pod["spec"].get("initContainers"):
        status["initContainerStatuses"] = [_initial(container, mounted, now) for container in initial]
    return status


def conditions(
    before: Iterable[Doc], rows: Iterable[tuple[str, bool, str, str]], now: str
) -> list[dict[str, Any]]:
    known = {c["type"]: c for c in before}
    made = []
    for kind, on, reason, message in rows:
        old = known.get(kind)
        since = old["lastTransitionTime"] if old and old["status"] == _READY_OF[on] else now
        condition = {
            "type": kind,
            "status": _READY_OF[on],
            "lastProbeTime": None,
            "lastTransitionTime": since,
        }
        made.append(
            condition | ({"reason": reason} if reason else {}) | ({"message": message} if message else {})
        )
    return made


def _initial(container: Doc, done: bool, now: str) -> dict[str, Any]:
    ended = {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}
    return {
        "name": container["name"],
        "state": {"terminated": ended} if done else {"waiting": {"reason": "PodInitializing"}},
        "lastState": {},
        "ready": done,
        "restartCount": 0,
        "image": container.get("image", ""),
        "imageID": "",
        "started": False,
    }
