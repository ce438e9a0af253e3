"""Take secrets out of text before a person, a log, an event or an exception sees it.

Pure. Every text that comes from a server, and every text of an exception of the HTTP library, goes through
`redact` on its way out of an edge. What it cannot know is a secret without a shape (an OAuth `client_secret` in
prose); fields that are named like secrets are therefore blanked whatever they hold.
"""

from __future__ import annotations

import re

MASK = "***"

EXCERPT = 300
"""How much of a reply's text an error may quote, in characters."""

_KEYS = re.compile(
    # tskey-auth-<id>-<secret>, tskey-client-…, hskey-oauthtok-…, nodekey private parts. The kind stays readable.
    r"\b(?P<kind>(?:tskey|hskey)-(?:[a-z]+-)?)[A-Za-z0-9._\-]+"
    r"|\b(?P<private>privkey:|tlpriv:)[0-9A-Fa-f]+",
    re.IGNORECASE,
)
_AUTHORIZATION = re.compile(
    r"\b(?P<scheme>bearer|basic)(?P<gap>[\s:=]+)(?!\*)[A-Za-z0-9+/=._~\-]+", re.IGNORECASE
)
_JWT = re.compile(r"\beyJ[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]+(?:\.[A-Za-z0-9_\-]*)?")
_FIELDS = re.compile(
    # "authKey": "…"  authkey=…  client_secret='…'  access_token: …   (JSON also when escaped inside JSON)
    r"(?P<name>\b(?:auth_?key|client_?secret|access_?token|refresh_?token|id_?token|api_?key|password|secret|jwt)\b)"
    r"(?P<sep>\\?[\"']?\s*[:=]\s*)"
    r"(?:(?P<quote>\\?[\"'])(?:\\.|(?!(?P=quote)).)*(?P=quote)|[^\s\"',;&}\]]+)",
    re.IGNORECASE | re.DOTALL,
)
_USERINFO = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.\-]*://)[^\s/@]+@", re.IGNORECASE)


def redact(text: str) -> str:
    """`text` with everything that is shaped or named like one of our secrets replaced by `***`."""
    text = _USERINFO.sub(lambda m: f"{m['scheme']}{MASK}@", text)
    text = _AUTHORIZATION.sub(lambda m: f"{m['scheme']}{m['gap']}{MASK}", text)
    text = _KEYS.sub(lambda m: f"{m['kind'] or m['private']}{MASK}", text)
    text = _JWT.sub(MASK, text)
    return _FIELDS.sub(lambda m: f"{m['name']}{m['sep']}{m['quote'] or ''}{MASK}{m['quote'] or ''}", text)


def excerpt(text: str | bytes, limit: int = EXCERPT) -> str:
    """One line of at most `limit` characters that may be shown: redacted first, then cut.

    The order matters: a secret that is cut in half would no longer look like one.
    """
    if isinstance(text, bytes):
        text = text[: 16 * limit].decode("utf-8", "replace")
    line = " ".join(redact(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
