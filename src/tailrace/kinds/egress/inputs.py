"""Everything that the decision about an egress may know, as frozen values. Filled by `controller.gather`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tailrace.api import kube
from tailrace.fleet.install import Install
from tailrace.fleet.ranges import Range
from tailrace.fleet.world import Admission, Children, Class, Tailnet, World
from tailrace.kinds.egress.request import Request
from tailrace.tailnet import port


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """One world of one egress Service, or of one that was."""

    namespace: str
    name: str
    install: Install
    service: kube.Service | None
    proxies: Mapping[str, Children] = field(default_factory=dict)  # by name of their Secret
    tailnet: Tailnet
    admission: Admission
    proxy_class: Class = Class()
    ranges: tuple[Range, ...] = ()  # of this cluster
    owners: Mapping[port.DeviceId, str] = field(default_factory=dict)  # devices of ours, by what made them
    rivals: tuple[kube.Service, ...] = ()  # other egress Services that ask for the same hostname
    taken: frozenset[str] = frozenset()  # cluster IPs and node ports of other Services
    now: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A Service that leads out, with what was read out of its world."""

    inputs: Inputs
    service: kube.Service
    wish: Request
    world: World
