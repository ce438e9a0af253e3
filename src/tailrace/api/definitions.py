"""Every kind of ours. The definitions in the chart, those of the sandbox and the reference page are made from this."""

from __future__ import annotations

from typing import Final

from tailrace.api import connector, crd, proxyclass, tailnet

ALL: Final[tuple[crd.Definition, ...]] = (
    connector.DEFINITION,
    proxyclass.DEFINITION,
    tailnet.DEFINITION,
)
