"""The simulated tailscaled: one identity, where it is kept, and its place on the tailnet.

Written after tailscaled 1.102 (`ipn/store.go`, `ipn/prefs.go`, `types/persist`). `containerboot` starts it and acts on
its `state`.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from tailrace.sandbox.controlplane.nodes import NodePort
from tailrace.sandbox.controlplane.records import ChangeKind, LoginRefused, Node, NodeGone
from tailrace.sandbox.workloads import bootconfig

MACHINE_KEY = "_machinekey"
CURRENT_PROFILE = "_current-profile"
PROFILES = "_profiles"
STATE_KEYS = (MACHINE_KEY, CURRENT_PROFILE, PROFILES)

State = Literal["NeedsLogin", "NeedsMachineAuth", "Running", "Stopped"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Preferences:
    """What the client asks for: from the configuration file, or from the arguments of `tailscale up`."""

    hostname: str
    server: str
    auth_key: str | None = field(default=None, repr=False)
    tags: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    enabled: bool = True
    accept_routes: bool = False
    exit_node: str = ""
    app_connector: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """Who this client is, from its state: without it the next start is another device."""

    private_key: str = field(repr=False)
    profile: str  # four hexadecimal digits
    node_id: str  # "" before the first login

    @property
    def machine_key(self) -> str:
        """What the control plane knows of the private key."""
        return f"mkey:{hashlib.sha256(self.private_key.encode()).hexdigest()}"


def read_identity(data: Mapping[str, bytes]) -> Identity:
    """From a state Secret; what is missing there is made anew, and a profile without its key is worth nothing."""
    stored = data.get(MACHINE_KEY, b"").decode()
    profile_key = data.get(CURRENT_PROFILE, b"").decode() if stored else ""
    try:
        node_id = json.loads(data.get(profile_key, b"{}"))["Config"]["NodeID"] if profile_key else ""
    except (ValueError, KeyError, TypeError):
        node_id = ""
    return Identity(
        private_key=stored or f"privkey:{secrets.token_hex(32)}",
        profile=profile_key.removeprefix("profile-") or secrets.token_hex(2),
        node_id=node_id,
    )


def encode_profile(identity: Identity, node: Node, wanted: Preferences) -> dict[str, bytes]:
    """The state keys of a client that has logged in."""
    user = node.user
    login = {"ID": node.number, "LoginName": user.name if user else "tagged-devices"}
    key = f"profile-{identity.profile}"
    known = {
        identity.profile: {
            "ID": identity.profile,
            "Name": login["LoginName"],
            "Key": key,
            "UserProfile": login,
            "NodeID": node.id,
            "ControlURL": wanted.server,
        }
    }
    preferences: dict[str, Any] = {
        "ControlURL": wanted.server,
        "Hostname": wanted.hostname,
        "WantRunning": wanted.enabled,
        "AdvertiseRoutes": list(wanted.routes) or None,
        "RouteAll": wanted.accept_routes,
        "AppConnector": {"Advertise": wanted.app_connector},
        "Config": {
            "PrivateNodeKey": f"privkey:{secrets.token_hex(32)}",
            "UserProfile": login,
            "NodeID": node.id,
        },
    }
    encoded = {CURRENT_PROFILE: key, PROFILES: json.dumps(known), key: json.dumps(preferences)}
    return {name: text.encode() for name, text in encoded.items()}


class Daemon:
    """A running client. `node` is the last network map's own entry, also when the control plane has dropped it."""

    def __init__(
        self, nodes: NodePort, identity: Identity, changed: Callable[[], None], *, pod_ip: str
    ) -> None:
        """`changed` is called when `state`, `node` or `dropped` may have changed."""
        self.identity = identity
        self.node: Node | None = None
        self.dropped = False  # deleted on the control plane: peers refuse it, and it does not find out
        self._nodes, self._changed = nodes, changed
        self._endpoints = (f"{pod_ip}:41641",)
        self._enabled, self._expired = True, False
        self._known_expiry: datetime | None = None
        self._end = nodes.subscribe(self._told)

    @property
    def state(self) -> State:
        if not self._enabled:
            return "Stopped"
        if self.node is None or self._expired:
            return "NeedsLogin"
        return "Running" if self.node.authorized else "NeedsMachineAuth"

    def resume(self, wanted: Preferences) -> None:
        """Come back with the stored identity; `state` stays NeedsLogin where it is worth nothing. Raises LoginRefused when
        nobody listens."""
        self._enabled = wanted.enabled
        if not wanted.enabled or not self.identity.node_id:
            return
        self._reach(wanted)
        try:
            self.node = self._nodes.reconnect(
                node_id=self.identity.node_id, machine_key=self.identity.machine_key
            )
        except NodeGone:
            return
        self.configure(wanted)

    def login(self, auth_key: str, wanted: Preferences) -> None:
        """Present a key. Raises LoginRefused."""
        self._reach(wanted)
        self.node = self._nodes.login(
            auth_key=auth_key,
            hostname=wanted.hostname,
            machine_key=self.identity.machine_key,
            advertise_tags=wanted.tags,
            routes=wanted.routes,
            endpoints=self._endpoints,
            app_connector=wanted.app_connector,
        )

    def _reach(self, wanted: Preferences) -> None:
        """Every login begins with the server's own key."""
        if not self._nodes.reachable:
            url = f"{wanted.server}/key?v={bootconfig.CAPABILITY_VERSION}"
            raise LoginRefused(f'fetch control key: Get "{url}": connect: connection refused')

    def configure(self, wanted: Preferences) -> None:
        """Tell hostname and routes. A dropped client tells nobody."""
        self._enabled = wanted.enabled
        if self.node is not None and not self.dropped:
            self.node = self._nodes.update(
                self.node.id,
                hostname=wanted.hostname,
                routes=wanted.routes,
                endpoints=self._endpoints,
                app_connector=wanted.app_connector,
            )

    def look(self) -> None:
        """Find out whether the node key has expired, which the control plane tells with the network map."""
        if self.node is None or self.dropped or self.node.expiry in (None, self._known_expiry):
            return
        self._known_expiry = self.node.expiry
        try:
            self._nodes.reconnect(node_id=self.node.id, machine_key=self.identity.machine_key)
        except NodeGone:
            self._expired = True

    def stop(self) -> None:
        """The process ends: the control plane sees the connection go."""
        self._end()
        if self.node is not None and not self.dropped:
            self._nodes.set_connected(self.node.id, False)

    def _told(self, kind: ChangeKind, node: Node) -> None:
        if self.node is None or node.number != self.node.number:
            return
        if kind == "deleted":
            self.dropped = True
        elif node == self.node:
            return
        else:
            self.node = node
        self._changed()
