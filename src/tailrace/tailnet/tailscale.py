"""Tailscale itself: what it means and can do beyond the common v2.

Facts: Tailscale's published OpenAPI. Names come whole (`app.tail1234.ts.net`), `connectedToControl` says who is
online, an access token says what it may do.
"""

from __future__ import annotations

from typing import override

import msgspec

from tailrace import errors
from tailrace.tailnet import credentials, oauth, v2
from tailrace.tailnet.port import Nameserver
from tailrace.wire import call as calls
from tailrace.wire import http

LOGIN_SERVER = "https://controlplane.tailscale.com"
API_SERVER = "https://api.tailscale.com"

DNS = "/api/v2/tailnet/-/dns/configuration"
DNS_SCOPE = "dns:read"


class WireResolver(msgspec.Struct):
    address: str


class WireDns(msgspec.Struct):
    nameservers: list[WireResolver] | None = None
    splitDNS: dict[str, list[WireResolver] | None] | None = None


class Tailscale(v2.Plane):
    dialect = "tailscale"
    name = "Tailscale"

    def __init__(
        self,
        client: http.Http,
        *,
        source: credentials.Source,
        authorizer: oauth.CredentialAuthorizer,
        login_server: str = LOGIN_SERVER,
    ) -> None:
        super().__init__(client, source=source, authorizer=authorizer)
        self.login_server = login_server

    @override
    def complete(self, name: str) -> str | None:
        fqdn = name.rstrip(".")
        return fqdn if "." in fqdn else None

    @override
    async def list_nameservers(self) -> tuple[Nameserver, ...]:
        try:
            found = await self._client.fetch(calls.Call(method="GET", route=DNS), WireDns)
        except credentials.Unauthenticated:
            raise
        except errors.Denied as error:  # in words that name no scope
            raise errors.Denied(f"{error} (it needs the scope {DNS_SCOPE})", missing=DNS_SCOPE) from error
        resolvers = {"": found.nameservers, **(found.splitDNS or {})}
        return tuple(
            Nameserver(address=resolver.address, domain=domain)
            for domain, listed in resolvers.items()
            for resolver in listed or ()
        )

    @override
    def learn_fqdn(self, fqdn: str) -> None:
        """Nothing to learn: names come whole."""

    @override
    async def find_version(self) -> str | None:
        return None  # a service has none
