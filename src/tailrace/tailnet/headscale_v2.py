"""Headscale from 0.30 on with an OAuth client: the v2 API, and only that (v1 answers its tokens with 401).

Where it differs from Tailscale (seen on a real server): a device's `name` is the bare label, there is no word
about being connected except that `lastSeen` is absent, `id` and `nodeId` are the same decimal, and a refusal names
the scope that is missing.
"""

from __future__ import annotations

from typing import override

import msgspec

from tailrace import errors
from tailrace.tailnet import credentials, domain, oauth, serverinfo, v2, words
from tailrace.tailnet.port import Capability, Device, DeviceId, Nameserver
from tailrace.wire import call as calls
from tailrace.wire import http

SCOPES = {
    Capability.SET_TAGS: "devices:core",
    Capability.RENAME: "devices:core",
    Capability.CHECKS_TAGS: "auth_keys",
    Capability.ROUTES: "devices:routes",
    Capability.POLICY_READ: "policy_file:read",
    Capability.POLICY_WRITE: "policy_file",
}


class WireSettings(msgspec.Struct):
    aclsExternallyManagedOn: bool = False  # the policy is a file of the server


class HeadscaleV2(v2.Plane):
    dialect = "headscale-v2"
    core = frozenset({Capability.SET_TAGS, Capability.RENAME, Capability.CHECKS_TAGS})

    def __init__(
        self,
        client: http.Http,
        *,
        source: credentials.Source,
        authorizer: oauth.CredentialAuthorizer,
        base_domain: domain.BaseDomain | None = None,
    ) -> None:
        super().__init__(client, source=source, authorizer=authorizer)
        self._domain = base_domain or domain.BaseDomain()
        self.login_server = client.base_url
        self.name = serverinfo.name_of(client.base_url)

    @override
    def to_device(self, wire: v2.WireDevice) -> Device:
        last_seen = words.parse_time(wire.lastSeen)
        name = words.first_label(wire.name)
        return Device(
            id=DeviceId(wire.nodeId),
            name=name,
            hostname=wire.hostname,
            fqdn=self._domain.complete(name),
            addresses=words.sort_addresses(wire.addresses),
            tags=tuple(sorted(wire.tags or ())),
            online=last_seen is None,
            last_seen=last_seen,
            created=words.parse_time(wire.created),
            user=None if wire.tags else wire.user or None,
            advertised_routes=words.sort_routes(wire.advertisedRoutes),
            enabled_routes=words.sort_routes(wire.enabledRoutes),
        )

    @override
    async def list_nameservers(self) -> tuple[Nameserver, ...] | None:
        return None  # they stand in the server's file

    @override
    def learn_fqdn(self, fqdn: str) -> None:
        self._domain.learn(fqdn)

    @override
    async def find_capabilities(self) -> frozenset[Capability]:
        found = {capability for capability, scope in SCOPES.items() if self.may(scope)}
        if Capability.POLICY_WRITE in found and await self._policy_is_a_file():
            found.discard(Capability.POLICY_WRITE)
        return frozenset(found)

    async def _policy_is_a_file(self) -> bool:
        try:
            settings = await self._client.fetch(calls.Call(method="GET", route=v2.SETTINGS), WireSettings)
        except errors.TailraceError:
            return False  # then a write will say so
        return settings.aclsExternallyManagedOn

    @override
    async def find_version(self) -> str | None:
        return await serverinfo.find_version(self._client)
