"""What every simulated controller stands on: a view of one kind by namespace, and a queue that forgets repetitions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import structlog

from tailrace.sandbox.kubernetes.status import ApiError
from tailrace.sandbox.kubernetes.storage import Change, Key, Kind, Store

log = structlog.get_logger(__name__)

Doc = dict[str, Any]
_BATCH = 20  # keys in one turn of the loop, so that requests are answered in between
_RETRY = (0.2, 1.0, 5.0, 15.0)


class View:
    """The objects of one kind, by namespace and by the uid of the controller that owns them."""

    def __init__(self, store: Store, kind: Kind) -> None:
        self._by_namespace: dict[str, dict[Key, Doc]] = {}
        self._by_owner: dict[str, dict[Key, Doc]] = {}
        for key, stored in store.all(kind).items():
            self._put(key, stored.doc)
        store.listen(kind, self._learn)

    def get(self, key: Key) -> Doc | None:
        return self._by_namespace.get(key[0], {}).get(key)

    def within(self, namespace: str) -> list[Doc]:
        return list(self._by_namespace.get(namespace, {}).values())

    def owned_by(self, uid: str) -> list[Doc]:
        return list(self._by_owner.get(uid, {}).values())

    def __iter__(self) -> Iterator[Doc]:
        return (doc for docs in list(self._by_namespace.values()) for doc in list(docs.values()))

    def _learn(self, change: Change) -> None:
        if change.old is not None:
            _take(self._by_owner, owner_uid(change.old.doc), change.key)
        if change.type == "DELETED":
            _take(self._by_namespace, change.key[0], change.key)
        else:
            self._put(change.key, change.new.doc)

    def _put(self, key: Key, doc: Doc) -> None:
        self._by_namespace.setdefault(key[0], {})[key] = doc
        if uid := owner_uid(doc):
            self._by_owner.setdefault(uid, {})[key] = doc


def _take(index: dict[str, dict[Key, Doc]], part: str, key: Key) -> None:
    """Out of an index, together with a part that holds nothing more."""
    found = index.get(part, {})
    found.pop(key, None)
    if not found:
        index.pop(part, None)


def owner_uid(doc: Doc) -> str:
    """The uid of the controller that made an object; empty for none."""
    owners = doc["metadata"].get("ownerReferences") or ()
    return next((str(owner["uid"]) for owner in owners if owner.get("controller")), "")


class Loop[K]:
    """Calls `handle` for each key that was added, once however often that was; a failed one again after a while.

    A handler that breaks is a fault of the sandbox: it is logged, and holds up neither other keys nor the world.
    """

    def __init__(self, name: str, handle: Callable[[K], None]) -> None:
        self._name = name
        self._handle = handle
        self._keys: dict[K, None] = {}
        self._failures: dict[K, int] = {}
        self._turn: asyncio.Handle | None = None
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._closed = False

    def add(self, key: K) -> None:
        if self._closed:
            return
        self._keys[key] = None
        if self._turn is None:
            self._turn = asyncio.get_running_loop().call_soon(self._run)

    def add_later(self, key: K, seconds: float) -> None:
        if not self._closed and key not in self._timers:
            self._timers[key] = asyncio.get_running_loop().call_later(seconds, self._due, key)

    def close(self) -> None:
        self._closed = True
        for handle in (self._turn, *self._timers.values()):
            if handle is not None:
                handle.cancel()

    @property
    def idle(self) -> bool:
        return not self._keys and not self._timers

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _run(self) -> None:
        self._turn = None
        for _ in range(min(_BATCH, len(self._keys))):
            key = next(iter(self._keys))
            del self._keys[key]
            try:
                self._handle(key)
            except ApiError as error:
                log.debug("refused, trying again", loop=self._name, key=str(key), error=error.message)
                self._retry(key)
            except Exception:
                log.exception("failed, trying again", loop=self._name, key=str(key))
                self._retry(key)
            else:
                self._failures.pop(key, None)
        if self._keys and not self._closed:
            self._turn = asyncio.get_running_loop().call_soon(self._run)

    def _retry(self, key: K) -> None:
        attempt = self._failures.get(key, 0)
        self._failures[key] = attempt + 1
        self.add_later(key, _RETRY[min(attempt, len(_RETRY) - 1)])
