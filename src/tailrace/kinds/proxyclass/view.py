"""A ProxyClass as one row for people and programs. Pure."""

from __future__ import annotations

from tailrace.api.conditions import ConditionType
from tailrace.api.proxyclass import ProxyClass
from tailrace.fleet.view import Row
from tailrace.fleet.view import build_row as build_common
from tailrace.kinds.proxyclass import decide


def build_row(given: ProxyClass) -> Row:
    """Whether it can be used."""
    return build_common(decide.build_root(given), ConditionType.PROXY_CLASS_READY)
