"""What is seen from outside: which Services are ready or gone, and what the audit log says that the operator asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from bench.grounds import BENCH

from tailrace.api import kube
from tailrace.kube import resources
from tailrace.kube.client import Kube
from tailrace.kube.store import Event, Store
from tailrace.kube.watch import Watch
from tests.rig import audit

QUIET = 5.0  # seconds without a request after which something is over
_LOOK = 0.25
_PATIENCE = 1800.0


@dataclass(kw_only=True)
class Asked:
    """Requests of a time. Those of the lease, and watches, are counted apart."""

    requests: Counter[str] = field(default_factory=Counter)  # by "verb resource"
    writes: int = 0
    leases: int = 0
    watches: int = 0
    last: datetime | None = None  # when the last one came, but for the lease

    def add(self, call: audit.Call) -> None:
        if call.resource == "leases":
            self.leases += 1
            return
        self.last = call.at
        if call.verb == "watch":
            self.watches += 1
            return
        self.requests[f"{call.verb} {call.resource}"] += 1
        self.writes += call.writes


class Observer:
    """Use `start`."""

    def __init__(self, cluster: Kube, log: Path) -> None:
        self.cluster, self._log, self._offset = cluster, log, 0
        self.ready: set[str] = set()
        self._changed = asyncio.Event()
        self.store: Store[kube.Service] = Store("services")
        self.store.on_event(self._see)

    @classmethod
    @contextlib.asynccontextmanager
    async def start(cls, kubeconfig: Path, log: Path) -> AsyncIterator[Self]:
        async with Kube.connect(kubeconfig=kubeconfig) as cluster:
            observer = cls(cluster, log)
            watching = asyncio.create_task(
                Watch(cluster, resources.SERVICES, observer.store, namespace=BENCH).run()
            )
            try:
                await observer.store.wait_synced()
                yield observer
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)

    def _see(self, event: Event[kube.Service]) -> None:
        name = event.obj.metadata.name
        if event.new is not None and event.new.status.loadBalancer.ingress:
            self.ready.add(name)
        else:
            self.ready.discard(name)
        self._changed.set()

    async def wait(self, reached: Callable[[], bool], what: str) -> None:
        """Until it is so; looked at after each change of a Service."""
        try:
            async with asyncio.timeout(_PATIENCE):
                while not reached():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise SystemExit(f"{what}: {len(self.ready)} of {len(self.store)} Services are ready") from None

    def read(self) -> list[audit.Call]:
        """What was asked since the last time."""
        with self._log.open("rb") as log:
            log.seek(self._offset)
            text = log.read()
        text = text[: text.rfind(b"\n") + 1]  # the last line may be half written
        self._offset += len(text)
        documents: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
        return [call for call in map(audit.build_call, documents) if call is not None]

    async def collect(self, *, watches_count: bool = False) -> Asked:
        """What was asked since the last time, once nothing more came for a while."""
        asked, since = Asked(), time.monotonic()
        while time.monotonic() - since < QUIET:
            before = asked.requests.total() + (asked.watches if watches_count else 0)
            for call in self.read():
                asked.add(call)
            if asked.requests.total() + (asked.watches if watches_count else 0) != before:
                since = time.monotonic()
            await asyncio.sleep(_LOOK)
        return asked

    async def idle(self, seconds: float) -> Asked:
        await asyncio.sleep(seconds)
        asked = Asked()
        for call in self.read():
            asked.add(call)
        return asked


def seconds_until(last: datetime | None, began: datetime) -> float:
    return 0.0 if last is None else (last - began).total_seconds()


def now() -> datetime:
    return datetime.now(UTC)
