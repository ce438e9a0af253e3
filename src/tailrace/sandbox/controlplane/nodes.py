"""The node side of a tailnet: how clients log in, come back, change and go. Used by simulated proxies, in process."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from tailrace.sandbox.controlplane import naming
from tailrace.sandbox.controlplane.records import (
    ZERO,
    AuthKey,
    ChangeKind,
    LoginRefused,
    Node,
    NodeGone,
    Pretended,
    Refused,
    User,
)

if TYPE_CHECKING:
    from tailrace.sandbox.controlplane.model import Tailnet

IPV4_RANGE = ipaddress.IPv4Network("127.64.0.0/10")
"""Stands for 100.64.0.0/10: loopback, so that a device's address can really be connected to."""
IPV6_RANGE = ipaddress.IPv6Network("fd7a:115c:a1e0::/48")
"""As on a real tailnet. Listed, but nothing answers there: the machine has no such address."""

type Callback = Callable[[ChangeKind, Node], None]


class NodePort:
    """All nodes of a tailnet, and what a client may ask about its own."""

    def __init__(self, tailnet: Tailnet) -> None:
        self._tailnet = tailnet
        self._nodes: dict[int, Node] = {}
        self._callbacks: list[Callback] = []
        self.reachable = True
        """Whether anybody listens where clients log in: those that are connected stay so meanwhile."""

    def login(
        self,
        *,
        auth_key: str,
        hostname: str,
        machine_key: str,
        advertise_tags: tuple[str, ...] = (),
        routes: Iterable[str] = (),
        endpoints: Iterable[str] = (),
        app_connector: bool = False,
    ) -> Node:
        """A client presents a key. A machine that is known keeps its node and takes the key's tags.

        Raises LoginRefused with the text that the real client prints.
        """
        known = next((node for node in self.all() if node.machine_key == machine_key), None)
        key = self._check_key(auth_key)
        tags = self._check_tags(key, advertise_tags, new=known is None)
        self._tailnet.use_key(key)
        now = self._tailnet.now()
        user = None if tags else key.user
        if known is not None:
            base = replace(known, tags=tags, user=user, key_number=key.number, expiry=None)
            self.put(
                replace(base, online=True, last_seen=now, node_key=f"nodekey:{self._tailnet.ids.hex(64)}")
            )
            return self.update(
                known.id,
                hostname=hostname,
                routes=routes,
                endpoints=endpoints,
                app_connector=app_connector,
            )
        number = self._tailnet.number("node")
        addresses = self.reserve()
        stable = str(number) if self._tailnet.headscale else f"n{self._tailnet.ids.text(11)}CNTRL"
        node = Node(
            number=number,
            id=stable,
            legacy_id=stable if self._tailnet.headscale else self._tailnet.ids.digits(16),
            machine_key=machine_key,
            node_key=f"nodekey:{self._tailnet.ids.hex(64)}",
            hostname=hostname,
            name=self._free(hostname, number),
            fqdn="",
            addresses=addresses,
            tags=tags,
            created=now,
            online=True,
            last_seen=now,
            authorized=self._tailnet.headscale or key.preauthorized,
            key_number=key.number,
            user=user,
            endpoints=tuple(endpoints),
            app_connector=app_connector,
        )
        return self._advertise(node, routes)

    def register(self, pretended: Pretended, user: User) -> Node:
        """A node that never connects, for a user."""
        number, now = self._tailnet.number("node"), self._tailnet.now()
        return self.put(
            Node(
                number=number,
                id=str(number),
                legacy_id=str(number),
                machine_key=pretended.machine_key,
                node_key=pretended.node_key,
                hostname=pretended.hostname,
                name=self._free(pretended.hostname, number),
                fqdn="",
                addresses=self.reserve(),
                tags=(),
                created=now,
                online=False,
                last_seen=now,
                expiry=ZERO,
                user=user,
            )
        )

    def reconnect(self, *, node_id: str, machine_key: str) -> Node:
        """A restarting client shows its stored identity, which needs no key. Raises NodeGone when it is worth nothing."""
        try:
            node = self._tailnet.node(node_id)
        except Refused as gone:
            raise NodeGone("node not found") from gone
        if node.machine_key != machine_key:
            raise NodeGone("node exists with a different machine key")
        if node.expiry is not None and node.expiry <= self._tailnet.now():
            raise NodeGone("node key expired")
        return self.put(replace(node, online=True, last_seen=self._tailnet.now()))

    def set_connected(self, node_id: str, connected: bool) -> None:
        """A client came or went. For a deleted node nothing happens: a connected client does not find out."""
        node = self.get(node_id)
        if node is not None and node.online != connected:
            self.put(replace(node, online=connected, last_seen=self._tailnet.now()))

    def update(
        self,
        node_id: str,
        *,
        hostname: str | None = None,
        routes: Iterable[str] | None = None,
        endpoints: Iterable[str] | None = None,
        app_connector: bool | None = None,
    ) -> Node:
        """A client tells what is new of it. The name follows unless somebody renamed the device."""
        node = self.get(node_id)
        if node is None:
            raise NodeGone("node not found")
        if hostname is not None and hostname != node.hostname:
            derived = naming.is_derived(node.name, node.hostname)
            name = self._free(hostname, node.number) if derived else node.name
            node = replace(node, hostname=hostname, name=name)
        if endpoints is not None:
            node = replace(node, endpoints=tuple(endpoints))
        if app_connector is not None:
            node = replace(node, app_connector=app_connector)
        return self.put(node) if routes is None else self._advertise(node, routes)

    def subscribe(self, callback: Callback) -> Callable[[], None]:
        """Tell every change as it happens; the answer ends it."""
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    def get(self, node_id: str) -> Node | None:
        return next((node for node in self.all() if node.id == node_id), None)

    def all(self) -> tuple[Node, ...]:
        """Every node in the order of numbers. Ephemeral ones that were away for too long are gone by now."""
        limit = self._tailnet.now() - self._tailnet.ephemeral_timeout
        late = [node for node in self._nodes.values() if not node.online and node.last_seen <= limit]
        for node in late:
            if self.ephemeral(node):
                self.remove(node)
        return tuple(self._nodes.values())

    def ephemeral(self, node: Node) -> bool:
        """A property of the key's row: when that is deleted, the node has become permanent."""
        key = self._tailnet.keys.get(node.key_number) if node.key_number is not None else None
        return key is not None and key.ephemeral

    def reserve(self) -> tuple[str, str]:
        """An IPv4 and an IPv6 address that nobody had before."""
        number = self._tailnet.number("address")
        return str(IPV4_RANGE[number]), str(IPV6_RANGE[number])

    def put(self, node: Node) -> Node:
        """Store a node and tell everybody. For the model; clients use the methods above."""
        node = replace(node, fqdn=f"{node.name}.{self._tailnet.base_domain}")
        before = self._nodes.get(node.number)
        if node != before:
            self._nodes[node.number] = node
            self._tell("changed" if before else "added", node)
        return node

    def remove(self, node: Node) -> None:
        if self._nodes.pop(node.number, None) is not None:
            self._tell("deleted", node)

    def _tell(self, kind: ChangeKind, node: Node) -> None:
        for callback in tuple(self._callbacks):
            callback(kind, node)

    def _free(self, hostname: str, number: int) -> str:
        taken = {node.name for node in self._nodes.values() if node.number != number}
        return naming.free_name(naming.sanitize(hostname), taken)

    def review_routes(self) -> None:
        """What is advertised already is approved, too, if the policy says so now; what was approved stays."""
        for node in tuple(self._nodes.values()):
            self._advertise(node, node.advertised)

    def _advertise(self, node: Node, routes: Iterable[str]) -> Node:
        told = tuple(str(ipaddress.ip_network(route)) for route in routes)
        approved = set(node.approved)
        approved.update(route for route in told if self._tailnet.policy.approves(node.tags, route))
        return self.put(replace(node, advertised=told, approved=tuple(sorted(approved))))

    def _check_key(self, secret: str) -> AuthKey:
        key, now = self._tailnet.key_by_secret(secret), self._tailnet.now()
        if not self._tailnet.headscale:
            if key is None:
                raise LoginRefused("invalid key: unable to validate API key")
            if not key.usable(now):
                raise LoginRefused(f"invalid key: API key {key.id} not valid")
            return key
        if key is None or key.revoked is not None:
            raise LoginRefused("invalid pre auth key")
        if key.expired(now):
            raise LoginRefused("authkey expired")
        if key.used and not key.reusable:
            raise LoginRefused("authkey already used")
        return key

    def _check_tags(self, key: AuthKey, advertised: tuple[str, ...], *, new: bool) -> tuple[str, ...]:
        """On Headscale tags come from the key alone, and asking for any refuses a new node."""
        refusal = f"requested tags [{' '.join(advertised)}] are invalid or not permitted"
        if advertised and self._tailnet.headscale:
            doing = "creating new node: " if new else ""
            raise LoginRefused(f"handling register with auth key: {doing}{refusal}")
        if not all(self._tailnet.policy.may_assign(key.tags, tag) for tag in advertised):
            raise LoginRefused(refusal)
        return tuple(sorted(set(advertised or key.tags)))
