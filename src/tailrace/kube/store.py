"""A live copy of one resource, with indexes: what reconciles read instead of asking the API server.

A watch fills it; our own writes are noted in it, so that no decision is made on something older than what we wrote.
Resource versions of one resource are compared as whole numbers (guaranteed since Kubernetes 1.35, true before).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tailrace.api.kube import Object
from tailrace.kube.reflector import Advanced, Change, Dropped, Put, Replaced, Undecodable
from tailrace.kube.resource import Key, key_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Event[T: Object]:
    """What happened to one object; `old` None: it is new, `new` None: it is gone. `initial`: part of a first list."""

    old: T | None
    new: T | None
    initial: bool = False

    @property
    def obj(self) -> T:
        """The object as it is, or as it last was."""
        obj = self.new if self.new is not None else self.old
        assert obj is not None  # an event is about something
        return obj

    @property
    def key(self) -> Key:
        return key_of(self.obj)


class Index[T: Object]:
    """Which objects have a value. `read` is pure: it is asked again for an object's old values."""

    def __init__(self, read: Callable[[T], Iterable[str]]) -> None:
        self._read = read
        self._keys: dict[str, dict[Key, None]] = {}

    def find(self, value: str) -> Iterable[Key]:
        return self._keys.get(value, ())

    def update(self, key: Key, old: T | None, new: T | None) -> None:
        before = set(self._read(old)) if old is not None else set()
        after = set(self._read(new)) if new is not None else set()
        for value in before - after:
            keys = self._keys[value]
            del keys[key]
            if not keys:
                del self._keys[value]
        for value in after - before:
            self._keys.setdefault(value, {})[key] = None


class Store[T: Object]:
    """Objects by key. Not for threads: everything happens on the event loop, and no method waits."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self._objects: dict[Key, T] = {}
        self._indexes: dict[str, Index[T]] = {}
        self._callbacks: list[Callable[[Event[T]], None]] = []
        self._written: dict[Key, int] = {}  # versions of our own writes that the watch has not shown yet
        self._seen = 0  # how far the watch has come
        self._synced = asyncio.Event()
        self.absent = False
        """The cluster does not know the kind at all."""

    def __len__(self) -> int:
        return len(self._objects)

    @property
    def synced(self) -> bool:
        """Whether the whole truth was there once."""
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        await self._synced.wait()

    def get(self, namespace: str, name: str) -> T | None:
        return self._objects.get(Key(namespace, name))

    def list(self) -> tuple[T, ...]:
        return tuple(self._objects.values())

    def by_index(self, index: str, value: str) -> tuple[T, ...]:
        """The objects for which the index's function gave `value`, in order of their keys."""
        return tuple(self._objects[key] for key in sorted(self._indexes[index].find(value)))

    def add_index(self, name: str, read: Callable[[T], Iterable[str]]) -> None:
        """Add an index; what is already here is indexed at once."""
        index = self._indexes[name] = Index(read)
        for key, obj in self._objects.items():
            index.update(key, None, obj)

    def on_event(self, callback: Callable[[Event[T]], None]) -> None:
        """Tell `callback` of every change, after the store has it. It must neither wait nor raise."""
        self._callbacks.append(callback)

    def note_write(self, obj: T) -> None:
        """Take the API server's answer to our own write at once; what the watch shows later but is older is ignored.

        Only for objects that the watch's selector covers. An answer that the watch has already overtaken changes
        nothing: it may be of an object that is gone by now.
        """
        key, version = key_of(obj), _number(obj.metadata.resourceVersion)
        if version <= max(self._seen, self._version_of(key)):
            return
        self._written[key] = version
        self._set(key, obj)

    def apply(self, change: Change[T]) -> None:
        """Take what the reflector tells, in its order."""
        match change:
            case Replaced():
                self._replace(change)
            case Put(obj=obj):
                version = _number(obj.metadata.resourceVersion)
                self._seen = max(self._seen, version)
                if self._covers(key_of(obj), version):
                    self._set(key_of(obj), obj)
            case Dropped(key=key, version=version):
                self._seen = max(self._seen, _number(version))
                if self._covers(key, _number(version)):
                    self._set(key, None)
            case Advanced(version=version):
                self._seen = max(self._seen, _number(version))
            case Undecodable():
                pass  # what is known of it stays

    def _replace(self, whole: Replaced[T]) -> None:
        version, initial = _number(whole.version), not self.synced
        self._seen = version  # even backwards: a restored cluster counts anew
        fresh = {key_of(obj): obj for obj in whole.objects}
        gone = [key for key in self._objects if key not in fresh and key not in whole.unread]
        for key in gone:
            if self._covers(key, version):
                self._set(key, None)
        for key, obj in fresh.items():
            if self._covers(key, version):
                self._set(key, obj, initial=initial)
        self._synced.set()

    def _covers(self, key: Key, version: int) -> bool:
        """Whether news of `version` counts, or is older than what we wrote ourselves."""
        written = self._written.get(key)
        if written is not None and version < written:
            return False
        self._written.pop(key, None)
        return True

    def _version_of(self, key: Key) -> int:
        known = self._objects.get(key)
        return _number(known.metadata.resourceVersion) if known is not None else 0

    def _set(self, key: Key, new: T | None, *, initial: bool = False) -> None:
        old = self._objects.get(key)
        if new is None and old is None:
            return
        if new is not None and old is not None and _same(old, new):
            return
        for index in self._indexes.values():
            index.update(key, old, new)
        if new is None:
            del self._objects[key]
        else:
            self._objects[key] = new
        event = Event(old=old, new=new, initial=initial)
        for callback in self._callbacks:
            callback(event)


def _same[T: Object](old: T, new: T) -> bool:
    version = new.metadata.resourceVersion
    return bool(version) and version == old.metadata.resourceVersion and new.metadata.uid == old.metadata.uid


def _number(version: str) -> int:
    return int(version) if version.isascii() and version.isdigit() else 0
