"""What a document may hold and how its parts merge: one `Schema` tree for built-in kinds and for custom resources.

Place: the ground of `patch`, `fieldmanager`, `defaults` and `validation`. Built-in kinds come from `builtin.json`
(made by `tools/builtin_schema.py` from a Kubernetes release's OpenAPI): `{definition: {"fields": {name: type or
[type, marks]}, "atomic", "required", "kind"}}`, where a type is a word, `@definition`, `[items]` or `{values}`; what
else a definition has there is `protobuf`'s. It is read on first use; a kind's tree is built once.

Source of the markers: Kubernetes' "Server-Side Apply" and "Custom Resource Definitions" pages.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from importlib import resources as files
from types import MappingProxyType
from typing import Any, Final, Literal

import msgspec

Doc = dict[str, Any]
ListType = Literal["atomic", "set", "map"]
_encode = msgspec.json.Encoder().encode
_CONTAINERS: Final = frozenset({dict, list})
NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(slots=True, kw_only=True, eq=False)
class Schema:
    """One node. Trees are shared and may recurse (a CRD's own schema does): never change one after it was built."""

    type: str = "any"
    """object, array, string, integer, number, boolean, int-or-string, quantity, time, bytes, or any."""
    name: str = ""
    """A built-in definition's name (`core.v1.Probe`), which `defaults` and `openapi` go by."""
    properties: dict[str, Schema] = field(default_factory=dict)
    additional: Schema | None = None
    """The type of a map's values."""
    items: Schema | None = None
    list_type: ListType = "atomic"
    list_keys: tuple[str, ...] = ()
    atomic: bool = False
    """A map or struct with one owner for all of it."""
    merge_key: str = ""
    strategies: frozenset[str] = frozenset()
    """Strategic merge patch: of `merge`, `replace`, `retainKeys`."""
    default: Any = None
    by_value: bool = False
    """The server's Go type holds this struct by value: it is there, empty, even when nobody wrote it."""
    preserve: bool = False
    """Unknown fields stay (`x-kubernetes-preserve-unknown-fields`)."""
    embedded: bool = False
    nullable: bool = False
    required: tuple[str, ...] = ()
    facts: Mapping[str, Any] = NOTHING
    """A custom resource's own OpenAPI node (enum, pattern, rules, …); empty for built-in kinds."""
    _given: tuple[tuple[str, Schema], ...] | None = field(default=None, init=False, repr=False)

    def child(self, name: str) -> Schema:
        """The schema of one field or map value; what is not declared may be anything."""
        return self.properties.get(name) or self.additional or ANY

    def element(self) -> Schema:
        return self.items or ANY

    def knows(self, name: str) -> bool:
        return name in self.properties or self.additional is not None or self.open

    @property
    def leaf(self) -> bool:
        """Whether nothing is declared below."""
        return not (self.properties or self.additional or self.items)

    @property
    def given(self) -> tuple[tuple[str, Schema], ...]:
        """The properties that appear by themselves. Looked for once: the tree is whole when somebody asks."""
        if self._given is None:
            self._given = tuple(
                (key, below)
                for key, below in self.properties.items()
                if below.default is not None or below.by_value
            )
        return self._given

    @property
    def open(self) -> bool:
        """Whether anything may stand here: no type is declared, or unknown fields are kept."""
        return (
            self.preserve
            or self.type == "any"
            or (self.type == "object" and not self.properties and not self.additional)
        )


ANY: Final = Schema()


def builtin_schema(group: str, version: str, kind: str) -> Schema | None:
    """The tree of a built-in kind, or None when there is no such stable kind."""
    name = _kinds().get((group, version, kind))
    return _definition(name) if name else None


def builtin_definitions() -> Mapping[str, Any]:
    """The distilled facts themselves, in the form that the module's docstring gives: what `openapi` writes out."""
    return _definitions()


@functools.cache
def _definitions() -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(
        files.files(__package__).joinpath("builtin.json").read_bytes()
    )
    return found


@functools.cache
def _kinds() -> dict[tuple[str, str, str], str]:
    return {(k[0], k[1], k[2]): name for name, facts in _definitions().items() if (k := facts.get("kind"))}


_built: dict[str, Schema] = {}


def _definition(name: str) -> Schema:
    if (known := _built.get(name)) is not None:
        return known
    facts = _definitions()[name]
    made = Schema(
        name=name,
        type="object" if facts["fields"] or not name.rsplit(".", 1)[1].startswith("JSON") else "any",
        atomic=facts.get("atomic", False),
        required=tuple(facts.get("required", ())),
    )
    _built[name] = made
    made.properties.update({key: _use(use) for key, use in facts["fields"].items()})
    return made


def _use(use: Any) -> Schema:
    """A field's schema: its type, and the marks that this use adds (an `@definition`'s fields are shared)."""
    word, marks = (use, NOTHING) if isinstance(use, str) else use
    made = _word(word)
    if not marks:
        return made
    return dataclasses.replace(
        made,
        list_type=marks.get("list-type", "atomic"),
        list_keys=tuple(marks.get("list-map-keys", ())),
        atomic=made.atomic or marks.get("map-type") == "atomic",
        merge_key=marks.get("patch-merge-key", ""),
        strategies=frozenset(filter(None, marks.get("patch-strategy", "").split(","))),
        default=marks.get("default"),
        by_value=marks.get("value", False),
    )


def _word(word: str) -> Schema:
    match word[0]:
        case "@":
            return _definition(word[1:])
        case "[":
            return Schema(type="array", items=_word(word[1:-1]))
        case "{":
            return Schema(type="object", additional=_word(word[1:-1]))
        case _:
            return Schema(type=word)


def crd_schema(openapi: Mapping[str, Any]) -> Schema:
    """The tree of a custom resource from its version's `openAPIV3Schema`; metadata is the built-in one."""
    made = _custom(openapi)
    made.properties.update(apiVersion=Schema(type="string"), kind=Schema(type="string"), metadata=_metadata())
    return made


def _metadata() -> Schema:
    return dataclasses.replace(_definition("meta.v1.ObjectMeta"), by_value=True)


def _custom(node: Mapping[str, Any]) -> Schema:
    kind = "int-or-string" if node.get("x-kubernetes-int-or-string") else node.get("type", "any")
    additional = node.get("additionalProperties")
    made = Schema(
        type=kind,
        properties={name: _custom(value) for name, value in node.get("properties", {}).items()},
        additional=_custom(additional)
        if isinstance(additional, Mapping)
        else ANY
        if additional is True
        else None,
        items=_custom(node["items"]) if isinstance(node.get("items"), Mapping) else None,
        list_type=node.get("x-kubernetes-list-type", "atomic"),
        list_keys=tuple(node.get("x-kubernetes-list-map-keys", ())),
        atomic=node.get("x-kubernetes-map-type") == "atomic",
        default=node.get("default"),
        preserve=bool(node.get("x-kubernetes-preserve-unknown-fields")),
        embedded=bool(node.get("x-kubernetes-embedded-resource")),
        nullable=bool(node.get("nullable")),
        required=tuple(node.get("required", ())),
        facts=node,
    )
    if made.embedded:
        made.properties.update(
            apiVersion=Schema(type="string"), kind=Schema(type="string"), metadata=_metadata()
        )
    return made


def prune(doc: Doc, schema: Schema) -> tuple[Doc, list[str]]:
    """The document without fields that the schema does not know, and their paths (`spec.ports[0].foo`).

    The document itself when nothing is unknown. An open object (`preserve`) keeps its unknown fields, and what it
    does declare is pruned inside.
    """
    dropped: list[str] = []
    return _prune(doc, schema, "", dropped), dropped


def _prune(value: Any, schema: Schema, path: str, dropped: list[str]) -> Any:
    if isinstance(value, dict):
        properties, others = schema.properties, schema.additional
        rest_known = others is not None or schema.open
        if rest_known and schema.leaf:
            return value
        kept: Doc | None = None
        for key, inner in value.items():
            below = properties.get(key) or others
            if below is None and not rest_known:
                dropped.append(f"{path}.{key}" if path else key)
                kept = dict(value) if kept is None else kept
                del kept[key]
            elif below is not None and type(inner) in _CONTAINERS:
                clean = _prune(inner, below, f"{path}.{key}" if path else key, dropped)
                if clean is not inner:
                    kept = dict(value) if kept is None else kept
                    kept[key] = clean
        return value if kept is None else kept
    if isinstance(value, list) and schema.items is not None:
        cleaned = [_prune(item, schema.items, f"{path}[{i}]", dropped) for i, item in enumerate(value)]
        return cleaned if any(a is not b for a, b in zip(cleaned, value, strict=True)) else value
    return value


def default(doc: Doc, schema: Schema, settled: AbstractSet[str] = frozenset()) -> Doc:
    """The document with the schema's `default`s where a field is absent, or null and not nullable.

    Structs by value appear as well, empty or with their own defaults. A null that is neither nullable nor defaulted
    goes away, as on the server. Returns the same object when nothing had to be filled. Built-in kinds have further
    defaults in `defaults`. `settled` are the fields of the document that are known to be filled.
    """
    filled: Doc = _default(doc, schema, settled)
    return filled


def _default(value: Any, schema: Schema, settled: AbstractSet[str] = frozenset()) -> Any:
    if schema.leaf:
        return value
    if isinstance(value, dict):
        properties, others = schema.properties, schema.additional
        out: Doc | None = None
        for key, inner in value.items():
            if inner is None:
                below = properties.get(key)
                if below is None or below.nullable or below.default is not None or below.by_value:
                    continue
                out = dict(value) if out is None else out
                del out[key]
            elif type(inner) in _CONTAINERS and key not in settled:
                below = properties.get(key) or others
                if below is None or (made := _default(inner, below)) is inner:
                    continue
                out = dict(value) if out is None else out
                out[key] = made
        for key, below in schema.given:
            if key not in value or (value[key] is None and not below.nullable):
                out = dict(value) if out is None else out
                out[key] = _default({} if below.by_value else copy_of(below.default), below)
        return value if out is None else out
    if isinstance(value, list) and schema.items is not None:
        items = [_default(item, schema.items) for item in value]
        return items if any(a is not b for a, b in zip(items, value, strict=True)) else value
    return value


def share(doc: Doc, known: Doc) -> Doc:
    """The document with the fields of `known` itself where they are the same, so that later `is` tells what changed."""
    return {
        key: known[key] if key in known and is_same(value, known[key]) else value
        for key, value in doc.items()
    }


def is_same(one: Any, other: Any) -> bool:
    """Whether two values are one in JSON, where `1`, `1.0` and `true` differ."""
    return one is other or (one == other and _encode(one) == _encode(other))


def copy_of(value: Any) -> Any:
    """A copy of a JSON value that shares nothing which could be changed."""
    if isinstance(value, dict):
        return {key: copy_of(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [copy_of(item) for item in value]
    return value
