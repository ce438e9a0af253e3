"""Requests as gRPC's gateway and protojson read them: JSON bodies, numbers in paths, fields of queries.

Fields go by either of their names (`aclTags`, `acl_tags`), ids are texts or numbers, and what is absent or null is a
field's zero value. What cannot be read is said in their words, save that all of it is at line 1, column 1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

_LARGEST = 2**64 - 1
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
_LAYOUT = "2006-01-02T15:04:05.999999999Z07:00"
_FLAGS = dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True) | dict.fromkeys(
    ("0", "f", "F", "false", "FALSE", "False"), False
)


class Unreadable(Exception):
    """`str()` is the parser's sentence."""


class Body:
    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def _get(self, name: str) -> Any:
        return _either(self._document, _snake(name))

    def text(self, name: str) -> str:
        value = self._get(name)
        if value is not None and not isinstance(value, str):
            raise _value_error("string", name, value)
        return value or ""

    def flag(self, name: str) -> bool:
        value = self._get(name)
        if value is not None and not isinstance(value, bool):
            raise _value_error("bool", name, value)
        return bool(value)

    def texts(self, name: str) -> tuple[str, ...]:
        values = self._get(name)
        if values is None:
            return ()
        if not isinstance(values, list):
            raise syntax_error(values)
        for value in values:
            if not isinstance(value, str):
                raise _value_error("string", name, value)
        return tuple(values)

    def number(self, name: str) -> int:
        value = self._get(name)
        if value is None:
            return 0
        if str(value).isdecimal() and int(value) <= _LARGEST:
            return int(value)
        raise _value_error("uint64", name, value)

    def time(self, name: str) -> datetime | None:
        """None is the zero time: whatever it is for has expired already."""
        value = self._get(name)
        if value is not None and not isinstance(value, str):
            raise syntax_error(value)
        return parse_time(value) if value else None


def read_uint(text: str, where: str) -> int:
    """A number in a path or query; `where` begins the sentence about one that is none."""
    if text.isdecimal() and int(text) <= _LARGEST:
        return int(text)
    why = "value out of range" if text.isdecimal() else "invalid syntax"
    raise Unreadable(f'{where}: strconv.ParseUint: parsing "{text}": {why}')


def read_flag(query: Mapping[str, str], name: str) -> bool:
    """Of a query. `name` as in the definition, with underscores."""
    text = _either(query, name) or "false"
    if text not in _FLAGS:
        raise Unreadable(f'parsing field "{name}": strconv.ParseBool: parsing "{text}": invalid syntax')
    return _FLAGS[text]


def read_time(query: Mapping[str, str], name: str) -> datetime | None:
    """Likewise. None where nothing is said."""
    text = _either(query, name)
    if text and not _RFC3339.fullmatch(text):
        why = f'parsing time "{text}" as "{_LAYOUT}": cannot parse "{text}" as "2006"'
        raise Unreadable(f'parsing field "{name}": {why}')
    return parse_time(text) if text else None


def parse_time(text: str) -> datetime:
    try:
        if not _RFC3339.fullmatch(text):
            raise ValueError(text)
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError as wrong:
        said = f'proto: (line 1:1): invalid google.protobuf.Timestamp value "{text}"'
        raise Unreadable(said) from wrong


def syntax_error(value: Any) -> Unreadable:
    """Of a value where another kind of JSON is wanted."""
    return Unreadable(f"proto: syntax error (line 1:1): unexpected token {_token(value)}")


def _value_error(kind: str, name: str, value: Any) -> Unreadable:
    return Unreadable(f"proto: (line 1:1): invalid value for {kind} field {name}: {_token(value)}")


def _token(value: Any) -> str:
    """Of a value as much as a parser has read when it gives up."""
    return "{" if isinstance(value, dict) else "[" if isinstance(value, list) else json.dumps(value)


def _either(fields: Mapping[str, Any], name: str) -> Any:
    """What stands under a field's name, with humps or with underscores."""
    humped = re.sub(r"_([a-z])", lambda found: found[1].upper(), name)
    return next((fields[key] for key in (humped, name) if fields.get(key) is not None), None)


def _snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda found: f"_{found[0].lower()}", name)
