"""The addresses that a kernel proxy leads to: of the cluster, of a DNS name, or of another device of the tailnet."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from tailrace.sandbox.controlplane.nodes import NodePort
from tailrace.sandbox.controlplane.records import ChangeKind, Node
from tailrace.sandbox.workloads import bootconfig

RESOLVE_PERIOD = 600.0  # seconds between two looks at a DNS name; after failures 1, 2, 4 and so on

Resolve = Callable[[str], Sequence[str]]
"""DNS: the addresses of a name, none when it is unknown."""


class Targets:
    """What the environment names, and where that is now."""

    def __init__(
        self,
        settings: bootconfig.Settings,
        env: Mapping[str, str],
        *,
        nodes: NodePort,
        resolve: Resolve,
        changed: Callable[[], None],
        log: Callable[[str], None],
        stack: ExitStack,
    ) -> None:
        """`changed` is called when `find` may answer something else; `stack` ends that."""
        self._ip = settings.dest_ip or settings.tailnet_ip
        self._name = settings.dest_dns_name
        self._peer = env.get("TS_TAILNET_TARGET_FQDN", "").rstrip(".").casefold()
        self._nodes, self._resolve, self._changed, self._log = nodes, resolve, changed, log
        self._found: Sequence[str] = ()
        self._peer_number: int | None = None
        self._failures, self._due = 0, True
        self._timer: asyncio.TimerHandle | None = None
        stack.callback(self._stop)
        if self._peer:
            stack.callback(nodes.subscribe(self._peer_changed))

    def find(self, own: int) -> Sequence[str] | None:
        """Nothing for a proxy without a target; None while the target is not known. `own`: the proxy's own node."""
        if self._ip:
            return (self._ip,)
        if self._name:
            return self._look_up(self._name) or None
        return self._find_peer(own) if self._peer else ()

    def _look_up(self, name: str) -> Sequence[str]:
        """The addresses as last seen: a name that stops resolving keeps them."""
        if self._due:
            self._due = False
            found = self._resolve(name)
            delay = RESOLVE_PERIOD if found else min(2.0**self._failures, RESOLVE_PERIOD)
            self._failures = 0 if found else self._failures + 1
            self._found = found or self._found
            if not found:
                self._log(
                    f"[unexpected] error resolving DNS name {name}: no IPv4 or IPv6 addresses found for host: {name}"
                )
            self._timer = asyncio.get_running_loop().call_later(delay, self._look_again)
        return self._found

    def _look_again(self) -> None:
        self._due = True
        self._changed()

    def _find_peer(self, own: int) -> Sequence[str] | None:
        for node in self._nodes.all():
            if node.number != own and node.fqdn.casefold() == self._peer:
                self._peer_number = node.number
                return node.addresses
        self._log(
            f"could not find Tailscale node, service or 4via6 address {json.dumps(self._peer)}; "
            "it either does not exist, or not reachable because of ACLs"
        )
        return None

    def _peer_changed(self, _kind: ChangeKind, node: Node) -> None:
        """The target itself, also as it gets another name, or one that takes its name."""
        if node.number == self._peer_number or node.fqdn.casefold() == self._peer:
            self._changed()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
