"""Everything that the decision about an egress may know, as frozen values. Filled by `controller.gather`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tailrace.api import kube
from tailrace.fleet.ranges import Range
from tailrace.fleet.services import ServiceInputs
from tailrace.fleet.world import World
from tailrace.kinds.egress.request import Request
from tailrace.tailnet import port


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs(ServiceInputs):
    """One world of one egress Service, or of one that was."""

    ranges: tuple[Range, ...] = ()  # of this cluster
    owners: Mapping[port.DeviceId, str] = field(default_factory=dict)  # devices of ours, by what made them
    taken: frozenset[str] = frozenset()  # cluster IPs and node ports of other Services


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A Service that leads out, with what was read out of its world."""

    inputs: Inputs
    service: kube.Service
    wish: Request
    world: World
