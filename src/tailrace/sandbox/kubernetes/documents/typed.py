"""Whether an applied document fits its kind: the complaints of server-side apply, before anything is merged.

Place: `writing` asks for the body of an apply patch. What has no type for structured-merge-diff (quantities, times,
`IntOrString`) is judged when the document is decoded. Source of the rules and words: `typed/validate.go` there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tailrace.sandbox.kubernetes.documents import fieldset
from tailrace.sandbox.kubernetes.documents.schema import Schema

_SCALARS = {"string": str, "bytes": str, "boolean": bool}
_NUMERIC = ("integer", "number")


def complain(doc: Any, schema: Schema, *, closed: bool) -> str:
    """All that is wrong, in the server's words; empty when the document fits. `closed`: unknown fields are wrong."""
    found = list(_walk(doc, schema, "", closed))
    return found[0] if len(found) == 1 else "\n  ".join(["errors:", *found]) if found else ""


def _walk(value: Any, schema: Schema, path: str, closed: bool) -> Iterator[str]:
    if value is None:
        return
    if schema.type in _NUMERIC:
        if isinstance(value, bool) or not isinstance(value, int | float):
            yield f"{path}: expected numeric (int or float), got {_go_type(value)}"
    elif expected := _SCALARS.get(schema.type):
        if not isinstance(value, expected):
            word = "boolean" if expected is bool else "string"
            shown = (
                _go_value(value)
                if expected is bool
                else f"value.valueUnstructured{{Value:{_go_syntax(value)}}}"
            )
            yield f"{path}: expected {word}, got &{'{' + shown + '}' if expected is bool else shown}"
    elif schema.type == "array":
        yield from _walk_list(value, schema, path, closed)
    elif schema.type == "object":
        yield from _walk_map(value, schema, path, closed)


def _walk_map(value: Any, schema: Schema, path: str, closed: bool) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: expected map, got &{{{_go_value(value)}}}"
        return
    for key in sorted(value):
        if closed and not schema.knows(key):
            yield f"{path}.{key}: field not declared in schema"
            return
    for key in sorted(value):
        yield from _walk(value[key], schema.child(key), f"{path}.{key}", closed)


def _walk_list(value: Any, schema: Schema, path: str, closed: bool) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{path}: expected list, got &{{{_go_value(value)}}}"
        return
    below, seen = schema.element(), set[str]()
    for at, item in enumerate(value):
        place = f"[{at}]"
        if schema.list_type == "map" and not isinstance(item, dict):
            yield f"{path}: element {at}: associative list with keys may not have non-map elements"
            continue
        if schema.list_type != "atomic":
            element = fieldset.element_of(schema, item)
            place = fieldset.show((element,)) if element[0] == "k" else f"[={element[2:]}]"
            if element in seen:
                yield f"{path}: duplicate entries for key {place}"
                continue
            seen.add(element)
        yield from _walk(item, below, path + place, closed)


# Values as Go prints them ----------------------------------------------------------------------------------------


def _go_type(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case str():
            return "string"
        case list():
            return "[]interface {}"
        case _:
            return "map[string]interface {}"


def _go_value(value: Any) -> str:
    """`%v`."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return str(value).lower()
        case list():
            return f"[{' '.join(map(_go_value, value))}]"
        case dict():
            return f"map[{' '.join(f'{key}:{_go_value(value[key])}' for key in sorted(value))}]"
        case _:
            return str(value)


def _go_syntax(value: Any) -> str:
    """`%#v`."""
    match value:
        case None:
            return "interface {}(nil)"
        case str():
            return json.dumps(value, ensure_ascii=False)
        case list():
            return f"[]interface {{}}{{{', '.join(map(_go_syntax, value))}}}"
        case dict():
            entries = (
                f"{json.dumps(key, ensure_ascii=False)}:{_go_syntax(value[key])}" for key in sorted(value)
            )
            return f"map[string]interface {{}}{{{', '.join(entries)}}}"
        case _:
            return _go_value(value)
