"""The one line that tells a pod's state: READY, STATUS, RESTARTS, and where it runs.

Place: `printers` has the other kinds. The rules are old and full of corners (`printPod` in
`k8s.io/kubernetes/pkg/printers/internalversion`), and people know them by heart, so they are kept as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tailrace.sandbox.kubernetes.printing.ages import since

Doc = dict[str, Any]


@dataclass(slots=True)
class _Count:
    """What is summed up over the containers."""

    ready: int = 0
    restarts: int = 0
    last_restart: str = ""

    def add_restarts(self, container: Doc) -> None:
        self.restarts += container.get("restartCount", 0)
        finished = ((container.get("lastState") or {}).get("terminated") or {}).get("finishedAt") or ""
        # RFC 3339 in UTC with seconds, as the server writes it: the order of texts is the order of times.
        self.last_restart = max(self.last_restart, finished)

    def text(self, now: datetime) -> str:
        ago = f" ({since(self.last_restart, now)} ago)" if self.restarts and self.last_restart else ""
        return f"{self.restarts}{ago}"


def pod_cells(pod: Doc, now: datetime) -> list[Any]:
    """Everything but name and age, the wide columns included."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    reason, count = _reason_and_count(pod, spec, status)
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    total = len(spec.get("containers") or ()) + len(sidecars)
    ip = next((i.get("ip") for i in status.get("podIPs") or ()), None)
    return [
        f"{count.ready}/{total}",
        reason,
        count.text(now),
        ip or "<none>",
        spec.get("nodeName") or "<none>",
        status.get("nominatedNodeName") or "<none>",
        _readiness_gates(spec, status),
    ]


def pod_conditions(pod: Doc) -> list[Doc]:
    """A pod that has ended marks its row as completed, so that clients may grey it out."""
    messages = {"Succeeded": "The pod has completed successfully.", "Failed": "The pod failed."}
    phase = (pod.get("status") or {}).get("phase")
    if phase not in messages:
        return []
    return [{"type": "Completed", "status": "True", "reason": phase, "message": messages[phase]}]


def _reason_and_count(pod: Doc, spec: Doc, status: Doc) -> tuple[str, _Count]:
    reason = status.get("reason") or status.get("phase", "")
    if any(c.get("reason") == "SchedulingGated" for c in _of_type(status, "PodScheduled")):
        reason = "SchedulingGated"
    initializing, count, sidecars = _initialize(spec, status)
    reason = initializing or reason
    if not initializing or _is_true(status, "Initialized"):
        count = sidecars
        reason = _run(status, reason, count)
    if pod["metadata"].get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            reason = "Unknown"
        elif status.get("phase") not in ("Succeeded", "Failed"):
            reason = "Terminating"
    return reason, count


def _initialize(spec: Doc, status: Doc) -> tuple[str, _Count, _Count]:
    """Why it is still initialising (empty when it is not), all counts so far, and those of sidecars alone."""
    containers = spec.get("initContainers") or ()
    always = {c["name"] for c in containers if c.get("restartPolicy") == "Always"}
    count, sidecars = _Count(), _Count()
    for i, container in enumerate(status.get("initContainerStatuses") or ()):
        sidecar = container["name"] in always
        for counted in (count, sidecars) if sidecar else (count,):
            counted.add_restarts(container)
        state = container.get("state") or {}
        terminated, waiting = state.get("terminated"), (state.get("waiting") or {}).get("reason")
        if terminated is not None and not terminated.get("exitCode"):
            continue
        if sidecar and container.get("started"):
            for counted in (count, sidecars):
                counted.ready += bool(container.get("ready"))
            continue
        if terminated is not None:
            return f"Init:{_ended(terminated)}", count, sidecars
        if waiting and waiting != "PodInitializing":
            return f"Init:{waiting}", count, sidecars
        return f"Init:{i}/{len(containers)}", count, sidecars
    return "", count, sidecars


def _run(status: Doc, reason: str, count: _Count) -> str:
    """The state of the main containers; of several the first one decides. `count` is added to."""
    running = False
    for container in reversed(status.get("containerStatuses") or ()):
        count.add_restarts(container)
        state = container.get("state") or {}
        terminated, waiting = state.get("terminated"), (state.get("waiting") or {}).get("reason")
        if waiting:
            reason = waiting
        elif terminated is not None:
            reason = _ended(terminated)
        elif container.get("ready") and state.get("running") is not None:
            running = True
            count.ready += 1
    if reason == "Completed" and running:
        return "Running" if _is_true(status, "Ready") else "NotReady"
    return reason


def _ended(terminated: Doc) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _of_type(status: Doc, type_: str) -> list[Doc]:
    return [c for c in status.get("conditions") or () if c.get("type") == type_]


def _is_true(status: Doc, type_: str) -> bool:
    return any(c.get("status") == "True" for c in _of_type(status, type_))


def _readiness_gates(spec: Doc, status: Doc) -> str:
    gates = [gate["conditionType"] for gate in spec.get("readinessGates") or ()]
    return f"{sum(_is_true(status, gate) for gate in gates)}/{len(gates)}" if gates else "<none>"
