"""What the cluster looks like, as the watches tell it: objects by key and by index, and what changed.

A store never goes back: of two versions of an object the newer one stays, and the answer of our own write is known
at once (`note_write`), so that nobody acts on something older than what we wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tailrace.api.kube import Object
from tailrace.kube.reflector import Advanced, Change, Dropped, Put, Replaced, Undecodable
from tailrace.kube.resource import Key, Resource, key_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Event[T: Object]:
    """One change. `old` None: it is new; `new` None: it is gone. `initial`: part of a first or repeated list."""

    old: T | None
    new: T | None
    initial: bool = False

    @property
    def obj(self) -> T:
        """Whichever there is, the newer one first."""
        found = self.new if self.new is not None else self.old
        assert found is not None
        return found


type Listener[T: Object] = Callable[[Event[T]], None]
type Indexer[T: Object] = Callable[[T], Iterable[str]]


class Store[T: Object]:
    """Objects of one resource. Not thread-safe: it lives in one event loop."""

    def __init__(self, resource: Resource[T]) -> None:
        self.resource = resource
        self.synced = False
        self._objects: dict[Key, T] = {}
        self._indexers: dict[str, Indexer[T]] = {}
        self._indexes: dict[str, dict[str, set[Key]]] = {}
        self._listeners: list[Listener[T]] = []
        self._deleted: dict[
            Key, int
        ] = {}  # version of a deletion, so that a late event does not bring it back

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, namespace: str, name: str) -> T | None:
        return self._objects.get(Key(namespace, name))

    def list(self) -> tuple[T, ...]:
        return tuple(self._objects.values())

    def add_index(self, name: str, indexer: Indexer[T]) -> None:
        """Keep objects findable by the values that `indexer` gives; to be called before the first sync."""
        assert not self._objects
        self._indexers[name] = indexer
        self._indexes[name] = {}

    def by_index(self, name: str, value: str) -> tuple[T, ...]:
        """Objects with that value, by key."""
        return tuple(self._objects[key] for key in sorted(self._indexes[name].get(value, ())))

    def on_event(self, listener: Listener[T]) -> None:
        self._listeners.append(listener)

    def note_write(self, obj: T) -> None:
        """The answer to a write of ours, which may come before or after its watch event. One that says that the
        object is being deleted without anything to wait for is left to the watch."""
        self._put(obj, initial=False)

    def receive(self, change: Change[T]) -> None:
        """Take what the reflector tells."""
        match change:
            case Put(obj=obj):
                self._put(obj, initial=False)
            case Dropped(key=key, version=version):
                self._drop(key, read_version(version), initial=False)
            case Replaced():
                self._replace(change)
            case Advanced() | Undecodable():
                pass

    def _replace(self, whole: Replaced[T]) -> None:
        """The list is the truth as of its version: what it lacks is gone, unless we wrote it later."""
        version = read_version(whole.version)
        listed = {key_of(obj) for obj in whole.objects} | whole.unread
        for obj in whole.objects:
            self._put(obj, initial=True)
        for key, obj in tuple(self._objects.items()):
            if key not in listed and read_version(obj.metadata.resourceVersion) <= version:
                self._drop(key, version, initial=True)
        self._deleted.clear()
        self.synced = True

    def _put(self, obj: T, *, initial: bool) -> None:
        key, version = key_of(obj), read_version(obj.metadata.resourceVersion)
        old = self._objects.get(key)
        if old is not None and read_version(old.metadata.resourceVersion) >= version:
            return
        if self._deleted.get(key, -1) >= version:
            return
        self._deleted.pop(key, None)
        self._unindex(key, old)
        self._objects[key] = obj
        for name, indexer in self._indexers.items():
            for value in indexer(obj):
                self._indexes[name].setdefault(value, set()).add(key)
        self._tell(Event(old=old, new=obj, initial=initial))

    def _drop(self, key: Key, version: int, *, initial: bool) -> None:
        old = self._objects.get(key)
        if old is None or read_version(old.metadata.resourceVersion) > version:
            return
        del self._objects[key]
        self._deleted[key] = version
        if len(self._deleted) > 10_000:
            self._deleted.pop(next(iter(self._deleted)))
        self._unindex(key, old)
        self._tell(Event(old=old, new=None, initial=initial))

    def _unindex(self, key: Key, old: T | None) -> None:
        if old is None:
            return
        for name, indexer in self._indexers.items():
            index = self._indexes[name]
            for value in indexer(old):
                keys = index.get(value)
                if keys is not None:
                    keys.discard(key)
                    if not keys:
                        del index[value]

    def _tell(self, event: Event[T]) -> None:
        for listener in self._listeners:
            listener(event)


def read_version(text: str) -> int:
    """A resourceVersion as a number: they are ordered within a resource; anything else counts as oldest."""
    return int(text) if text.isdigit() else 0
