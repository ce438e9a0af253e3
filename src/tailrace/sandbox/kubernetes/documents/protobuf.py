"""Bodies in `application/vnd.kubernetes.protobuf`, as the documents that their JSON encoding would be.

Place: `server` calls it for what kubectl's typed commands (`create deployment`, `auth can-i`, …) send. A wire reader
of a few functions, driven by the numbers in `builtin.json`, is all this takes; Google's library would cost every start
its import and would still not know the names, inlinings and zeros of the JSON form, which are most of the work here.

Each definition there has `numbers`, one for each of its `fields` in turn: a field's number, a path (`2.10`) through
messages that JSON inlines, or 0 for what protobuf does not carry; `zeros`, the scalars whose zero says something,
since their Go type is a pointer or has no `omitempty`; and `micro`, the times with microseconds. What Go's JSON would
write as null, an unset pointer or the zero time, is absent.

Source: `k8s.io/apimachinery/pkg/runtime/serializer/protobuf` and `runtime.Unknown` for the envelope, the Protocol
Buffers "Encoding" page for the wire, the `MarshalJSON` methods beside each type for the values.
"""

from __future__ import annotations

import base64
import functools
import math
import struct
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, NoReturn

import msgspec

from tailrace.sandbox.kubernetes import status
from tailrace.sandbox.kubernetes.documents import schema

Doc = dict[str, Any]
MAGIC: Final = b"k8s\x00"
_MAX_DEPTH: Final = 64
"""Messages within messages. The deepest that occur are schemas in a CustomResourceDefinition, of some 20."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SIZES: Final = {_FIXED64: 8, _FIXED32: 4}
_WIRES: Final = {"integer": _VARINT, "boolean": _VARINT, "number": _FIXED64}
_SCALARS: Final = {"string", "bytes", *_WIRES}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ABSENT: Final = b""
"""The bytes of a message of which no field is set: a map's entry may leave its value out."""


class _Field(NamedTuple):
    name: str
    word: str
    """The type as in `builtin.json`, or one of this module: `micro-time`, `raw`."""
    keeps_zero: bool = True


type _Table = dict[int, _Field | _Table]
"""Fields by number; a table stands for a message whose fields belong to the document around it."""

_ENVELOPE: Final[_Table] = {
    1: {1: _Field("apiVersion", "string"), 2: _Field("kind", "string")},
    2: _Field("raw", "raw"),
    3: _Field("contentEncoding", "string"),
}
_TIMESTAMP: Final[_Table] = {1: _Field("seconds", "integer"), 2: _Field("nanos", "integer")}
_INT_OR_STRING: Final[_Table] = {
    1: _Field("type", "integer"),
    2: _Field("0", "integer"),
    3: _Field("1", "string"),
}
_ONE_RAW: Final[_Table] = {1: _Field("raw", "raw")}
_RAW_JSON: Final = {"meta.v1.FieldsV1", "pkg.runtime.RawExtension", "apiextensions.v1.JSON"}
"""Messages of one field, which is a JSON text."""
_PROPS: Final = "@apiextensions.v1.JSONSchemaProps"
_UNIONS: Final[Mapping[str, _Table]] = {
    "apiextensions.v1.JSONSchemaPropsOrArray": {1: _Field("one", _PROPS), 2: _Field("many", f"[{_PROPS}]")},
    "apiextensions.v1.JSONSchemaPropsOrBool": {1: _Field("flag", "boolean"), 2: _Field("one", _PROPS)},
    "apiextensions.v1.JSONSchemaPropsOrStringArray": {
        1: _Field("one", _PROPS),
        2: _Field("many", "[string]"),
    },
}
"""Messages that are one of their fields in JSON; `many` before `one` before `flag`."""


def decode(body: bytes) -> Doc:
    """The document in a body, with its `kind` and `apiVersion`.

    Raises 400 (`ApiError`) for bytes that are no such message and for kinds that are not built in.
    """
    if not body.startswith(MAGIC):
        _refuse("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    envelope: Doc = {"raw": _ABSENT}
    _read(memoryview(body)[len(MAGIC) :], _ENVELOPE, envelope, _MAX_DEPTH)
    kind, api_version = envelope.get("kind", ""), envelope.get("apiVersion", "")
    if not kind or not api_version:
        _refuse(f"Object '{'apiVersion' if kind else 'Kind'}' is missing")
    if encoding := envelope.get("contentEncoding"):
        _refuse(f'the content encoding "{encoding}" is not understood')
    name = _definition_of(api_version, kind)
    if name is None:
        _refuse(f'no kind "{kind}" is registered for version "{api_version}"')
    doc: Doc = {"kind": kind, "apiVersion": api_version}
    _read(envelope["raw"], _table(name), doc, _MAX_DEPTH)
    return doc


def _refuse(why: str) -> NoReturn:
    raise status.bad_request(f"the object provided is unrecognized: {why}")


def _definition_of(api_version: str, kind: str) -> str | None:
    if kind == "DeleteOptions":
        # Every group has it, with the same content.
        return "meta.v1.DeleteOptions"
    group, _, version = api_version.rpartition("/")
    return _names().get((group, version, kind))


@functools.cache
def _names() -> dict[tuple[str, ...], str]:
    facts = schema.builtin_definitions().items()
    return {tuple(found["kind"]): name for name, found in facts if "kind" in found}


@functools.cache
def _table(name: str) -> _Table:
    facts = schema.builtin_definitions()[name]
    zeros, micro = facts.get("zeros", ()), facts.get("micro", ())
    made: _Table = {}
    for (field, use), path in zip(facts["fields"].items(), facts.get("numbers", ()), strict=True):
        *outer, number = (int(step) for step in str(path).split("."))
        table = made
        for step in outer:
            table = table.setdefault(step, {})  # type: ignore[assignment]
        word = "micro-time" if field in micro else use if isinstance(use, str) else use[0]
        if number:
            table[number] = _Field(field, word, field in zeros)
    return made


# --- messages ------------------------------------------------------------------------------------------------------


def _read(data: Any, table: _Table, into: Doc, depth: int) -> None:
    """Add a message's fields to a document. A field that comes twice counts as Protocol Buffers say: the last of a
    scalar, all of a list, a message merged."""
    if not depth:
        _refuse("messages are nested too deeply")
    for number, wire, value in _records(data):
        match table.get(number):
            case None:
                continue
            case _Field() as field:
                _store(field, wire, value, into, depth)
            case inlined:
                _expect(wire, _BYTES)
                _read(value, inlined, into, depth - 1)


def _store(field: _Field, wire: int, raw: Any, into: Doc, depth: int) -> None:
    name, word = field.name, field.word
    if word[0] == "[":
        into.setdefault(name, []).extend(_items(word[1:-1], wire, raw, depth))
        return
    _expect(wire, _WIRES.get(word, _BYTES))
    if word[0] == "{":
        key, value = _entry(word[1:-1], raw, depth)
        into.setdefault(name, {})[key] = value
        return
    value = _value(word, raw, into.get(name), depth)
    if value is None or (word in _SCALARS and not value and not field.keeps_zero):
        into.pop(name, None)
    else:
        into[name] = value


def _items(word: str, wire: int, raw: Any, depth: int) -> Iterator[Any]:
    """What one record adds to a list: numbers may come packed, many in one."""
    if _WIRES.get(word) == _VARINT and wire == _BYTES:
        at = 0
        while at < len(raw):
            number, at = _varint(raw, at)
            yield _value(word, number, None, depth)
        return
    _expect(wire, _WIRES.get(word, _BYTES))
    yield _value(word, raw, None, depth)


def _entry(word: str, raw: Any, depth: int) -> tuple[str, Any]:
    """One key and value of a map; what the entry leaves out is the type's zero."""
    key, value = "", _value(word, _ABSENT, None, depth)
    for number, wire, part in _records(raw):
        if number in (1, 2):
            _expect(wire, _BYTES)
        if number == 1:
            key = _text(part)
        elif number == 2:
            value = _value(word, part, None, depth)
    return key, value


def _value(word: str, raw: Any, before: Any, depth: int) -> Any:
    """A value of one type; None for what JSON would have as null. `before`: an earlier one, of the same field."""
    match word:
        case "string":
            return _text(raw)
        case "quantity":
            found: Doc = {}
            _read(raw, {1: _Field("string", "string")}, found, depth - 1)
            return found.get("string", "0")
        case "bytes":
            return base64.b64encode(raw).decode()
        case "raw":
            return raw
        case "integer":
            return raw - (1 << 64) if raw >> 63 else raw
        case "boolean":
            return raw != 0
        case "number":
            return _double(raw)
        case "time" | "micro-time":
            return _time(raw, depth, micro=word != "time")
        case "int-or-string":
            return _int_or_string(raw, depth)
    if word[0] == "[":
        # A list within a map is a message of its own, with the items in field 1.
        wrapped: Doc = {}
        _read(raw, {1: _Field("items", word)}, wrapped, depth - 1)
        return wrapped.get("items", [])
    return _message(word[1:], raw, before, depth)


def _message(name: str, raw: Any, before: Any, depth: int) -> Any:
    if name in _RAW_JSON:
        found: Doc = {}
        _read(raw, _ONE_RAW, found, depth - 1)
        return _json(found["raw"]) if found.get("raw") else None
    if name in _UNIONS:
        union: Doc = {}
        _read(raw, _UNIONS[name], union, depth - 1)
        otherwise = False if name.endswith("OrBool") else None
        return next((union[key] for key in ("many", "one", "flag") if key in union), otherwise)
    made: Doc = before if isinstance(before, dict) else {}
    _read(raw, _table(name), made, depth - 1)
    return made


# --- values --------------------------------------------------------------------------------------------------------


def _text(raw: Any) -> str:
    try:
        return str(raw, "utf-8")
    except UnicodeDecodeError:
        _refuse("a string is not UTF-8")


def _json(raw: Any) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        _refuse("a raw value is not JSON")


def _double(raw: Any) -> float:
    (number,) = struct.unpack("<d", raw)
    if not math.isfinite(number):
        _refuse("a number has no form in JSON")
    return float(number)


def _time(raw: Any, depth: int, *, micro: bool) -> str | None:
    if not len(raw):
        return None
    found: Doc = {}
    _read(raw, _TIMESTAMP, found, depth - 1)
    nanos = found.get("nanos", 0) if micro else 0
    try:
        moment = _EPOCH + timedelta(seconds=found.get("seconds", 0), microseconds=nanos // 1000)
    except OverflowError:
        _refuse("a time is out of range")
    return moment.isoformat(timespec="microseconds" if micro else "seconds").replace("+00:00", "Z")


def _int_or_string(raw: Any, depth: int) -> int | str:
    found: Doc = {"type": 0, "0": 0, "1": ""}
    _read(raw, _INT_OR_STRING, found, depth - 1)
    if found["type"] not in (0, 1):
        _refuse("impossible IntOrString.Type")
    value: int | str = found[str(found["type"])]
    return value


# --- the wire ------------------------------------------------------------------------------------------------------


def _records(data: Any) -> Iterator[tuple[int, int, Any]]:
    """Each record's number, wire type and payload: an integer, or the bytes (never copied)."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if not number:
            _refuse("illegal tag 0")
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, wire, value
            continue
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif (size := _SIZES.get(wire, -1)) < 0:
            # Groups are long gone from the format; nothing of Kubernetes ever wrote one.
            _refuse(f"illegal wire type {wire}")
        if size > len(data) - at:
            _refuse("unexpected EOF")
        yield number, wire, data[at : at + size]
        at += size


def _varint(data: Any, at: int) -> tuple[int, int]:
    """An unsigned integer of up to 64 bits, and where the next byte is."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            _refuse("unexpected EOF")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
    _refuse("integer overflow")


def _expect(wire: int, wanted: int) -> None:
    if wire != wanted:
        _refuse(f"wrong wireType = {wire}")
