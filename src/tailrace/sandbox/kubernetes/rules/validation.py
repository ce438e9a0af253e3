"""What the server refuses before it stores a document: wrong types, wrong metadata, wrong fields.

Place: `cluster` calls `check_types` and `decode_nulls` on what it read, fills defaults, then asks `validate_metadata` and either
`validate` (built-in kinds) or `validate_custom`; the errors go to `status.invalid`. The rules for each kind are in
`builtin_rules`, `workload_rules`, `pod_rules` and `crd_rules`; those for custom resources in `custom_rules`.

Source of the words: a kube-apiserver 1.36, and `k8s.io/apimachinery/pkg/api/validation`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from tailrace.sandbox.kubernetes.documents.schema import Schema, copy_of
from tailrace.sandbox.kubernetes.rules import builtin_rules, custom_rules
from tailrace.sandbox.kubernetes.rules import field_errors as fe
from tailrace.sandbox.kubernetes.rules.field_errors import (
    Doc,
    FieldError,
    NameRule,
    duplicate,
    forbidden,
    invalid_value,
    required,
    too_long,
    too_many,
    unsupported,
)

__all__ = [
    "FieldError",
    "check_types",
    "decode_errors",
    "decode_nulls",
    "duplicate",
    "forbidden",
    "invalid_value",
    "name_rule",
    "required",
    "too_long",
    "too_many",
    "unsupported",
    "validate",
    "validate_custom",
    "validate_metadata",
    "validate_metadata_update",
]

ANNOTATIONS_LIMIT: Final = 256 * 1024
_BLOCKING: Final = frozenset({"Unsupported value", "Required value", "Too long", "Too many"})
_NOT_ASKED: Final = (
    "some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation"
)


def validate(resource_kind: tuple[str, str], new: Doc, old: Doc | None = None) -> list[FieldError]:
    """What the rules of a built-in kind, `(group, kind)`, have against `new`; a kind without rules has nothing.

    `old` is the stored document when this is an update. Defaults are filled in both. Metadata is not judged here.
    """
    rule = builtin_rules.RULES.get(resource_kind)
    return _distinct(rule(new, old)) if rule else []


def validate_custom(doc: Doc, schema: Schema, subresource: str = "") -> list[FieldError]:
    """What a custom resource's schema has against the document. It is pruned, and defaults are filled in.

    Of a status that is written by itself nothing else is judged, and the words name the fields from there.
    """
    node = schema.facts
    if subresource != "status":
        return _distinct(custom_rules.check_value(doc, node))
    inner = (node.get("properties") or {}).get("status") or {}
    found = _distinct(custom_rules.check_value(doc["status"], inner)) if "status" in doc else []
    return [
        e if e.path == "<nil>" else dataclasses.replace(e, path=f"status.{e.path}".rstrip(".")) for e in found
    ]


def skip_rules(errors: Iterable[FieldError]) -> FieldError | None:
    """The notice that the rules in CEL were not asked, where one of these errors keeps them from it."""
    if any(error.of_type or error.kind in _BLOCKING for error in errors):
        return fe.invalid_value("<nil>", None, _NOT_ASKED)
    return None


def _distinct(errors: Iterator[FieldError]) -> list[FieldError]:
    """The order stays. Errors are told apart by their words: values need not be hashable."""
    return list({str(error): error for error in errors}.values())


# Metadata ---------------------------------------------------------------------------------------------------------

_RBAC: Final = "rbac.authorization.k8s.io"
_NAME_RULES: Final[dict[tuple[str, str], NameRule]] = {
    ("", "Namespace"): fe.label,
    ("", "Service"): fe.label,
    ("apps", "StatefulSet"): fe.label,
    (_RBAC, "ClusterRole"): fe.path_segment,
    (_RBAC, "ClusterRoleBinding"): fe.path_segment,
    (_RBAC, "Role"): fe.path_segment,
    (_RBAC, "RoleBinding"): fe.path_segment,
}


def name_rule(group: str, kind: str) -> NameRule:
    """How objects of a kind may be called."""
    return _NAME_RULES.get((group, kind), fe.subdomain)


def validate_metadata(
    metadata: Doc, *, namespaced: bool, generated: bool, name: NameRule = fe.subdomain, core: bool = True
) -> list[FieldError]:
    """`generated`: the name is made from `generateName` later, so that none is there yet.

    `core`: of a kind of `pkg/apis`, which are stricter about finalizers than definitions and custom resources are.
    """
    return _distinct(_check_metadata(metadata, namespaced, generated, name, core))


def _check_metadata(
    metadata: Doc, namespaced: bool, generated: bool, rule: NameRule, core: bool
) -> Iterator[FieldError]:
    if prefix := metadata.get("generateName"):
        # What follows the prefix may end it: `web-` is fine.
        masked = re.sub("-$", "a", prefix) if rule is not fe.path_segment else prefix
        for words in rule(masked):
            yield invalid_value("metadata.generateName", prefix, words)
    if chosen := metadata.get("name"):
        yield from fe.check("metadata.name", chosen, rule)
    elif not generated:
        yield required("metadata.name", "name or generateName is required")
    namespace = metadata.get("namespace")
    if namespaced:
        yield from fe.check_named("metadata.namespace", namespace, fe.label)
    elif namespace:
        yield forbidden("metadata.namespace", "not allowed on this type")
    yield from fe.check_not_negative(metadata, "metadata", "generation")
    yield from fe.check_labels("metadata.labels", metadata.get("labels"))
    yield from _check_annotations(metadata.get("annotations") or {})
    yield from _check_owners(metadata.get("ownerReferences") or [])
    yield from _check_finalizers(metadata.get("finalizers") or [], core)


def _check_annotations(annotations: dict[str, str]) -> Iterator[FieldError]:
    for key in annotations:
        for words in fe.qualified_name(key.lower()):
            yield invalid_value("metadata.annotations", key, words)
    if sum(len(key.encode()) + len((value or "").encode()) for key, value in annotations.items()) > (
        ANNOTATIONS_LIMIT
    ):
        yield too_long("metadata.annotations", ANNOTATIONS_LIMIT)


def _check_owners(owners: list[Doc]) -> Iterator[FieldError]:
    path = "metadata.ownerReferences"
    for owner in owners:
        api_version = owner.get("apiVersion", "")
        group, _, version = api_version.rpartition("/")
        if not version or "/" in group:
            yield invalid_value(f"{path}.apiVersion", api_version, "version must not be empty")
        for field in ("kind", "name", "uid"):
            if not owner.get(field):
                yield invalid_value(f"{path}.{field}", "", "must not be empty")
        if (api_version, owner.get("kind")) == ("v1", "Event"):
            yield invalid_value(path, owner, "/v1, Kind=Event is disallowed from being an owner")
    controllers = [f"{o.get('kind')}/{o.get('name')}" for o in owners if o.get("controller")]
    if len(controllers) > 1:
        text = 'Only one reference can have Controller set to true. Found "true" in references for '
        yield invalid_value(path, owners, f"{text}{controllers[0]} and {controllers[1]}")


_STANDARD_FINALIZERS: Final = frozenset({"foregroundDeletion", "orphan", "kubernetes"})


def _check_finalizers(finalizers: list[str], core: bool) -> Iterator[FieldError]:
    path = "metadata.finalizers"
    for at, name in enumerate(finalizers):
        wrong = list(fe.check(path, name, fe.qualified_name))
        yield from wrong
        if core and not wrong and "/" not in name and name not in _STANDARD_FINALIZERS:
            text = "name is neither a standard finalizer name nor is it fully qualified"
            yield invalid_value(f"{path}[{at}]", name, text)
    if {"foregroundDeletion", "orphan"} <= set(finalizers):
        text = "finalizer orphan and foregroundDeletion cannot be both set"
        yield invalid_value(path, finalizers, text)


def validate_metadata_update(new: Doc, old: Doc) -> list[FieldError]:
    """What may not change in `metadata`, and which finalizers may not come; the fields' own rules apart.

    A changed `creationTimestamp` is no error: the server puts the stored one back.
    """
    return _distinct(_check_metadata_update(new, old))


def _check_metadata_update(new: Doc, old: Doc) -> Iterator[FieldError]:
    if old.get("deletionTimestamp"):
        added = [name for name in new.get("finalizers") or () if name not in (old.get("finalizers") or ())]
        if added:
            text = "no new finalizers can be added if the object is being deleted, found new finalizers "
            listed = ", ".join(fe.as_go(name) for name in sorted(added))
            yield forbidden("metadata.finalizers", f"{text}[]string{{{listed}}}")
    if (new.get("generation") or 0) < (old.get("generation") or 0):
        yield invalid_value("metadata.generation", new.get("generation") or 0, "must not be decremented")
    for field in (
        "name",
        "namespace",
        "uid",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ):
        yield from fe.check_immutable(f"metadata.{field}", new.get(field), old.get(field))


# Types ------------------------------------------------------------------------------------------------------------

_WIDE: Final = frozenset(
    {
        "activeDeadlineSeconds",
        "deletionGracePeriodSeconds",
        "expirationSeconds",
        "fsGroup",
        "generation",
        "maxItems",
        "maxLength",
        "maxProperties",
        "minItems",
        "minLength",
        "minProperties",
        "observedGeneration",
        "revision",
        "runAsGroup",
        "runAsUser",
        "supplementalGroups",
        "terminationGracePeriodSeconds",
        "tolerationSeconds",
    }
)
"""The integer fields that are int64 in Go; the others are int32."""
_MICRO_TIMES: Final = frozenset({"acquireTime", "eventTime", "lastObservedTime", "renewTime"})
_GO_TYPES: Final = {
    "boolean": "bool",
    "bytes": "[]uint8",
    "int-or-string": "int32",
    "number": "float64",
    "quantity": "resource.Quantity",
    "string": "string",
    "time": "string",
}
_BAD_QUANTITY: Final = (
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)
_BASE64: Final = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


def check_types(doc: Doc, schema: Schema, kind: str, api_version: str) -> str | None:
    """The message of the 400 for a document that Go cannot decode, or None. Null is fine everywhere, as in Go."""
    first = next(_walk(doc, schema, kind, (), ""), None)
    version = api_version.rpartition("/")[2]
    return first and f'{kind} in version "{version}" cannot be handled as a {kind}: {first}'


def check_conversion(doc: Doc, schema: Schema) -> str:
    """What the conversion of an applied document complains of: the same things, told without their places."""
    first = next(_walk(doc, schema, "", (), ""), "")
    if first.startswith("illegal base64"):
        return f"error decoding from json: {first}"
    if found := re.match(r"json: cannot unmarshal number [\d.]+ into .* of type (\w+)$", first):
        return f"cannot convert float64 to {found[1]}"
    return re.sub(r" into Go struct field \S+ of", " into Go value of", first)


def decode_errors(doc: Doc, schema: Schema) -> list[str]:
    """Each place where the JSON type is not the field's, in Go's words. Of a custom resource only its metadata."""
    return list(_walk(doc, schema, schema.name.rpartition(".")[2], (), ""))


def _walk(value: Any, schema: Schema, owner: str, path: tuple[str, ...], field: str) -> Iterator[str]:
    """`owner` is the Go struct that has the field; list positions and map keys are not part of `path`."""
    if value is None or (schema.type == "any" and not schema.properties):
        return
    complaint = _complaint(value, schema, field)
    if complaint is not None:
        place = f" into Go struct field {owner}.{'.'.join(path)}" if path else " into Go value"
        bare = complaint.startswith(("quantities", "parsing", "illegal"))
        word = (
            complaint
            if bare
            else f"json: cannot unmarshal {complaint}{place} of type {_go_type(schema, field)}"
        )
        yield word
    elif isinstance(value, list):
        below = schema.element()
        for item in value:
            if not _fits(item, below):
                yield from _walk(item, below, owner, path, field)
    elif isinstance(value, dict):
        inside = schema.name.rpartition(".")[2] or owner
        for key, inner in value.items():
            if known := schema.properties.get(key):
                if _fits(inner, known):
                    continue
                below = _below(schema, key, inner)
                if not below.facts:  # a custom resource's own fields are judged by its schema
                    # The server decodes a custom resource's metadata on its own.
                    yield from _walk(inner, below, inside, () if schema.facts else (*path, key), key)
            elif (others := schema.additional) and not others.facts and not _fits(inner, others):
                yield from _walk(inner, schema.additional, owner, path, field)


def _fits(value: Any, schema: Schema) -> bool:
    """The short way for what most values are."""
    return value.__class__ is str and schema.type == "string"


_SCHEMA_OR: Final = (".JSONSchemaPropsOrArray", ".JSONSchemaPropsOrBool", ".JSONSchemaPropsOrStringArray")
_ZERO: Final[dict[str, Any]] = {
    "boolean": False,
    "bytes": "",
    "int-or-string": 0,
    "integer": 0,
    "number": 0,
    "object": {},
    "quantity": "0",
    "string": "",
}


def decode_nulls(doc: Doc, schema: Schema) -> Doc:
    """The document with the zero value where a list or a map of a built-in type holds null, as Go decodes it.

    For documents that `check_types` lets pass, before defaults are filled in. A custom resource keeps its nulls.
    """
    decoded: Doc = _decode_nulls(doc, schema)
    return decoded


def _decode_nulls(value: Any, schema: Schema) -> Any:
    if schema.facts or (schema.leaf and not isinstance(value, list)):
        return value
    if isinstance(value, list):
        below = schema.element()
        return [
            copy_of(_ZERO.get(below.type)) if item is None else _decode_nulls(item, below) for item in value
        ]
    if isinstance(value, dict):
        entries, decoded = schema.additional, dict(value)
        for key, inner in value.items():
            if isinstance(inner, dict | list):
                decoded[key] = _decode_nulls(inner, _below(schema, key, inner))
            elif inner is None and entries is not None and key not in schema.properties:
                decoded[key] = copy_of(_ZERO.get(entries.type))
        return decoded
    return value


def _below(schema: Schema, key: str, value: Any) -> Schema:
    """The schema of a field. In a schema of schemas, `items` and `additionalProperties` may hold one as well."""
    below = schema.child(key)
    return schema if isinstance(value, dict) and below.name.endswith(_SCHEMA_OR) else below


def _complaint(value: Any, schema: Schema, field: str) -> str | None:
    """What Go calls the wrong value, or its own sentence for the types that parse a text; None when it fits."""
    got = _go_word(value)
    match schema.type:
        case "string":
            return None if got == "string" else got
        case "boolean":
            return None if got == "bool" else got
        case "integer":
            return _integer_complaint(value, got, 64 if field in _WIDE else 32)
        case "number":
            return None if got == "number" else got
        case "int-or-string":
            return None if got == "string" else _integer_complaint(value, got, 32)
        case "quantity":
            fits = got in ("string", "number") and fe.quantity(value) is not None
            return None if fits else _BAD_QUANTITY
        case "time":
            return _time_complaint(value, field) if got == "string" else got
        case "bytes":
            if got != "string":
                return got
            return (
                None if _BASE64.fullmatch(value) else f"illegal base64 data at input byte {_bad_byte(value)}"
            )
        case "array":
            return None if got == "array" else got
        case "object":
            return None if got == "object" else got
        case _:
            return None


def _go_word(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case str():
            return "string"
        case int() | float():
            return "number"
        case list():
            return "array"
        case _:
            return "object"


def _integer_complaint(value: Any, got: str, bits: int) -> str | None:
    if got != "number":
        return got
    fits = float(value).is_integer() and -(2 ** (bits - 1)) <= value < 2 ** (bits - 1)
    return None if fits else f"number {value}"


def _time_complaint(value: str, field: str) -> str | None:
    if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", value):
        return None
    layout = "2006-01-02T15:04:05" + (".000000" if field in _MICRO_TIMES else "") + "Z07:00"
    shown = fe.as_go(value)
    return f'parsing time {shown} as "{layout}": cannot parse {shown} as "2006"'


def _bad_byte(text: str) -> int:
    """Where Go's decoder gives up: the first character that is none of base64."""
    wrong = re.search(r"[^A-Za-z0-9+/=]", text)
    return wrong.start() if wrong else 4 * (len(text) // 4)


def _go_type(schema: Schema, field: str) -> str:
    if schema.type == "integer":
        return "int64" if field in _WIDE else "int32"
    if schema.type == "array":
        return f"[]{_go_type(schema.element(), field)}"
    if schema.name:
        return ".".join(schema.name.split(".")[-2:])
    if schema.type == "object":
        return f"map[string]{_go_type(schema.child(''), field)}"
    return _GO_TYPES.get(schema.type, "interface {}")
