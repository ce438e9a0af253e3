"""Answers of the API server that mean failure, turned into the errors of the engine. Pure.

Protocol facts: Kubernetes API conventions, "Response Status Kind".
"""

from __future__ import annotations

import re

import msgspec

from tailrace.errors import (
    Conflict,
    Denied,
    Expired,
    NotFound,
    RateLimited,
    TailraceError,
    Terminal,
    Transient,
)
from tailrace.wire.redact import redact

MESSAGE_LIMIT = 2_000
_ROLES_MISSING = re.compile(r": RBAC: .*role\S* \"[^\"]+\" not found", re.S)


class StatusDetails(msgspec.Struct):
    retryAfterSeconds: int = 0


class Status(msgspec.Struct):
    """The server's `Status` object, of which every field may be missing."""

    code: int = 0
    message: str = ""
    details: StatusDetails | None = None


class Silent(Transient):
    """A watch said nothing for longer than the server's bookmark interval: a dead stream."""


def decode_status(body: bytes) -> Status:
    """The `Status` in a body; an empty one when the body is something else (a proxy's HTML page, for example)."""
    try:
        return msgspec.json.decode(body, type=Status)
    except msgspec.MsgspecError:
        return Status()


def build_error(code: int, status: Status, *, request: str, retry_after: str = "") -> TailraceError:
    """The error for an HTTP status.

    Args:
        code: HTTP status of the answer, or the code inside an ERROR event.
        status: what the server said; its message is passed on as it is, since people search for those words.
        request: what was asked, for answers without a message, such as `get Service default/web`.
        retry_after: the `Retry-After` header; Kubernetes sends whole seconds.
    """
    message = redact(status.message)[:MESSAGE_LIMIT] or f"The API server answered {code} to: {request}."
    after = _seconds(retry_after, status)
    match code:
        case 403 if _ROLES_MISSING.search(message):
            return Transient(message)  # a server that has just begun to listen has not read its roles yet
        case 401 | 403:
            return Denied(message)
        case 404:
            return NotFound(message)
        case 409:
            return Conflict(message)
        case 410:
            return Expired(message)
        case 429:
            return RateLimited(message, after=1.0 if after is None else after)
        case 408:
            return Transient(message)
        case _ if 400 <= code < 500:
            return Terminal(message, reason="Invalid")
        case _ if after is not None:
            return RateLimited(message, after=after)
        case _:
            return Transient(message)


def _seconds(retry_after: str, status: Status) -> float | None:
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    if status.details is not None and status.details.retryAfterSeconds > 0:
        return float(status.details.retryAfterSeconds)
    return None
