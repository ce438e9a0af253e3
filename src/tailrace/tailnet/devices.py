"""The one list of devices that everybody shares: never one poll an object.

One task (`DeviceList.run`) asks the control plane for all devices, often while somebody waits for something and
seldom while nothing is expected, and tells what changed. Nobody else lists.

| somebody waits | last listing | next one                                                      |
| -------------- | ------------ | ------------------------------------------------------------- |
| yes            | fine         | after 1 s, then ever later up to 5 s; a new wish starts over  |
| no             | fine         | after `slow` (60 s), give or take a tenth                     |
| either         | failed       | after 1 s doubling up to 60 s, or as long as the server asks  |
| a write of ours| fine         | soon, so that many writes share one: see `Schedule.hurry`     |

What we wrote ourselves is known at once: a device that was deleted through `DeviceList.plane` is out of the
snapshot before the call returns, and a listing that began earlier cannot bring it back.
"""

from __future__ import annotations

import asyncio
import contextlib
import random as chance
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from tailrace import errors
from tailrace.observe import metrics
from tailrace.tailnet import delegate
from tailrace.tailnet.port import (
    Capability,
    ControlPlane,
    Device,
    DeviceId,
    Probe,
    Routes,
)
from tailrace.wire import clock as clocks

type Changed = Callable[[frozenset[DeviceId]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All devices at one moment. Times are monotonic seconds of the list's clock."""

    devices: tuple[Device, ...] = ()
    sequence: int = 0  # of the listing; 0: there has been none yet
    fetched_at: float = 0.0  # when that listing began
    stale: bool = True  # we changed something since, or there has been none yet
    error: errors.TailraceError | None = None  # why the newest attempt failed; the devices are older then
    by_id: Mapping[DeviceId, Device] = field(default_factory=dict, repr=False, compare=False)
    by_name: Mapping[str, tuple[Device, ...]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def known(self) -> bool:
        """Whether there has been a listing at all: only then does absence mean anything."""
        return self.sequence > 0

    def age(self, now: float) -> float:
        return now - self.fetched_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Seconds; the table of the module."""

    fast: float = 1.0
    fast_growth: float = 1.5
    hurry: float = 0.05  # when something has surely changed; more where a listing takes long, up to
    hurry_cap: float = 0.3
    fast_cap: float = 5.0
    slow: float = 60.0
    jitter: float = 0.1
    error_cap: float = 60.0
    patience: float = 120.0  # how long a wish keeps the list fast, if nobody takes it back

    def delay(self, *, waiting: bool, rounds: int, failures: int, after: float, random: float) -> float:
        """Until the next listing: `rounds` since the newest wish, `failures` in a row, `after` as the server
        asked, `random` in [0, 1)."""
        if failures:
            backoff = min(self.error_cap, self.fast * 2.0 ** min(failures - 1, 30))
            return max(after, backoff * (0.5 + 0.5 * random))
        if waiting:
            return min(self.fast_cap, self.fast * self.fast_growth ** min(rounds, 30))
        return self.slow * (1 + self.jitter * (2 * random - 1))


class DeviceList:
    """Owned by whoever runs `run` in a task. `tailnet` is its name in metrics, "" for the operator's own. `plane` is the
    control plane to use from then on: it is the same, and what is changed through it is known here."""

    def __init__(
        self,
        plane: ControlPlane,
        *,
        tailnet: str = "",
        schedule: Schedule | None = None,
        clock: clocks.Clock | None = None,
        random: Callable[[], float] = chance.random,
    ) -> None:
        self.plane = TrackedPlane(plane, self)
        self._inner = plane
        self._tailnet = tailnet
        self._schedule = schedule or Schedule()
        self._clock = clock or clocks.SystemClock()
        self._random = random
        self._snapshot = Snapshot()
        self._subscribers: list[Changed] = []
        self._health_subscribers: list[Callable[[], None]] = []
        self._wishes: dict[Hashable, float] = {}  # what is waited for → until when
        self._rounds = 0
        self._failures = 0
        self._after = 0.0
        self._now_please = False
        self._wake = asyncio.Event()
        self._begun = 0  # listings begun so far
        self._took = 0.0  # seconds of the last listing
        self._wished = float("-inf")  # when somebody began to wait, nobody having waited before
        self._gone: dict[DeviceId, int] = {}  # deleted by us → listings begun by then
        self._touched = -1  # listings begun when we last changed anything
        self._refreshes: list[tuple[int, asyncio.Future[None]]] = []
        self._retired = False

    def snapshot(self) -> Snapshot:
        return self._snapshot

    def subscribe(self, changed: Changed) -> Callable[[], None]:
        """`changed` is called, in the event loop, with the ids of devices that came, went or differ. Returns how
        to end it."""
        self._subscribers.append(changed)
        return lambda: self._subscribers.remove(changed)

    def subscribe_health(self, changed: Callable[[], None]) -> Callable[[], None]:
        """`changed` is called when listing begins to fail, fails in another way, or works again: `snapshot().error`
        says which. Returns how to end it."""
        self._health_subscribers.append(changed)
        return lambda: self._health_subscribers.remove(changed)

    def expect(self, wish: Hashable, *, patience: float | None = None) -> None:
        """Something is waited for: list often until `settle(wish)`, or until the patience is over. The same wish
        again is the same wish: it neither starts over nor lasts longer."""
        now = self._clock.monotonic()
        if self._wishes.get(wish, now) > now:
            return
        if not any(until > now for until in self._wishes.values()):
            self._wished = now
        self._wishes[wish] = now + (self._schedule.patience if patience is None else patience)
        self._rounds = 0
        self._wake.set()

    def settle(self, wish: Hashable) -> None:
        self._wishes.pop(wish, None)

    def invalidate(self) -> None:
        """What is known is out of date: list again soon, and say so until then."""
        self._touched = self._begun
        self._snapshot = replace(self._snapshot, stale=True)
        self._now_please = True
        self._wake.set()

    def retry(self) -> None:
        """What made listing fail has been mended, as far as one knows: list again soon."""
        self._failures = 0
        self.invalidate()

    def forget(self, device: DeviceId) -> None:
        """The device is gone for certain."""
        self._gone[device] = self._begun
        self._publish(
            replace(self._snapshot, stale=True), tuple(d for d in self._snapshot.devices if d.id != device)
        )
        self.invalidate()

    def retire(self) -> None:
        """The list is of no use any more: its numbers leave the metrics, for good."""
        self._retired = True
        for state in ("online", "offline"):
            with contextlib.suppress(KeyError):  # never counted
                metrics.DEVICES.remove(self._tailnet, state)

    async def refresh(self) -> Snapshot:
        """A snapshot of a listing that begins after this call; needs `run` to be running. Calls at the same time
        share one listing. Raises what the listing raises."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._refreshes.append((self._begun, done))
        self._now_please = True
        self._wake.set()
        await done
        return self._snapshot

    async def run(self) -> None:
        """List for ever. One call at a time."""
        try:
            while True:
                self._wake.clear()
                self._now_please = False
                await self._list()
                await self._pause()
        finally:
            for _, done in self._refreshes:
                done.cancel()
            self._refreshes.clear()

    async def _list(self) -> None:
        self._begun += 1
        number, began = self._begun, self._clock.monotonic()
        try:
            devices = await self._inner.list_devices()
            self._took = self._clock.monotonic() - began
        except errors.TailraceError as error:
            self._failures += 1
            self._after = error.after if isinstance(error, errors.RateLimited) else 0.0
            before, self._snapshot = self._snapshot, replace(self._snapshot, error=error)
            self._finish(number, error)
            self._tell_health(before.error)
            return
        self._failures, self._after = 0, 0.0
        self._rounds += 1
        # Only what was deleted before this listing began is surely missing from it.
        self._gone = {device: before for device, before in self._gone.items() if before >= number}
        alive = tuple(device for device in devices if device.id not in self._gone)
        head = Snapshot(sequence=number, fetched_at=began, stale=self._touched >= number)
        failure = self._snapshot.error
        self._publish(head, alive)
        self._finish(number, None)
        self._tell_health(failure)

    def _tell_health(self, before: errors.TailraceError | None) -> None:
        if type(before) is not type(self._snapshot.error):
            for subscriber in tuple(self._health_subscribers):
                subscriber()

    def _publish(self, head: Snapshot, devices: tuple[Device, ...]) -> None:
        before = self._snapshot.by_id
        by_id = {device.id: device for device in devices}
        by_name: dict[str, tuple[Device, ...]] = {}
        for device in devices:
            by_name[device.name] = (*by_name.get(device.name, ()), device)
        self._snapshot = replace(
            head, devices=devices, by_id=MappingProxyType(by_id), by_name=MappingProxyType(by_name)
        )
        online = sum(device.online for device in devices)
        if not self._retired:
            metrics.DEVICES.labels(self._tailnet, "online").set(online)
            metrics.DEVICES.labels(self._tailnet, "offline").set(len(devices) - online)
        changed = frozenset(one for one in before.keys() | by_id.keys() if before.get(one) != by_id.get(one))
        if changed:
            for subscriber in tuple(self._subscribers):
                subscriber(changed)

    def _finish(self, number: int, error: errors.TailraceError | None) -> None:
        """Answer the refreshes that were asked for before this listing began."""
        waiting = self._refreshes
        self._refreshes = [(before, done) for before, done in waiting if before >= number]
        for before, done in waiting:
            if before < number and not done.done():
                done.set_result(None) if error is None else done.set_exception(error)

    async def _pause(self) -> None:
        """Until the schedule says so. Looked at again whenever a wish or a write comes in meanwhile."""
        began, random = self._clock.monotonic(), self._random()
        while (left := self._until(began, random) - self._clock.monotonic()) > 0.001:
            self._wake.clear()
            await self._sleep_or_wake(left)

    def _until(self, began: float, random: float) -> float:
        """When to list again. Somebody who begins to wait has just begun something: the list that is there already
        tells him nothing, and one at once would tell him no more."""
        delay, hurry = self._delay(random), self._hurry()
        if self._now_please and not self._failures:  # a control plane in trouble is never hurried
            return began + min(delay, hurry)
        return max(began, self._wished if self._wishes else began) + delay

    def _hurry(self) -> float:
        """No more than a tenth of the time is spent on listing, as long as that is no great pause."""
        return max(self._schedule.hurry, min(self._schedule.hurry_cap, 10 * self._took))

    def _delay(self, random: float) -> float:
        now = self._clock.monotonic()
        self._wishes = {wish: until for wish, until in self._wishes.items() if until > now}
        return self._schedule.delay(
            waiting=bool(self._wishes),
            rounds=self._rounds,
            failures=self._failures,
            after=self._after,
            random=random,
        )

    async def _sleep_or_wake(self, delay: float) -> None:
        sleep = asyncio.ensure_future(self._clock.sleep(delay))
        wake = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait((sleep, wake), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()
            wake.cancel()
            await asyncio.gather(sleep, wake, return_exceptions=True)


class TrackedPlane(delegate.Delegate):
    """The control plane, and the list learns what is changed through it."""

    def __init__(self, plane: ControlPlane, devices: DeviceList) -> None:
        self._plane = plane
        self._devices = devices

    @property
    def name(self) -> str:
        return self._plane.name

    @property
    def login_server(self) -> str:
        return self._plane.login_server

    async def inner(self) -> ControlPlane:
        return self._plane

    def has(self, capability: Capability) -> bool:
        return self._plane.has(capability)

    async def delete_device(self, device: DeviceId) -> None:
        try:
            await super().delete_device(device)
        except errors.NotFound:
            self._devices.forget(device)
            raise
        except errors.TailraceError:
            self._devices.invalidate()  # it may have been done all the same
            raise
        self._devices.forget(device)

    async def rename_device(self, device: DeviceId, name: str) -> None:
        try:
            await super().rename_device(device, name)
        finally:
            self._devices.invalidate()

    async def set_tags(self, device: DeviceId, tags: tuple[str, ...]) -> None:
        try:
            await super().set_tags(device, tags)
        finally:
            self._devices.invalidate()

    async def approve_routes(self, device: DeviceId, routes: tuple[str, ...]) -> Routes:
        try:
            return await super().approve_routes(device, routes)
        finally:
            self._devices.invalidate()

    def learn_fqdn(self, fqdn: str) -> None:
        self._plane.learn_fqdn(fqdn)

    async def probe(self) -> Probe:
        return await self._plane.probe()

    async def close(self) -> None:
        await self._plane.close()
