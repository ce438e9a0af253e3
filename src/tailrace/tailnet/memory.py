"""The twin: a tailnet in memory, for tests and rehearsals. No kinder than the real ones.

It refuses what they refuse, with the same errors: tags that nobody owns, keys that are used up or over, names that
are taken or no DNS label, devices that are gone. `join` and `set_online` are the devices' side. Faults are put in
front of any method by name.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from tailrace import errors
from tailrace.api.conditions import Reason
from tailrace.tailnet import words
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
from tailrace.wire import clock as clocks

ALL = frozenset(Capability)
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(slots=True)
class _Key:
    info: KeyInfo
    secret: str = field(repr=False)


class JoinRefusedError(Exception):
    """What a device is told whose key does not let it in."""


class MemoryPlane:
    """`tags`: those that this credential may give (None: any). `domain`: None for a control plane that does not
    tell its base domain until it is learned."""

    def __init__(
        self,
        *,
        tags: Iterable[str] | None = None,
        domain: str | None = "tailnet.test",
        capabilities: frozenset[Capability] = ALL,
        clock: clocks.Clock | None = None,
        login_server: str = "https://control.test",
    ) -> None:
        self.name = "the tailnet in memory"
        self.login_server = login_server
        self.calls: Counter[str] = Counter()
        self.domain = domain
        self.nameservers: tuple[Nameserver, ...] | None = None
        self.allowed = None if tags is None else frozenset(tags)
        self._capabilities = capabilities
        self._clock = clock or clocks.SystemClock()
        self._devices: dict[DeviceId, Device] = {}
        self._keys: dict[KeyId, _Key] = {}
        self._faults: defaultdict[str, deque[errors.TailraceError]] = defaultdict(deque)
        self._down: errors.TailraceError | None = None
        self._count = 0

    # Faults

    def fail(self, method: str, *faults: errors.TailraceError) -> None:
        """The next calls of `method` (a name of the port) raise these, one each, and change nothing."""
        self._faults[method].extend(faults)

    def break_down(self, error: errors.TailraceError | None) -> None:
        """Every call raises `error` until it is None again."""
        self._down = error

    # The devices' side

    def join(
        self, secret: str, hostname: str, *, routes: Iterable[str] = (), advertise_tags: Iterable[str] = ()
    ) -> Device:
        """A device logs in with an auth key; it is online then."""
        key = next((key for key in self._keys.values() if key.secret == secret), None)
        if key is None or not self._usable(key.info):
            raise JoinRefusedError("authkey not found" if key is None else "authkey expired or already used")
        if refused := [tag for tag in advertise_tags if tag not in key.info.tags]:
            raise JoinRefusedError(f"requested tags {refused} are invalid or not permitted")
        key.info = replace(key.info, usable=False)
        return self.add(hostname, tags=key.info.tags, routes=routes)

    def add(
        self,
        hostname: str,
        *,
        tags: Iterable[str] = (),
        online: bool = True,
        user: str | None = None,
        routes: Iterable[str] = (),
        endpoints: Iterable[str] = (),
    ) -> Device:
        """A device that came some other way, e.g. somebody's laptop."""
        self._count += 1
        device = Device(
            id=DeviceId(str(self._count)),
            name=self._free_name(mangle(hostname)),
            hostname=hostname,
            fqdn=None,
            addresses=(f"100.64.{self._count >> 8}.{self._count & 255}", f"fd7a:115c:a1e0::{self._count:x}"),
            tags=tuple(sorted(tags)),
            online=online,
            last_seen=None if online else self._now(),
            created=self._now(),
            user=user,
            advertised_routes=words.sort_routes(routes),
            endpoints=tuple(endpoints),
        )
        self._devices[device.id] = device
        return self._told(device)

    def set_online(self, device: DeviceId, online: bool) -> None:
        self._devices[device] = replace(
            self._devices[device], online=online, last_seen=None if online else self._now()
        )

    def advertise(self, device: DeviceId, routes: Iterable[str]) -> None:
        """It offers to route these; nobody has approved them by that."""
        self._devices[device] = replace(self._devices[device], advertised_routes=words.sort_routes(routes))

    def move(self, device: DeviceId, endpoints: Iterable[str]) -> None:
        """It stands in other networks now."""
        self._devices[device] = replace(self._devices[device], endpoints=tuple(endpoints))

    def approve(self, device: DeviceId, routes: Iterable[str]) -> None:
        """Somebody else approves these routes, and no others."""
        self._devices[device] = replace(self._devices[device], enabled_routes=words.sort_routes(routes))

    def remove(self, device: DeviceId) -> None:
        """Somebody else deletes it."""
        del self._devices[device]

    @property
    def devices(self) -> tuple[Device, ...]:
        """All of them, without a call."""
        return tuple(self._told(device) for device in self._devices.values())

    @property
    def usable_keys(self) -> tuple[KeyInfo, ...]:
        """Keys that would still admit a device, without a call."""
        return tuple(key.info for key in self._keys.values() if self._usable(key.info))

    # The port

    def has(self, capability: Capability) -> bool:
        return capability in self._capabilities

    async def mint_key(self, request: KeyRequest) -> MintedKey:
        self._enter("mint_key")
        if not request.tags:
            raise errors.Terminal("A key needs a tag.", reason=Reason.KEY_REFUSED)
        self._check_tags(request.tags, Reason.KEY_REFUSED)
        self._count += 1
        identity = KeyId(f"k{self._count}")
        info = KeyInfo(
            id=identity,
            description=words.clean_description(request.description),
            tags=tuple(sorted(request.tags)),
            created=self._now(),
            expires=self._now() + request.ttl,
            usable=True,
        )
        self._keys[identity] = _Key(info=info, secret=f"tskey-auth-{identity}-{self._count:08x}")
        return MintedKey(id=identity, secret=self._keys[identity].secret, expires=self._now() + request.ttl)

    async def revoke_key(self, key: KeyId) -> None:
        self._enter("revoke_key")
        if (found := self._keys.get(key)) is not None:
            found.info = replace(found.info, usable=False)

    async def list_keys(self) -> tuple[KeyInfo, ...]:
        self._enter("list_keys")
        return tuple(replace(key.info, usable=self._usable(key.info)) for key in self._keys.values())

    async def list_devices(self) -> tuple[Device, ...]:
        self._enter("list_devices")
        return self.devices

    async def get_device(self, device: DeviceId) -> Device:
        self._enter("get_device")
        return self._told(self._find(device))

    async def delete_device(self, device: DeviceId) -> None:
        self._enter("delete_device")
        self._find(device)
        del self._devices[device]

    async def rename_device(self, device: DeviceId, name: str) -> None:
        self._enter("rename_device")
        found = self._find(device)
        if not LABEL.fullmatch(name):
            raise errors.Terminal(f"“{name}” is no DNS label.", reason=Reason.NAME_DIFFERS)
        if any(other.name == name and other.id != device for other in self._devices.values()):
            raise errors.Conflict(f"Another device is named {name}.")
        self._devices[device] = replace(found, name=name)

    async def set_tags(self, device: DeviceId, tags: tuple[str, ...]) -> None:
        self._enter("set_tags")
        if not tags:
            raise errors.Terminal("A device cannot lose its last tag.", reason=Reason.TAGS_DIFFER)
        found = self._find(device)
        self._check_tags(tags, Reason.TAGS_DIFFER)
        self._devices[device] = replace(found, tags=tuple(sorted(tags)), user=None)

    async def get_routes(self, device: DeviceId) -> Routes:
        self._enter("get_routes")
        found = self._find(device)
        return Routes(advertised=found.advertised_routes, enabled=found.enabled_routes)

    async def approve_routes(self, device: DeviceId, routes: tuple[str, ...]) -> Routes:
        self._enter("approve_routes")
        found = replace(self._find(device), enabled_routes=words.sort_routes(routes))
        self._devices[device] = found
        return Routes(advertised=found.advertised_routes, enabled=found.enabled_routes)

    async def list_nameservers(self) -> tuple[Nameserver, ...] | None:
        self._enter("list_nameservers")
        return self.nameservers

    def learn_fqdn(self, fqdn: str) -> None:
        self.domain = fqdn.strip(".").partition(".")[2] or self.domain

    async def probe(self) -> Probe:
        self.calls["probe"] += 1
        down = self._down
        return Probe(
            dialect="memory",
            server=self.login_server,
            version=None,
            identity="a test",
            reachable=not isinstance(down, errors.Transient),
            authenticated=down is None,
            capabilities=self._capabilities,
            problem=None if down is None else str(down),
        )

    async def close(self) -> None:
        """Nothing is open."""

    def _enter(self, method: str) -> None:
        self.calls[method] += 1
        if self._down is not None:
            raise self._down
        if self._faults[method]:
            raise self._faults[method].popleft()

    def _find(self, device: DeviceId) -> Device:
        if device not in self._devices:
            raise errors.NotFound(f"There is no device {device}.")
        return self._devices[device]

    def _check_tags(self, tags: Iterable[str], reason: str) -> None:
        for tag in tags:
            if not words.is_tag(tag):
                raise errors.Terminal(f"“{tag}” is no tag.", reason=reason)
            if self.allowed is not None and tag not in self.allowed:
                raise errors.Denied(f"This credential may not give {tag}.", missing=tag)

    def _usable(self, key: KeyInfo) -> bool:
        return key.usable and key.expires is not None and key.expires > self._now()

    def _told(self, device: Device) -> Device:
        return replace(device, fqdn=f"{device.name}.{self.domain}" if self.domain else None)

    def _free_name(self, wanted: str) -> str:
        taken = {device.name for device in self._devices.values()}
        name, number = wanted, 0
        while name in taken:
            number += 1
            name = f"{wanted}-{number}"
        return name

    def _now(self) -> datetime:
        return self._clock.now()


def mangle(hostname: str) -> str:
    """What control planes make of a hostname that is no label: `service.example.com` → `service-example-com`."""
    return re.sub(r"[^a-z0-9-]+", "-", hostname.lower())[:63].strip("-") or "node"
