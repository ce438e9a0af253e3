"""How a client gets an access token: by its secret, or by somebody else's word about it (workload identity)."""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from tailrace.sandbox.controlplane import web
from tailrace.sandbox.controlplane.model import TOKEN_LIFE, Tailnet
from tailrace.sandbox.controlplane.records import Client


@dataclass(frozen=True, slots=True)
class TokenRefused(Exception):
    """`error` is the word of RFC 6749, section 5.2."""

    error: str
    description: str


def grant(tailnet: Tailnet, ask: web.Ask) -> dict[str, Any]:
    """The reply to `POST /oauth/token`: id and secret in the form or as Basic; narrower `scope` and `tags` if asked."""
    form = read_form(ask.raw)
    pair = web.basic_of(ask.headers.get("authorization", ""))
    id_, secret = pair or (form.get("client_id", ""), form.get("client_secret", ""))
    client = tailnet.clients.get(id_)
    if client is None or client.federated or not hmac.compare_digest(client.secret, secret):
        raise TokenRefused("invalid_client", "client authentication failed")
    if form.get("grant_type", "client_credentials") != "client_credentials":
        raise TokenRefused("unsupported_grant_type", "only client_credentials is supported")
    scopes = tuple(form.get("scope", "").split()) or client.scopes
    for scope in scopes:
        if scope not in client.scopes and not _implied(scope, client):
            raise TokenRefused("invalid_scope", f"scope {scope} is not granted to this client")
    tags = tuple(form.get("tags", "").replace(",", " ").split()) or client.tags
    for tag in tags:
        if not tailnet.policy.may_assign(client.tags, tag):
            raise TokenRefused("invalid_target", f"tag {tag} is not granted to this client")
    return _reply(tailnet.add_token(client, scopes=scopes, tags=tags), scopes)


def exchange(tailnet: Tailnet, ask: web.Ask) -> dict[str, Any]:
    """The reply to `POST /oauth/token-exchange`: `client_id` and a `jwt` of the identity that the client trusts."""
    form = read_form(ask.raw)
    client = tailnet.clients.get(form.get("client_id", ""))
    trusted = client.federated if client else None
    if client is None or trusted is None:
        raise TokenRefused("invalid_client", "no such federated identity")
    claims = trusted.verify(form.get("jwt", ""))
    if claims is None:
        raise TokenRefused("invalid_grant", "the token's signature is not valid")
    audiences = claims.get("aud", [])
    if not isinstance(claims.get("exp"), int | float) or claims["exp"] <= tailnet.now().timestamp():
        raise TokenRefused("invalid_grant", "the token is expired, or says no exp")
    if claims.get("iss") != trusted.issuer:
        raise TokenRefused("invalid_grant", "issuer does not match")
    if not fnmatch.fnmatchcase(str(claims.get("sub", "")), trusted.subject):
        raise TokenRefused("invalid_grant", "subject does not match")
    if trusted.audience not in ([audiences] if isinstance(audiences, str) else audiences):
        raise TokenRefused("invalid_grant", "audience does not match")
    return _reply(tailnet.add_token(client), client.scopes)


def read_form(raw: bytes) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(raw.decode(errors="replace")).items()}


def hs256(secret: bytes) -> Callable[[str], Mapping[str, Any] | None]:
    """A verifier of tokens signed with a shared secret. A twin has no need of public keys."""

    def verify(token: str) -> Mapping[str, Any] | None:
        head, _, signature = token.rpartition(".")
        if not hmac.compare_digest(_sign(secret, head), signature):
            return None
        try:
            claims = json.loads(_unbase64(head.partition(".")[2]))
        except (binascii.Error, ValueError):
            return None
        return claims if isinstance(claims, dict) else None

    return verify


def sign_hs256(secret: bytes, claims: Mapping[str, Any]) -> str:
    """A token that `hs256(secret)` takes."""
    head = ".".join(_base64(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    return f"{head}.{_sign(secret, head)}"


def _reply(token: str, scopes: tuple[str, ...]) -> dict[str, Any]:
    return {
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": int(TOKEN_LIFE.total_seconds()),
        "scope": " ".join(scopes),
    }


def _implied(scope: str, client: Client) -> bool:
    return "all" in client.scopes or scope.removesuffix(":read") in client.scopes


def _sign(secret: bytes, text: str) -> str:
    return _base64(hmac.new(secret, text.encode(), hashlib.sha256).digest())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
