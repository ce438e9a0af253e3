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

    @property
    def is_ready(self) -> bool:
        return self.ready and bool(self.started_at) and not self.over

    def document(self) -> dict[str, Any]:
        if self.over and self.ended:
            state: dict[str, Any] = {"terminated": self.ended}
        elif self.started_at:
            state = {"running": {"startedAt": self.started_at}}
        else:
            reason, message = self.waiting
            state = {"waiting": {"reason": reason} | ({"message": message} if message else {})}
        return {
            "name": self.name,
            "state": state,
            "lastState": {"terminated": self.ended} if self.ended and not self.over else {},
            "ready": self.is_ready,
            "restartCount": self.restarts,
            "image": self.image,
            "imageID": "",
            "started": bool(self.started_at) and not self.over,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a pod runs, and how far it is."""

    ip: str
    host_ip: str
    mounted: bool  # its volumes are there, so that its containers can start


def build(pod: Doc, place: Place, states: Sequence[ContainerState], now: str) -> dict[str, Any]:
    """The whole status. `states` are those of the containers that run on; the ones before have done their work."""
    before, spec = pod.get("status") or {}, pod["spec"]
    of = {state.name: state for state in states}
    main = [of[container["name"]] for container in spec["containers"]]
    phase = find_phase(main, spec.get("restartPolicy", "Always"))
    initial = [c["name"] for c in spec.get("initContainers") or ()]
    status: dict[str, Any] = {
        "observedGeneration": pod["metadata"].get("generation", 1),
        "phase": phase,
        "conditions": conditions(before.get("conditions") or (), _rows(phase, main, initial, place), now),
        "hostIP": place.host_ip,
        "hostIPs": [{"ip": place.host_ip}],
        "startTime": before.get("startTime") or now,
        "containerStatuses": [state.document() for state in sorted(main, key=lambda s: s.name)],
        "qosClass": before.get("qosClass", "BestEffort"),
    }
    if place.mounted:
        status |= {"podIP": place.ip, "podIPs": [{"ip": place.ip}]}
    if initial:
        known = {s["name"]: s for s in before.get("initContainerStatuses") or ()}
        status["initContainerStatuses"] = [
            of[c["name"]].document() if c["name"] in of else _initial(c, known.get(c["name"]), place, now)
            for c in spec["initContainers"]
        ]
    return status


def find_phase(states: Sequence[ContainerState], policy: str) -> str:
    """The rules of `getPhase` in `pkg/kubelet/kubelet_pods.go`."""
    if any(not state.started_at and not state.ended for state in states):
        return "Pending"
    if any(state.started_at and not state.over for state in states) or policy == "Always":
        return "Running"
    if all(state.ended is not None and not state.ended["exitCode"] for state in states):
        return "Succeeded"
    return "Failed" if policy == "Never" else "Running"


def _rows(
    phase: str, states: Sequence[ContainerState], initial: Sequence[str], place: Place
) -> list[tuple[str, bool, str, str]]:
    """(type, on, reason, message) of each condition."""
    unready = [state.name for state in states if not state.is_ready]
    why, text = "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]"
    if phase in ("Succeeded", "Failed"):
        why, text = ("PodCompleted" if phase == "Succeeded" else "PodFailed"), ""
    unready_row = (False, why, text) if unready else (True, "", "")
    initialized = (True, "PodCompleted" if phase == "Succeeded" else "", "")
    if initial and not place.mounted:
        waiting = f"containers with incomplete status: [{' '.join(initial)}]"
        initialized = (False, "ContainersNotInitialized", waiting)
    return [
        ("PodReadyToStartContainers", place.mounted and phase not in ("Succeeded", "Failed"), "", ""),
        ("Initialized", *initialized),
        ("Ready", *unready_row),
        ("ContainersReady", *unready_row),
        ("PodScheduled", True, "", ""),
    ]


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


def _initial(container: Doc, before: Doc | None, place: Place, now: str) -> dict[str, Any]:
    """A container that runs before the others; what it does is not simulated, it ends well at once."""
    if before and before["ready"]:
        return dict(before)
    ended = {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}
    return {
        "name": container["name"],
        "state": {"terminated": ended} if place.mounted else {"waiting": {"reason": "PodInitializing"}},
        "lastState": {},
        "ready": place.mounted,
        "restartCount": 0,
        "image": container.get("image", ""),
        "imageID": "",
        "started": False,
    }
