"""A control plane in front of another one: everything is passed on, a subclass changes what it must."""

from __future__ import annotations

import abc

from tailrace.tailnet.port import (
    ControlPlane,
    Device,
    DeviceId,
    KeyId,
    KeyInfo,
    KeyRequest,
    MintedKey,
    Nameserver,
    Routes,
)


class Delegate(abc.ABC):
    @abc.abstractmethod
    async def inner(self) -> ControlPlane:
        """Whom to ask. May take a while and may raise, as any call."""

    async def mint_key(self, request: KeyRequest) -> MintedKey:
        return await (await self.inner()).mint_key(request)

    async def revoke_key(self, key: KeyId) -> None:
        await (await self.inner()).revoke_key(key)

    async def list_keys(self) -> tuple[KeyInfo, ...]:
        return await (await self.inner()).list_keys()

    async def list_devices(self) -> tuple[Device, ...]:
        return await (await self.inner()).list_devices()

    async def get_device(self, device: DeviceId) -> Device:
        return await (await self.inner()).get_device(device)

    async def delete_device(self, device: DeviceId) -> None:
        await (await self.inner()).delete_device(device)

    async def rename_device(self, device: DeviceId, name: str) -> None:
        await (await self.inner()).rename_device(device, name)

    async def set_tags(self, device: DeviceId, tags: tuple[str, ...]) -> None:
        await (await self.inner()).set_tags(device, tags)

    async def get_routes(self, device: DeviceId) -> Routes:
        return await (await self.inner()).get_routes(device)

    async def approve_routes(self, device: DeviceId, routes: tuple[str, ...]) -> Routes:
        return await (await self.inner()).approve_routes(device, routes)

    async def list_nameservers(self) -> tuple[Nameserver, ...] | None:
        return await (await self.inner()).list_nameservers()
