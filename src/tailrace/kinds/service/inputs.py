"""Everything that the decision about a Service may know, as frozen values. Filled by `controller.gather`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tailrace.api import kube
from tailrace.fleet.install import Install
from tailrace.fleet.world import Admission, Children, Class, Tailnet, World
from tailrace.kinds.service.request import Request
from tailrace.proxy import spec


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """One world of one Service."""

    namespace: str
    name: str
    install: Install
    service: kube.Service | None
    proxies: Mapping[str, Children] = field(default_factory=dict)  # by name of their Secret
    tailnet: Tailnet
    admission: Admission
    proxy_class: Class = Class()
    rivals: tuple[kube.Service, ...] = ()  # other Services that ask for the same hostname
    slices: tuple[kube.EndpointSlice, ...] = ()
    now: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """The proxy's mode and the reason for it, in words."""

    mode: spec.Mode
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """An exposed Service with what was read out of its world: what is asked for, which mode it gets, its proxy."""

    inputs: Inputs
    service: kube.Service
    wish: Request
    choice: Choice
    world: World
