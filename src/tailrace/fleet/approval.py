"""How somebody approves routes: the command, the line for the policy. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from tailrace.tailnet import port

EXIT = ("0.0.0.0/0", "::/0")
"""The routes of an exit node: a policy has a field of its own for them."""


def build_command(device: port.Device, routes: Iterable[str]) -> str:
    """Headscale's command, "" for a device of another control plane: only Headscale's ids are numbers. `routes` are
    all that the device is to have, since what is given replaces what was approved."""
    if not device.id.isdecimal():
        return ""
    return f"headscale nodes approve-routes --identifier {device.id} --routes {','.join(routes)}"


def build_approvers(routes: Iterable[str], owners: Sequence[str]) -> dict[str, Any]:
    """`autoApprovers` of a policy that approves these routes for devices of these owners, tags or users. Who advertises
    with another tag waits for ever: the tags are those that the device really has."""
    found, who = list(routes), list(owners)
    nets = {route: who for route in found if route not in EXIT}
    approvers: dict[str, Any] = {"routes": nets} if nets else {}
    return approvers | ({"exitNode": who} if any(route in EXIT for route in found) else {})


def encode_approvers(routes: Iterable[str], owners: Sequence[str]) -> str:
    """The line for the policy file, without the outer braces."""
    return f'"autoApprovers": {msgspec.json.encode(build_approvers(routes, owners)).decode()}'
