"""Patches of documents: JSON patch (RFC 6902), merge patch (RFC 7386) and Kubernetes' strategic merge patch.

Place: `cluster.patch` calls it with the stored document and the request's body. Nothing passed in is changed.
Source of the strategic form: the API conventions' "strategic merge patch" page (directives `$patch`,
`$deleteFromPrimitiveList/…`, `$setElementOrder/…`, `$retainKeys`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from tailrace.sandbox.kubernetes.documents.schema import Schema, copy_of

Doc = dict[str, Any]

DIRECTIVE: Final = "$patch"
RETAIN: Final = "$retainKeys"
DELETE_ITEMS: Final = "$deleteFromPrimitiveList/"
ORDER: Final = "$setElementOrder/"


class PatchError(Exception):
    """The patch cannot be read (400) or does not fit the document (422)."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


# JSON patch ----------------------------------------------------------------------------------------------------


def json_patch(doc: Doc, ops: Sequence[Mapping[str, Any]]) -> Doc:
    """RFC 6902: all operations or none."""
    box: Doc = {"": copy_of(doc)}
    for op in ops:
        kind, path = op.get("op"), op.get("path")
        act = _OPERATIONS.get(kind) if isinstance(kind, str) else None
        if act is None:
            raise PatchError(422, f"Unexpected kind: {kind}")
        if not isinstance(path, str):
            raise PatchError(422, f"{kind} operation failed to decode path: missing field")
        act(box, _pointer(path), op)
    result = box[""]
    if not isinstance(result, dict):
        raise PatchError(422, "the patched document is not an object")
    return result


def _pointer(text: str) -> list[str]:
    """A JSON pointer's tokens; the first one, empty, is the whole document (`box[""]`)."""
    tokens = text.split("/")
    if tokens[0]:
        raise PatchError(422, f"doc is missing path: {text!r}: missing value")
    return [t.replace("~1", "/").replace("~0", "~") for t in tokens]


def _show(tokens: Sequence[str]) -> str:
    return "/".join(t.replace("~", "~0").replace("/", "~1") for t in tokens)


def _index(token: str, *, length: int) -> int:
    plain = token.removeprefix("-")
    if not (plain.isascii() and plain.isdigit()) or (len(plain) > 1 and plain[0] == "0"):
        raise PatchError(422, f"strconv.Atoi: parsing {_quote(token)}: invalid syntax")
    at = int(token)
    if at < 0:
        at += length
    if not 0 <= at < length:
        raise PatchError(422, f"Unable to access invalid index: {token}: invalid index referenced")
    return at


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _parent(box: Doc, tokens: Sequence[str], verb: str) -> Any:
    here: Any = box
    for token in tokens[:-1]:
        if isinstance(here, dict) and token in here:
            here = here[token]
        elif isinstance(here, list):
            here = here[_index(token, length=len(here))]
        else:
            raise PatchError(
                422,
                f"{verb} operation does not apply: doc is missing path: {_quote(_show(tokens))}: missing value",
            )
    if not isinstance(here, dict | list):
        raise PatchError(
            422,
            f"{verb} operation does not apply: doc is missing path: {_quote(_show(tokens))}: missing value",
        )
    return here


def _read(box: Doc, tokens: Sequence[str], verb: str) -> Any:
    parent, last = _parent(box, tokens, verb), tokens[-1]
    if isinstance(parent, list):
        return parent[_index(last, length=len(parent))]
    if last not in parent:
        raise PatchError(
            422, f"{verb} operation does not apply: doc is missing key: {_show(tokens)}: missing value"
        )
    return parent[last]


def _add(box: Doc, tokens: Sequence[str], op: Mapping[str, Any]) -> None:
    _put(box, tokens, copy_of(op.get("value")), "add")


def _put(box: Doc, tokens: Sequence[str], value: Any, verb: str) -> None:
    parent, last = _parent(box, tokens, verb), tokens[-1]
    if not isinstance(parent, list):
        parent[last] = value
    elif last == "-":
        parent.append(value)
    else:
        parent.insert(_index(last, length=len(parent) + 1), value)


def _remove(box: Doc, tokens: Sequence[str], op: Mapping[str, Any]) -> None:
    parent, last = _parent(box, tokens, "remove"), tokens[-1]
    if isinstance(parent, list):
        del parent[_index(last, length=len(parent))]
    elif last in parent:
        del parent[last]
    else:
        missing = f"Unable to remove nonexistent key: {last}: missing value"
        raise PatchError(
            422, f"remove operation does not apply: doc is missing path: {_quote(_show(tokens))}: {missing}"
        )


def _replace(box: Doc, tokens: Sequence[str], op: Mapping[str, Any]) -> None:
    _read(box, tokens, "replace")
    parent, last = _parent(box, tokens, "replace"), tokens[-1]
    parent[int(last) if isinstance(parent, list) else last] = copy_of(op.get("value"))


def _move(box: Doc, tokens: Sequence[str], op: Mapping[str, Any]) -> None:
    origin = _origin(op)
    value = _read(box, origin, "move")
    if list(tokens[: len(origin)]) == origin and len(tokens) > len(origin):
        raise PatchError(422, "move operation does not apply: a value cannot move into itself")
    _remove(box, origin, op)
    _put(box, tokens, value, "move")


def _duplicate(box: Doc, tokens: Sequence[str], op: Mapping[str, Any]) -> None:
    _put(box, tokens, copy_of(_read(box, _origin(op), "copy")), "copy")


def _origin(op: Mapping[str, Any]) -> list[str]:
    origin = op.get("from")
    if not isinstance(origin, str):
        raise PatchError(422, f"{op['op']} operation failed to decode from: missing field")
    return _pointer(origin)


def _test(box: Doc, tokens: Sequence[str], op: Mapping[str, Any]) -> None:
    try:
        found = _read(box, tokens, "test")
    except PatchError:
        found = None  # an absent value passes a test for null there
    if not _equal(found, op.get("value")):
        raise PatchError(422, f"testing value {_show(tokens)} failed: test failed")


def _equal(a: Any, b: Any) -> bool:
    """JSON equality: unlike Python's, `true` is not 1."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_equal(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_equal, a, b))
    return bool(a == b)


_OPERATIONS: Final[Mapping[str, Callable[[Doc, Sequence[str], Mapping[str, Any]], None]]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "copy": _duplicate,
    "test": _test,
}


# Merge patch ---------------------------------------------------------------------------------------------------


def merge_patch(doc: Doc, patch: Mapping[str, Any]) -> Doc:
    """RFC 7386: null removes, objects merge, anything else replaces."""
    result = dict(doc)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            below = result.get(key)
            result[key] = merge_patch(below if isinstance(below, dict) else {}, value)
        else:
            result[key] = copy_of(value)
    return result


# Strategic merge patch -----------------------------------------------------------------------------------------


def strategic_merge_patch(doc: Doc, patch: Mapping[str, Any], schema: Schema) -> Doc:
    """Kubernetes' own form: as merge patch, but lists merge by the key that the schema names, and directives are obeyed."""
    match patch.get(DIRECTIVE):
        case "replace":
            return {key: copy_of(value) for key, value in patch.items() if key != DIRECTIVE}
        case "delete":
            return {}
        case None | "merge":
            pass
        case other:
            raise PatchError(400, f"Unknown patch type found: {other}")
    result = _retain(doc, patch)
    orders: dict[str, list[Any]] = {}
    for key, value in patch.items():
        if key.startswith(ORDER):
            orders[key.removeprefix(ORDER)] = value
        elif key.startswith(DELETE_ITEMS):
            name = key.removeprefix(DELETE_ITEMS)
            if name in result:
                result[name] = [item for item in result[name] if item not in value]
        elif key not in (DIRECTIVE, RETAIN):
            _merge_field(result, key, value, schema.child(key))
    for name, order in orders.items():
        below = schema.child(name)
        if isinstance(result.get(name), list) and "merge" in below.strategies:
            server = doc.get(name)
            result[name] = _reorder(
                result[name], order, server if isinstance(server, list) else [], below.merge_key
            )
    return result


def _retain(doc: Doc, patch: Mapping[str, Any]) -> Doc:
    """`$retainKeys` lists every key that may stay."""
    keep = patch.get(RETAIN)
    if keep is None:
        return dict(doc)
    if stray := [k for k, v in patch.items() if not k.startswith("$") and v is not None and k not in keep]:
        raise PatchError(400, f"$retainKeys list doesn't contain a field present in the patch: {stray[0]}")
    return {key: value for key, value in doc.items() if key in keep}


def _merge_field(result: Doc, key: str, value: Any, schema: Schema) -> None:
    before = result.get(key)
    if value is None:
        result.pop(key, None)
    elif isinstance(value, dict):
        if "replace" in schema.strategies and DIRECTIVE not in value:
            result[key] = _clean(value)
            return
        merged = strategic_merge_patch(before if isinstance(before, dict) else {}, value, schema)
        if value.get(DIRECTIVE) == "delete":
            result.pop(key, None)
        else:
            result[key] = merged
    elif isinstance(value, list) and "merge" in schema.strategies:
        result[key] = _merge_list(before if isinstance(before, list) else [], value, schema)
    else:
        result[key] = copy_of(value)


def _merge_list(before: list[Any], patch: list[Any], schema: Schema) -> list[Any]:
    key = schema.merge_key
    if not key:
        return before + [item for i, item in enumerate(patch) if item not in before and item not in patch[:i]]
    if any(isinstance(item, dict) and item.get(DIRECTIVE) == "replace" for item in patch):
        return [_clean(item) for item in patch if DIRECTIVE not in item]
    result = list(before)
    for item in patch:
        if not isinstance(item, dict) or key not in item:
            raise PatchError(400, f"map: {item} does not contain declared merge key: {key}")
        at = next((i for i, old in enumerate(result) if old.get(key) == item[key]), None)
        if item.get(DIRECTIVE) == "delete":
            result = [old for old in result if old.get(key) != item[key]]
        elif at is None:
            result.append(_clean(item))
        else:
            result[at] = strategic_merge_patch(result[at], item, schema.element())
    return result


def _reorder(items: list[Any], order: list[Any], server: list[Any], key: str) -> list[Any]:
    """Put what the patch orders into that order; what only the server has keeps its place relative to it."""

    def identity(item: Any) -> Any:
        return item.get(key) if key and isinstance(item, dict) else item

    wanted = [identity(item) for item in order]
    was = [identity(item) for item in server]
    ordered = sorted((i for i in items if identity(i) in wanted), key=lambda i: wanted.index(identity(i)))
    others = [i for i in items if identity(i) not in wanted]
    result: list[Any] = []
    while ordered and others:
        a, b = identity(ordered[0]), identity(others[0])
        other_first = b in was and (a not in was or was.index(b) < was.index(a))
        result.append(others.pop(0) if other_first else ordered.pop(0))
    return result + ordered + others


def _clean(value: Any) -> Any:
    """A new value as it is stored: without directives and nulls."""
    if isinstance(value, dict):
        return {k: _clean(v) for k, v in value.items() if v is not None and not k.startswith("$")}
    return copy_of(value)
