"""Headscale by its own v1 API, with an API key: 0.27 to 0.29, and 0.30, which keeps it.

Two ways to refuse: up to 0.29 gRPC's, where most refusals are a 500 and only the message tells what is meant;
from 0.30 on problem documents with the right status. Both were seen on real servers.

- An id is a decimal in a JSON string, and is the `device_id` that a proxy writes into its Secret.
- A list knows more of a device than a get (its routes in use, its true owner), so a get is a list and a choice.
- A 500 about a device may mean that it is gone. It is believed only when the list agrees.
- Keys are expired, never deleted: deleting one makes its ephemeral devices permanent.
- Tags come from the key alone; nothing checks them against the policy when the key is minted.
- What concerns keys is in `headscale_keys`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping

import msgspec

from tailrace import errors
from tailrace.api.conditions import Reason
from tailrace.tailnet import credentials, domain, headscale_keys, probing, replies, serverinfo, words
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
from tailrace.wire import clock as clocks
from tailrace.wire import http

NODES = "/api/v1/node"
NODE = "/api/v1/node/{id}"
NODE_NAME = "/api/v1/node/{id}/rename/{name}"
NODE_TAGS = "/api/v1/node/{id}/tags"
NODE_ROUTES = "/api/v1/node/{id}/approve_routes"

CAPABILITIES = frozenset(Capability)
"""An API key may do everything."""

_FOR_GOOD = re.compile(
    r"not a valid|invalid|must (?:be|start|have)|malformed|cannot (?:start|contain)|too long|cannot parse|parsing",
    re.IGNORECASE,
)


class Unclear(errors.Transient):
    """A 500 that may be a fault of the server, or its way to say that something does not exist."""


class WireUser(msgspec.Struct):
    name: str = ""


class WireNode(msgspec.Struct):
    id: str
    name: str = ""  # what the client asked for
    givenName: str = ""  # what it got
    ipAddresses: list[str] | None = None
    user: WireUser | None = None
    lastSeen: str | None = None
    createdAt: str | None = None
    online: bool = False
    tags: list[str] | None = None
    forcedTags: list[str] | None = None  # up to 0.27 in place of `tags`
    validTags: list[str] | None = None  # likewise
    availableRoutes: list[str] | None = None
    approvedRoutes: list[str] | None = None
    subnetRoutes: list[str] | None = None


class WireNodes(msgspec.Struct):
    nodes: list[WireNode] | None = None


class WireNodeReply(msgspec.Struct):
    node: WireNode


class HeadscaleV1:
    def __init__(
        self,
        client: http.Http,
        *,
        source: credentials.Source,
        base_domain: domain.BaseDomain,
        clock: clocks.Clock | None = None,
    ) -> None:
        self._client = client
        self._source = source
        self._domain = base_domain
        self._keys = headscale_keys.Keys(client, clock or clocks.SystemClock())
        self.login_server = client.base_url
        self.name = serverinfo.name_of(client.base_url)

    def has(self, capability: Capability) -> bool:
        return capability in CAPABILITIES

    async def mint_key(self, request: KeyRequest) -> MintedKey:
        return await self._keys.mint(request)

    async def revoke_key(self, key: KeyId) -> None:
        await self._keys.revoke(key)

    async def list_keys(self) -> tuple[KeyInfo, ...]:
        return await self._keys.show()

    async def list_devices(self) -> tuple[Device, ...]:
        found = await self._client.fetch(calls.Call(method="GET", route=NODES), WireNodes)
        return tuple(self._to_device(node) for node in found.nodes or ())

    def _to_device(self, node: WireNode) -> Device:
        name = node.givenName or node.name
        tags = {*(node.tags or ()), *(node.forcedTags or ()), *(node.validTags or ())}
        return Device(
            id=DeviceId(node.id),
            name=name,
            hostname=node.name,
            fqdn=self._domain.complete(name),
            addresses=words.sort_addresses(node.ipAddresses or ()),
            tags=tuple(sorted(tags)),
            online=node.online,
            last_seen=None if node.online else words.parse_time(node.lastSeen),
            created=words.parse_time(node.createdAt),
            user=None if tags or node.user is None else node.user.name or None,
            advertised_routes=words.sort_routes(node.availableRoutes),
            enabled_routes=words.sort_routes(node.approvedRoutes),
            serving_routes=words.sort_routes(node.subnetRoutes),
        )

    async def get_device(self, device: DeviceId) -> Device:
        for found in await self.list_devices():
            if found.id == device:
                return found
        raise errors.NotFound(f"{self.name} has no device {device}.")

    async def delete_device(self, device: DeviceId) -> None:
        await self._ask(device, "DELETE", NODE, Reason.INTERNAL_ERROR)

    async def rename_device(self, device: DeviceId, name: str) -> None:
        await self._ask(device, "POST", NODE_NAME, Reason.NAME_DIFFERS, path={"name": name})

    async def set_tags(self, device: DeviceId, tags: tuple[str, ...]) -> None:
        if not tags:
            raise errors.Terminal("A device cannot lose its last tag.", reason=Reason.TAGS_DIFFER)
        await self._ask(device, "POST", NODE_TAGS, Reason.TAGS_DIFFER, body={"tags": list(tags)})

    async def get_routes(self, device: DeviceId) -> Routes:
        found = await self.get_device(device)
        return Routes(advertised=found.advertised_routes, enabled=found.enabled_routes)

    async def approve_routes(self, device: DeviceId, routes: tuple[str, ...]) -> Routes:
        body = {"routes": list(routes)}
        reply = await self._ask(device, "POST", NODE_ROUTES, Reason.INTERNAL_ERROR, body=body)
        node = self._to_device(reply.decode(WireNodeReply).node)
        return Routes(advertised=node.advertised_routes, enabled=node.enabled_routes)

    async def _ask(
        self,
        device: DeviceId,
        method: str,
        route: str,
        refusal: str,
        *,
        path: Mapping[str, str] | None = None,
        body: object | None = None,
    ) -> calls.Reply:
        """A call about one device; each of ours puts a value, so the same again changes nothing.

        A refusal that could mean "there is no such device" is looked up in the list before it is believed.
        """
        call = calls.Call(
            method=method,
            route=route,
            path={"id": device, **(path or {})},
            json=body,
            repeatable=True,
            refusal=refusal,
        )
        try:
            return await self._client.send(call)
        except (Unclear, errors.Terminal) as error:
            if any(found.id == device for found in await self.list_devices()):
                raise
            raise errors.NotFound(f"{self.name} has no device {device}.") from error

    async def list_nameservers(self) -> tuple[Nameserver, ...] | None:
        return None  # they stand in the server's file

    def learn_fqdn(self, fqdn: str) -> None:
        self._domain.learn(fqdn)

    async def probe(self) -> Probe:
        devices, keys = await asyncio.gather(
            probing.attempt(self.list_devices), probing.attempt(self.list_keys)
        )
        version = None
        if devices is None and keys is None:
            version = await serverinfo.find_version(self._client)
        return probing.build_probe(
            dialect="headscale-v1",
            server=self._client.base_url,
            version=version,
            identity=credentials.identify(self._source),
            capabilities=CAPABILITIES,
            outcomes=(devices, keys),
        )

    async def close(self) -> None:
        await self._client.close()


def explain(client: http.Http, call: calls.Call, reply: calls.Reply) -> errors.TailraceError:
    """As for everybody, and then: what is a 500 really?"""
    error = replies.explain(client, call, reply)
    if reply.status == 500 and type(error) is errors.Transient:
        if _FOR_GOOD.search(replies.read_message(reply)):
            return errors.Terminal(str(error), reason=call.refusal)
        return Unclear(str(error))
    return error
