"""Everything that the decision about a Connector may know, as frozen values. Filled by `controller.gather`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tailrace.api.connector import Connector
from tailrace.fleet.install import Install
from tailrace.fleet.ranges import Range
from tailrace.fleet.world import Admission, Children, Choice, Class, Root, Tailnet, World
from tailrace.kinds.connector.place import Places
from tailrace.kinds.connector.request import Request


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbour:
    """Another Connector of the same tailnet."""

    name: str
    routes: tuple[str, ...]
    devices: frozenset[str]  # ids


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepting:
    """A proxy of this cluster that accepts routes."""

    user: str  # Service demo/db, Connector home
    proxy_class: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """What routes may run into."""

    ranges: tuple[Range, ...] = ()  # this cluster's own
    neighbours: tuple[Neighbour, ...] = ()
    accepting: tuple[Accepting, ...] = ()
    proxies: frozenset[str] = frozenset()  # devices of this cluster's proxies


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """One world of one Connector."""

    name: str
    install: Install
    connector: Connector | None
    proxies: Mapping[str, Children] = field(default_factory=dict)  # by name of their Secret
    tailnets: tuple[Tailnet, ...] = ()  # what the control plane says, of each replica
    admission: Admission
    proxy_class: Class = Class()
    around: Surroundings = Surroundings()
    now: datetime

    @property
    def tailnet(self) -> Tailnet:
        """What is the same for all replicas."""
        return self.tailnets[0] if self.tailnets else Tailnet(known=False, fresh=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A valid Connector with what was read out of its world. `worlds` has one for each replica."""

    inputs: Inputs
    connector: Connector
    root: Root
    wish: Request
    choice: Choice
    places: Places
    worlds: tuple[World, ...]

    @property
    def tailnet(self) -> Tailnet:
        """What is the same for all replicas."""
        return self.inputs.tailnet
