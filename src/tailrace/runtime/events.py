"""Kubernetes Events without floods: written by one task, never waited for, never a reason to fail.

The same event again raises the count of the first one for as long as that is remembered. Each object may emit a
burst of 25 and then one in five minutes, as client-go allows; what is over that, or over the backlog, is counted and
dropped.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tailrace import errors
from tailrace.api.kube import Object
from tailrace.kube.client import Kube
from tailrace.kube.resource import Resource
from tailrace.observe import metrics
from tailrace.observe.redact import redact

COMPONENT = "tailrace"
BURST, REFILL = 25.0, 1 / 300
BACKLOG = 1_000
REMEMBERED = 4_096
AGGREGATE = 600.0
HOME = "default"
"""Where Events about cluster-scoped objects live; the API server takes them nowhere else but in kube-system."""

EVENTS = Resource(group="", version="v1", plural="events", kind="Event", type=Object)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One thing to tell about one object; `namespace` is "" for a cluster-scoped one."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str
    warning: bool
    reason: str
    message: str


@dataclass(slots=True)
class Told:
    name: str
    count: int
    at: float


@dataclass(slots=True)
class Recorder:
    """`record` at any time; `run` as a task."""

    cluster: Kube
    clock: Callable[[], float] = time.monotonic
    _backlog: asyncio.Queue[Notice] = field(default_factory=lambda: asyncio.Queue(BACKLOG))
    _told: OrderedDict[Notice, Told] = field(default_factory=OrderedDict)
    _budget: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def record(self, notice: Notice) -> None:
        """Have it told soon."""
        if not self._afford(notice.uid):
            metrics.EVENTS.labels("limited").inc()
            return
        try:
            self._backlog.put_nowait(notice)
        except asyncio.QueueFull:
            metrics.EVENTS.labels("dropped").inc()

    async def run(self) -> None:
        while True:
            notice = await self._backlog.get()
            try:
                await self._tell(notice)
            except errors.TailraceError:
                metrics.EVENTS.labels("failed").inc()

    def _afford(self, uid: str) -> bool:
        now = self.clock()
        left, at = self._budget.pop(uid, (BURST, now))
        left = min(BURST, left + (now - at) * REFILL)
        self._budget[uid] = (left - 1 if left >= 1 else left, now)
        while len(self._budget) > REMEMBERED:
            self._budget.popitem(last=False)
        return left >= 1

    async def _tell(self, notice: Notice) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        before = self._told.pop(notice, None)
        if before is not None and self.clock() - before.at < AGGREGATE:
            again = Told(before.name, before.count + 1, self.clock())
            try:
                body = {"count": again.count, "lastTimestamp": now}
                await self.cluster.patch(EVENTS, before.name, notice.namespace or HOME, body)
            except errors.NotFound:
                pass  # it has expired: tell it anew
            else:
                self._told[notice] = again
                metrics.EVENTS.labels("repeated").inc()
                return
        name = f"{notice.name[:200]}.{uuid.uuid4().hex[:16]}"
        await self.cluster.create(EVENTS, build_event(notice, name, now))
        self._told[notice] = Told(name, 1, self.clock())
        while len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        metrics.EVENTS.labels("written").inc()


def build_event(notice: Notice, name: str, now: str) -> dict[str, Any]:
    """The core/v1 Event."""
    return {
        "metadata": {"name": name, "namespace": notice.namespace or HOME},
        "involvedObject": {
            "apiVersion": notice.api_version,
            "kind": notice.kind,
            "namespace": notice.namespace,
            "name": notice.name,
            "uid": notice.uid,
        },
        "type": "Warning" if notice.warning else "Normal",
        "reason": notice.reason,
        "message": redact(notice.message)[:1024],
        "source": {"component": COMPONENT},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
