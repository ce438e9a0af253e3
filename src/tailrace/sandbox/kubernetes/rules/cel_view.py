"""What a rule sees of a document: declared fields only, under their CEL names, with CEL's types.

Place: below `cel`. A view is made from one OpenAPI node; values are shown through it each time a rule is judged.
Source of the mapping from OpenAPI types to CEL's: Kubernetes' "Validation rules" section of its Custom Resources page.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(slots=True, kw_only=True)
class View:
    """How one schema node looks to rules."""

    kind: str
    """object (with `fields`), map, array, string, integer, number, boolean, bytes, date, date-time, duration, or
    dyn (`x-kubernetes-int-or-string`)."""
    fields: dict[str, tuple[str, View]] = field(default_factory=dict)
    """By its name in CEL: a field's name in documents, and its view."""
    inner: View | None = None
    """Of a map's values or an array's items."""
    nullable: bool = False
    unordered: bool = False
    """A list of type set or map: equal to another whatever the order."""
    keys: tuple[str, ...] = ()

    @property
    def signature(self) -> str:
        """The CEL type that the compiler shall know; objects are maps to it."""
        if self.nullable:
            return "dyn"
        match self.kind:
            case "map" | "object":
                return f"map<string, {self.inner.signature if self.inner else 'dyn'}>"
            case "array":
                return f"list<{self.inner.signature if self.inner else 'dyn'}>"
            case other:
                return SIGNATURES.get(other, other)

    def show(self, value: Any) -> Any:
        """A document's value as rules see it, all but times and durations, which `retyped` makes."""
        match self.kind, value:
            case "object", dict():
                return {
                    seen: view.show(value[name])
                    for seen, (name, view) in self.fields.items()
                    if name in value
                }
            case "map", dict() if self.inner:
                return {key: self.inner.show(item) for key, item in value.items()}
            case "array", list() if self.inner:
                return [self.inner.show(item) for item in value]
            case "number", int():
                return float(value)
            case "bytes", str():
                return base64.b64decode(value)
            case _:
                return value

    def align(self, old: Any, new: Any) -> Any:
        """`old` with its sets in the order that `new` has, so that comparing them by `==` ignores order."""
        match self.kind, old, new:
            case "object", dict(), dict():
                views = dict(self.fields.values())
                return {
                    key: views[key].align(value, new[key]) if key in views and key in new else value
                    for key, value in old.items()
                }
            case "array", list(), list() if self.unordered:
                places = {self.key_of(item): i for i, item in reversed(list(enumerate(new)))}
                return sorted(old, key=lambda item: places.get(self.key_of(item), len(new)))
            case _:
                return old

    def key_of(self, item: Any) -> str:
        """What identifies an item of a set or map list; of other values, the value."""
        known = {key: item.get(key) for key in self.keys} if self.keys and isinstance(item, dict) else item
        return json.dumps(known, sort_keys=True)

    def retyped(self, source: str) -> str:
        """A CEL expression of the value that the expression `source` has, with times and durations; empty if none.

        Maps with values of such a type stay maps of strings.
        """
        match self.kind:
            case "duration":
                return f"duration({source})"
            case "date-time":
                return f"timestamp({source})"
            case "date":
                return f"timestamp({source} + 'T00:00:00Z')"
            case "array" if self.inner and (made := self.inner.retyped("item")):
                return f"{source}.map(item, {made})"
            case "object":
                made_of = {seen: view.retyped(f"{source}.{seen}") for seen, (_, view) in self.fields.items()}
                if not any(made_of.values()):
                    return ""
                entries = (
                    f"?'{seen}': has({source}.{seen}) ? optional.of({made or f'{source}.{seen}'}) : optional.none()"
                    for seen, made in made_of.items()
                )
                return f"{{{', '.join(entries)}}}"
            case _:
                return ""


TEXT: Final = View(kind="string")
META: Final = View(kind="object", fields={name: (name, TEXT) for name in ("name", "generateName")})
SIGNATURES: Final = {
    # Numbers are compared across their types, which the library's checker would refuse.
    "integer": "dyn",
    "number": "dyn",
    "boolean": "bool",
    "date": "timestamp",
    "date-time": "timestamp",
}
ROOT: Final = {"apiVersion": ("apiVersion", TEXT), "kind": ("kind", TEXT), "metadata": ("metadata", META)}
FORMATS: Final = {"byte": "bytes", "duration": "duration", "date": "date", "date-time": "date-time"}


def view_of(node: Mapping[str, Any], *, root: bool = False) -> View | None:
    """The view of a node, or None when its type is not known, which hides it from rules."""
    nullable = bool(node.get("nullable"))
    if node.get("x-kubernetes-int-or-string"):
        return View(kind="dyn", nullable=nullable)
    root = root or bool(node.get("x-kubernetes-embedded-resource"))
    match "object" if root else node.get("type"):
        case "object":
            values = node.get("additionalProperties")
            if isinstance(values, Mapping):
                inner = view_of(values)
                return inner and View(kind="map", inner=inner, nullable=nullable)
            fields = {
                seen: (name, view)
                for name, below in node.get("properties", {}).items()
                if (seen := escape(name)) and (view := view_of(below))
            }
            # Reserved words that are names all the same in CEL (`self.namespace`) work unescaped as well.
            fields |= {name: (name, view) for name, view in fields.values() if name in RESERVED - KEYWORDS}
            return View(kind="object", fields={**fields, **ROOT} if root else fields, nullable=nullable)
        case "array":
            inner = view_of(node.get("items") or {})
            return inner and View(
                kind="array",
                inner=inner,
                nullable=nullable,
                unordered=node.get("x-kubernetes-list-type") in ("set", "map"),
                keys=tuple(node.get("x-kubernetes-list-map-keys", ())),
            )
        case "string":
            return View(kind=FORMATS.get(node.get("format", ""), "string"), nullable=nullable)
        case "integer" | "number" | "boolean" as kind:
            return View(kind=kind, nullable=nullable)
        case _:
            return None


RESERVED: Final = frozenset(
    {
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
    }
    | {"let", "loop", "package", "namespace", "return", "var", "void", "while"}
)
KEYWORDS: Final = frozenset({"true", "false", "null", "in"})
ESCAPES: Final = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}


def escape(name: str) -> str:
    """A property's name in CEL (`namespace` is `__namespace__`); empty when it can have none."""
    if name in RESERVED:
        return f"__{name}__"
    if not re.fullmatch(r"[A-Za-z_./-][A-Za-z0-9_./-]*", name):
        return ""
    return re.sub(r"__|[./-]", lambda found: ESCAPES[found.group()], name)
