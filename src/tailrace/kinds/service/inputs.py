"""Everything that the decision about a Service may know, as frozen values. Filled by `controller.gather`."""

from __future__ import annotations

from dataclasses import dataclass

from tailrace.api import kube
from tailrace.fleet.services import ServiceInputs
from tailrace.fleet.world import Choice, World
from tailrace.kinds.service.request import Request


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs(ServiceInputs):
    """One world of one Service, with what is behind it."""

    slices: tuple[kube.EndpointSlice, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """An exposed Service with what was read out of its world: what is asked for, which mode it gets, its proxy."""

    inputs: Inputs
    service: kube.Service
    wish: Request
    choice: Choice
    world: World
