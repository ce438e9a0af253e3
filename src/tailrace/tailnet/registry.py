"""All tailnets that we are members of: the operator's own and one for each `Tailnet` object.

Each has its own control plane and its own shared list of devices; whoever needs one asks here by its name. The room
`kinds.tailnet` puts and removes memberships, everybody else reads. The operator's own is named "" and always there.

A membership that cannot be used stays, with its `problem`: who asks for it is told why, not that it does not exist.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Callable
from dataclasses import dataclass

from tailrace.errors import Bug, Transient
from tailrace.tailnet.devices import DeviceList, Schedule
from tailrace.tailnet.port import ControlPlane, DeviceId
from tailrace.wire import clock as clocks

type Changed = Callable[[str, frozenset[DeviceId]], None]

OWN = ""
"""The name of the tailnet that the operator's settings describe."""

LINGER = 300.0
"""Seconds for which a replaced control plane stays open: no reconcile that may still be using it lasts longer."""


@dataclass(slots=True, eq=False)
class Membership:
    """One tailnet that we are a member of. `plane` is the tracked one of `devices`: what is changed through it, the
    list knows at once. `problem` says in a sentence why it cannot be used, and is "" when it can. `ca_pem` is the private
    CA of its control plane, which its proxies need too."""

    name: str
    plane: ControlPlane
    devices: DeviceList
    problem: str = ""
    ca_pem: str = ""


def build_membership(name: str, plane: ControlPlane, *, schedule: Schedule | None = None) -> Membership:
    """A membership with a device list of this schedule, or the usual one."""
    listing = DeviceList(plane, tailnet=name, schedule=schedule)
    return Membership(name=name, plane=listing.plane, devices=listing)


@dataclass(slots=True, eq=False)
class _Entry:
    """A membership at work."""

    membership: Membership
    unsubscribe: tuple[Callable[[], None], ...]
    task: asyncio.Task[None] | None = None


class Tailnets:
    """The memberships. `build` makes one from a name and a control plane; tests give one with a schedule of their own.

    Everything but `run` and `close` is done at once, in the event loop.
    """

    def __init__(
        self,
        own: Membership,
        *,
        build: Callable[[str, ControlPlane], Membership] = build_membership,
        clock: clocks.Clock | None = None,
    ) -> None:
        self._build = build
        self._clock = clock or clocks.SystemClock()
        self._subscribers: list[Changed] = []
        self._entries: dict[str, _Entry] = {}
        self._retired: list[ControlPlane] = []
        self._group: asyncio.TaskGroup | None = None
        self._own = own
        self._begin(own)

    @property
    def own(self) -> Membership:
        """The tailnet of the operator's settings."""
        return self._own

    def get(self, name: str) -> Membership | None:
        entry = self._entries.get(name)
        return entry.membership if entry else None

    def all(self) -> tuple[Membership, ...]:
        """The operator's own first, the others in the order in which they came."""
        return tuple(entry.membership for entry in self._entries.values())

    def find_plane(self, name: str) -> ControlPlane:
        """The control plane of a tailnet, to act on it.

        Raises:
            Transient: it cannot be used yet; the message is that of `explain`.
        """
        entry = self._entries.get(name)
        if entry is None or entry.membership.problem:
            raise Transient(self.explain(name))
        return entry.membership.plane

    def explain(self, name: str) -> str:
        """Why the tailnet of this name cannot be used, as a sentence for conditions; "" when it can."""
        entry = self._entries.get(name)
        if entry is not None:
            problem = entry.membership.problem
            return f'tailnet "{name}" is not ready: {problem}' if problem else ""
        names = [known for known in self._entries if known]
        near = difflib.get_close_matches(name, names, n=1)
        if near:
            return f'there is no Tailnet "{name}": is "{near[0]}" meant?'
        listed = ", ".join(f'"{known}"' for known in sorted(names)) or "none"
        return f'there is no Tailnet "{name}" (there is: {listed})'

    def put(self, name: str, plane: ControlPlane, *, problem: str = "", ca_pem: str = "") -> Membership:
        """Become a member. One of the same name is replaced: its list ends, its control plane is closed later, when
        nobody can be using it any more. `plane` is ours from now on, to be closed with the rest."""
        if name == OWN:
            raise Bug("The operator's own tailnet cannot be replaced.")
        self._end(name)
        membership = self._build(name, plane)
        membership.problem, membership.ca_pem = problem, ca_pem
        self._begin(membership)
        self._tell(name, frozenset())
        return membership

    def remove(self, name: str) -> None:
        """End a membership. One that is not there is no error."""
        if name == OWN:
            raise Bug("The operator's own tailnet cannot be removed.")
        if self._end(name):
            self._tell(name, frozenset())

    def judge(self, name: str, problem: str) -> None:
        """Say why a membership cannot be used, or with "" that it can; who uses it is told when that is news."""
        entry = self._entries.get(name)
        if entry is not None and entry.membership.problem != problem:
            entry.membership.problem = problem
            self._tell(name, frozenset())

    def subscribe(self, changed: Changed) -> None:
        """`changed` is called with the tailnet's name and the ids of devices that came, went or differ; with no ids
        when a membership came, went, was replaced or was judged anew, and when its list begins or ceases to fail.
        Memberships that come later are included."""
        self._subscribers.append(changed)

    async def run(self) -> None:
        """Keep every membership's list of devices, for ever; also of those that come later."""
        async with asyncio.TaskGroup() as group:
            for entry in self._entries.values():
                entry.task = group.create_task(entry.membership.devices.run())
            for plane in self._retired:
                group.create_task(self._close_later(plane))
            self._group = group
            try:
                await asyncio.Event().wait()
            finally:
                self._group = None  # a group that ends takes no more

    async def close(self) -> None:
        """Close every control plane; `run` has ended by then."""
        planes = [membership.plane for membership in self.all()] + self._retired
        self._retired = []
        for plane in planes:
            await plane.close()

    def _begin(self, membership: Membership) -> None:
        name = membership.name
        devices = membership.devices
        unsubscribe = (
            devices.subscribe(lambda ids: self._tell(name, ids)),
            devices.subscribe_health(lambda: self._tell(name, frozenset())),
        )
        entry = self._entries[name] = _Entry(membership=membership, unsubscribe=unsubscribe)
        if self._group is not None:
            entry.task = self._group.create_task(membership.devices.run())

    def _end(self, name: str) -> bool:
        entry = self._entries.pop(name, None)
        if entry is None:
            return False
        for unsubscribe in entry.unsubscribe:
            unsubscribe()
        entry.membership.devices.retire()
        if entry.task is not None:
            entry.task.cancel()
        self._retired.append(entry.membership.plane)
        if self._group is not None:
            self._group.create_task(self._close_later(entry.membership.plane))
        return True

    async def _close_later(self, plane: ControlPlane) -> None:
        await self._clock.sleep(LINGER)
        self._retired.remove(plane)
        await plane.close()

    def _tell(self, name: str, ids: frozenset[DeviceId]) -> None:
        for subscriber in tuple(self._subscribers):
            subscriber(name, ids)
