"""The policy file as far as an emulation needs it: who owns a tag, which routes are approved by themselves.

Rules about traffic are parsed and kept, never evaluated: the simulated tailnet lets every device talk to every other.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from tailrace.sandbox.controlplane import policy_shape
from tailrace.sandbox.workloads import hujson

DEFAULT = """{
  // The operator's own tag may hand out the proxies' tag.
  "tagOwners": {
    "tag:k8s-operator": [],
    "tag:k8s": ["tag:k8s-operator"],
  },
  "acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}],
}
"""
ALLOW_ALL = """{
  // Nothing was stored yet: everybody may talk to everybody.
  "acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}],
}
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """A parsed policy."""

    owners: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    route_approvers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    exit_approvers: tuple[str, ...] = ()
    document: Mapping[str, Any] = field(default_factory=dict)

    def knows(self, tag: str) -> bool:
        return tag in self.owners

    def may_assign(self, holder: Collection[str], tag: str) -> bool:
        """Whether somebody with the tags `holder` may give out `tag`: it is one of them, or owned by one."""
        return tag in holder or any(owner in holder for owner in self.owners.get(tag, ()))

    def approves(self, tags: Collection[str], route: str) -> bool:
        """Whether a device with these tags gets this route approved by itself."""
        asked = ipaddress.ip_network(route)
        if asked.prefixlen == 0:
            return any(tag in self.exit_approvers for tag in tags)
        return any(
            any(tag in approvers for tag in tags)
            for prefix, approvers in self.route_approvers.items()
            if _within(asked, ipaddress.ip_network(prefix))
        )


def parse(text: str, *, headscale: bool) -> Policy:
    """Raises ValueError with the server's words. Headscale refuses keys that it does not know; Tailscale is given leave."""
    if not text.strip():
        return Policy()
    try:
        document = hujson.decode(text)
    except json.JSONDecodeError as broken:
        where = f"line {broken.lineno}, column {broken.colno}"
        raise ValueError(f"parsing HuJSON: hujson: {where}: invalid literal") from broken
    if headscale:
        policy_shape.check(document)
    elif not isinstance(document, dict):
        raise ValueError("the policy is no object")
    owners = {tag: tuple(names) for tag, names in document.get("tagOwners", {}).items()}
    approvers = document.get("autoApprovers", {})
    return Policy(
        owners=owners,
        route_approvers={route: tuple(names) for route, names in approvers.get("routes", {}).items()},
        exit_approvers=tuple(approvers.get("exitNode", ())),
        document=document,
    )


def _within(
    inner: ipaddress.IPv4Network | ipaddress.IPv6Network, outer: ipaddress.IPv4Network | ipaddress.IPv6Network
) -> bool:
    if isinstance(inner, ipaddress.IPv4Network):
        return isinstance(outer, ipaddress.IPv4Network) and inner.subnet_of(outer)
    return isinstance(outer, ipaddress.IPv6Network) and inner.subnet_of(outer)
