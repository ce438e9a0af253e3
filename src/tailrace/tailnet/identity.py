"""Who we are to a control plane, and what the keys of a Secret ask for: values and rules, no IO.

Values are trimmed: a Secret made with `echo` ends in a newline, and the official operator's silence about it has cost
people hours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tailrace import errors


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthClient:
    """Client credentials (Tailscale; Headscale from 0.30)."""

    id: str
    secret: str = field(repr=False)

    @property
    def identity(self) -> str:
        return f"OAuth client {self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadIdentity:
    """A service account token that the control plane exchanges for an access token (Tailscale)."""

    id: str
    token: str = field(repr=False)

    @property
    def identity(self) -> str:
        return f"federated identity {self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A Headscale API key or a Tailscale API token: may do everything."""

    value: str = field(repr=False)

    @property
    def identity(self) -> str:
        """Its kind and public prefix: `<kind>-<prefix>-<secret>`, in old Headscales `<prefix>.<secret>`."""
        parts = self.value.split("-")
        if len(parts) >= 4 and parts[0] in ("tskey", "hskey"):
            return f"API key {'-'.join(parts[:2])}-{parts[2]}…"
        prefix, dot, _ = self.value.partition(".")
        return f"API key {prefix}…" if dot else "API key"


type Credential = OAuthClient | WorkloadIdentity | ApiKey


class Unauthenticated(errors.Denied):
    """We are nobody to the control plane: nothing to show, or what we show is not known. (A plain `Denied` is
    somebody who may not.)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Federation:
    """As which client a service account token for `audience` is exchanged."""

    id: str
    audience: str

    @property
    def identity(self) -> str:
        return f"federated identity {self.id}"


type Written = OAuthClient | Federation | ApiKey
"""What the keys of a Secret ask for."""


def choose_keys(keys: Mapping[str, str | bytes], *, where: str) -> Written:
    """What the keys of a Secret ask for: `api_key`, or `client_id` with `audience` or `client_secret`; the audience
    wins over the secret. Raises `Unauthenticated` in the official operator's words when they are not complete."""
    found = {name: trim(value) for name, value in keys.items()}
    if not any(found.values()):
        raise Unauthenticated(f"{where} is empty")
    if key := found.get("api_key"):
        return ApiKey(value=key)
    if not (client := found.get("client_id")):
        raise Unauthenticated(f"{where} is missing the client_id field")
    if audience := found.get("audience"):
        return Federation(id=client, audience=audience)
    if secret := found.get("client_secret"):
        return OAuthClient(id=client, secret=secret)
    raise Unauthenticated(f"{where} must contain either a client_secret or an audience field")


def trim(value: str | bytes) -> str:
    return (value.decode("utf-8", "replace") if isinstance(value, bytes) else value).strip()
