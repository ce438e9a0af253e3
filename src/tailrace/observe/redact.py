"""What a secret looks like, told once: takes it out of a text before a person, a log, an event or an exception sees it.

Pure. Every text that comes from a server, every text of an exception of the HTTP library, every field of a log line and
every message of an Event goes through here. What it cannot know is a secret without a shape (an OAuth `client_secret`
in prose); fields that are named like secrets are therefore blanked whatever they hold.
"""

from __future__ import annotations

import re
from typing import Any

MASK = "***"

_KEYS = re.compile(
    # tskey-auth-<id>-<secret>, tskey-client-…, hskey-oauthtok-…, private parts of node keys. The kind stays readable.
    r"\b(?P<kind>(?:tskey|hskey)-(?:[a-z]+-)?)[A-Za-z0-9._\-]+"
    r"|\b(?P<private>(?:privkey|tlpriv|nodekey|mkey):)[0-9A-Fa-f]+",
    re.IGNORECASE,
)
_AUTHORIZATION = re.compile(
    r"\b(?P<scheme>bearer|basic)(?P<gap>[\s:=]+)(?!\*)[A-Za-z0-9+/=._~\-]+", re.IGNORECASE
)
_JWT = re.compile(r"\beyJ[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]+(?:\.[A-Za-z0-9_\-]*)?")
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_FIELDS = re.compile(
    # "authKey": "…"  authkey=…  client_secret='…'  access_token: …   (JSON also when escaped inside JSON)
    r"(?P<name>\b(?:auth_?key|client_?(?:secret|assertion)|access_?token|refresh_?token|id_?token|api_?key"
    r"|password|secret|jwt)\b)(?P<sep>\\?[\"']?\s*[:=]\s*)"
    r"(?:(?P<quote>\\?[\"'])(?:\\.|(?!(?P=quote)).)*(?P=quote)|[^\s\"',;&}\]]+)",
    re.IGNORECASE | re.DOTALL,
)
_USERINFO = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.\-]*://)[^\s/@]+@", re.IGNORECASE)
_SECRET_FIELD = re.compile(
    r"auth[-_]?key$|api[-_]?key$|secret(?![-_]?name)|password|token$|^authorization$|private[-_]?key",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """`text` with everything that is shaped or named like one of our secrets replaced by `***`."""
    text = _PEM.sub(MASK, text)
    text = _USERINFO.sub(lambda m: f"{m['scheme']}{MASK}@", text)
    text = _AUTHORIZATION.sub(lambda m: f"{m['scheme']}{m['gap']}{MASK}", text)
    text = _KEYS.sub(lambda m: f"{m['kind'] or m['private']}{MASK}", text)
    text = _JWT.sub(MASK, text)
    return _FIELDS.sub(lambda m: f"{m['name']}{m['sep']}{m['quote'] or ''}{MASK}{m['quote'] or ''}", text)


def redact_value(name: str, value: Any) -> Any:
    """A log field: hidden whole when its name says secret, searched when it is text, walked when it is a collection."""
    if _SECRET_FIELD.search(name) and isinstance(value, str | bytes):
        return MASK
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
