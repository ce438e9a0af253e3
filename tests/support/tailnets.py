"""The devices' side of a tailnet, which no port has: what a world needs besides the operator's edge.

`MemoryPlane` is one and its own edge as well; `EmulatedTailnet` is an emulated control plane, whose edge is a real
driver over HTTP.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta
from typing import Protocol

import httpx2

from tailrace.sandbox.controlplane.control import ControlPlane, Options
from tailrace.sandbox.controlplane.records import AuthKey, Dialect, LoginRefused, Node
from tailrace.tailnet import connect, credentials, port
from tailrace.tailnet.memory import JoinRefusedError
from tailrace.wire import http, retry
from tests.support.faults import FaultyTransport

CLIENT = ("client_id", "client_secret")
SCOPES = ("auth_keys", "devices:core", "devices:routes", "policy_file", "feature_settings", "services")
POLICY = """{"tagOwners": {
    "tag:k8s-operator": [],
    "tag:k8s": ["tag:k8s-operator"], "tag:a": ["tag:k8s-operator"], "tag:b": ["tag:k8s-operator"],
}}"""


class Tailnet(Protocol):
    """A tailnet in the hand of a test; nothing here is a call of the operator."""

    @property
    def devices(self) -> tuple[port.Device, ...]: ...

    def join(self, secret: str, hostname: str) -> port.Device:
        """A device logs in with an auth key. Raises `JoinRefusedError`."""

    def add(
        self,
        hostname: str,
        *,
        tags: Iterable[str] = (),
        online: bool = True,
        user: str | None = None,
        routes: Iterable[str] = (),
    ) -> port.Device:
        """A device that came some other way, with the routes that it advertises."""

    def approve(self, device: port.DeviceId, routes: Iterable[str]) -> None:
        """Somebody else approves these routes, and no others."""

    def set_online(self, device: port.DeviceId, online: bool) -> None: ...

    def advertise(self, device: port.DeviceId, routes: Iterable[str]) -> None:
        """What its own configuration says now."""

    def remove(self, device: port.DeviceId) -> None:
        """Somebody else deletes it."""


class EmulatedTailnet:
    """The tailnet of an emulated control plane, `edge` as the operator would open it, and `faults` in between."""

    def __init__(self, server: ControlPlane, names: tuple[str, ...]) -> None:
        self.server = server
        # Plain HTTP: to read the machine's roots would take longer than all the rest.
        self.faults = FaultyTransport(httpx2.AsyncHTTPTransport(verify=False))
        self._machines = itertools.count(1)
        self._names = names
        # Pauses between attempts are shown elsewhere; here they would only be waited.
        options = http.Options(policy=retry.Policy(first=0.0, cap=0.0))
        self.edge: port.ControlPlane = connect.connect(
            credentials.Values(self._read, where="the test"),
            server.url,
            wiring=connect.Wiring(options=options, transport=self.faults),
        )

    @property
    def devices(self) -> tuple[port.Device, ...]:
        return tuple(show(node) for node in self.server.tailnet.nodes.all())

    @property
    def usable_keys(self) -> tuple[AuthKey, ...]:
        """Keys that would still admit a device."""
        tailnet = self.server.tailnet
        return tuple(key for key in tailnet.keys.values() if key.usable(tailnet.now()))

    def join(self, secret: str, hostname: str) -> port.Device:
        machine = f"mkey:{next(self._machines)}"
        try:
            return show(
                self.server.tailnet.nodes.login(auth_key=secret, hostname=hostname, machine_key=machine)
            )
        except LoginRefused as refused:
            raise JoinRefusedError(str(refused)) from refused

    def add(
        self,
        hostname: str,
        *,
        tags: Iterable[str] = (),
        online: bool = True,
        user: str | None = None,
        routes: Iterable[str] = (),
    ) -> port.Device:
        tailnet = self.server.tailnet
        owner = tailnet.add_user(user) if user else None
        key = tailnet.add_key(tags=tags, expires=tailnet.now() + timedelta(minutes=5), user=owner)
        device = self.join(key.secret, hostname)
        tailnet.nodes.update(device.id, routes=routes)
        self.set_online(device.id, online)
        return show(tailnet.node(device.id))

    def approve(self, device: port.DeviceId, routes: Iterable[str]) -> None:
        self.server.tailnet.approve_routes(device, routes)

    def set_online(self, device: port.DeviceId, online: bool) -> None:
        self.server.tailnet.nodes.set_connected(device, online)

    def advertise(self, device: port.DeviceId, routes: Iterable[str]) -> None:
        self.server.tailnet.nodes.update(device, routes=routes)

    def remove(self, device: port.DeviceId) -> None:
        self.server.tailnet.delete_node(device)

    def _read(self) -> dict[str, str]:
        """What the Secret holds now: credentials that were rotated are in use with the next call."""
        return {name: self.server.credentials[name] for name in self._names}


def show(node: Node) -> port.Device:
    """A node of the emulation in the words of the port."""
    return port.Device(
        id=port.DeviceId(node.id),
        name=node.name,
        hostname=node.hostname,
        fqdn=node.fqdn,
        addresses=node.addresses,
        tags=tuple(sorted(node.tags)),
        online=node.online,
        last_seen=None if node.online else node.last_seen,
        created=node.created,
        user=node.user.name if node.user else None,
        advertised_routes=node.advertised,
        enabled_routes=node.approved,
    )


@contextlib.asynccontextmanager
async def open_emulated(dialect: Dialect, names: tuple[str, ...]) -> AsyncIterator[EmulatedTailnet]:
    """An emulated control plane on a port of its own; `names` are the credentials that the operator shows."""
    async with await ControlPlane.start(dialect, Options(scopes=SCOPES, policy_text=POLICY)) as server:
        tailnet = EmulatedTailnet(server, names)
        try:
            yield tailnet
        finally:
            await tailnet.edge.close()
