"""The store: documents by resource, one monotonic version for all, and the history that watches read.

Stored documents are immutable by agreement: a write puts a new document in place of the old one, so that history,
snapshots and watchers share them without copies. Every document is serialised once and its bytes are shared.

A list that continues at an old version is made by undoing history, so snapshots cost nothing until they are asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Literal

import msgspec

Doc = dict[str, Any]
Kind = tuple[str, str]  # group, resource
Key = tuple[str, str]  # namespace ("" for cluster-wide objects), name
EventType = Literal["ADDED", "MODIFIED", "DELETED"]

_encoder = msgspec.json.Encoder()


class Stored:
    """One version of one object; never changed after it was made."""

    __slots__ = ("_bytes", "doc", "schema", "version")

    def __init__(self, doc: Doc, version: int) -> None:
        self.doc = doc
        self.version = version
        self.schema: object = None  # which last found nothing to change in it
        self._bytes: bytes | None = None

    @property
    def encoded(self) -> bytes:
        if self._bytes is None:
            self._bytes = _encoder.encode(self.doc)
        return self._bytes


class Change:
    """One entry of the history. `new` is the last state for DELETED, with the version of the deletion."""

    __slots__ = ("key", "kind", "new", "old", "type", "version")

    def __init__(self, kind: Kind, key: Key, type_: EventType, new: Stored, old: Stored | None) -> None:
        self.kind = kind
        self.key = key
        self.type = type_
        self.new = new
        self.old = old
        self.version = new.version


Listener = Callable[[Change], None]


class Store:
    """Versions start at 1. `history` bounds how many changes a watch can go back."""

    def __init__(self, history: int) -> None:
        self.version = 1
        self.compacted = 0
        self._limit = history
        self._objects: dict[Kind, dict[Key, Stored]] = {}
        self._history: deque[Change] = deque()
        self._listeners: dict[Kind | None, list[Listener]] = {}

    def get(self, kind: Kind, key: Key) -> Stored | None:
        return self._objects.get(kind, {}).get(key)

    def all(self, kind: Kind) -> dict[Key, Stored]:
        """The live mapping: iterate over a copy when writing meanwhile."""
        return self._objects.get(kind, {})

    def kinds(self) -> list[Kind]:
        return [kind for kind, objects in self._objects.items() if objects]

    def put(self, kind: Kind, key: Key, doc: Doc) -> Stored:
        """Store `doc` under the next version, which is written into its metadata (a new mapping)."""
        objects = self._objects.setdefault(kind, {})
        old = objects.get(key)
        new = self._stamp(doc)
        objects[key] = new
        self._record(Change(kind, key, "MODIFIED" if old else "ADDED", new, old))
        return new

    def remove(self, kind: Kind, key: Key, last: Doc | None = None) -> Stored:
        """Remove the object. `last` is what watchers see instead of the stored state."""
        old = self._objects[kind].pop(key)
        new = self._stamp(old.doc if last is None else last)
        self._record(Change(kind, key, "DELETED", new, old))
        return new

    def listen(self, kind: Kind | None, listener: Listener) -> Callable[[], None]:
        """Call `listener` after each write to `kind` (None: to anything); returns how to stop."""
        listeners = self._listeners.setdefault(kind, [])
        listeners.append(listener)
        return lambda: listeners.remove(listener) if listener in listeners else None

    def since(self, kind: Kind, version: int) -> list[Change]:
        """Changes of `kind` after `version`, oldest first. The caller checks `version >= compacted`."""
        found: list[Change] = []
        for change in reversed(self._history):
            if change.version <= version:
                break
            if change.kind == kind:
                found.append(change)
        found.reverse()
        return found

    def at(self, kind: Kind, version: int) -> dict[Key, Stored]:
        """All objects of `kind` as they were at `version`."""
        if version >= self.version:
            return self._objects.get(kind, {})
        then = dict(self._objects.get(kind, {}))
        for change in reversed(self.since(kind, version)):
            if change.old is None:
                then.pop(change.key, None)
            else:
                then[change.key] = change.old
        return then

    def compact(self) -> None:
        """Forget all history: watches and continued lists from before now are too old."""
        self._history.clear()
        self.compacted = self.version

    def _stamp(self, doc: Doc) -> Stored:
        self.version += 1
        return Stored(
            doc | {"metadata": doc["metadata"] | {"resourceVersion": str(self.version)}}, self.version
        )

    def _record(self, change: Change) -> None:
        self._history.append(change)
        if len(self._history) > self._limit:
            self.compacted = self._history.popleft().version
        for listener in (*self._listeners.get(change.kind, ()), *self._listeners.get(None, ())):
            listener(change)
