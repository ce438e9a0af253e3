"""What a Headscale tells to anybody: that it is one, and what it calls itself.

The version is for people only: a build of the main branch calls itself `dev`.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

from tailrace import errors
from tailrace.wire import call as calls
from tailrace.wire import http

VERSION = "/version"


class WireVersion(msgspec.Struct):
    version: str
    commit: str = ""


async def find_version(client: http.Http) -> str | None:
    """The version, or None where nobody says one (Headscale before 0.27, or no Headscale at all)."""
    call = calls.Call(method="GET", route=VERSION, anonymous=True)
    try:
        return (await client.fetch(call, WireVersion)).version
    except errors.TailraceError:
        return None


def name_of(server: str) -> str:
    parts = urlsplit(server)
    return f"Headscale at {parts.hostname or server}"
