"""How much of a server's reply an error may quote; what a secret looks like is told in `observe.redact`. Pure."""

from __future__ import annotations

from tailrace.observe.redact import redact as redact

EXCERPT = 300
"""How much of a reply's text an error may quote, in characters."""


def excerpt(text: str | bytes, limit: int = EXCERPT) -> str:
    """One line of at most `limit` characters that may be shown: redacted first, then cut.

    The order matters: a secret that is cut in half would no longer look like one.
    """
    if isinstance(text, bytes):
        text = text[: 16 * limit].decode("utf-8", "replace")
    line = " ".join(redact(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
