"""What is sent and what comes back, as values: drivers and authorisation flows are tested with these alone."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import quote

import msgspec

from tailrace import errors
from tailrace.wire import redact

_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request. Bodies are no part of the repr: they may hold secrets."""

    method: str
    route: str  # path template, e.g. "/api/v2/device/{id}": a metric label, so it never holds an id
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: object | None = field(default=None, repr=False)
    form: Mapping[str, str] | None = field(default=None, repr=False)
    repeatable: bool | None = None  # None: as the method says (RFC 9110, 9.2.2)
    anonymous: bool = False  # sent without authorisation
    refusal: str = "InternalError"  # the reason of a `Terminal`, should the server refuse this for good

    @property
    def may_repeat(self) -> bool:
        return self.method in _IDEMPOTENT if self.repeatable is None else self.repeatable

    @property
    def target(self) -> str:
        """The path with its ids filled in and quoted."""
        return self.route.format(**{name: quote(value, safe="") for name, value in self.path.items()})

    @property
    def content(self) -> bytes | None:
        return None if self.json is None else msgspec.json.encode(self.json)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    status: int
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # names in lower case

    def decode[T](self, shape: type[T]) -> T:
        """The body as `shape`. Not JSON, or JSON of another shape, is most often a proxy's page or a server of
        another version in between: `Transient`, so that the object recovers by itself once that is mended."""
        try:
            return msgspec.json.decode(self.body, type=shape)
        except msgspec.ValidationError as cause:
            raise errors.Transient(
                f"The server's answer has another shape than expected: {cause}."
            ) from cause
        except msgspec.DecodeError as cause:
            said = redact.excerpt(self.body, 80)
            raise errors.Transient(f"The server answered something that is not JSON: “{said}”.") from cause

    @property
    def text(self) -> str:
        """The body as one line that may be shown."""
        return redact.excerpt(self.body)


type Flow = Generator[Call, Reply, str]
"""Yields the calls that are needed, is sent their replies (of any status), returns an Authorization value.

A call that got no reply is thrown into the flow as `Transient`."""


class Authorizer(Protocol):
    def authorize(self, *, now: float, refused: str | None = None) -> Flow:
        """Begin to find the Authorization value for a call made at `now` (monotonic seconds).

        `refused` is the value that the server has just answered with 401: find another, or return the same one
        to say that there is none. Flows of one authorizer never run side by side.
        """
