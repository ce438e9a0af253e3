"""CustomResourceDefinitions: names, versions, and whether their schemas are structural.

Place: `builtin_rules.RULES`. Source: `apiextensions-apiserver/pkg/apis/apiextensions/validation` and
`pkg/apiserver/schema` (structural schemas).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from tailrace.sandbox.kubernetes.rules import custom_rules
from tailrace.sandbox.kubernetes.rules import field_errors as fe
from tailrace.sandbox.kubernetes.rules.field_errors import Doc, FieldError, check_named, check_one_of

_TYPES: Final = ("array", "boolean", "integer", "number", "object", "string")
_COLUMN_TYPES: Final = ("boolean", "date", "integer", "number", "string")
_KEEP: Final = "x-kubernetes-preserve-unknown-fields"
_EMBEDDED: Final = "x-kubernetes-embedded-resource"
_INT_OR_STRING: Final = "x-kubernetes-int-or-string"
_LIST_TYPE: Final = "x-kubernetes-list-type"
_LIST_KEYS: Final = "x-kubernetes-list-map-keys"
_MAP_TYPE: Final = "x-kubernetes-map-type"
_HOISTED: Final = ("schema", "subresources", "additionalPrinterColumns", "selectableFields")


def check_crd(new: Doc, old: Doc | None) -> Iterator[FieldError]:
    spec = new.get("spec") or {}
    names, group, name = (
        spec.get("names") or {},
        spec.get("group") or "",
        (new.get("metadata") or {}).get("name"),
    )
    plural = names.get("plural") or ""
    if old is None and name != f"{plural}.{group}":
        yield fe.invalid_value("metadata.name", name, 'must be spec.names.plural+"."+spec.group')
    yield from check_named("spec.group", group, fe.subdomain)
    if group and not fe.subdomain(group) and "." not in group:
        yield fe.invalid_value("spec.group", group, "should be a domain with at least one dot")
    if not spec.get("scope"):
        yield fe.required("spec.scope")
    else:
        yield from check_one_of("spec.scope", spec["scope"], ("Cluster", "Namespaced"))
    if spec.get("preserveUnknownFields"):
        text = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        yield fe.invalid_value("spec.preserveUnknownFields", True, text)
    versions = spec.get("versions") or []
    yield from _check_versions(versions)
    if versions and (first := versions[0].get("name")):
        yield from fe.check("spec.version", first, fe.rfc1035_label)  # the old field, which the server fills
    yield from _check_names(names)
    yield from _check_conversion(spec.get("conversion") or {})
    if old is None:
        yield from _check_stored(versions)
    else:
        yield from _check_update(spec, old)


def _check_names(names: Doc) -> Iterator[FieldError]:
    path = "spec.names"
    yield from check_named(f"{path}.plural", names.get("plural"), fe.rfc1035_label)
    if singular := names.get("singular"):
        yield from fe.check(f"{path}.singular", singular, fe.rfc1035_label)
    for field in ("kind", "listKind"):
        kind = names.get(field) or ""
        if field == "kind" and not kind:
            yield fe.required(f"{path}.kind")
        elif kind:
            for words in fe.rfc1035_label(kind.lower()):
                text = f"may have mixed case, but should otherwise match: {words}"
                yield fe.invalid_value(f"{path}.{field}", kind, text)
    for field in ("shortNames", "categories"):
        for at, word in enumerate(names.get(field) or ()):
            yield from fe.check(f"{path}.{field}[{at}]", word, fe.rfc1035_label)
    if names.get("kind") and names.get("kind") == names.get("listKind"):
        yield fe.invalid_value(f"{path}.listKind", names["listKind"], "kind and listKind may not be the same")


def _check_versions(versions: list[Doc]) -> Iterator[FieldError]:
    """What all versions share, the server keeps once, and speaks of it without a version in the path."""
    shared = [field for field in _HOISTED if all(v.get(field) == versions[0].get(field) for v in versions)]
    names = [version.get("name") or "" for version in versions]
    shown = [_as_internal(version, shared) for version in versions]
    stored = [version.get("name") for version in versions if version.get("storage")]
    if len(set(names)) < len(names):
        yield fe.invalid_value("spec.versions", shown, "must contain unique version names")
    if len(stored) != 1:
        text = "must have exactly one version marked as storage version"
        yield fe.invalid_value("spec.versions", shown, text)
    for at, version in enumerate(versions):
        path = f"spec.versions[{at}]"
        yield from fe.check(f"{path}.name", names[at], fe.rfc1035_label)
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema is None:
            yield fe.required(f"{path}.schema.openAPIV3Schema")
        elif "schema" not in shared:
            yield from _check_schema(schema, f"{path}.schema.openAPIV3Schema")
        elif at == 0:
            yield from _check_schema(schema, "spec.validation.openAPIV3Schema")
        if at == 0 or "subresources" not in shared:
            here = "spec" if "subresources" in shared else path
            yield from _check_scale(
                (version.get("subresources") or {}).get("scale"), f"{here}.subresources.scale"
            )
        if at == 0 or "additionalPrinterColumns" not in shared:
            here = "spec" if "additionalPrinterColumns" in shared else path
            for position, column in enumerate(version.get("additionalPrinterColumns") or ()):
                yield from _check_column(column, f"{here}.additionalPrinterColumns[{position}]")


def _check_stored(versions: list[Doc]) -> Iterator[FieldError]:
    """A new definition's status is made from the version that is stored: the errors point there as well."""
    stored, path = [v.get("name") for v in versions if v.get("storage")], "status.storedVersions"
    if not stored:
        yield fe.invalid_value(path, None, "must have at least one stored version")
    elif len(stored) > 1:
        yield fe.invalid_value(path, stored[:1], f"must have the storage version {stored[-1]}")


def _as_internal(version: Doc, shared: list[str]) -> Doc:
    """A version as the server prints it."""

    def unless_shared(field: str) -> Any:
        return None if field in shared else version.get(field)

    return {
        "Name": version.get("name") or "",
        "Served": bool(version.get("served")),
        "Storage": bool(version.get("storage")),
        "Deprecated": bool(version.get("deprecated")),
        "DeprecationWarning": version.get("deprecationWarning"),
        "Schema": unless_shared("schema"),
        "Subresources": unless_shared("subresources"),
        "AdditionalPrinterColumns": unless_shared("additionalPrinterColumns"),
        "SelectableFields": unless_shared("selectableFields"),
    }


def _check_scale(scale: Doc | None, path: str) -> Iterator[FieldError]:
    if scale is None:
        return
    for field, root in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")):
        value = scale.get(field) or ""
        if not value:
            yield fe.required(f"{path}.{field}")
        elif not value.startswith(root):
            yield fe.invalid_value(f"{path}.{field}", value, f"should be a json path under {root[:-1]}")


def _check_column(column: Doc, path: str) -> Iterator[FieldError]:
    if not column.get("name"):
        yield fe.required(f"{path}.name")
    kind, where = column.get("type") or "", column.get("jsonPath") or ""
    if not kind:
        yield fe.required(f"{path}.type", f"must be one of {','.join(_COLUMN_TYPES)}")
    elif kind not in _COLUMN_TYPES:
        yield fe.invalid_value(f"{path}.type", kind, f"must be one of {','.join(_COLUMN_TYPES)}")
    if not where:
        yield fe.required(f"{path}.JSONPath")
    elif not where.startswith("."):
        yield fe.invalid_value(f"{path}.JSONPath", where, "must be a simple json path starting with .")


def _check_conversion(conversion: Doc) -> Iterator[FieldError]:
    path, strategy = "spec.conversion", conversion.get("strategy") or "None"
    yield from check_one_of(f"{path}.strategy", strategy, ("None", "Webhook"))
    webhook = conversion.get("webhook") or {}
    if strategy == "Webhook":
        if not webhook.get("clientConfig"):
            yield fe.required(f"{path}.webhookClientConfig", "required when strategy is set to Webhook")
        if not webhook.get("conversionReviewVersions"):
            yield fe.required(f"{path}.conversionReviewVersions")


def _check_update(spec: Doc, old: Doc) -> Iterator[FieldError]:
    """Names may change only until the definition is established."""
    before = old["spec"]
    conditions = (old.get("status") or {}).get("conditions") or ()
    if any(c.get("type") == "Established" and c.get("status") == "True" for c in conditions):
        yield from fe.check_immutable("spec.scope", spec.get("scope"), before.get("scope"))
        kinds = ((doc.get("names") or {}).get("kind") for doc in (spec, before))
        yield from fe.check_immutable("spec.names.kind", *kinds)
    yield from fe.check_immutable("spec.group", spec.get("group"), before.get("group"))
    plurals = ((doc.get("names") or {}).get("plural") for doc in (spec, before))
    yield from fe.check_immutable("spec.names.plural", *plurals)
    names = [version.get("name") for version in spec.get("versions") or ()]
    for at, stored in enumerate((old.get("status") or {}).get("storedVersions") or ()):
        if stored not in names:
            text = (
                f"missing from spec.versions; {stored} was previously a storage version, and must remain in "
                f"spec.versions until a storage migration ensures no data remains persisted in {stored} and removes "
                f"{stored} from status.storedVersions"
            )
            yield fe.invalid_value(f"status.storedVersions[{at}]", stored, text)


# Schemas ----------------------------------------------------------------------------------------------------------


def _check_schema(schema: Doc, path: str) -> Iterator[FieldError]:
    kind = schema.get("type") or ""
    if not kind:
        yield fe.required(f"{path}.type", "must not be empty at the root")
    elif kind != "object":
        yield fe.invalid_value(f"{path}.type", kind, "must be object at the root")
    else:
        properties = schema.get("properties") or {}
        own = {name: below for name, below in properties.items() if name != "metadata"}
        yield from _check_node(schema | {"properties": own}, path, "object fields")
        if (metadata := properties.get("metadata")) is not None:
            yield from _check_metadata(metadata, f"{path}.properties[metadata]")


def _check_metadata(metadata: Doc, path: str) -> Iterator[FieldError]:
    if metadata.get("type") != "object":
        yield fe.invalid_value(f"{path}.type", metadata.get("type"), "must be object")
        return
    known = metadata.keys() <= {"type", "description", "properties"}
    if not known or not (metadata.get("properties") or {}).keys() <= {"name", "generateName"}:
        text = (
            "must not specify anything other than name and generateName, but metadata is implicitly specified"
        )
        yield fe.forbidden(path, text)


def _check_node(node: Doc, path: str, place: str) -> Iterator[FieldError]:
    """One node of a structural schema. `place` says what it describes, for the words about a missing type."""
    kind = node.get("type") or ""
    if node.get("$ref"):
        yield fe.forbidden(f"{path}.$ref", "$ref is not supported")
    if kind and kind not in _TYPES:
        yield fe.unsupported(f"{path}.type", kind, _TYPES)
    elif not kind and not node.get(_INT_OR_STRING) and not node.get(_KEEP):
        yield fe.required(f"{path}.type", f"must not be empty for specified {place}")
    if node.get(_KEEP) is False:
        yield fe.invalid_value(f"{path}.{_KEEP}", False, "must be true or undefined")
    if node.get("uniqueItems"):
        text = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield fe.forbidden(f"{path}.uniqueItems", text)
    yield from _check_pattern(node, path)
    yield from _check_lists(node, path, kind)
    if node.get(_EMBEDDED) and not node.get("properties") and not node.get(_KEEP):
        text = f"must not be empty if {_EMBEDDED} is true without {_KEEP}"
        yield fe.required(f"{path}.properties", text)
    yield from _check_branches(node, path)
    yield from _check_children(node, path)
    if (standard := node.get("default")) is not None:
        for error in custom_rules.check_value(standard, node):
            below = f"{path}.default" + (f".{error.path}" if error.path else "")
            yield FieldError(below, error.kind, error.value, error.detail, error.of_type)


def _check_pattern(node: Doc, path: str) -> Iterator[FieldError]:
    pattern = node.get("pattern")
    if not pattern:
        return
    try:
        custom_rules.go_pattern(pattern)
    except re.error as error:
        # Go's own words where the two engines share a complaint; otherwise Python's say what is wrong.
        words = "missing closing )" if "unterminated subpattern" in error.msg else error.msg
        text = f"must be a valid regular expression, but isn't: error parsing regexp: {words}: `{pattern}`"
        yield fe.invalid_value(f"{path}.pattern", pattern, text)


def _check_lists(node: Doc, path: str, kind: str) -> Iterator[FieldError]:
    list_type, keys, items = node.get(_LIST_TYPE), node.get(_LIST_KEYS) or [], node.get("items")
    if isinstance(items, list):
        yield fe.forbidden(f"{path}.items", "items must be a schema object and not an array")
    elif kind == "array" and not isinstance(items, Mapping):
        yield fe.required(f"{path}.items", "must be specified")
    items = items if isinstance(items, Mapping) else {}
    if list_type is not None:
        if kind != "array":
            yield fe.invalid_value(f"{path}.type", kind, f"must be array if {_LIST_TYPE} is specified")
        yield from check_one_of(f"{path}.{_LIST_TYPE}", list_type, ("atomic", "set", "map"))
    if list_type == "map":
        if not keys:
            yield fe.required(f"{path}.{_LIST_KEYS}", f"must not be empty if {_LIST_TYPE} is map")
        elif not set(keys) <= (items.get("properties") or {}).keys():
            yield fe.invalid_value(
                f"{path}.{_LIST_KEYS}", keys, "entries must all be names of item properties"
            )
    elif keys:
        text = f"must be map if {_LIST_KEYS} is non-empty"
        yield fe.invalid_value(f"{path}.{_LIST_TYPE}", list_type, text)
    if list_type == "set" and items.get("type") == "object" and items.get(_MAP_TYPE) != "atomic":
        text = f"must be atomic as item of a list with {_LIST_TYPE}=set"
        yield fe.invalid_value(f"{path}.items.{_MAP_TYPE}", items.get(_MAP_TYPE), text)
    if (map_type := node.get(_MAP_TYPE)) is not None:
        if kind != "object":
            yield fe.invalid_value(f"{path}.type", kind, f"must be object if {_MAP_TYPE} is specified")
        yield from check_one_of(f"{path}.{_MAP_TYPE}", map_type, ("atomic", "granular"))


_NOT_IN_BRANCHES: Final = (
    "type",
    "default",
    "title",
    "description",
    "nullable",
    "additionalProperties",
    _KEEP,
)


def _check_branches(node: Doc, path: str) -> Iterator[FieldError]:
    """`allOf` and its like only restrict: what gives a value its shape stands outside of them."""
    numbered = [
        (f"{path}.{word}[{at}]", branch)
        for word in ("allOf", "anyOf", "oneOf")
        for at, branch in enumerate(node.get(word) or ())
    ]
    for here, branch in [*numbered, *([(f"{path}.not", node["not"])] if "not" in node else [])]:
        usual = node.get(_INT_OR_STRING) and ".anyOf[" in here and branch.get("type") in ("integer", "string")
        for field in _NOT_IN_BRANCHES:
            if field in branch and not (usual and field == "type"):
                yield fe.forbidden(f"{here}.{field}", "must be empty to be structural")
        yield from _check_pattern(branch, here)


def _check_children(node: Doc, path: str) -> Iterator[FieldError]:
    properties, additional, items = (
        node.get("properties"),
        node.get("additionalProperties"),
        node.get("items"),
    )
    if properties and additional:
        text = "additionalProperties and properties are mutual exclusive"
        yield fe.forbidden(f"{path}.additionalProperties", text)
    for name, below in (properties or {}).items():
        yield from _check_node(below, f"{path}.properties[{name}]", "object fields")
    if isinstance(additional, Mapping):
        yield from _check_node(dict(additional), f"{path}.additionalProperties", "object fields")
    if isinstance(items, Mapping):
        yield from _check_node(dict(items), f"{path}.items", "array items")
