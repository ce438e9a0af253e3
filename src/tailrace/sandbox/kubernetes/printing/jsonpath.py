"""The JSONPath that CustomResourceDefinitions use in printer columns, selectable fields and scale paths.

It is Kubernetes' own dialect, older than RFC 9535: `.metadata.annotations.example\\.com/a`, `.spec.ports[0].name`,
`.spec.ports[*].name`, `.spec['key']`, `..name`, `.status.conditions[?(@.type=="Ready")].status`.

Source: the "JSONPath Support" page of kubectl and `k8s.io/client-go/util/jsonpath`.
"""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable, Iterable
from typing import Any, Final

Step = Callable[[Any], Iterable[Any]]

_FIELD = re.compile(r"\.?((?:\\.|[^\\.\[\]'\"?@=<>!\s])+)")
_KEYS = re.compile(r"\.?\[\s*('(?:\\.|[^'])*'(?:\s*,\s*'(?:\\.|[^'])*')*)\s*\]")
_INDEXES = re.compile(r"\.?\[\s*(-?\d+(?:\s*,\s*-?\d+)*)\s*\]")
_SLICE = re.compile(r"\.?\[\s*(-?\d*)\s*:\s*(-?\d*)\s*(?::\s*(\d*)\s*)?\]")
_ALL = re.compile(r"\.?\[\s*\*\s*\]|\.\*")
_FILTER = re.compile(
    r"\.?\[\s*\?\(\s*@((?:\\.|'[^']*'|\"[^\"]*\"|[^=<>!\s)])*)\s*"
    r"(?:(==|!=|<=|>=|<|>)\s*(\"(?:\\.|[^\"])*\"|'(?:\\.|[^'])*'|[^\s)]+)\s*)?\)\s*\]"
)
_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def find(doc: Any, path: str) -> list[Any]:
    """Everything that `path` leads to; a key that is missing leads nowhere. Raises `ValueError`: no such path."""
    values = [doc]
    for step in parse(path):
        values = [found for value in values for found in step(value)]
    return values


@functools.cache
def parse(path: str) -> tuple[Step, ...]:
    """The steps of `path`, each from a value to those below it. Raises `ValueError` when it is not understood."""
    text = path.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    steps: list[Step] = []
    at = 0
    while at < len(text.rstrip(".")):
        step, at = _parse_step(text, at)
        steps.append(step)
    return tuple(steps)


def is_valid(path: str) -> bool:
    try:
        parse(path)
    except ValueError:
        return False
    return True


def _parse_step(text: str, at: int) -> tuple[Step, int]:
    if text.startswith("..", at):
        return _deep, at + 2
    if m := _ALL.match(text, at):
        return _every, m.end()
    if m := _INDEXES.match(text, at):
        return functools.partial(_elements, [int(part) for part in m[1].split(",")]), m.end()
    if m := _KEYS.match(text, at):
        keys = re.findall(r"'((?:\\.|[^'])*)'", m[1])
        return functools.partial(_fields, [_unescape(key) for key in keys]), m.end()
    if m := _SLICE.match(text, at):
        bounds = slice(*(int(part) if part else None for part in m.groups()))
        return functools.partial(_range, bounds), m.end()
    if m := _FILTER.match(text, at):
        return functools.partial(_select, m[1], m[2], _literal(m[3])), m.end()
    if m := _FIELD.match(text, at):
        return functools.partial(_fields, [_unescape(m[1])]), m.end()
    raise ValueError(f"unrecognized JSONPath at {text[at:]!r}")


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _literal(text: str | None) -> Any:
    if text is None:
        return None
    if text[0] in "'\"":
        return _unescape(text[1:-1])
    if text in ("true", "false"):
        return text == "true"
    return float(text) if "." in text else int(text)


def _fields(names: list[str], value: Any) -> Iterable[Any]:
    return [value[name] for name in names if name in value] if isinstance(value, dict) else []


def _elements(indexes: list[int], value: Any) -> Iterable[Any]:
    if not isinstance(value, list):
        return []
    return [value[i] for i in indexes if -len(value) <= i < len(value)]


def _range(bounds: slice, value: Any) -> Iterable[Any]:
    return value[bounds] if isinstance(value, list) else []


def _every(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else []


def _deep(value: Any) -> Iterable[Any]:
    """The value, and everything below it."""
    yield value
    for below in _every(value):
        yield from _deep(below)


def _select(path: str, sign: str | None, wanted: Any, value: Any) -> Iterable[Any]:
    return [item for item in _every(value) if _matches(find(item, path), sign, wanted)]


def _matches(found: list[Any], sign: str | None, wanted: Any) -> bool:
    if sign is None or not found:
        return bool(found)
    try:
        return _COMPARE[sign](found[0], wanted)
    except TypeError:
        return False
