"""Speaking as somebody else: the `Impersonate-*` headers, and who may send them.

Place: the HTTP server asks after it knows who sent a request. Two ways lead there: the verb `impersonate`, and since
1.36 a constrained pair, `impersonate:<mode>` of whom and `impersonate-on:<mode>:<verb>` of what is then asked for.
Source: KEP-5284, and `k8s.io/apiserver/pkg/endpoints/filters/impersonation`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from urllib.parse import unquote

from tailrace.sandbox.kubernetes import status
from tailrace.sandbox.kubernetes.access import Access
from tailrace.sandbox.kubernetes.admission import User
from tailrace.sandbox.kubernetes.rbac import Attributes

_GROUP = "authentication.k8s.io"
_EXTRA = b"impersonate-extra-"


def requested(headers: Iterable[tuple[bytes, bytes]]) -> User | None:
    """Whom the headers name, as they name it; None when they name nobody. Raises 400."""
    name = uid = ""
    groups: list[str] = []
    extra: dict[str, tuple[str, ...]] = {}
    for key, raw in headers:
        value = raw.decode("latin-1")
        match key:
            case b"impersonate-user":
                name = value
            case b"impersonate-uid":
                uid = value
            case b"impersonate-group":
                groups.append(value)
            case _ if key.startswith(_EXTRA):
                word = unquote(key.removeprefix(_EXTRA).decode("latin-1"))
                extra[word] = (*extra.get(word, ()), value)
    if not name and (uid or groups or extra):
        shown = f"[]string{{{', '.join(map(json.dumps, groups))}}}" if groups else "[]string(nil)"
        who = f'&user.DefaultInfo{{Name:"", UID:{json.dumps(uid)}, Groups:{shown}, Extra:{_go_map(extra)}}}'
        raise status.bad_request(f"requested {who} without impersonating a user name")
    return User(name=name, uid=uid, groups=tuple(groups), extra=extra) if name else None


def impersonate(access: Access, user: User, wanted: User, asked: Attributes) -> User:
    """Who `user` is from now on. `asked` is the request itself. Raises 403."""
    parts = list(_parts(wanted))
    if not all(access.may(user, replace(part, verb="impersonate")) for part in parts):
        mode = _mode(wanted.name)
        access.check(user, replace(asked, verb=f"impersonate-on:{mode}:{asked.verb}"))
        for part in parts:
            access.check(user, replace(part, verb=f"impersonate:{mode}", group=_GROUP))
    groups = wanted.groups or _own_groups(wanted.name)
    return replace(wanted, groups=(*groups, "system:authenticated"))


def _parts(wanted: User) -> Iterator[Attributes]:
    """Everything that has to be allowed."""
    match wanted.name.split(":"):
        case ["system", "serviceaccount", namespace, name]:
            yield Attributes(verb="", resource="serviceaccounts", namespace=namespace, name=name)
        case _:
            yield Attributes(verb="", resource="users", name=wanted.name)
    for group in wanted.groups:
        yield Attributes(verb="", resource="groups", name=group)
    if wanted.uid:
        yield Attributes(verb="", group=_GROUP, resource="uids", name=wanted.uid)
    for key, values in wanted.extra.items():
        for value in values:
            yield Attributes(verb="", group=_GROUP, resource="userextras", subresource=key, name=value)


def _mode(name: str) -> str:
    if name.startswith("system:serviceaccount:"):
        return "serviceaccount"
    return "arbitrary-node" if name.startswith("system:node:") else "user-info"


def _own_groups(name: str) -> tuple[str, ...]:
    """What a service account belongs to when somebody speaks as it."""
    parts = name.split(":")
    if parts[:2] == ["system", "serviceaccount"] and len(parts) == 4:
        return ("system:serviceaccounts", f"system:serviceaccounts:{parts[2]}")
    return ()


def _go_map(extra: dict[str, tuple[str, ...]]) -> str:
    if not extra:
        return "map[string][]string(nil)"
    entries = (
        f"{json.dumps(key)}:[]string{{{', '.join(map(json.dumps, extra[key]))}}}" for key in sorted(extra)
    )
    return f"map[string][]string{{{', '.join(entries)}}}"
