"""Takes out of a text whatever looks like a secret of ours; the last net under logs, errors and events."""

from __future__ import annotations

import re
from typing import Any

HIDDEN = "[redacted]"

_SECRETS = re.compile(
    r"""
    \b(?:tskey|hskey|nodekey|privkey|mkey)[-:][A-Za-z0-9_:.-]+   # Tailscale and Headscale keys
    | \beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*        # JSON web tokens
    | (?<=[Bb]earer\s)[A-Za-z0-9._~+/=-]{8,}
    | (?<=[Bb]asic\s)[A-Za-z0-9+/=]{8,}
    | (?:(?<=client_secret=)|(?<=client_assertion=)|(?<=access_token=)|(?<=refresh_token=))[^&\s"']+
    | -----BEGIN\ [A-Z ]*PRIVATE\ KEY-----.*?(?:-----END\ [A-Z ]*PRIVATE\ KEY-----|\Z)
    """,
    re.VERBOSE | re.DOTALL,
)
_SECRET_FIELD = re.compile(
    r"auth[-_]?key$|api[-_]?key$|secret(?![-_]?name)|password|token$|^authorization$|private[-_]?key",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """The text with every key, token and private key replaced."""
    return _SECRETS.sub(HIDDEN, text)


def redact_value(name: str, value: Any) -> Any:
    """A log field: hidden whole when its name says secret, searched when it is text, walked when it is a collection."""
    if _SECRET_FIELD.search(name) and isinstance(value, str | bytes):
        return HIDDEN
    match value:
        case str():
            return redact(value)
        case bytes():
            return redact(value.decode(errors="replace"))
        case dict():
            return {key: redact_value(str(key), item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [redact_value("", item) for item in value]
        case BaseException():
            return redact(repr(value))
        case _:
            return value
