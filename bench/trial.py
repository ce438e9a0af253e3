"""One operator's run, step by step."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bench import sample
from bench.contenders import Contender
from bench.front import Api
from bench.grounds import BENCH
from bench.kubelet import Kubelet
from bench.observer import Asked, Observer, now, seconds_until

from tailrace.api import names
from tailrace.kube import resources
from tailrace.sandbox.controlplane.control import ControlPlane

SINGLES = 10
_PAUSE = 2.0  # seconds between two single Services: a client's limiter has its burst again


@dataclass(frozen=True, kw_only=True, slots=True)
class Extent:
    """How much is measured."""

    count: int
    full: bool  # with idling, single Services and a restart
    settled: float  # seconds of idling


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What one step took."""

    seconds: float  # until it was reached
    settled: float  # until the last request
    asked: Asked
    calls: Counter[str]
    cpu: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Single:
    """One new Service: seconds to its StatefulSet, to ready, and from its deletion to gone."""

    child: float
    ready: float
    gone: float


@dataclass(kw_only=True)
class Trial:
    """An operator on its ground; `run` fills the rest."""

    contender: Contender
    observer: Observer
    kubelet: Kubelet
    api: Api
    plane: ControlPlane
    count: int = 0
    exposed: Step | None = None
    peak: float = 0.0  # MiB, after everything but the restart
    idle: Step | None = None
    singles: list[Single] = field(default_factory=list)
    restarted: Step | None = None
    deleted: Step | None = None

    async def run(self, extent: Extent) -> None:
        self.count = extent.count
        async with self.contender.run() as process:
            await self._wait_started()
            self.exposed = await self._expose(process.pid)
            self.peak, _ = sample.read_memory(process.pid)
            if not extent.full:
                self.deleted = await self._delete(process.pid)
                return
            self.idle = await self._idle(process.pid, extent.settled)
            for number in range(SINGLES):
                self.singles.append(await self._expose_one(f"one-{number}"))
            await self.observer.collect()
            self.peak, _ = sample.read_memory(process.pid)
        calls, began = self.api.calls.copy(), now()
        async with self.contender.run() as process:
            asked = await self._wait_started()
            self.restarted = Step(
                seconds=seconds_until(asked.last, began),
                settled=seconds_until(asked.last, began),
                asked=asked,
                calls=self.api.calls - calls,
                cpu=sample.read_cpu(process.pid),
            )
            self.deleted = await self._delete(process.pid)

    async def _wait_started(self) -> Asked:
        """Until it has opened its watches and then asked for nothing more; its node may take a while to log in."""
        while True:
            asked = await self.observer.collect(watches_count=True)
            if asked.watches:
                return asked

    async def _expose(self, pid: int) -> Step:
        observer, count = self.observer, self.count
        calls, cpu, began, clock = self.api.calls.copy(), sample.read_cpu(pid), now(), time.monotonic()
        await asyncio.gather(*(self._create(f"svc-{number:04}") for number in range(count)))
        await observer.wait(lambda: len(observer.ready) == count, "exposing")
        return await self._end(pid, time.monotonic() - clock, began, calls, cpu)

    async def _delete(self, pid: int) -> Step:
        observer = self.observer
        calls, cpu, began, clock = self.api.calls.copy(), sample.read_cpu(pid), now(), time.monotonic()
        await asyncio.gather(
            *(self._remove(name) for name in [s.metadata.name for s in observer.store.list()])
        )
        await observer.wait(lambda: not len(observer.store), "deleting")
        step = await self._end(pid, time.monotonic() - clock, began, calls, cpu)
        assert not self.plane.tailnet.nodes.all(), "devices are left"
        assert not len(self.kubelet.store), "StatefulSets are left"
        return step

    async def _end(self, pid: int, seconds: float, began: datetime, calls: Counter[str], cpu: float) -> Step:
        asked = await self.observer.collect()
        return Step(
            seconds=seconds,
            settled=seconds_until(asked.last, began),
            asked=asked,
            calls=self.api.calls - calls,
            cpu=sample.read_cpu(pid) - cpu,
        )

    async def _idle(self, pid: int, seconds: float) -> Step:
        calls, cpu = self.api.calls.copy(), sample.read_cpu(pid)
        asked = await self.observer.idle(seconds)
        return Step(
            seconds=seconds,
            settled=seconds,
            asked=asked,
            calls=self.api.calls - calls,
            cpu=sample.read_cpu(pid) - cpu,
        )

    async def _expose_one(self, name: str) -> Single:
        observer, known = self.observer, len(self.kubelet.appeared)
        began = time.monotonic()
        await self._create(name)
        await observer.wait(lambda: name in observer.ready, name)
        ready, child = time.monotonic() - began, self.kubelet.appeared[known] - began
        await asyncio.sleep(_PAUSE)
        began = time.monotonic()
        await self._remove(name)
        await observer.wait(lambda: observer.store.get(BENCH, name) is None, name)
        gone = time.monotonic() - began
        await asyncio.sleep(_PAUSE)
        return Single(child=child, ready=ready, gone=gone)

    async def _create(self, name: str) -> None:
        await self.observer.cluster.create(resources.SERVICES, build_service(name))

    async def _remove(self, name: str) -> None:
        await self.observer.cluster.delete(resources.SERVICES, name, BENCH)


def build_service(name: str) -> dict[str, Any]:
    """A LoadBalancer of the class that both serve."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": BENCH},
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerClass": names.LOAD_BALANCER_CLASS,
            "ports": [{"name": "http", "port": 80}],
            "selector": {"app": "backend"},
        },
    }
