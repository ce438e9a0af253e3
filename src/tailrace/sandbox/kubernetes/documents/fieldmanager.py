"""Who owns which field: server-side apply, and `metadata.managedFields` through every other write.

Place: `cluster` calls `apply` for apply patches and `update_managed` for create, update and the other patches, with
normalised documents (defaults filled), and spends no resourceVersion when the result equals what is stored. Before an
apply it takes out of `applied` what the endpoint does not write (`status` on the main one).

Source: Kubernetes' "Server-Side Apply" page; what it leaves open was seen on a real server.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Final

from tailrace.sandbox.kubernetes.documents import fieldset
from tailrace.sandbox.kubernetes.documents.fieldset import Path, Paths
from tailrace.sandbox.kubernetes.documents.schema import Schema

Doc = dict[str, Any]

LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
BEFORE_FIRST_APPLY: Final = "before-first-apply"
ANCIENT: Final = "ancient-changes"
MOST_UPDATERS: Final = 10
KUBECTL: Final = "kubectl"
_SYSTEM = (
    "creationTimestamp",
    "generation",
    "managedFields",
    "name",
    "namespace",
    "resourceVersion",
    "selfLink",
    "uid",
)
_NEVER_OWNED: Final[frozenset[Path]] = frozenset(
    {("f:apiVersion",), ("f:kind",), ("f:metadata",), *(("f:metadata", "f:" + name) for name in _SYSTEM)}
)


@dataclass(frozen=True, slots=True, order=True)
class Manager:
    """One owner. An applier is the same whatever version it applies; an updater is one for each version."""

    operation: str
    name: str
    api_version: str
    subresource: str


@dataclass(frozen=True, slots=True)
class Owned:
    """`entry` is how it is stored, when it is and nothing changed."""

    paths: Paths
    api_version: str
    time: str
    entry: Mapping[str, Any] | None = field(default=None, compare=False)


Managed = dict[Manager, Owned]


@dataclass(frozen=True, slots=True)
class Clash:
    manager: Manager
    owned: Owned
    path: Path

    def who(self) -> str:
        text = json.dumps(self.manager.name)
        if self.manager.subresource:
            text += f" with subresource {json.dumps(self.manager.subresource)}"
        if self.manager.operation == "Update":
            text += f" using {self.owned.api_version}"
        return text


class ApplyConflict(Exception):
    """Other managers own fields that would change: 409 `Conflict` with one `FieldManagerConflict` cause for each."""

    def __init__(self, clashes: list[Clash]) -> None:
        self.clashes = clashes
        self.message = _word(clashes)
        super().__init__(self.message)

    @property
    def causes(self) -> list[dict[str, str]]:
        return [
            {
                "reason": "FieldManagerConflict",
                "message": f"conflict with {c.who()}",
                "field": fieldset.show(c.path),
            }
            for c in self.clashes
        ]


def _word(clashes: list[Clash]) -> str:
    if len(clashes) == 1:
        return f"Apply failed with 1 conflict: conflict with {clashes[0].who()}: {fieldset.show(clashes[0].path)}"
    lines: list[str] = []
    for who in sorted({c.who() for c in clashes}):
        lines += [
            f"conflicts with {who}:",
            *(f"- {fieldset.show(c.path)}" for c in clashes if c.who() == who),
        ]
    return f"Apply failed with {len(clashes)} conflicts: " + "\n".join(lines)


def apply(
    live: Doc | None,
    applied: Doc,
    *,
    manager: str,
    force: bool,
    schema: Schema,
    api_version: str,
    subresource: str = "",
    now: str,
    fill: Callable[[Doc], Doc] | None = None,
) -> Doc:
    """What the object becomes when `manager` applies `applied`; `live` itself when nothing changes.

    `fill` gives the kind's defaults to the result: they have no owner, and without them an atomic list would seem to
    change each time. Raises ApplyConflict unless `force`. `now` is RFC 3339 in seconds.
    """
    managed = _tracked_before_apply(live, schema, api_version)
    before = _unmanaged(live) if live is not None else {}
    who = Manager("Apply", manager, "", subresource)
    config = _unmanaged(applied)
    written = fieldset.field_set(schema, config)
    mine = _ownable(written, schema, subresource)
    merged = _prune(_merge(schema, before, config), schema, managed, who, written)
    changes = fieldset.compare(schema, before, merged)
    clashes = _clashes(changes, managed, who)
    if clashes and not force:
        allowed = _handed_over(before, schema) if manager == KUBECTL else frozenset()
        if refused := [c for c in clashes if c.path not in allowed]:
            raise ApplyConflict(refused)
    after = _take(managed, who, changes)
    previous = managed.get(who)
    time = now if merged != before else previous.time if previous else ""  # it tells when the object changed
    after.pop(who, None)
    if mine:
        after[who] = Owned(mine, api_version, time)
    if manager == KUBECTL and LAST_APPLIED in _annotations(merged):
        merged = _with_last_applied(merged, config)
    return settle(live, _with_managed(fill(merged) if fill else merged, after))


def update_managed(
    old: Doc | None,
    new: Doc,
    *,
    manager: str,
    schema: Schema,
    api_version: str,
    operation: str = "Update",
    subresource: str = "",
    now: str,
) -> Doc:
    """`new` with ownership moved to `manager` for what differs from `old` (None: it is being created).

    A client may set managedFields itself, but not through a subresource; `[{}]` gives all ownership up, and nothing
    is tracked then until the next apply. An empty list changes nothing.
    """
    given = _entries(new) if not subresource else []
    stored = _entries(old) if old is not None else []
    managed = _decode(given or stored)
    plain = _unmanaged(new)
    if given == [{}] or (old is not None and not managed):
        return plain
    base = _unmanaged(old) if old is not None else _empty(schema)
    changes = fieldset.compare(schema, base, plain)
    who = Manager(operation, manager, api_version, subresource)
    after = _take(managed, who, changes)
    gained = _ownable(changes.added | changes.modified, schema, subresource)
    previous = managed.get(who)
    paths = ((previous.paths if previous else frozenset()) - changes.removed) | gained
    if previous and paths == previous.paths and not gained:
        after[who] = previous
    elif paths:
        time = now if gained or previous is None else previous.time
        after[who] = Owned(frozenset(paths), api_version, time)
    else:
        after.pop(who, None)
    return settle(old, _with_managed(plain, _capped(after)))


# What a write does to the others -------------------------------------------------------------------------------


def _ownable(paths: AbstractSet[Path], schema: Schema, subresource: str) -> Paths:
    """Without what the server writes itself, and without what this endpoint does not write."""
    status = schema.properties.get("status")
    if subresource == "status":
        other = "f:spec"
    else:
        other = "f:status" if status is not None and status.by_value and not subresource else ""
    return frozenset(path for path in paths - _NEVER_OWNED if path[0] != other)


def _take(managed: Managed, who: Manager, changes: fieldset.Changes) -> Managed:
    """The other managers without what was written or removed under them."""
    gone = changes.added | changes.modified | changes.removed
    if not gone:
        return dict(managed)
    left: Managed = {}
    for other, owned in managed.items():
        paths = owned.paths if other == who else owned.paths - gone
        if paths:
            left[other] = owned if paths == owned.paths else Owned(paths, owned.api_version, owned.time)
    return left


def _clashes(changes: fieldset.Changes, managed: Managed, who: Manager) -> list[Clash]:
    written = changes.added | changes.modified
    return [
        Clash(other, owned, path)
        for other, owned in sorted(managed.items(), key=lambda pair: pair[0])
        if other != who
        for path in sorted(owned.paths & written, key=fieldset.reading_order)
    ]


def _prune(merged: Doc, schema: Schema, managed: Managed, who: Manager, written: Paths) -> Doc:
    """Without what the manager applied last time and now does not, unless somebody else owns it."""
    last = managed.get(who)
    if last is None or last.paths <= written:
        return merged
    others = frozenset().union(*(owned.paths for other, owned in managed.items() if other != who))
    kept = fieldset.with_structs(schema, written | others)
    dropped = fieldset.with_structs(schema, last.paths) - kept
    left = fieldset.remove(schema, merged, dropped)
    return left if isinstance(left, dict) else {}


def _handed_over(live: Doc, schema: Schema) -> Paths:
    """Fields that client-side `kubectl apply` wrote and that still are as it wrote them: kubectl may take them."""
    try:
        last = json.loads(_annotations(live).get(LAST_APPLIED, ""))
    except ValueError:
        return frozenset()
    if not isinstance(last, dict):
        return frozenset()
    changes = fieldset.compare(schema, last, live)
    return fieldset.field_set(schema, last) - changes.modified - changes.added - changes.removed


def _with_last_applied(merged: Doc, config: Doc) -> Doc:
    """kubectl's annotation kept true, so that a later client-side apply starts from what was applied."""
    text = json.dumps(config, separators=(",", ":"), sort_keys=True) + "\n"
    notes = {**_annotations(merged), LAST_APPLIED: text}
    return {**merged, "metadata": {**merged["metadata"], "annotations": notes}}


# Merging -------------------------------------------------------------------------------------------------------


def _merge(schema: Schema, live: Any, config: Any) -> Any:
    """The config over the live value, in the live order where it is associative."""
    if not fieldset.is_branch(schema, config) or type(live) is not type(config):
        return config
    if isinstance(config, dict):
        out = dict(live)
        for key, value in config.items():
            if value is None:
                out.pop(key, None)
            else:
                out[key] = _merge(schema.child(key), live[key], value) if key in live else value
        return out
    return _merge_items(schema, live, config)


def _merge_items(schema: Schema, live: list[Any], config: list[Any]) -> list[Any]:
    """Items of both sides: the config's order rules, what only the live list has stays where it was among it."""
    below = schema.element()
    left = [(fieldset.element_of(schema, item), item) for item in live]
    right = [(fieldset.element_of(schema, item), item) for item in config]
    have, want = dict(left), dict(right)
    shared = iter([element for element, _ in right if element in have])
    upcoming = next(shared, None)
    taken: set[str] = set()
    out: list[Any] = []
    i = j = 0
    while i < len(left) or j < len(right):
        if i < len(left):
            element, item = left[i]
            if element not in want:
                out.append(item)
                i += 1
                continue
            due = j < len(right) and element == right[j][0]
            if not due and (element in taken or element != upcoming):
                i += 1  # its turn comes, or came, in the config's order
                continue
        element, item = right[j]
        out.append(_merge(below, have[element], item) if element in have else item)
        taken.add(element)
        if i < len(left) and left[i][0] == element:
            i += 1
        if element == upcoming:
            upcoming = next(shared, None)
        j += 1
    return out


# The entries of managedFields ----------------------------------------------------------------------------------


def _tracked_before_apply(live: Doc | None, schema: Schema, api_version: str) -> Managed:
    """The owners; an object that was never tracked belongs, all of it, to `before-first-apply`."""
    if live is None:
        return {}
    managed = _decode(_entries(live))
    if managed:
        return managed
    changes = fieldset.compare(schema, _empty(schema), _unmanaged(live))
    name = Manager("Update", BEFORE_FIRST_APPLY, api_version, "")
    paths = frozenset(changes.added | changes.modified) - _NEVER_OWNED
    return {name: Owned(paths, api_version, "")} if paths else {}


def _decode(entries: list[Mapping[str, Any]]) -> Managed:
    managed: Managed = {}
    for entry in entries:
        if not entry:
            continue
        operation, version = entry.get("operation", ""), entry.get("apiVersion", "")
        key = "" if operation == "Apply" else version
        who = Manager(operation, entry.get("manager", ""), key, entry.get("subresource", ""))
        tree = entry.get("fieldsV1") or {}
        stored = entry if isinstance(tree, fieldset.Tree) else None
        managed[who] = Owned(fieldset.from_tree(tree), version, entry.get("time", ""), stored)
    return managed


def _with_managed(doc: Doc, managed: Managed) -> Doc:
    entries = [
        _entry(who, owned)
        for who, owned in sorted(
            managed.items(), key=lambda p: (p[0].operation, p[1].time, p[0].name, p[0].subresource)
        )
    ]
    meta = {**doc.get("metadata", {}), "managedFields": entries} if entries else doc.get("metadata", {})
    return {**doc, "metadata": meta}


def _entry(who: Manager, owned: Owned) -> Mapping[str, Any]:
    return owned.entry or {
        "manager": who.name,
        "operation": who.operation,
        "apiVersion": owned.api_version,
        **({"time": owned.time} if owned.time else {}),
        "fieldsType": "FieldsV1",
        "fieldsV1": fieldset.as_tree(owned.paths),
        **({"subresource": who.subresource} if who.subresource else {}),
    }


def _capped(managed: Managed) -> Managed:
    """At most ten updaters by name: the oldest become one, for each version."""
    updaters = sorted((w for w in managed if w.operation == "Update"), key=lambda w: managed[w].time)
    surplus = len(updaters) - MOST_UPDATERS
    if surplus <= 0:
        return managed
    left = dict(managed)
    for who in updaters[: surplus + 1]:
        owned = left.pop(who)
        bucket = Manager("Update", ANCIENT, who.api_version, "")
        merged = left[bucket].paths | owned.paths if bucket in left else owned.paths
        left[bucket] = Owned(merged, owned.api_version, owned.time)
    return left


def settle(live: Doc | None, result: Doc) -> Doc:
    """`live` itself when the result differs from it in nothing but the times of its managers."""
    if live is None or _unmanaged(live) != _unmanaged(result):
        return result
    before, after = _entries(live), _entries(result)
    if [_timeless(e) for e in before] == [_timeless(e) for e in after]:
        return live
    return result


def _timeless(entry: Mapping[str, Any]) -> Doc:
    return {key: value for key, value in entry.items() if key != "time"}


def _entries(doc: Doc) -> list[Mapping[str, Any]]:
    return list(doc.get("metadata", {}).get("managedFields") or [])


def _annotations(doc: Doc) -> Mapping[str, str]:
    return doc.get("metadata", {}).get("annotations") or {}


def _unmanaged(doc: Doc) -> Doc:
    meta = doc.get("metadata", {})
    if "managedFields" not in meta:
        return doc
    return {**doc, "metadata": {key: value for key, value in meta.items() if key != "managedFields"}}


def _empty(schema: Schema) -> Doc:
    """A new object before anything was written: what the server's type holds by value, and required fields as zero."""
    parts = {name: _empty(below) for name, below in schema.properties.items() if below.by_value}
    lists: Doc = {name: [] for name in schema.required if schema.child(name).type == "array"}
    zeros = {
        name: below.default for name, below in schema.properties.items() if below.default in (0, "", False)
    }
    return {**zeros, **lists, **parts}
