"""Lists and watches: pages of one consistent snapshot, and streams that go on from a version.

Source of the semantics: "Kubernetes API Concepts", sections on resource versions, chunking and streaming lists.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import msgspec

from tailrace.sandbox.kubernetes import status
from tailrace.sandbox.kubernetes.core import Core
from tailrace.sandbox.kubernetes.documents import selectors
from tailrace.sandbox.kubernetes.documents.selectors import Predicate
from tailrace.sandbox.kubernetes.resources import Resource
from tailrace.sandbox.kubernetes.storage import Change, Key, Store, Stored

_TOO_OLD_PAGE = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list "
    "without the continue parameter, or use the continue token in this response to retrieve the remainder of the "
    "results. Continuing with the provided token results in an inconsistent list - objects that were created, "
    "modified, or deleted between the time the first chunk was returned and now may show up in the list."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """What a list or a watch is about."""

    resource: Resource
    namespace: str = ""  # "" is everywhere
    labels: str = ""
    fields: str = ""
    name: str = ""  # for a watch of one object through its own path

    def predicate(self) -> Predicate | None:
        """Raises 400 for a selector that cannot be read."""
        crd_fields = (self.resource.crd_version or {}).get("selectableFields") or ()
        extra = [str(f["jsonPath"]).lstrip(".") for f in crd_fields]
        by_field = selectors.fields(self.fields, self.resource.group, self.resource.resource, extra)
        return selectors.both(selectors.labels(self.labels), by_field)

    def covers(self, key: Key) -> bool:
        return (not self.namespace or key[0] == self.namespace) and (not self.name or key[1] == self.name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    items: list[Stored]
    version: int
    token: str = ""  # to go on with
    remaining: int | None = None


class Reader:
    def __init__(self, core: Core) -> None:
        self._store = core.store
        self._read = core.read

    def page(
        self, wanted: Selection, *, limit: int = 0, token: str = "", version: str = "", match: str = ""
    ) -> Page:
        """One page. Raises 400 for what cannot be read, 410 for what is too old, 504 for what is not yet."""
        predicate = wanted.predicate()
        after: Key | None = None
        at = self._store.version
        if token:
            if version and version != "0":
                raise status.bad_request("specifying resource version is not allowed when using continue")
            at, after = self._read_token(token)
        elif version and version != "0":
            asked = self._parse_version(version, "invalid resource version: ")
            if asked > self._store.version:
                raise status.too_large_version(asked, self._store.version)
            if match == "Exact" or (limit and not match):
                at = self._check_age(asked)
        found = (
            (key, self._read(wanted.resource, stored))
            for key, stored in sorted(self._store.at(wanted.resource.storage, at).items())
            if (after is None or key > after) and wanted.covers(key)
        )
        kept = [(key, stored) for key, stored in found if predicate is None or predicate(stored.doc)]
        if limit <= 0 or len(kept) <= limit:
            return Page(items=[stored for _, stored in kept], version=at)
        return Page(
            items=[stored for _, stored in kept[:limit]],
            version=at,
            token=_write_token(at, kept[limit - 1][0]),
            remaining=None if predicate else len(kept) - limit,
        )

    def watch(
        self,
        wanted: Selection,
        *,
        version: str = "",
        initial: bool = False,
        bookmarks: bool = False,
    ) -> Watch:
        """A stream of events. Raises as `page`; what is too old is told inside the stream."""
        predicate = wanted.predicate()
        asked = self._parse_version(version) if version else 0
        if asked > self._store.version:
            raise status.too_large_version(asked, self._store.version)
        feed = Watch(wanted, predicate, self._store, partial(self._read, wanted.resource))
        if initial or not asked:
            existing = sorted(self._store.all(wanted.resource.storage).items())
            found = [self._read(wanted.resource, stored) for key, stored in existing if wanted.covers(key)]
            feed.begin([stored for stored in found if predicate is None or predicate(stored.doc)])
            if initial and bookmarks:
                feed.bookmark(initial_end=True)
        elif asked < self._store.compacted:
            feed.fail(status.expired(f"too old resource version: {asked} ({self._store.compacted})"))
            return feed
        else:
            for change in self._store.since(wanted.resource.storage, asked):
                feed.take(change)
        feed.attach(self._store.listen(wanted.resource.storage, feed.take))
        return feed

    def check_version(self, version: str) -> None:
        """Of a single object that shall be no older. Raises 500 for what cannot be read, 504 for what is not yet."""
        if version and (asked := self._parse_version(version)) > self._store.version:
            raise status.too_large_version(asked, self._store.version)

    def _parse_version(self, text: str, prefix: str = "") -> int:
        """Raises 400; 500 without a `prefix`, as a server does where nobody turns the error into an answer."""
        if not text.isdigit():
            shown = msgspec.json.encode(text).decode()
            why = f"strconv.ParseUint: parsing {shown}: invalid syntax"
            message = f"{prefix}resourceVersion: Invalid value: {shown}: {why}"
            raise status.bad_request(message) if prefix else status.ApiError(500, "", message)
        return int(text)

    def _check_age(self, version: int) -> int:
        if version < self._store.compacted:
            raise status.expired(
                f"The resourceVersion for the provided list is too old: {version} ({self._store.compacted})"
            )
        return version

    def _read_token(self, token: str) -> tuple[int, Key]:
        try:
            found = msgspec.json.decode(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
            version, key = int(found["rv"]), (str(found["start"][0]), str(found["start"][1]))
        except (binascii.Error, msgspec.DecodeError, KeyError, IndexError, TypeError, ValueError):
            text = "invalid continue token: continue key is not valid: it was not made by this server"
            raise status.bad_request(text) from None
        if version == -1:  # an inconsistent rest was asked for
            return self._store.version, key
        if version < self._store.compacted:
            raise status.expired(_TOO_OLD_PAGE, metadata={"continue": _write_token(-1, key)})
        return version, key


def _write_token(version: int, key: Key) -> str:
    text = msgspec.json.encode({"v": "meta.k8s.io/v1", "rv": version, "start": list(key)})
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class Event:
    """`object` is a stored object, a bookmark's document, or the Status of an error that ends the stream."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
    object: Stored | dict[str, Any]


class Watch:
    """One stream: an async iterator of lists of events, each what came since the last. Close it when done."""

    def __init__(
        self,
        wanted: Selection,
        predicate: Predicate | None,
        store: Store,
        read: Callable[[Stored], Stored],
    ) -> None:
        self._wanted = wanted
        self._predicate = predicate
        self._read = read
        self._events: deque[Event] = deque()
        self._wake = asyncio.Event()
        self._ended = False
        self._detach: Callable[[], None] = lambda: None
        self._store = store

    def attach(self, detach: Callable[[], None]) -> None:
        self._detach = detach

    def begin(self, existing: list[Stored]) -> None:
        self._events.extend(Event("ADDED", stored) for stored in existing)
        self._wake.set()

    def take(self, change: Change) -> None:
        if self._wanted.covers(change.key) and (event := self._judge(change)):
            self._events.append(event)
            self._wake.set()

    def _judge(self, change: Change) -> Event | None:
        """An object that begins or ceases to match appears or disappears."""
        if self._predicate is None:
            return Event(change.type, self._read(change.new))
        before = change.old is not None and self._predicate(change.old.doc)
        now = change.type != "DELETED" and self._predicate(change.new.doc)
        if now:
            return Event("MODIFIED" if before else "ADDED", self._read(change.new))
        if not before or change.old is None:
            return None
        if change.type == "DELETED":
            return Event("DELETED", change.new)
        last = change.old.doc | {
            "metadata": change.old.doc["metadata"] | {"resourceVersion": str(change.version)}
        }
        return Event("DELETED", Stored(last, change.version))

    def bookmark(self, *, initial_end: bool = False) -> None:
        """Tell how far this stream is: up to now, since writes reach it at once."""
        metadata: dict[str, Any] = {"resourceVersion": str(self._store.version)}
        if initial_end:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        resource = self._wanted.resource
        doc = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        self._events.append(Event("BOOKMARK", doc))
        self._wake.set()

    def fail(self, error: status.ApiError) -> None:
        """End the stream with an error."""
        self._events.append(Event("ERROR", error.status()))
        self.close()

    def close(self) -> None:
        """No more events; those that wait are still delivered."""
        self._detach()
        self._ended = True
        self._wake.set()

    def drain(self) -> Iterator[Event]:
        while self._events:
            yield self._events.popleft()

    async def __aiter__(self) -> AsyncIterator[list[Event]]:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if events := list(self.drain()):
                yield events
            if self._ended and not self._events:
                return
