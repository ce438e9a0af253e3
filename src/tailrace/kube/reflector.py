"""List and watch as a machine without IO: it says what to ask, reads the answers, and tells what changed.

The driver (`watch`) asks for a `Request`, waits its `pause`, sends it, hands every byte to `receive` (a watch) or every
page to `receive_page` (a list), and reports the end with `ended` or `failed`. Changes go to the store in order.

| state     | asks                                | hears                                   | next, and what the store is told |
| --------- | ----------------------------------- | --------------------------------------- | -------------------------------- |
| STREAMING | watch that begins with all objects  | an object                               | kept aside                       |
|           |                                     | bookmark "initial events end"           | WATCHING · `Replaced`            |
|           |                                     | plain bookmark, 400, 422, silence       | LISTING (the server cannot)      |
|           |                                     | end or failure: once, then again        | STREAMING, then LISTING          |
| LISTING   | page after page                     | a page with a continue token            | LISTING                          |
|           |                                     | the last page                           | WATCHING · `Replaced`            |
|           |                                     | failure, 410 (token too old)            | LISTING from the first page      |
| WATCHING  | watch from the last version         | ADDED, MODIFIED                         | `Put`                            |
|           |                                     | DELETED                                 | `Dropped`                        |
|           |                                     | bookmark                                | `Advanced`                       |
|           |                                     | end, failure, silence                   | WATCHING                         |
|           |                                     | 410, as answer or as ERROR event        | STREAMING or LISTING             |
| any       |                                     | an object that cannot be decoded        | `Undecodable`; the rest goes on  |

Failures in a row make pauses grow; anything heard while watching ends the row. Protocol facts: Kubernetes API
concepts, "Efficient detection of changes" and "Streaming lists".
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from tailrace.api.kube import Object
from tailrace.errors import Expired, RateLimited, TailraceError, Terminal, Transient
from tailrace.kube.resource import PAGE, Key, Page, Resource
from tailrace.kube.status import Silent, Status, build_error

SILENCE = 75.0
"""Seconds; a server sends a bookmark each minute, so a stream that is silent for longer is dead."""

STREAMING_SILENCE = 15.0
"""Seconds; while the initial objects come, a silent server is one that does not know streaming lists."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
LINE_LIMIT = 32 * 1024 * 1024
_INITIAL_END = "k8s.io/initial-events-end"


class State(enum.Enum):
    STREAMING = enum.auto()
    LISTING = enum.auto()
    WATCHING = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to ask next: after `pause` seconds, a watch or a page, given up after `silence` seconds without a byte."""

    watch: bool
    params: dict[str, str]
    pause: float
    silence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced[T: Object]:
    """The whole truth as of `version`. `unread` exist, but could not be decoded: what is known of them stays."""

    objects: tuple[T, ...]
    unread: frozenset[Key]
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Put[T: Object]:
    """An object was made or changed."""

    obj: T


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """An object is gone, or no longer fits the selector."""

    key: Key
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Advanced:
    """Nothing changed up to `version`."""

    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Undecodable:
    """An object was skipped; `key` is empty when not even its name could be read."""

    key: Key
    problem: str


type Change[T: Object] = Replaced[T] | Put[T] | Dropped | Advanced | Undecodable


class HeadMeta(msgspec.Struct, frozen=True, gc=False):
    name: str = ""
    namespace: str = ""
    resourceVersion: str = ""
    annotations: dict[str, str] = {}


class Head(msgspec.Struct, frozen=True, gc=False):
    """What is needed of a bookmark, a deleted object, or one whose rest cannot be read."""

    metadata: HeadMeta = HeadMeta()

    @property
    def key(self) -> Key:
        return Key(self.metadata.namespace, self.metadata.name)


class Envelope(msgspec.Struct, gc=False):
    """A watch event whose object is not read yet: a bookmark has too few fields for most structs."""

    type: str
    object: msgspec.Raw


_read_envelope = msgspec.json.Decoder(Envelope).decode
_read_head = msgspec.json.Decoder(Head).decode
_read_page = msgspec.json.Decoder(Page).decode
_read_status = msgspec.json.Decoder(Status).decode


class Lines:
    """Bytes in, whole lines out. A line may span any number of chunks; no byte is searched twice."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, without their ends; empty lines are left out.

        Raises:
            Transient: a line is longer than any object can be.
        """
        *complete, rest = data.split(b"\n")
        if complete:
            complete[0] = b"".join((*self._parts, complete[0]))
            self._parts, self._size = [], 0
        if rest:
            self._parts.append(rest)
            self._size += len(rest)
        if self._size > LINE_LIMIT:
            raise Transient(f"A watch event is longer than {LINE_LIMIT} bytes.")
        return [line for line in complete if line.strip()]


class _CannotStream(Transient):
    """The server ignores `sendInitialEvents`: an ordinary bookmark came before the end of the initial objects."""


class Reflector[T: Object]:
    """The machine for one resource and selector. `random` gives numbers in [0, 1)."""

    def __init__(
        self, resource: Resource[T], *, random: Callable[[], float], labels: str = "", fields: str = ""
    ) -> None:
        self._decode = msgspec.json.Decoder(resource.type).decode
        self._random = random
        selectors = {"labelSelector": labels, "fieldSelector": fields}
        self._selectors = {name: value for name, value in selectors.items() if value}
        self.state = State.STREAMING
        self.version = ""
        self._can_stream = True  # until the server says otherwise
        self._failures = 0  # in a row
        self._quiet = True  # nothing came since the last request
        self._pause = 0.0
        self._continue = ""
        self._lines = Lines()
        self._aside: dict[Key, T] = {}
        self._unread: set[Key] = set()

    def request(self) -> Request:
        """What to ask now. Each call begins anew: a half-received stream is forgotten."""
        self._lines, self._quiet = Lines(), True
        pause, self._pause = self._pause, 0.0
        if self.state is State.LISTING:
            params = self._selectors | {"limit": str(PAGE)}
            if self._continue:
                params["continue"] = self._continue
            return Request(watch=False, params=params, pause=pause, silence=SILENCE)
        params = self._selectors | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            # Five to ten minutes, so that many watches opened together do not end together.
            "timeoutSeconds": str(int(300 * (1 + self._random()))),
        }
        if self.state is State.WATCHING:
            return Request(
                watch=True, params=params | {"resourceVersion": self.version}, pause=pause, silence=SILENCE
            )
        self._start_over(State.STREAMING)
        params |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        return Request(watch=True, params=params, pause=pause, silence=STREAMING_SILENCE)

    def receive(self, data: bytes) -> Iterator[Change[T]]:
        """Read a chunk of a watch. Changes before a bad line are given before its error is raised.

        Raises:
            Expired: the server says 410 inside the stream.
            TailraceError: another ERROR event, or bytes that are no watch event.
        """
        for line in self._lines.feed(data):
            try:
                event = _read_envelope(line)
            except msgspec.MsgspecError as error:
                raise Transient(f"A watch sent a line that is no event: {error}.") from error
            match event.type:
                case "ADDED" | "MODIFIED":
                    yield from self._receive_object(event.object)
                case "DELETED":
                    yield from self._receive_deleted(event.object)
                case "BOOKMARK":
                    yield from self._receive_bookmark(event.object)
                case "ERROR":
                    raise _read_error(event.object)
                case _:  # A type from the future is not ours to judge.
                    continue

    def receive_page(self, body: bytes) -> list[Change[T]]:
        """Read a page of a list; the last one tells the store the whole truth.

        Raises:
            Transient: the body is no list.
        """
        try:
            page = _read_page(body)
        except msgspec.MsgspecError as error:
            raise Transient(f"A list cannot be read: {error}.") from error
        changes: list[Change[T]] = [change for item in page.items or () for change in self._set_aside(item)]
        self._continue = page.metadata.continue_
        if self._continue:
            return changes
        return [*changes, self._settle(page.metadata.resourceVersion)]

    def ended(self) -> None:
        """The stream or page ended in good order."""
        if (
            self.state is State.STREAMING
        ):  # A server that knows streaming lists does not end before their end.
            self._start_over(State.LISTING)
            self._fail()
        elif (
            self.state is State.WATCHING and self._quiet
        ):  # else a server that hangs up at once is asked at once
            self._fail()

    def failed(self, error: TailraceError) -> None:
        """The request failed, or the stream broke off with `error`."""
        was = self.state
        if isinstance(error, Expired):
            self._start_over(State.STREAMING if self._can_stream else State.LISTING)
        elif was is State.STREAMING:
            if isinstance(error, Terminal | _CannotStream):
                self._can_stream = False
            if isinstance(error, Terminal | _CannotStream | Silent) or self._failures:
                self._start_over(State.LISTING)
        elif was is State.LISTING:
            self._start_over(State.LISTING)
        self._fail(error)

    def list_only(self) -> None:
        """Begin from nothing, with pages whatever the server can."""
        self._start_over(State.LISTING)

    def restart(self) -> None:
        """Begin from nothing, as at first."""
        self._failures = 0
        self._start_over(State.STREAMING if self._can_stream else State.LISTING)

    def _fail(self, error: TailraceError | None = None) -> None:
        # A version that is too old, or a server without streaming lists, is no reason to wait, unless it comes again.
        mild = isinstance(error, Expired | Terminal | _CannotStream) and self._failures == 0
        growth = FIRST_PAUSE * 2 ** min(self._failures, 10)
        self._failures += 1
        if not mild:
            self._pause = min(growth, LONGEST_PAUSE) * (0.5 + self._random() / 2)
        if isinstance(error, RateLimited):
            self._pause = max(self._pause, error.after * (1 + self._random() / 5))

    def _heard(self) -> None:
        self._failures, self._quiet = 0, False

    def _start_over(self, state: State) -> None:
        self.state = state
        self._continue = ""
        self._aside, self._unread = {}, set()

    def _settle(self, version: str) -> Replaced[T]:
        whole = Replaced(objects=tuple(self._aside.values()), unread=frozenset(self._unread), version=version)
        self._start_over(State.WATCHING)
        self.version, self._quiet = version, False
        return whole

    def _set_aside(self, item: msgspec.Raw) -> Iterator[Undecodable]:
        try:
            obj = self._decode(item)
        except msgspec.MsgspecError as error:
            bad = _describe_bad(item, error)
            self._unread.add(bad.key)
            yield bad
        else:
            self._aside[Key(obj.metadata.namespace, obj.metadata.name)] = obj

    def _receive_object(self, item: msgspec.Raw) -> Iterator[Change[T]]:
        if self.state is State.STREAMING:
            yield from self._set_aside(item)
            return
        self._heard()
        try:
            obj = self._decode(item)
        except msgspec.MsgspecError as error:
            yield _describe_bad(item, error)
            return
        self.version = obj.metadata.resourceVersion or self.version
        yield Put(obj=obj)

    def _receive_deleted(self, item: msgspec.Raw) -> Iterator[Change[T]]:
        head = _read_known(item)
        if self.state is State.STREAMING:
            self._aside.pop(head.key, None)
            self._unread.discard(head.key)
            return
        self._heard()
        self.version = head.metadata.resourceVersion or self.version
        yield Dropped(key=head.key, version=head.metadata.resourceVersion)

    def _receive_bookmark(self, item: msgspec.Raw) -> Iterator[Change[T]]:
        head = _read_known(item)
        if self.state is State.WATCHING:
            self._heard()
            self.version = head.metadata.resourceVersion or self.version
            yield Advanced(version=self.version)
        elif head.metadata.annotations.get(_INITIAL_END) == "true":
            yield self._settle(head.metadata.resourceVersion)
        else:
            raise _CannotStream("The API server does not know streaming lists.")


def _read_known(item: msgspec.Raw) -> Head:
    try:
        return _read_head(item)
    except msgspec.MsgspecError as error:
        raise Transient(f"A watch event has no metadata that can be read: {error}.") from error


def _read_error(item: msgspec.Raw) -> TailraceError:
    try:
        status = _read_status(item)
    except msgspec.MsgspecError:
        status = Status()
    return build_error(status.code or 500, status, request="watch")


def _describe_bad(item: msgspec.Raw, error: msgspec.MsgspecError) -> Undecodable:
    try:
        key = _read_head(item).key
    except msgspec.MsgspecError:
        key = Key("", "")
    return Undecodable(key=key, problem=str(error))
