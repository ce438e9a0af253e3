"""What the operator has spent up to a moment: its own counters of requests, the operating system's of the process."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import httpx2

_LINE = re.compile(r"(tailrace_(?:kube_requests|control_plane_calls)_total)\{([^}]*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """Totals since the operator started; `since` makes them those of a time."""

    at: float  # monotonic seconds
    requests: Counter[str]  # to Kubernetes by "verb resource", without the two below
    leases: int  # requests for the lease
    watches: int  # watches opened
    calls: Counter[str]  # to the control plane, by "method route"
    cpu: float  # seconds, user and system

    def since(self, earlier: Sample) -> Sample:
        return Sample(
            at=self.at - earlier.at,
            requests=self.requests - earlier.requests,
            leases=self.leases - earlier.leases,
            watches=self.watches - earlier.watches,
            calls=self.calls - earlier.calls,
            cpu=self.cpu - earlier.cpu,
        )


async def take(address: str, pid: int) -> Sample:
    """The totals of the operator whose metrics are at `address`."""
    async with httpx2.AsyncClient() as client:
        text = (await client.get(f"http://{address}/metrics")).text
    requests: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    leases = watches = 0
    for name, labelled, value in _LINE.findall(text):
        labels, count = dict(_LABEL.findall(labelled)), round(float(value))
        if "control_plane" in name:
            calls[f"{labels['method']} {labels['route']}"] += count
        elif labels["resource"] == "leases":
            leases += count
        elif labels["verb"] == "watch":
            watches += count
        else:
            requests[f"{labels['verb']} {labels['resource']}"] += count
    return Sample(
        at=time.monotonic(),
        requests=requests,
        leases=leases,
        watches=watches,
        calls=calls,
        cpu=read_cpu(pid),
    )


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def read_end(log: Path) -> str:
    return log.read_text()[-2000:]


def read_cpu(pid: int) -> float:
    """CPU seconds of a process, user and system together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def read_memory(pid: int) -> tuple[float, float]:
    """Resident memory of a process in MiB: the most that it ever was, and now."""
    found = dict(re.findall(r"(VmHWM|VmRSS):\s+(\d+)", Path(f"/proc/{pid}/status").read_text()))
    return int(found["VmHWM"]) / 1024, int(found["VmRSS"]) / 1024
