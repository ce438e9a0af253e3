"""Everything that the decision about a ProxyClass may know, as frozen values. Filled by `controller.gather`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tailrace.api.proxyclass import PortRange, ProxyClass
from tailrace.proxy.spec import Mode


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """One world of one ProxyClass."""

    given: ProxyClass | None
    others: tuple[ProxyClass, ...] = ()
    node_ports: PortRange | None = None  # the cluster's range, where it is known
    has_monitors: bool = True  # whether ServiceMonitors can be made here
    mode: Mode | None = None  # how proxies forward here, when all forward one way
    pod_security: str = ""  # the level that the operator's namespace enforces
    now: datetime
