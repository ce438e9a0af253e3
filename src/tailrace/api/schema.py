"""A struct becomes the structural schema that Kubernetes wants of a custom resource.

A structural schema is a small part of JSON Schema with `x-kubernetes-` marks of its own. msgspec gives the JSON Schema;
here its references are put in place, what has another spelling is translated, and a constraint that cannot be said is
refused, not lost. Source: Kubernetes documentation, "Extend the Kubernetes API with CustomResourceDefinitions".

| in the struct                       | in the schema                                                        |
| ----------------------------------- | -------------------------------------------------------------------- |
| docstring of a struct               | `description`, where a field of that type has none of its own        |
| `Meta(description=…, pattern=…, …)` | the same; a pattern must be one to Go (RE2) as well                  |
| `T | None`                          | the field may be left out; an explicit null is refused               |
| a default that is not empty         | `default`, which the API server writes into the object               |
| `int | str`                         | `x-kubernetes-int-or-string`                                         |
| `Any`                               | any value, kept as it is                                             |
| a list, `frozenset`, `list_by(…)`   | a list that is replaced whole, merged by value, merged by those keys |
| `require(rule, message)`            | a rule in CEL                                                        |
| `hold(pattern=…, format=…, …)`      | what only the API server holds an object to                          |
| a struct with `WHOLE`               | an object that is replaced whole; without it, merged by field        |
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from tailrace.errors import Bug

type Schema = dict[str, Any]

_SAME = {"type", "format", "pattern", "enum", "minimum", "maximum", "multipleOf", "nullable"} | {
    f"{end}{what}" for end in ("min", "max") for what in ("Length", "Items", "Properties")
}
_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number"}
_ANYTHING: Schema = {"x-kubernetes-preserve-unknown-fields": True}


def list_by(*keys: str) -> msgspec.Meta:
    """Marks a list of structs that are told apart by these fields: several appliers may own items of it."""
    marks = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}
    return msgspec.Meta(extra_json_schema=marks)


WHOLE = msgspec.Meta(extra_json_schema={"x-kubernetes-map-type": "atomic"})
"""Marks a struct that is replaced whole: two appliers do not own parts of it."""


def require(rule: str, message: str) -> msgspec.Meta:
    """Marks a field that must satisfy a rule in CEL, in which `self` is its value; several add up."""
    return msgspec.Meta(extra_json_schema={"x-kubernetes-validations": [{"rule": rule, "message": message}]})


def hold(**marks: Any) -> msgspec.Meta:
    """Marks of the schema alone, in its spelling: whoever reads does not judge.

    What is stored may be older than the definition, and an object that cannot be read is one that nobody can be told
    about. So a kind's constraints are the API server's to hold.
    """
    return msgspec.Meta(extra_json_schema=marks)


def build_schema(struct: type[msgspec.Struct]) -> Schema:
    """The structural schema of a struct.

    Raises:
        Bug: the struct holds itself, or something that a structural schema cannot say.
    """
    (top,), components = msgspec.json.schema_components([struct], ref_template="{name}")
    return _translate(top, components, ())


def _translate(schema: Schema, components: Mapping[str, Schema], above: tuple[str, ...]) -> Schema:
    """One schema and all below it; `above` are the structs that it stands in."""
    if "anyOf" in schema:
        schema = _choose(schema)
    if (name := schema.get("$ref")) is not None:
        if name in above:
            raise Bug(f"{name} holds itself, which a structural schema cannot say.")
        own = {key: value for key, value in schema.items() if key != "$ref"}
        return _translate(components[name] | own, components, (*above, name))
    found: Schema = {}
    for key, value in schema.items():
        match key:
            case "properties":
                found[key] = {field: _translate(each, components, above) for field, each in value.items()}
            case "items" | "additionalProperties" if isinstance(value, dict):
                found[key] = _translate(value, components, above)
            case _:
                found |= _respell(key, value)
    return _complete(found)


def _choose(schema: Schema) -> Schema:
    """What is left of `anyOf`: null is said by leaving out, and `int | str` has a mark."""
    options: list[Schema] = [option for option in schema["anyOf"] if option.get("type") != "null"]
    own = {key: value for key, value in schema.items() if key != "anyOf"}
    if len(options) == 1:
        return options[0] | own
    if [option.get("type") for option in options] != ["integer", "string"]:
        raise Bug(f"A structural schema has no choice between {options}.")
    constraints = {key: value for option in options for key, value in option.items() if key != "type"}
    return constraints | own | {"x-kubernetes-int-or-string": True}


def _respell(key: str, value: Any) -> Schema:
    match key:
        case "description":
            return {key: re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(value))}
        case "exclusiveMinimum" | "exclusiveMaximum":
            return {key.replace("exclusiveM", "m"): value, key: True}
        case "contentEncoding":
            return {"format": "byte"}
        case "uniqueItems":
            return {"x-kubernetes-list-type": "set"}
        case "default" | "required":
            return {key: value} if value else {}  # what is left out reads as empty anyway
        case "title" | "examples" | "additionalProperties":
            return {}  # notes; and unknown fields are dropped by the API server without being told
        case _ if key in _SAME or key.startswith("x-kubernetes-"):
            return {key: value}
        case _:
            raise Bug(f"A structural schema cannot say {key}: {value}.")


def _complete(found: Schema) -> Schema:
    """Every schema needs a type, or a mark in its place."""
    if "enum" in found:
        found.setdefault("type", _TYPES[type(found["enum"][0])])
    kind = found.get("type")
    if kind is None and "x-kubernetes-int-or-string" not in found:
        return found | _ANYTHING
    if kind == "object" and not {"properties", "additionalProperties"} & found.keys():
        return found | _ANYTHING
    return found | {"items": _ANYTHING} if kind == "array" and "items" not in found else found
