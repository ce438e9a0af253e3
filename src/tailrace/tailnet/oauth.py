"""From a credential to an Authorization header: a flow of calls and replies, without sockets.

| credential         | flow                                                                                   |
| ------------------ | -------------------------------------------------------------------------------------- |
| API key            | none: `Bearer <key>`; after a 401 whatever is written now                              |
| OAuth client       | `POST /api/v2/oauth/token` (form: client_id, client_secret), reused until near expiry  |
| workload identity  | `POST /api/v2/oauth/token-exchange` (form: client_id, jwt), likewise                   |

A token is renewed ahead of its end, on a changed credential, and once after a 401. A renewal that fails while
the old token still lives is no fault: the old one is used and the renewal tried again with the next call.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from tailrace import errors
from tailrace.tailnet import credentials, replies
from tailrace.wire import call as calls
from tailrace.wire import redact

TOKEN = "/api/v2/oauth/token"
TOKEN_EXCHANGE = "/api/v2/oauth/token-exchange"


class TokenReply(msgspec.Struct):
    access_token: str
    expires_in: float = 3600.0
    scope: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    header: str = field(repr=False)
    credential: credentials.Credential
    renew_at: float
    expires_at: float


class CredentialAuthorizer:
    """`wire.call.Authorizer` for whatever credential the source holds at the time of a call."""

    def __init__(self, source: credentials.Source) -> None:
        self._source = source
        self._token: _Token | None = None
        self.granted: frozenset[str] | None = None  # scopes of the last token; None where nobody tells

    def authorize(self, *, now: float, refused: str | None = None) -> calls.Flow:
        credential = self._source.read()
        if isinstance(credential, credentials.ApiKey):
            self.granted = None
            return f"Bearer {credential.value}"
        token = self._token
        usable = token is not None and token.credential == credential and token.header != refused
        if token is not None and usable and now < token.renew_at:
            return token.header
        call = build_token_call(credential)
        try:
            reply = yield call
            self._token = self._accept(credential, call, reply, now)
        except errors.Transient:
            if token is None or not usable or now >= token.expires_at:
                raise
            return token.header
        return self._token.header

    def _accept(
        self, credential: credentials.Credential, call: calls.Call, reply: calls.Reply, now: float
    ) -> _Token:
        if reply.status != 200:
            raise explain_refusal(credential, call, reply)
        answer = reply.decode(TokenReply)
        self.granted = frozenset(answer.scope.split()) or None
        return _Token(
            header=f"Bearer {answer.access_token}",
            credential=credential,
            renew_at=now + renewal(answer.expires_in),
            expires_at=now + answer.expires_in,
        )


def renewal(lifetime: float) -> float:
    """Seconds after which a token that lives `lifetime` seconds is renewed: a tenth or a minute ahead of its end,
    whichever is more, but never before half of its life."""
    return max(lifetime - max(60.0, lifetime / 10), lifetime / 2, 0.0)


def build_token_call(credential: credentials.OAuthClient | credentials.WorkloadIdentity) -> calls.Call:
    match credential:
        case credentials.OAuthClient(id=client, secret=secret):
            route = TOKEN
            form = {"grant_type": "client_credentials", "client_id": client, "client_secret": secret}
        case credentials.WorkloadIdentity(id=client, token=token):
            route, form = TOKEN_EXCHANGE, {"client_id": client, "jwt": token}
    return calls.Call(method="POST", route=route, form=form, anonymous=True, repeatable=True)


def explain_refusal(
    credential: credentials.Credential, call: calls.Call, reply: calls.Reply
) -> errors.TailraceError:
    message = replies.read_message(reply) or "no message"
    said = redact.excerpt(f"{message} ({call.method} {call.route}: {reply.status})")
    match reply.status:
        case 404 | 405 | 501:
            return credentials.Unauthenticated(
                f"This control plane gives no tokens, so {credential.identity} is of no use here "
                "(Headscale does from 0.30 on, and only to OAuth clients): give it an API key."
            )
        case 429:
            return errors.RateLimited(f"Asked for too many tokens: {said}", after=5.0)
        case status if status >= 500 or status == 408:
            return errors.Transient(f"No token for {credential.identity}: {said}")
        case _:
            return credentials.Unauthenticated(f"No token for {credential.identity}: {said}")
