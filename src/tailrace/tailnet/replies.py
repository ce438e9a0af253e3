"""What control planes say when they refuse: one reader for all their ways to say it.

| who                       | body                                                                     |
| ------------------------- | ------------------------------------------------------------------------ |
| Headscale to 0.29, v1     | `{"code": 5, "message": "node not found", "details": []}`                 |
| Headscale to 0.29, 401    | the plain text `Unauthorized`                                             |
| Headscale 0.30, v1        | `{"title", "status", "detail", "errors": [{"message", "location"}]}`      |
| Headscale 0.30, v2        | `{"message", "status", "data": [{"errors": [...]}]}`                      |
| Tailscale                 | `{"message", "status"?, "data"?: [{"user", "errors": [...]}]}`            |
| any OAuth token endpoint  | `{"error", "error_description"}` (RFC 6749)                               |
| a proxy in between        | HTML                                                                      |
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from tailrace import errors
from tailrace.tailnet import credentials
from tailrace.wire import call as calls
from tailrace.wire import http, redact

_SCOPE = re.compile(r"missing the required scope[s]? [\"']?([a-z_]+(?::[a-z_]+)*)")
_TAG = re.compile(r"\btag:[A-Za-z0-9-]+")
_TAKEN = re.compile(r"not unique|already (?:exists|in use|taken)|unique constraint", re.IGNORECASE)
_TAG_REFUSED = re.compile(
    r"may not assign tag|not permitted to (?:use|assign) tag|not owned by", re.IGNORECASE
)


def read_message(reply: calls.Reply) -> str:
    """What the server said, in one redacted line; "" when it said nothing."""
    try:
        body = msgspec.json.decode(reply.body)
    except msgspec.DecodeError:
        return "" if reply.body.lstrip()[:1] == b"<" else reply.text
    if not isinstance(body, dict):
        return reply.text
    parts = [body.get("message") or body.get("detail") or body.get("error_description") or body.get("title")]
    parts += [body.get("error")] if not body.get("message") else []
    parts += [_detail(entry) for entry in _entries(body.get("errors"))]
    for entry in _entries(body.get("data")):
        parts += [_detail(one) for one in _entries(entry.get("errors") if isinstance(entry, dict) else None)]
    said = [part for part in dict.fromkeys(parts) if isinstance(part, str) and part]
    return redact.excerpt("; ".join(said))


def explain(client: http.Http, call: calls.Call, reply: calls.Reply) -> errors.TailraceError:
    """The error of a reply with a status of 400 and more, for every dialect."""
    message = read_message(reply)
    said = f"{message or 'no message'} ({call.method} {call.route}: {reply.status})"
    if reply.status == 401:
        return credentials.Unauthenticated(f"The control plane does not know our credentials: {said}")
    if reply.status == 403:
        scope, tag = _SCOPE.search(message), _TAG.search(message)
        return errors.Denied(
            f"The control plane does not allow it: {said}",
            missing=scope[1] if scope else tag[0] if tag else None,
        )
    if reply.status == 404 and not _is_object(reply):
        # An ingress without a backend says 404 too. Believing it would forget devices that are alive.
        return errors.Transient(f"Nothing answers as a control plane would: {said}")
    if reply.status in (400, 500) and _TAKEN.search(message):
        return errors.Conflict(said)
    if reply.status == 400 and _TAG_REFUSED.search(message):
        tag = _TAG.search(message)
        return errors.Denied(f"The control plane does not allow it: {said}", missing=tag[0] if tag else None)
    return client.explain(call, reply, message)


def _is_object(reply: calls.Reply) -> bool:
    try:
        return isinstance(msgspec.json.decode(reply.body), dict)
    except msgspec.DecodeError:
        return False


def _entries(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _detail(entry: Any) -> str | None:
    if not isinstance(entry, dict):
        return entry if isinstance(entry, str) else None
    message, location = entry.get("message"), entry.get("location")
    return f"{message} at {location}" if location else message
