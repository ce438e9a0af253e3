"""The port to a control plane: what every driver offers, in words that fit Tailscale and Headscale alike.

Nobody outside `tailnet/` asks which control plane it is; they ask `has(Capability.X)`. All methods raise only
errors of `tailrace.errors`: `Transient`, `RateLimited`, `Denied`, `NotFound`, `Conflict`, `Terminal` (the server
refuses this request for good, e.g. a tag that nobody owns).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NewType, Protocol

DeviceId = NewType("DeviceId", str)
"""The id that the proxy also writes as `device_id` into its state Secret (Tailscale: nodeId; Headscale: decimal)."""

KeyId = NewType("KeyId", str)


class Capability(enum.StrEnum):
    """What we may do on a control plane beyond keys, listing and deleting. Told by our credential, never by a version."""

    SET_TAGS = "set-tags"  # change the tags of an existing device
    RENAME = "rename"
    ROUTES = "routes"  # read and approve routes


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """A node of the tailnet, as the control plane lists it."""

    id: DeviceId
    name: str  # the DNS label that it really has, without the base domain
    hostname: str  # what the client asked for
    fqdn: str | None  # without trailing dot; None where the control plane does not tell its base domain
    addresses: tuple[str, ...]  # tailnet addresses, IPv4 before IPv6
    tags: tuple[str, ...]  # sorted
    online: bool
    last_seen: datetime | None  # None while connected
    created: datetime | None = None
    user: str | None = None  # owner of an untagged device
    advertised_routes: tuple[str, ...] = ()
    enabled_routes: tuple[str, ...] = ()  # approved
    serving_routes: tuple[str, ...] | None = None  # None where the control plane does not tell who is primary
    endpoints: tuple[str, ...] = field(default=(), compare=False)
    """Addresses under which it is reached without a relay, its own in the networks where it stands among them; empty where
    the control plane does not tell. They change with every cable, which makes it no other device."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyRequest:
    """A single-use, pre-approved, non-ephemeral auth key for one device."""

    tags: tuple[str, ...]
    ttl: timedelta
    description: str  # at most 50 of letters, digits, hyphen, blank; drivers cut and clean it


@dataclass(frozen=True, kw_only=True, slots=True)
class MintedKey:
    id: KeyId
    secret: str = field(repr=False)
    expires: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyInfo:
    """An auth key as listed: never its secret."""

    id: KeyId
    description: str  # "" where the control plane keeps none
    tags: tuple[str, ...]
    created: datetime | None
    expires: datetime | None
    usable: bool  # neither used, expired nor revoked


@dataclass(frozen=True, kw_only=True, slots=True)
class Routes:
    advertised: tuple[str, ...]
    enabled: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Nameserver:
    """A server that the tailnet's devices ask for names."""

    address: str  # an IP address, or the URL of DNS over HTTPS
    domain: str = ""  # the names that it is asked for (split DNS); "" is all


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """Who we are and what we may do, in one value."""

    dialect: str  # "tailscale", "headscale-v1", "headscale-v2", "memory"
    server: str  # base URL asked
    version: str | None  # what the server calls itself, for people only
    identity: str  # e.g. "OAuth client kXYZ", "API key hskey-api-abc…": never a secret
    reachable: bool
    authenticated: bool
    capabilities: frozenset[Capability]
    missing: tuple[
        str, ...
    ] = ()  # scopes or tags that are missing for the main job, in the server's own words
    problem: str | None = None  # one sentence that says what is wrong and how to mend it

    @property
    def ok(self) -> bool:
        return self.reachable and self.authenticated and not self.missing


class ControlPlane(Protocol):
    """One control plane, one credential. Drivers: `tailscale`, `headscale_v1`, `headscale_v2`, `memory`."""

    @property
    def name(self) -> str:
        """Short name for logs, metrics and messages, e.g. "Tailscale" or "Headscale at hs.example.com"."""

    @property
    def login_server(self) -> str:
        """What proxies get as `ServerURL`."""

    def has(self, capability: Capability) -> bool: ...

    async def mint_key(self, request: KeyRequest) -> MintedKey: ...

    async def revoke_key(self, key: KeyId) -> None:
        """Make a key unusable. A key that is unknown or already unusable is no error."""

    async def list_keys(self) -> tuple[KeyInfo, ...]: ...

    async def list_devices(self) -> tuple[Device, ...]:
        """All devices of the tailnet, in the control plane's order."""

    async def get_device(self, device: DeviceId) -> Device: ...

    async def delete_device(self, device: DeviceId) -> None:
        """Raises NotFound when it was not there."""

    async def rename_device(self, device: DeviceId, name: str) -> None:
        """Conflict when another device has that name."""

    async def set_tags(self, device: DeviceId, tags: tuple[str, ...]) -> None: ...

    async def get_routes(self, device: DeviceId) -> Routes: ...

    async def approve_routes(self, device: DeviceId, routes: tuple[str, ...]) -> Routes:
        """Replace the approved set."""

    async def list_nameservers(self) -> tuple[Nameserver, ...] | None:
        """Those of the tailnet's DNS settings; None where the control plane does not tell them. `Denied` names the scope
        that is missing."""

    def learn_fqdn(self, fqdn: str) -> None:
        """A proxy reported its full name: a control plane that does not tell its base domain learns it from that."""

    async def probe(self) -> Probe:
        """Never raises for a refused or unreachable server: the value says it."""

    async def close(self) -> None: ...
