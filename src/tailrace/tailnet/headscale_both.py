"""Headscale from 0.30 on with an API key, which opens both of its APIs: each for what it does better.

Keys by v2 (it keeps a description and knows revoked from unused), everything else by v1 (it says who is online,
which routes are in use, and checks a policy). Both count keys and devices with the same ids.
"""

from __future__ import annotations

from tailrace.tailnet import delegate, headscale_v1, headscale_v2
from tailrace.tailnet.port import Capability, ControlPlane, KeyId, KeyInfo, KeyRequest, MintedKey, Probe


class HeadscaleBoth(delegate.Delegate):
    def __init__(self, v1: headscale_v1.HeadscaleV1, v2: headscale_v2.HeadscaleV2) -> None:
        self._v1 = v1
        self._v2 = v2
        self.name = v1.name
        self.login_server = v1.login_server

    async def inner(self) -> ControlPlane:
        return self._v1

    def has(self, capability: Capability) -> bool:
        return self._v1.has(capability)

    async def mint_key(self, request: KeyRequest) -> MintedKey:
        return await self._v2.mint_key(request)

    async def revoke_key(self, key: KeyId) -> None:
        await self._v2.revoke_key(key)

    async def list_keys(self) -> tuple[KeyInfo, ...]:
        return await self._v2.list_keys()

    def learn_fqdn(self, fqdn: str) -> None:
        self._v1.learn_fqdn(fqdn)

    async def probe(self) -> Probe:
        return await self._v1.probe()

    async def close(self) -> None:
        """Both speak through one client."""
        await self._v1.close()
