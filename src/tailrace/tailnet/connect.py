"""From a credential and an address to a `ControlPlane`: which dialect, found out rather than configured.

| credential                                   | server's answer                   | driver          |
| -------------------------------------------- | --------------------------------- | --------------- |
| any, no server named                         |                                   | tailscale       |
| `tskey-…`, workload identity                 |                                   | tailscale       |
| `hskey-client-…`                             |                                   | headscale_v2    |
| other OAuth client                           | `/version` like Headscale's       | headscale_v2    |
|                                              | anything else                     | tailscale       |
| other API key (`hskey-api-…`, `prefix.secret`) | `/api/v2` known                 | headscale_both  |
|                                              | `/api/v2` not known               | headscale_v1    |

Nothing is asked before the first call, so that an operator starts while its control plane is down, and the answer
is kept until the kind of the credential changes.
"""

from __future__ import annotations

import asyncio
import random as chance
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from tailrace import errors
from tailrace.tailnet import (
    credentials,
    delegate,
    domain,
    headscale_both,
    headscale_v1,
    headscale_v2,
    oauth,
    probing,
    replies,
    serverinfo,
    tailscale,
    v2,
)
from tailrace.tailnet.port import Capability, ControlPlane, Probe
from tailrace.wire import call as calls
from tailrace.wire import clock as clocks
from tailrace.wire import http, tls

_EMPTY_PAGE = b"<body></body>"
"""With 200 Headscale 0.28 answers so to every path that it does not know. An intermediary's page says something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """What a connection is made of besides its credential; tests put their own time, chance and transport in."""

    ca_bundle: Path | None = None
    ca_pem: str = ""  # one more, from memory
    options: http.Options = field(default_factory=http.Options)
    observer: http.Observer | None = None
    clock: clocks.Clock = field(default_factory=clocks.SystemClock)
    random: Callable[[], float] = chance.random
    transport: httpx2.AsyncBaseTransport | None = None


def connect(source: credentials.Source, server: str = "", *, wiring: Wiring | None = None) -> Connection:
    """A control plane that finds its dialect with its first call. `server` as `OPERATOR_LOGIN_SERVER`: "" is
    Tailscale's own."""
    return Connection(source, server.rstrip("/"), wiring or Wiring())


class Connection(delegate.Delegate):
    def __init__(self, source: credentials.Source, server: str, wiring: Wiring) -> None:
        self._source = source
        self._server = server
        self._domain = domain.BaseDomain()
        self._wiring = wiring
        self._finding = asyncio.Lock()
        self._driver: ControlPlane | None = None
        self._kind: type[credentials.Credential] | None = None
        self._clients: list[http.Http] = []

    @property
    def name(self) -> str:
        if self._driver is not None:
            return self._driver.name
        return f"the control plane at {urlsplit(self._server).hostname}" if self._server else "Tailscale"

    @property
    def login_server(self) -> str:
        return self._server or tailscale.LOGIN_SERVER

    def has(self, capability: Capability) -> bool:
        """Before the first call nothing is known and nothing is promised."""
        return self._driver is not None and self._driver.has(capability)

    def learn_fqdn(self, fqdn: str) -> None:
        self._domain.learn(fqdn)

    async def inner(self) -> ControlPlane:
        async with self._finding:
            return await self._current()

    async def probe(self) -> Probe:
        try:
            driver = await self.inner()
        except errors.TailraceError as error:
            return probing.build_probe(
                dialect="unknown",
                server=self.login_server,
                version=None,
                identity=credentials.identify(self._source),
                capabilities=frozenset(),
                outcomes=(error,),
            )
        return await driver.probe()

    async def close(self) -> None:
        while self._clients:
            await self._clients.pop().close()

    async def _current(self) -> ControlPlane:
        await self._source.prepare()
        credential = self._source.read()
        if self._driver is None or type(credential) is not self._kind:
            # Clients of a former driver stay open until the end: calls may be under way on them.
            self._driver, self._kind = await self._find(credential), type(credential)
        return self._driver

    async def _find(self, credential: credentials.Credential) -> ControlPlane:
        authorizer = oauth.CredentialAuthorizer(self._source)
        if (is_tailscale := guess(credential, self._server)) is None:
            is_tailscale = not await self._is_headscale()
        if is_tailscale:
            client = self._client(self._server or tailscale.API_SERVER, authorizer, replies.explain)
            return tailscale.Tailscale(
                client, source=self._source, authorizer=authorizer, login_server=self.login_server
            )
        client = self._client(self._server, authorizer, headscale_v1.explain)
        modern = headscale_v2.HeadscaleV2(
            client, source=self._source, authorizer=authorizer, base_domain=self._domain
        )
        if not isinstance(credential, credentials.ApiKey):
            return modern
        classic = headscale_v1.HeadscaleV1(
            client, source=self._source, base_domain=self._domain, clock=self._wiring.clock
        )
        return headscale_both.HeadscaleBoth(classic, modern) if await self._knows_v2(authorizer) else classic

    async def _is_headscale(self) -> bool:
        return await self._ask(serverinfo.VERSION, None) is None

    async def _knows_v2(self, authorizer: oauth.CredentialAuthorizer) -> bool:
        """A refusal is knowledge too; only a 404 is not. But an ingress that has lost its backend says 404 to
        everything, so first it must show itself as a Headscale."""
        if (error := await self._ask(serverinfo.VERSION, None)) is not None:
            raise errors.Transient(f"{self._server} does not answer as a Headscale would: {error}") from error
        return not isinstance(await self._ask(v2.KEYS, authorizer), errors.NotFound)

    async def _ask(
        self, route: str, authorizer: oauth.CredentialAuthorizer | None
    ) -> errors.TailraceError | None:
        """What a GET is answered, told apart by status alone. Raises when nobody answers, or says what cannot be
        about a GET: that is an intermediary's word, and a dialect that it chose would stay."""
        client = self._client(self._server, authorizer, None)
        call = calls.Call(method="GET", route=route, anonymous=authorizer is None)
        try:
            reply = await client.send(call)
            if _EMPTY_PAGE in reply.body:
                return errors.NotFound(f"{self._server} has no {route}.")
            reply.decode(dict)
        except errors.Transient:
            raise
        except (errors.Conflict, errors.Expired) as error:
            raise errors.Transient(f"{self._server} does not tell what it is: {error}") from error
        except errors.TailraceError as error:
            return error
        finally:
            self._clients.remove(client)
            await client.close()
        return None

    def _client(
        self, server: str, authorizer: oauth.CredentialAuthorizer | None, translate: http.Translate | None
    ) -> http.Http:
        wiring = self._wiring
        client = http.Http(
            server,
            authorizer=authorizer,
            translate=translate,
            tls=tls.build_context(wiring.ca_bundle, ca_pem=wiring.ca_pem)
            if server.startswith("https:")
            else None,
            options=wiring.options,
            clock=wiring.clock,
            random=wiring.random,
            observer=wiring.observer,
            transport=wiring.transport,
        )
        self._clients.append(client)
        return client


def guess(credential: credentials.Credential, server: str) -> bool | None:
    """Is it Tailscale? What credential and address tell by themselves, None when the server must be asked."""
    if not server:
        return True
    match credential:
        case credentials.WorkloadIdentity():
            return True
        case credentials.OAuthClient(secret=secret):
            return True if secret.startswith("tskey-") else False if secret.startswith("hskey-") else None
        case credentials.ApiKey(value=value):
            return value.startswith("tskey-")
