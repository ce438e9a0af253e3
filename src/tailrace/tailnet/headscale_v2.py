"""Headscale from 0.30 on with an OAuth client: the v2 API, and only that (v1 answers its tokens with 401).

Where it differs from Tailscale (seen on a real server): a device's `name` is the bare label, there is no word
about being connected except that `lastSeen` is absent, `id` and `nodeId` are the same decimal, and a refusal names
the scope that is missing.
"""

from __future__ import annotations

from typing import override

from tailrace.tailnet import credentials, domain, oauth, serverinfo, v2, words
from tailrace.tailnet.port import Nameserver
from tailrace.wire import http


class HeadscaleV2(v2.Plane):
    dialect = "headscale-v2"

    def __init__(
        self,
        client: http.Http,
        *,
        source: credentials.Source,
        authorizer: oauth.CredentialAuthorizer,
        base_domain: domain.BaseDomain,
    ) -> None:
        super().__init__(client, source=source, authorizer=authorizer)
        self._domain = base_domain
        self.login_server = client.base_url
        self.name = serverinfo.name_of(client.base_url)

    @override
    def complete(self, name: str) -> str | None:
        return self._domain.complete(words.first_label(name))

    @override
    async def list_nameservers(self) -> tuple[Nameserver, ...] | None:
        return None  # they stand in the server's file

    @override
    def learn_fqdn(self, fqdn: str) -> None:
        self._domain.learn(fqdn)

    @override
    async def find_version(self) -> str | None:
        return await serverinfo.find_version(self._client)
