"""One leader by a Lease, as client-go elects it: GET, then PUT with the resourceVersion that was read.

A holder is alive as long as its record keeps changing, judged by our own clock from when we saw the change: clocks of
different machines are never compared. Who cannot renew for `renew_deadline`, which is shorter than the lease, stops
leading before anybody else may begin.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog

from tailrace import errors
from tailrace.api.kube import Base, Object
from tailrace.kube.client import Kube
from tailrace.kube.resource import Resource
from tailrace.observe import metrics

log = structlog.get_logger(__name__)


class LeaseSpec(Base, frozen=True, kw_only=True):
    holderIdentity: str | None = None
    leaseDurationSeconds: int | None = None
    acquireTime: str | None = None
    renewTime: str | None = None
    leaseTransitions: int | None = None


class Lease(Object, frozen=True, kw_only=True):
    spec: LeaseSpec = LeaseSpec()


LEASES = Resource(group="coordination.k8s.io", version="v1", plural="leases", kind="Lease", type=Lease)


class LostLease(errors.TailraceError):
    """Another process may lead now: end at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds, with client-go's defaults."""

    duration: float = 15.0
    renew_deadline: float = 10.0
    retry: float = 2.0


@dataclass(slots=True)
class Leader:
    """One candidate."""

    cluster: Kube
    namespace: str
    identity: str
    name: str = "tailrace"
    timing: Timing = field(default_factory=Timing)
    clock: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random
    _seen: LeaseSpec | None = None
    _seen_at: float = 0.0
    _held: Lease | None = None

    async def acquire(self) -> None:
        """Wait until we lead."""
        while True:
            try:
                if await self.attempt():
                    metrics.LEADER.set(1)
                    log.info("leader.acquired", identity=self.identity)
                    return
            except errors.TailraceError as error:
                log.warning("leader.failed", error=str(error))
            await asyncio.sleep(self.timing.retry * (1 + self.chance() * 0.2))

    async def keep(self) -> None:
        """Renew for ever.

        Raises:
            LostLease: somebody else holds it, or it could not be renewed in time.
        """
        renewed = self.clock()
        while True:
            await asyncio.sleep(self.timing.retry)
            problem = ""
            try:
                async with asyncio.timeout(max(0.1, self.timing.renew_deadline - (self.clock() - renewed))):
                    if await self.attempt():
                        renewed = self.clock()
                        continue
            except errors.TailraceError as error:
                problem = str(error)
            except TimeoutError:
                problem = "the API server did not answer in time"
            else:
                metrics.LEADER.set(0)
                raise LostLease("another process holds the lease")
            if self.clock() - renewed >= self.timing.renew_deadline:
                metrics.LEADER.set(0)
                raise LostLease(f"the lease could not be renewed in time: {problem}")

    async def attempt(self) -> bool:
        """Take or renew the lease if that is allowed; True when we hold it afterwards."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        try:
            lease = await self.cluster.get(LEASES, self.name, self.namespace)
        except errors.NotFound:
            return await self._write(None, self._record(now, acquired=now, transitions=0))
        if lease.spec != self._seen:
            self._seen, self._seen_at = lease.spec, self.clock()
        holder = lease.spec.holderIdentity or ""
        if holder == self.identity:
            transitions = lease.spec.leaseTransitions or 0
            return await self._write(lease, self._record(now, lease.spec.acquireTime or now, transitions))
        duration = float(lease.spec.leaseDurationSeconds or self.timing.duration)
        if holder and self.clock() - self._seen_at < duration:
            return False
        return await self._write(lease, self._record(now, now, (lease.spec.leaseTransitions or 0) + 1))

    async def release(self) -> None:
        """Give the lease back on a clean stop, so that a standby need not wait for its end."""
        if self._held is None:
            return
        record = {**self._record("", "", self._held.spec.leaseTransitions or 0), "holderIdentity": ""}
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        record |= {"renewTime": now, "acquireTime": now, "leaseDurationSeconds": 1}
        try:
            async with asyncio.timeout(2):
                await self._write(self._held, record)
        except (errors.TailraceError, TimeoutError):
            return  # it runs out by itself
        finally:
            metrics.LEADER.set(0)

    def _record(self, now: str, acquired: str, transitions: int) -> dict[str, Any]:
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": max(1, round(self.timing.duration)),
            "acquireTime": acquired,
            "renewTime": now,
            "leaseTransitions": transitions,
        }

    async def _write(self, lease: Lease | None, record: dict[str, Any]) -> bool:
        """Write the record over `lease`, or as a new one; False when somebody was quicker."""
        meta = {"name": self.name, "namespace": self.namespace}
        try:
            if lease is None:
                self._held = await self.cluster.create(LEASES, {"metadata": meta, "spec": record})
            else:
                meta["resourceVersion"] = lease.metadata.resourceVersion
                self._held = await self.cluster.replace(LEASES, {"metadata": meta, "spec": record})
        except errors.Conflict:
            self._held = None
            return False
        self._seen, self._seen_at = self._held.spec, self.clock()
        return True
