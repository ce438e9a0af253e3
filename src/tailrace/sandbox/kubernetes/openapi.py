"""What may be sent where, as OpenAPI: the documents that `kubectl apply`, `explain`, `create` and `patch` read.

Place: called by `server` for `/openapi/v3`, `/openapi/v3/…` and `/openapi/v2`; pure functions of the `Registry`, to
be kept by its `revision`, and never changed: they share parts with what they were made from. Version 3 is made from
the facts of `builtin.json` and from the custom kinds' own `openAPIV3Schema`; version 2 is version 3 with what it
cannot say left out, as on the server.

Source: the documents of a kube-apiserver 1.36, and Kubernetes' "OpenAPI extensions" (`api/openapi-spec/README.md`).
There are no descriptions of built-in fields.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from tailrace.sandbox.kubernetes import discovery
from tailrace.sandbox.kubernetes.discovery import Kind
from tailrace.sandbox.kubernetes.documents import schema
from tailrace.sandbox.kubernetes.documents.schema import Doc
from tailrace.sandbox.kubernetes.resources import Registry, Resource

_GVK: Final = "x-kubernetes-group-version-kind"
_REF: Final = "#/components/schemas/"
_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1."
_INFO: Final = {"title": "Kubernetes", "version": ".".join(map(str, discovery.RELEASE))}
_TOKEN: Final = {"type": "apiKey", "name": "authorization", "in": "header"}
_PATCHES: Final = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)

# --- names ---------------------------------------------------------------------------------------------------------

_PREFIXES: Final = {
    "meta": "io.k8s.apimachinery.pkg.apis.",
    "api": "io.k8s.apimachinery.pkg.",
    "util": "io.k8s.apimachinery.pkg.",
    "pkg": "io.k8s.apimachinery.",
    "apiextensions": "io.k8s.apiextensions-apiserver.pkg.apis.",
    "apiregistration": "io.k8s.kube-aggregator.pkg.apis.",
}
"""Where a definition lives in Kubernetes' source, by the first word of its short name."""


def _full_name(short: str) -> str:
    """`core.v1.Service` → `io.k8s.api.core.v1.Service`."""
    return _PREFIXES.get(short.split(".", 1)[0], "io.k8s.api.") + short


# --- schemas -------------------------------------------------------------------------------------------------------

_WORDS: Final = {
    "time": _META + "Time",
    "quantity": "io.k8s.apimachinery.pkg.api.resource.Quantity",
    "int-or-string": "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
}
"""Types that `Schema` has a word for and OpenAPI a definition."""

_WELL_KNOWN: Final[dict[str, Doc]] = {
    _WORDS["time"]: {"type": "string", "format": "date-time"},
    _WORDS["quantity"]: {"oneOf": [{"type": "string"}, {"type": "number"}]},
    _WORDS["int-or-string"]: {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
    _META + "Patch": {"type": "object"},
}


class _Schemas:
    """`components.schemas`: what was asked for, and all that this refers to in turn."""

    def __init__(self) -> None:
        self.found: dict[str, Doc] = {}

    def refer(self, name: str) -> Doc:
        """A reference to a built-in definition, by its full name; it is there from now on."""
        if name not in self.found:
            made = self.found[name] = {}
            made.update(_WELL_KNOWN.get(name) or self._define(_short_names()[name]))
        return {"$ref": _REF + name}

    def refer_kind(self, kind: Kind) -> Doc | None:
        """None when it has no definition (the options of `exec`)."""
        name = _kind_names().get(kind)
        return self.refer(name) if name else None

    def _define(self, short: str) -> Doc:
        facts = schema.builtin_definitions()[short]
        # JSON and its unions in CustomResourceDefinition may be anything at all.
        made: Doc = {"type": "object"} if facts["fields"] or ".JSON" not in short else {}
        if facts.get("required"):
            made["required"] = facts["required"]
        if facts["fields"]:
            made["properties"] = {name: self._field(use) for name, use in facts["fields"].items()}
        if facts.get("atomic"):
            made["x-kubernetes-map-type"] = "atomic"
        if kind := facts.get("kind"):
            made[_GVK] = [Kind(*kind)._asdict()]
        return made

    def _field(self, use: Any) -> Doc:
        """A field's type, and the marks that this use adds to it."""
        word, marks = (use, schema.NOTHING) if isinstance(use, str) else use
        made = self._type(word)
        if "$ref" in made:
            # What stands beside a reference counts for nothing; around it, it does.
            made = {"allOf": [made]}
        for mark, value in marks.items():
            match mark:
                case "value":
                    made["default"] = {}
                case "default":
                    made["default"] = value
                case _:
                    made["x-kubernetes-" + mark] = value
        return made

    def _type(self, word: str) -> Doc:
        match word[0]:
            case "@":
                return self.refer(_full_name(word[1:]))
            case "[":
                return {"type": "array", "items": self._type(word[1:-1])}
            case "{":
                return {"type": "object", "additionalProperties": self._type(word[1:-1])}
        if word in _WORDS:
            return self.refer(_WORDS[word])
        if word == "bytes":
            return {"type": "string", "format": "byte"}
        return {} if word == "any" else {"type": word}

    def refer_custom(self, resource: Resource) -> tuple[Doc, Doc]:
        """References to a custom kind and to its list."""
        group, version = resource.group, resource.version
        prefix = ".".join([*reversed(group.split(".")), version])
        declared = ((resource.crd_version or {}).get("schema") or {}).get("openAPIV3Schema") or {}
        one = f"{prefix}.{resource.kind}"
        self.found[one] = self._object(declared) | {_GVK: [Kind(group, version, resource.kind)._asdict()]}
        many = f"{prefix}.{resource.list_kind}"
        self.found[many] = {
            "description": f"{resource.list_kind} is a list of {resource.kind}",
            "type": "object",
            "required": ["items"],
            "properties": {
                "apiVersion": {"type": "string"},
                "items": {"type": "array", "items": {"$ref": _REF + one}},
                "kind": {"type": "string"},
                "metadata": {"allOf": [self.refer(_META + "ListMeta")]},
            },
            _GVK: [Kind(group, version, resource.list_kind)._asdict()],
        }
        return {"$ref": _REF + one}, {"$ref": _REF + many}

    def _object(self, node: Mapping[str, Any]) -> Doc:
        """A declared node where a whole object stands: with what every object has."""
        made = self._declared(node)
        made["properties"] = made.get("properties", {}) | {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"allOf": [self.refer(_META + "ObjectMeta")]},
        }
        return {"type": "object"} | made

    def _declared(self, node: Mapping[str, Any]) -> Doc:
        """A custom node as it was declared, with the objects that it embeds."""
        made = dict(node)
        if "properties" in node:
            made["properties"] = {name: self._nested(below) for name, below in node["properties"].items()}
        for inner in ("items", "additionalProperties"):
            if isinstance(node.get(inner), Mapping):
                made[inner] = self._nested(node[inner])
        return made

    def _nested(self, node: Mapping[str, Any]) -> Doc:
        return self._object(node) if node.get("x-kubernetes-embedded-resource") else self._declared(node)


@functools.cache
def _short_names() -> dict[str, str]:
    return {_full_name(short): short for short in schema.builtin_definitions()}


@functools.cache
def _kind_names() -> dict[Kind, str]:
    facts = schema.builtin_definitions().items()
    return {Kind(*found["kind"]): _full_name(short) for short, found in facts if "kind" in found}


# --- operations ----------------------------------------------------------------------------------------------------

_BOOLEANS: Final = {
    "allowWatchBookmarks",
    "force",
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "orphanDependents",
    "sendInitialEvents",
    "watch",
}
_INTEGERS: Final = {"gracePeriodSeconds", "limit", "timeoutSeconds"}

_SELECT: Final = [
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
]
_DELETE: Final = [
    "dryRun",
    "gracePeriodSeconds",
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "orphanDependents",
    "propagationPolicy",
]
_WRITE: Final = ["dryRun", "fieldManager", "fieldValidation"]
_QUERY: Final = {
    "list": ["allowWatchBookmarks", *_SELECT, "watch"],
    "post": _WRITE,
    "put": _WRITE,
    "patch": [*_WRITE, "force"],
    "delete": _DELETE,
    "deletecollection": sorted([*_SELECT, *_DELETE]),
}
"""Query parameters by action; kubectl sends `fieldValidation` and `dryRun` only where they are declared."""

_METHODS: Final = {
    "get": ("get", "get", "read"),
    "update": ("put", "put", "replace"),
    "patch": ("patch", "patch", "patch"),
    "delete": ("delete", "delete", "delete"),
    "list": ("get", "list", "list"),
    "create": ("post", "post", "create"),
    "deletecollection": ("delete", "deletecollection", "delete"),
}
"""Verb: method, `x-kubernetes-action`, first word of the operation's id."""

_ON_COLLECTION: Final = ("list", "create", "deletecollection")
_ON_ITEM: Final = ("get", "update", "delete", "patch")
_CREATED: Final = {"post": ("200", "201", "202"), "put": ("200", "201"), "patch": ("200", "201")}


def _parameter(name: str, place: str = "query") -> Doc:
    made: Doc = {"name": name, "in": place}
    if place == "path":
        made["required"] = True
    word = "boolean" if name in _BOOLEANS else "integer" if name in _INTEGERS else "string"
    return made | {"schema": {"type": word, "uniqueItems": True}}


class _Paths:
    """`paths` of one resource."""

    def __init__(self, resource: Resource, schemas: _Schemas) -> None:
        self._resource = resource
        self._schemas = schemas
        self._kind = Kind(resource.group, resource.version, resource.kind)
        word = resource.group.removesuffix(".k8s.io") or "core"
        words = [part.capitalize() for part in word.replace("-", ".").split(".")]
        self._id = "".join(words) + resource.version.capitalize()
        self._tag = f"{words[0].lower()}{''.join(words[1:])}_{resource.version}"
        if resource.crd is None:
            one, many = (
                schemas.refer_kind(self._kind._replace(kind=k)) for k in (resource.kind, resource.list_kind)
            )
            self._one, self._many = one or {}, many or {}
        else:
            self._one, self._many = schemas.refer_custom(resource)

    def build(self) -> Iterator[tuple[str, Doc]]:
        found = self._resource
        root = f"/apis/{found.group}/{found.version}" if found.group else f"/api/{found.version}"
        base = f"{root}/namespaces/{{namespace}}" if found.namespaced else root
        scope = "Namespaced" if found.namespaced else ""
        if operations := self._verbs(_ON_COLLECTION, scope + found.kind):
            yield f"{base}/{found.resource}", self._item(operations)
        if found.namespaced and "list" in found.verbs:
            listing = self._verbs(("list",), f"{found.kind}ForAllNamespaces")
            yield f"{root}/{found.resource}", listing | {"parameters": [_parameter("pretty")]}
        if operations := self._verbs(_ON_ITEM, scope + found.kind):
            yield f"{base}/{found.resource}/{{name}}", self._item(operations, "name")
        for name in found.subresources:
            yield (
                f"{base}/{found.resource}/{{name}}/{name}",
                self._item(self._subresource(name, scope), "name"),
            )

    def _item(self, operations: Doc, *places: str) -> Doc:
        names = [*places, "namespace"] if self._resource.namespaced else list(places)
        return operations | {
            "parameters": [*(_parameter(name, "path") for name in names), _parameter("pretty")]
        }

    def _verbs(self, verbs: tuple[str, ...], subject: str) -> Doc:
        made: Doc = {}
        for verb in verbs:
            if verb in self._resource.verbs:
                answer = self._many if verb == "list" else self._one
                if verb in ("delete", "deletecollection"):
                    answer = self._schemas.refer(_META + "Status")
                method, operation = self._operation(verb, subject, self._kind, self._one, answer)
                made[method] = operation
        return made

    def _subresource(self, name: str, scope: str) -> Doc:
        kind = discovery.subresource_kind(self._resource, name)
        body = self._one if kind == self._kind else self._schemas.refer_kind(kind)
        text: Doc = {"type": "string"}
        made: Doc = {}
        for verb in discovery.subresource_verbs(name):
            subject = f"{scope}{self._resource.kind}{name.capitalize()}"
            answer = text if body is None or name == "log" else body
            method, operation = self._operation(verb, subject, kind, body, answer)
            if body is None:
                operation["x-kubernetes-action"] = "connect"
                operation["operationId"] = f"connect{self._id}{method.capitalize()}{subject}"
            made[method] = operation
        return made

    def _operation(
        self, verb: str, subject: str, kind: Kind, body: Doc | None, answer: Doc
    ) -> tuple[str, Doc]:
        method, action, word = _METHODS[verb]
        infix = "Collection" if verb == "deletecollection" else ""
        made: Doc = {"tags": [self._tag], "operationId": f"{word}{self._id}{infix}{subject}"}
        if query := _QUERY.get(action):
            made["parameters"] = [_parameter(name) for name in query]
        if sent := self._request(action, body):
            made["requestBody"] = sent
        content = {"application/json": {"schema": answer}}
        codes = ("200", "202") if action == "delete" else _CREATED.get(action, ("200",))
        made["responses"] = {code: {"description": "OK", "content": content} for code in codes}
        made["responses"]["401"] = {"description": "Unauthorized"}
        return method, made | {"x-kubernetes-action": action, _GVK: kind._asdict()}

    def _request(self, action: str, body: Doc | None) -> Doc | None:
        match action:
            case "post" | "put" if body is not None:
                return {"content": {"*/*": {"schema": body}}, "required": True}
            case "patch":
                patch = {"schema": self._schemas.refer(_META + "Patch")}
                custom = self._resource.crd is not None
                types = [name for name in _PATCHES if not (custom and "strategic" in name)]
                return {"content": dict.fromkeys(types, patch), "required": True}
            case "delete" | "deletecollection":
                options = self._schemas.refer(_META + "DeleteOptions")
                return {"content": {"*/*": {"schema": options}}}
        return None


# --- documents -----------------------------------------------------------------------------------------------------


def index(registry: Registry) -> Doc:
    """`/openapi/v3`: where each version's document is. The hash is of its content: clients keep it for ever by it."""
    return {
        "paths": {
            path: {
                "serverRelativeURL": f"/openapi/v3/{path}?hash={_hash(document(registry, group, version))}"
            }
            for group in registry.groups()
            for version in registry.versions(group)
            for path in [f"apis/{group}/{version}" if group else f"api/{version}"]
        }
    }


def _hash(found: Doc) -> str:
    return hashlib.sha256(msgspec.json.encode(found)).hexdigest().upper()


def document(registry: Registry, group: str, version: str) -> Doc:
    """`/openapi/v3/api/v1` and `/openapi/v3/apis/<group>/<version>`; no paths when nothing is served there."""
    schemas = _Schemas()
    found = sorted(registry.in_version(group, version), key=lambda each: each.resource)
    paths = {path: item for each in found for path, item in _Paths(each, schemas).build()}
    return {
        "openapi": "3.0.0",
        "info": _INFO,
        "paths": paths,
        "components": {
            "schemas": {name: schemas.found[name] for name in sorted(schemas.found)},
            "securitySchemes": {"BearerToken": _TOKEN},
        },
    }


def v2(registry: Registry) -> Doc:
    """`/openapi/v2`, as JSON: everything that is served, in one Swagger document."""
    paths: Doc = {}
    definitions: Doc = {}
    for group in registry.groups():
        for version in registry.versions(group):
            found = document(registry, group, version)
            paths |= {path: _swagger_item(item) for path, item in found["paths"].items()}
            for name, each in found["components"]["schemas"].items():
                if name not in definitions:
                    definitions[name] = _SWAGGER_WORDS.get(name) or _swagger_schema(each)
    return {
        "swagger": "2.0",
        "info": _INFO,
        "paths": paths,
        "definitions": definitions,
        "securityDefinitions": {"BearerToken": _TOKEN},
        "security": [{"BearerToken": []}],
    }


def _swagger_item(item: Doc) -> Doc:
    made = {key: _swagger_operation(value) for key, value in item.items() if key != "parameters"}
    return made | {"parameters": [_swagger_parameter(each) for each in item["parameters"]]}


def _swagger_parameter(found: Doc) -> Doc:
    made = {key: value for key, value in found.items() if key != "schema"}
    return made | dict(found["schema"])


def _swagger_operation(operation: Doc) -> Doc:
    made = {key: value for key, value in operation.items() if key not in ("requestBody", "parameters")}
    parameters = [_swagger_parameter(each) for each in operation.get("parameters", ())]
    if (body := operation.get("requestBody")) is not None:
        content = next(iter(body["content"].values()))
        made["consumes"] = list(body["content"])
        required = {"required": True} if body.get("required") else {}
        parameters.insert(
            0, {"name": "body", "in": "body", **required, "schema": _swagger_schema(content["schema"])}
        )
    made["produces"] = ["application/json"]
    made["parameters"] = parameters
    made["responses"] = {code: _swagger_response(each) for code, each in operation["responses"].items()}
    return made


def _swagger_response(response: Doc) -> Doc:
    made = {"description": response["description"]}
    for content in response.get("content", {}).values():
        made["schema"] = _swagger_schema(content["schema"])
    return made


_SWAGGER_WORDS: Final[dict[str, Doc]] = {
    _WORDS["quantity"]: {"type": "string"},
    _WORDS["int-or-string"]: {"type": "string", "format": "int-or-string"},
}
"""Version 2 has no `oneOf`."""

_NOT_IN_V2: Final = ("allOf", "anyOf", "default", "not", "nullable", "oneOf")
"""What version 2 cannot say. Defaults could be said; the server leaves them out too."""


def _swagger_schema(node: Doc) -> Doc:
    """A schema without what kubectl's validation by version 2 would misread.

    Where a custom node is nullable, an integer or a string, or open, version 2 says nothing about its type: a client
    that believed less would refuse what the server takes.
    """
    for wrapped in node.get("allOf", ()):
        if "$ref" in wrapped:
            node = {key: value for key, value in node.items() if key != "allOf"} | wrapped
    made = {key: value for key, value in node.items() if key not in _NOT_IN_V2}
    if "$ref" in made:
        made["$ref"] = "#/definitions/" + made["$ref"].removeprefix(_REF)
    if "properties" in made:
        made["properties"] = {name: _swagger_schema(below) for name, below in made["properties"].items()}
    for inner in ("items", "additionalProperties"):
        if isinstance(made.get(inner), dict):
            made[inner] = _swagger_schema(made[inner])
    untyped = ("nullable", "x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields")
    if any(node.get(mark) for mark in untyped):
        for key in ("type", "items", "properties", "additionalProperties", "required"):
            made.pop(key, None)
    return made
