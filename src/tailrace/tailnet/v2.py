"""The API that Tailscale calls v2, as far as Tailscale and Headscale from 0.30 on agree.

Facts: Tailscale's published OpenAPI of `/api/v2`; the tailnet in a path is always `-`, the credential's own.
`Plane` does the calls; a dialect adds what the other has not (`tailscale`, `headscale_v2`).
"""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Mapping

import msgspec

from tailrace import errors
from tailrace.api.conditions import Reason
from tailrace.tailnet import credentials, oauth, probing, words
from tailrace.tailnet.port import (
    Capability,
    Device,
    DeviceId,
    KeyId,
    KeyInfo,
    KeyRequest,
    MintedKey,
    Nameserver,
    Probe,
    Routes,
)
from tailrace.wire import call as calls
from tailrace.wire import http

KEYS = "/api/v2/tailnet/-/keys"
KEY = "/api/v2/tailnet/-/keys/{id}"
DEVICES = "/api/v2/tailnet/-/devices"
DEVICE = "/api/v2/device/{id}"
DEVICE_NAME = "/api/v2/device/{id}/name"
DEVICE_TAGS = "/api/v2/device/{id}/tags"
DEVICE_ROUTES = "/api/v2/device/{id}/routes"

MAIN_JOB = ("auth_keys", "devices:core")
"""Scopes without which nothing can be exposed: minting keys, listing and deleting devices."""

SCOPES = {
    Capability.SET_TAGS: "devices:core",
    Capability.RENAME: "devices:core",
    Capability.ROUTES: "devices:routes",
}


class WireConnectivity(msgspec.Struct):
    endpoints: list[str] | None = None


class WireDevice(msgspec.Struct):
    """Only what is read. A device shared in from another tailnet omits most of it."""

    nodeId: str = ""
    name: str = ""
    hostname: str = ""
    addresses: list[str] = []
    tags: list[str] | None = None
    user: str = ""
    created: str | None = None
    lastSeen: str | None = None
    connectedToControl: bool | None = None
    isExternal: bool = False
    advertisedRoutes: list[str] | None = None
    enabledRoutes: list[str] | None = None
    clientConnectivity: WireConnectivity | None = None  # Tailscale alone


class WireDevices(msgspec.Struct):
    devices: list[WireDevice] | None = None


class WireCreate(msgspec.Struct):
    tags: list[str] | None = None
    reusable: bool = False


class WireCapableDevices(msgspec.Struct):
    create: WireCreate = msgspec.field(default_factory=WireCreate)


class WireCapabilities(msgspec.Struct):
    devices: WireCapableDevices = msgspec.field(default_factory=WireCapableDevices)


class WireKey(msgspec.Struct):
    id: str
    key: str = msgspec.field(default="")
    keyType: str = "auth"
    description: str | None = None
    created: str | None = None
    expires: str | None = None
    revoked: str | None = None
    invalid: bool = False
    capabilities: WireCapabilities = msgspec.field(default_factory=WireCapabilities)

    def __repr__(self) -> str:
        return f"WireKey(id={self.id!r})"


class WireKeys(msgspec.Struct):
    keys: list[WireKey] | None = None


class WireRoutes(msgspec.Struct):
    advertisedRoutes: list[str] | None = None
    enabledRoutes: list[str] | None = None


class Plane(abc.ABC):
    """The calls of `port.ControlPlane`; a dialect adds its name and says what a device's full one is."""

    dialect: str

    def __init__(
        self, client: http.Http, *, source: credentials.Source, authorizer: oauth.CredentialAuthorizer
    ) -> None:
        self._client = client
        self._source = source
        self._authorizer = authorizer

    @abc.abstractmethod
    def complete(self, name: str) -> str | None:
        """The full name, without trailing dot, of a device that the API calls so; None where it is not known."""

    @abc.abstractmethod
    async def find_version(self) -> str | None: ...

    def has(self, capability: Capability) -> bool:
        return self.may(SCOPES[capability])

    async def mint_key(self, request: KeyRequest) -> MintedKey:
        # All of `create` is sent: Headscale refuses a body without one of the four.
        create = {"reusable": False, "ephemeral": False, "preauthorized": True, "tags": list(request.tags)}
        body = {
            "capabilities": {"devices": {"create": create}},
            "expirySeconds": int(request.ttl.total_seconds()),
            "description": words.clean_description(request.description),
        }
        # Never sent twice: were the first reply lost, there would be a key that nobody knows. (It would die by
        # itself, unused, with its lifetime.)
        call = calls.Call(method="POST", route=KEYS, json=body, repeatable=False, refusal=Reason.KEY_REFUSED)
        key = await self._client.fetch(call, WireKey)
        expires = words.parse_time(key.expires)
        if not key.key or expires is None:
            raise errors.Transient(
                "The control plane answered a key request without a key or without its end."
            )
        return MintedKey(id=KeyId(key.id), secret=key.key, expires=expires)

    async def revoke_key(self, key: KeyId) -> None:
        try:
            await self._client.send(calls.Call(method="DELETE", route=KEY, path={"id": key}))
        except errors.NotFound:
            return

    async def list_keys(self) -> tuple[KeyInfo, ...]:
        found = await self._client.fetch(
            calls.Call(method="GET", route=KEYS, query={"all": "true"}), WireKeys
        )
        # OAuth clients and API tokens are listed too on Tailscale; only auth keys admit devices.
        return tuple(self._to_key(key) for key in found.keys or () if key.keyType == "auth")

    def _to_key(self, key: WireKey) -> KeyInfo:
        return KeyInfo(
            id=KeyId(key.id),
            description=key.description or "",
            tags=tuple(sorted(key.capabilities.devices.create.tags or ())),
            created=words.parse_time(key.created),
            expires=words.parse_time(key.expires),
            usable=not key.invalid and words.parse_time(key.revoked) is None,
        )

    async def list_devices(self) -> tuple[Device, ...]:
        # Only `fields=all` has routes and endpoints.
        call = calls.Call(method="GET", route=DEVICES, query={"fields": "all"})
        found = await self._client.fetch(call, WireDevices)
        # What another tailnet shares with this one is not of this tailnet: its name conflicts with nothing here.
        return tuple(self._to_device(device) for device in found.devices or () if not device.isExternal)

    async def get_device(self, device: DeviceId) -> Device:
        call = calls.Call(method="GET", route=DEVICE, path={"id": device}, query={"fields": "all"})
        return self._to_device(await self._client.fetch(call, WireDevice))

    def _to_device(self, wire: WireDevice) -> Device:
        last_seen = words.parse_time(wire.lastSeen)
        # Headscale does not tell it, nor Tailscale of old devices; then "never seen since" is how one knows.
        online = last_seen is None if wire.connectedToControl is None else wire.connectedToControl
        return Device(
            id=DeviceId(wire.nodeId),
            name=words.first_label(wire.name),
            hostname=wire.hostname,
            fqdn=self.complete(wire.name),
            addresses=words.sort_addresses(wire.addresses),
            tags=tuple(sorted(wire.tags or ())),
            online=online,
            last_seen=None if online else last_seen,
            created=words.parse_time(wire.created),
            user=None if wire.tags else wire.user or None,
            advertised_routes=words.sort_routes(wire.advertisedRoutes),
            enabled_routes=words.sort_routes(wire.enabledRoutes),
            endpoints=words.drop_ports(wire.clientConnectivity.endpoints) if wire.clientConnectivity else (),
        )

    async def delete_device(self, device: DeviceId) -> None:
        await self._client.send(calls.Call(method="DELETE", route=DEVICE, path={"id": device}))

    async def rename_device(self, device: DeviceId, name: str) -> None:
        await self._set(DEVICE_NAME, device, {"name": name}, Reason.NAME_DIFFERS)

    async def set_tags(self, device: DeviceId, tags: tuple[str, ...]) -> None:
        if not tags:
            # Headscale would answer 200 and do nothing.
            raise errors.Terminal("A device cannot lose its last tag.", reason=Reason.TAGS_DIFFER)
        await self._set(DEVICE_TAGS, device, {"tags": list(tags)}, Reason.TAGS_DIFFER)

    async def get_routes(self, device: DeviceId) -> Routes:
        call = calls.Call(method="GET", route=DEVICE_ROUTES, path={"id": device})
        return _to_routes(await self._client.fetch(call, WireRoutes))

    async def approve_routes(self, device: DeviceId, routes: tuple[str, ...]) -> Routes:
        reply = await self._set(DEVICE_ROUTES, device, {"routes": list(routes)}, Reason.INTERNAL_ERROR)
        return _to_routes(reply.decode(WireRoutes))

    @abc.abstractmethod
    async def list_nameservers(self) -> tuple[Nameserver, ...] | None: ...

    async def _set(
        self, route: str, device: DeviceId, body: Mapping[str, object], refusal: str
    ) -> calls.Reply:
        """POST that puts a value: the same again changes nothing, so it may be repeated."""
        call = calls.Call(
            method="POST", route=route, path={"id": device}, json=body, repeatable=True, refusal=refusal
        )
        return await self._client.send(call)

    async def probe(self) -> Probe:
        """Ask for what the main job needs and read the granted scopes; whatever is refused is said in the value."""
        devices, keys = await asyncio.gather(
            probing.attempt(self.list_devices), probing.attempt(self.list_keys)
        )
        version = None
        if devices is None and keys is None:
            version = await self.find_version()
        granted = self._authorizer.granted
        missing = [scope for scope in MAIN_JOB if granted is not None and not covers(granted, scope)]
        for scope, refused in zip(MAIN_JOB, (keys, devices), strict=True):
            if isinstance(refused, errors.Denied) and not isinstance(refused, credentials.Unauthenticated):
                missing.append(refused.missing or scope)
        return probing.build_probe(
            dialect=self.dialect,
            server=self._client.base_url,
            version=version,
            identity=credentials.identify(self._source),
            capabilities=frozenset(filter(self.has, SCOPES)),
            outcomes=(devices, keys),
            missing=missing,
        )

    @abc.abstractmethod
    def learn_fqdn(self, fqdn: str) -> None: ...

    def may(self, scope: str) -> bool:
        """Does the token's scope allow it? An API token is not limited."""
        return self._authorizer.granted is None or covers(self._authorizer.granted, scope)

    async def close(self) -> None:
        await self._client.close()


def covers(granted: frozenset[str], scope: str) -> bool:
    """Write covers read, `all` covers everything (Tailscale's documentation of trust credentials)."""
    if scope.endswith(":read"):
        return bool(granted & {scope, scope.removesuffix(":read"), "all", "all:read"})
    return bool(granted & {scope, "all"})


def _to_routes(wire: WireRoutes) -> Routes:
    return Routes(
        advertised=words.sort_routes(wire.advertisedRoutes), enabled=words.sort_routes(wire.enabledRoutes)
    )
