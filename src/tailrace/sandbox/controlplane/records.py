"""What a tailnet keeps: users, nodes, keys, clients and tokens as frozen values. `model.Tailnet` replaces them."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from tailrace import errors

Dialect = Literal["tailscale", "headscale-0.29", "headscale-0.30"]
ChangeKind = Literal["added", "changed", "deleted"]

ZERO = datetime.min.replace(tzinfo=UTC)
"""Go's zero time, which a pretended node has for its expiry."""


class LoginRefused(errors.TailraceError):
    """The control plane does not let this client in; `str()` is the text that the real client prints."""


class NodeGone(errors.TailraceError):
    """The stored identity is worth nothing any more: the node was deleted or its key expired."""


class Why(enum.Enum):
    """Why the model refuses. Each dialect has its own status code and words for each."""

    UNKNOWN_NODE = "unknown node"
    UNKNOWN_KEY = "unknown key"
    UNKNOWN_USER = "unknown user"
    UNKNOWN_API_KEY = "unknown API key"
    USER_EXISTS = "user exists"
    USER_HAS_NODES = "user has nodes"
    UNKNOWN_REQUEST = "nobody waits to be registered"
    NAME_TAKEN = "name taken"
    NAME_BAD = "bad name"
    ROUTE_BAD = "bad route"
    TAG_BAD = "bad tag"
    TAG_UNKNOWN = "tag unknown to the policy"
    OWNERLESS_KEY = "neither tags nor user"
    POLICY_BAD = "bad policy"
    POLICY_READ_ONLY = "the policy is a file"


class Refused(errors.TailraceError):
    """The model says no. `subject` is the name, tag, or parser's sentence that it is about."""

    def __init__(self, why: Why, subject: str = "") -> None:
        super().__init__(f"{why.value}: {subject}")
        self.why = why
        self.subject = subject


@dataclass(frozen=True, kw_only=True, slots=True)
class User:
    number: int
    name: str
    created: datetime
    display_name: str = ""
    email: str = ""
    picture: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class AuthKey:
    number: int
    id: str
    prefix: str  # what a masked listing shows of the secret
    secret: str = field(repr=False)
    tags: tuple[str, ...]
    reusable: bool
    ephemeral: bool
    preauthorized: bool
    created: datetime
    expires: datetime | None  # None is Headscale's zero time: expired from the first moment
    user: User | None = None
    used: bool = False
    revoked: datetime | None = None
    description: str = ""

    def expired(self, now: datetime) -> bool:
        return self.expires is None or self.expires <= now

    def usable(self, now: datetime) -> bool:
        return self.revoked is None and not self.expired(now) and (self.reusable or not self.used)


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    number: int
    id: str  # what clients get as their stable id: decimal on Headscale, `n...CNTRL` on Tailscale
    legacy_id: str  # Tailscale's older numeric id; the same as `id` on Headscale
    machine_key: str
    node_key: str
    hostname: str  # what the client asked for
    name: str  # the DNS label that it got
    fqdn: str  # without trailing dot
    addresses: tuple[str, ...]  # IPv4 (connectable on loopback), IPv6 (listed only)
    tags: tuple[str, ...]
    created: datetime
    online: bool
    last_seen: datetime
    expiry: datetime | None = None
    authorized: bool = True
    key_number: int | None = None
    user: User | None = None
    advertised: tuple[str, ...] = ()
    approved: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()  # as the client tells them, with ports; Headscale's APIs do not show them
    app_connector: bool = False  # told by the client; no API of a control plane shows it


@dataclass(frozen=True, kw_only=True, slots=True)
class Pretended:
    """A node that waits to be registered, without a client behind it."""

    hostname: str
    machine_key: str
    node_key: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Federated:
    """A workload identity: whose tokens a client takes instead of a secret.

    `verify` checks a token's signature and gives its claims, or None when it is forged. The sandbox's cluster brings its
    own; `tokens.hs256` makes one from a shared secret.
    """

    issuer: str
    subject: str  # may hold `*`
    audience: str
    verify: Callable[[str], Mapping[str, Any] | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Client:
    """An OAuth client."""

    id: str
    secret: str = field(repr=False)
    scopes: tuple[str, ...]
    tags: tuple[str, ...]
    created: datetime
    federated: Federated | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """What a caller may do. `client` is None for an API key, which may do everything."""

    scopes: tuple[str, ...]
    tags: tuple[str, ...]
    client: str | None
    expires: datetime | None = None

    def allows(self, scope: str) -> bool:
        """A write scope implies its `:read`; `all` and `all:read` imply the rest."""
        read = scope.endswith(":read")
        wanted = {scope, "all"} | ({scope.removesuffix(":read"), "all:read"} if read else set())
        return not wanted.isdisjoint(self.scopes)


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey:
    number: int
    prefix: str
    secret: str = field(repr=False)
    created: datetime
    expires: datetime | None
