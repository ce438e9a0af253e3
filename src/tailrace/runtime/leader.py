"""Who may act: a lease in the cluster that one process holds and renews.

The rules are those of client-go's leader election, so that its tools and habits fit: a candidate waits until the
holder's record has not changed for a whole lease duration *on its own clock* (clocks of other machines are never
compared); the holder gives up when it could not renew within the renew deadline, which is shorter, so that two never
act at once; a clean stop gives the lease away, so that a standby need not wait.

A process that was paused wakes up believing that it leads. So every write asks `check` at the last moment: the
deadline has passed on the clock, whatever the loop has got to by then.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tailrace.api.kube import Base, Object
from tailrace.errors import Conflict, NotFound, TailraceError, Transient
from tailrace.kube.client import Kube
from tailrace.kube.resource import Resource
from tailrace.observe import logs
from tailrace.runtime.clock import Clock, SystemClock

log = logs.get_logger("runtime.leader")


class LeaseSpec(Base, frozen=True, kw_only=True):
    """Times stay text: a micro time needs all six digits, which a decoded one would not keep."""

    holderIdentity: str | None = None
    leaseDurationSeconds: int | None = None
    acquireTime: str | None = None
    renewTime: str | None = None
    leaseTransitions: int = 0


class Lease(Object, frozen=True, kw_only=True):
    spec: LeaseSpec = LeaseSpec()


LEASES = Resource(group="coordination.k8s.io", version="v1", plural="leases", kind="Lease", type=Lease)


class LeaseLost(Transient):
    """The lease could not be renewed in time, or somebody else holds it: this process must not act any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Seconds. `renew_deadline` lies between `retry` and `duration`."""

    duration: float = 15.0
    renew_deadline: float = 10.0
    retry: float = 2.0


class Elector:
    """One candidate for the lease `name` in `namespace`; `identity` is unique to the process."""

    def __init__(
        self,
        kube: Kube,
        *,
        namespace: str,
        name: str,
        identity: str,
        terms: Terms | None = None,
        clock: Clock | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._kube, self._namespace, self._name, self._identity = kube, namespace, name, identity
        self._terms = terms if terms is not None else Terms()
        self._clock = clock if clock is not None else SystemClock()
        self._chance = chance
        self._seen: Lease | None = None
        self._seen_at = 0.0
        self._renewed = 0.0
        self.leading = False

    @property
    def holder(self) -> str:
        """Who was last seen holding the lease, "" when nobody was."""
        return (self._seen.spec.holderIdentity or "") if self._seen is not None else ""

    def check(self) -> None:
        """May this process act now?

        Raises:
            LeaseLost: it does not lead, or has not renewed for so long that another may lead already.
        """
        if not self.leading or self._clock.monotonic() >= self._renewed + self._terms.renew_deadline:
            raise LeaseLost(f"The lease {self._name} is not held by this process.")

    async def acquire(self) -> None:
        """Wait until the lease is ours."""
        while True:
            self._renewed = self._clock.monotonic()
            try:
                if await self._try():
                    break
            except TailraceError as error:
                log.warning("the lease cannot be read or written", lease=self._name, error=str(error))
            await self._clock.sleep(self._terms.retry * (1 + 0.2 * self._chance()))
        self.leading = True
        log.info("leading", lease=self._name, identity=self._identity)

    async def hold(self) -> None:
        """Renew until cancelled.

        Raises:
            LeaseLost: the deadline passed, or another holds it.
        """
        try:
            while True:
                await self._clock.sleep(self._terms.retry)
                await self._renew(self._renewed + self._terms.renew_deadline)
        finally:
            self.leading = False

    async def release(self) -> None:
        """Give the lease away, if we hold it; failing to is no harm, it then runs out."""
        self.leading = False
        if self._seen is None or self.holder != self._identity:
            return
        try:
            await self._write(self._seen, holder="", duration=1)
        except TailraceError as error:
            log.warning("the lease could not be released", lease=self._name, error=str(error))

    async def _renew(self, deadline: float) -> None:
        """One attempt to renew."""
        started = self._clock.monotonic()
        try:
            ours = await _within(self._clock, deadline - started, self._try())
        except TailraceError as error:
            log.warning("the lease could not be renewed", lease=self._name, error=str(error))
            ours = None
        if ours is False:
            raise LeaseLost(f"The lease {self._name} is held by {self.holder}.")
        if ours:
            self._renewed = (
                started  # when we asked, not when the answer came: the others count from the write
            )
        elif self._clock.monotonic() >= deadline:
            raise LeaseLost(f"The lease {self._name} could not be renewed in time.")

    async def _try(self) -> bool:
        """Take or renew the lease. False: another holds it."""
        if self.leading and self._seen is not None:
            # The write is conditional, so a leader need not read first: one request a renewal, as client-go does.
            with contextlib.suppress(Conflict, NotFound):
                await self._write(self._seen, holder=self._identity, duration=round(self._terms.duration))
                return True
        try:
            lease = await self._kube.get(LEASES, self._name, self._namespace)
        except NotFound:
            return await self._create()
        self._observe(lease)
        if lease.spec.holderIdentity not in (None, "", self._identity) and not self._ran_out(lease):
            return False
        try:
            await self._write(lease, holder=self._identity, duration=round(self._terms.duration))
        except Conflict:
            if lease.spec.holderIdentity == self._identity:
                raise  # somebody touched it, for example to label it: read again at the next turn
            return False
        return True

    def _observe(self, lease: Lease) -> None:
        if self._seen is None or self._seen.spec != lease.spec:
            self._seen_at = self._clock.monotonic()
        self._seen = lease

    def _ran_out(self, lease: Lease) -> bool:
        duration = lease.spec.leaseDurationSeconds or self._terms.duration
        return self._clock.monotonic() >= self._seen_at + duration

    async def _create(self) -> bool:
        now = micro_time(self._clock.now())
        spec = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": round(self._terms.duration),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": 0,
        }
        metadata = {"name": self._name, "namespace": self._namespace}
        try:
            self._observe(await self._kube.create(LEASES, {"metadata": metadata, "spec": spec}))
        except Conflict:
            return False
        return True

    async def _write(self, lease: Lease, *, holder: str, duration: int) -> None:
        now = micro_time(self._clock.now())
        ours_already = lease.spec.holderIdentity == holder
        spec = {
            "holderIdentity": holder,
            "leaseDurationSeconds": duration,
            "acquireTime": (lease.spec.acquireTime or now) if ours_already else now,
            "renewTime": now,
            "leaseTransitions": lease.spec.leaseTransitions + (0 if ours_already or not holder else 1),
        }
        self._observe(await self._kube.replace(LEASES, {"metadata": _keep(lease), "spec": spec}))


def _keep(lease: Lease) -> dict[str, Any]:
    """What a PUT must repeat so that nobody's labels are lost; the version makes it a conditional write."""
    meta = lease.metadata
    return {
        "name": meta.name,
        "namespace": meta.namespace,
        "resourceVersion": meta.resourceVersion,
        "labels": meta.labels,
        "annotations": meta.annotations,
        "ownerReferences": meta.ownerReferences,
        "finalizers": meta.finalizers,
    }


def micro_time(moment: datetime) -> str:
    """Kubernetes' MicroTime: always six digits; the API server refuses fewer."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


async def _within[R](clock: Clock, seconds: float, work: Coroutine[Any, Any, R]) -> R | None:
    """The result of `work`, or None when the time ran out first."""
    task = asyncio.ensure_future(work)
    alarm = asyncio.ensure_future(clock.sleep(max(seconds, 0.0)))
    try:
        await asyncio.wait((task, alarm), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for each in (task, alarm):
            each.cancel()
        await asyncio.gather(task, alarm, return_exceptions=True)
