"""Sets of field paths: what a manager owns, how two documents differ, and the `fieldsV1` form of both.

Place: under `fieldmanager`. A path is a tuple of elements as `fieldsV1` writes them: `f:name` (field or map key),
`k:{"port":80}` (item of a list map), `v:"x"` (member of a set). Atomic lists and maps are leaves.

The rules are those of Kubernetes' structured-merge-diff: which containers are members themselves (an added container
is, a struct that only holds members is not) follows it exactly, since `kubectl` users see the result.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tailrace.sandbox.kubernetes.documents.schema import Schema

Path = tuple[str, ...]
Paths = frozenset[Path]
MISSING: Final = object()
_dump = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


def is_branch(schema: Schema, value: Any) -> bool:
    """Whether the parts of this value have owners of their own."""
    if isinstance(value, dict):
        return not schema.atomic
    return isinstance(value, list) and schema.list_type != "atomic"


def element_of(schema: Schema, item: Any) -> str:
    """An item's path element in an associative list; a key left out counts with its default (`protocol: TCP`)."""
    if schema.list_type == "set" or not isinstance(item, dict):
        return "v:" + _dump(item)
    fields = schema.element()
    keys = {key: item.get(key, fields.child(key).default) for key in schema.list_keys}
    return "k:" + _dump({key: value for key, value in keys.items() if value is not None})


def parts(schema: Schema, value: Any) -> Iterator[tuple[str, Schema, Any]]:
    """The children of a branch: path element, schema, value."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield "f:" + key, schema.child(key), inner
    else:
        below = schema.element()
        for item in value:
            yield element_of(schema, item), below, item


def field_set(schema: Schema, value: Any) -> Paths:
    """What an applied document says that its manager owns."""
    found: set[Path] = set()
    _collect(schema, value, (), found)
    return frozenset(found)


def _collect(schema: Schema, value: Any, path: Path, found: set[Path]) -> None:
    if not is_branch(schema, value):
        found.add(path)
        return
    fields = schema.properties
    for element, below, inner in parts(schema, value):
        here = (*path, element)
        _collect(below, inner, here, found)
        declared = element[0] == "f" and element[2:] in fields
        if not declared or inner is None or inner == {}:
            found.add(here)


@dataclass(slots=True)
class Changes:
    """How one document differs from another, path by path."""

    added: set[Path] = field(default_factory=set)
    modified: set[Path] = field(default_factory=set)
    removed: set[Path] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.added or self.modified or self.removed)


def compare(schema: Schema, old: Any, new: Any) -> Changes:
    """Both documents normalised (defaults filled, structs by value present), so that nothing appears by itself."""
    changes = Changes()
    _compare(schema, old, new, (), changes)
    for paths in (changes.added, changes.removed):
        paths.discard(())
    return changes


def _compare(schema: Schema, old: Any, new: Any, path: Path, changes: Changes) -> None:
    old, new = (MISSING if value is None else value for value in (old, new))
    if old is new or (type(old) is type(new) and old == new):
        return
    if not _descends(schema, old, new):
        if old is not MISSING and new is not MISSING:
            changes.modified.add(path)
    elif isinstance(old, dict) or isinstance(new, dict):
        _compare_fields(schema, old, new, path, changes)
    else:
        before = {element: (below, value) for element, below, value in _items(schema, old)}
        after = {element: (below, value) for element, below, value in _items(schema, new)}
        for element, (below, value) in before.items():
            other = after[element][1] if element in after else _absent(below, new)
            _compare(below, value, other, (*path, element), changes)
        for element, (below, value) in after.items():
            if element not in before:
                _compare(below, _absent(below, old), value, (*path, element), changes)
    if old is MISSING:
        changes.added.add(path)
    elif new is MISSING:
        changes.removed.add(path)


def _compare_fields(schema: Schema, old: Any, new: Any, path: Path, changes: Changes) -> None:
    before: dict[str, Any] = {} if old is MISSING else old
    after: dict[str, Any] = {} if new is MISSING else new
    for key in before | after if before and after else before or after:
        one, other = before.get(key, MISSING), after.get(key, MISSING)
        if one is other:
            continue
        below = schema.child(key)
        if one is MISSING:
            one = _absent(below, old)
        elif other is MISSING:
            other = _absent(below, new)
        _compare(below, one, other, (*path, "f:" + key), changes)


def _descends(schema: Schema, old: Any, new: Any) -> bool:
    """Whether the difference lies in parts: containers of one type, or one and nothing, and not both empty."""
    there = [value for value in (old, new) if value is not MISSING]
    return all(is_branch(schema, v) for v in there) and any(there) and len({type(v) for v in there}) == 1


def _absent(schema: Schema, container: Any) -> Any:
    """What stands in a container for a part that is not written there."""
    return {} if schema.by_value and container is not MISSING else MISSING


def _items(schema: Schema, value: Any) -> Iterator[tuple[str, Schema, Any]]:
    return iter(()) if value is MISSING else parts(schema, value)


def with_structs(schema: Schema, paths: Paths) -> set[Path]:
    """The paths and every declared struct field above them (a map's key or a list's item is not added)."""
    found = set(paths)
    for path in paths:
        node = schema
        for depth, element in enumerate(path[:-1], 1):
            if element[0] != "f":
                node = node.element()
                continue
            if element[2:] in node.properties:
                found.add(path[:depth])
            node = node.child(element[2:])
    return found


def remove(schema: Schema, value: Any, paths: Iterable[Path]) -> Any:
    """The value without the parts that the paths name; MISSING when a container became empty by it."""
    return _remove(schema, value, _tree(paths))


def _remove(schema: Schema, value: Any, tree: Mapping[str, Any]) -> Any:
    if not is_branch(schema, value) or not value:
        return value
    kept: list[tuple[str, Any]] = []
    for element, below, inner in parts(schema, value):
        cut = tree.get(element)
        if cut is None:
            kept.append((element, inner))
        elif cut and "." not in cut and (rest := _remove(below, inner, cut)) is not MISSING:
            kept.append((element, rest))
    if not kept:
        return MISSING
    return {e[2:]: v for e, v in kept} if isinstance(value, dict) else [v for _, v in kept]


class Tree(dict[str, Any]):
    """A `fieldsV1` that remembers its paths: most of the owners of a stored object outlive a write unread."""

    __slots__ = ("paths",)
    paths: Paths


def as_tree(paths: Paths) -> Tree:
    """`fieldsV1`: a member that is a leaf is `{}`; one with members below has `"."` in it."""
    tree = _tree(paths)
    tree.paths = paths
    return tree


def _tree(paths: Iterable[Path]) -> Tree:
    tree = Tree()
    for path in sorted(paths):
        node: dict[str, Any] = tree
        for depth, element in enumerate(path, 1):
            if element in node and not node[element] and depth < len(path):
                node[element]["."] = {}  # was a leaf; it sorts before what is below it
            node = node.setdefault(element, {})
    return tree


def from_tree(tree: Mapping[str, Any]) -> Paths:
    if isinstance(tree, Tree):
        return tree.paths
    found: set[Path] = set()

    def walk(node: Mapping[str, Any], path: Path) -> None:
        for element, below in node.items():
            if element == ".":
                found.add(path)
            elif below:
                walk(below, (*path, element))
            else:
                found.add((*path, element))

    walk(tree, ())
    return frozenset(found)


def reading_order(path: Path) -> list[tuple[bool, str]]:
    """A sort key: at each level what ends there comes before what goes deeper, as the server lists conflicts."""
    return [(depth < len(path), element) for depth, element in enumerate(path, 1)]


def show(path: Path) -> str:
    """A path for people, as conflicts print it: `.spec.ports[port=80,protocol="TCP"].targetPort`."""
    text = ""
    for element in path:
        match element[0]:
            case "f":
                text += "." + element[2:]
            case "k":
                text += "[" + ",".join(f"{k}={_dump(v)}" for k, v in json.loads(element[2:]).items()) + "]"
            case _:
                text += f"[={element[2:]}]"
    return text
