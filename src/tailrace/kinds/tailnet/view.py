"""A Tailnet as one row for people and programs. Pure."""

from __future__ import annotations

from tailrace.api.conditions import ConditionType
from tailrace.api.tailnet import Tailnet
from tailrace.fleet.view import Row
from tailrace.fleet.view import build_row as build_common
from tailrace.kinds.tailnet import decide

OWN_SERVER = "Tailscale"


def build_row(tailnet: Tailnet) -> Row:
    """Its control plane, and whether that lets us work."""
    root = decide.build_root(tailnet)
    return build_common(root, ConditionType.TAILNET_READY, urls=(tailnet.spec.loginUrl or OWN_SERVER,))
