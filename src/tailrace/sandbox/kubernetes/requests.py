"""What an HTTP request asks for: its path, its query, the form of its body and of the answer that it wants.

Source: "Kubernetes API Concepts" (resource URIs, media types), and `k8s.io/apiserver/pkg/endpoints/request`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote

import msgspec
import yaml

from tailrace.sandbox.kubernetes import status
from tailrace.sandbox.kubernetes.admission import User
from tailrace.sandbox.kubernetes.cluster import PatchKind
from tailrace.sandbox.kubernetes.core import Call
from tailrace.sandbox.kubernetes.resources import Ref, Resource
from tailrace.sandbox.kubernetes.storage import Doc
from tailrace.sandbox.kubernetes.writing import Removal

PATCHES: Mapping[str, PatchKind] = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
}
_JSON, _YAML = "application/json", "application/yaml"
Form = Literal["full", "table", "metadata"]
_TRUE = ("1", "t", "T", "true", "True", "TRUE")


@dataclass(frozen=True, slots=True)
class Target:
    """The object, the collection or the subresource that a path names."""

    ref: Ref
    namespace: str = ""
    name: str = ""
    subresource: str = ""


def parse_target(path: str) -> Target | None:
    """None for a path that is no resource's."""
    parts = [unquote(part) for part in path.strip("/").split("/")]
    if parts[:1] == ["api"] and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[:1] == ["apis"] and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = ""
    if (
        rest[0] == "namespaces"
        and len(rest) > 2
        and not (len(rest) == 3 and rest[2] in ("status", "finalize"))
    ):
        namespace, rest = rest[1], rest[2:]
    if len(rest) > 3 or not all(rest):
        return None
    resource, name, subresource = (*rest, "", "")[:3]
    return Target(Ref(group, version, resource), namespace, name, subresource)


class Query:
    """The query string; the last value counts."""

    def __init__(self, raw: bytes) -> None:
        self._values = dict(parse_qsl(raw.decode("latin-1"), keep_blank_values=True))

    def text(self, name: str) -> str:
        return self._values.get(name, "")

    def flag(self, name: str) -> bool:
        return self._values.get(name, "") in _TRUE

    def number(self, name: str) -> int:
        """0 when absent. Raises 400."""
        text = self._values.get(name, "")
        try:
            return int(text) if text else 0
        except ValueError:
            message = f'strconv.ParseInt: parsing "{text}": invalid syntax'
            raise status.bad_request(f'invalid parameter "{name}": {message}') from None


def build_call(user: User, query: Query, user_agent: str) -> Call:
    """How a write is to be done. Raises 400 for words that nobody knows."""
    dry_run = query.text("dryRun")
    if dry_run not in ("", "All"):
        raise _bad_option("dryRun", dry_run, '"All"')
    validation = query.text("fieldValidation") or "Warn"
    if validation not in ("Strict", "Warn", "Ignore"):
        raise _bad_option("fieldValidation", validation, '"Ignore", "Warn", "Strict"')
    return Call(
        user=user,
        manager=query.text("fieldManager") or user_agent.partition("/")[0] or "unknown",
        dry_run=dry_run == "All",
        field_validation=validation,  # type: ignore[arg-type]
        force=query.flag("force"),
    )


def _bad_option(name: str, value: str, allowed: str) -> status.ApiError:
    message = f'{name}: Unsupported value: "{value}": supported values: {allowed}'
    return status.ApiError(422, "Invalid", f'CreateOptions.meta.k8s.io "" is invalid: {message}')


def read_body(raw: bytes, content_type: str, resource: Resource | None = None) -> Any:
    """A document. Raises 400 for what cannot be read, 415 for a form that is not understood."""
    media = content_type.partition(";")[0].strip() or _JSON
    try:
        if media in (_YAML, "application/apply-patch+yaml") and not raw.lstrip().startswith(b"{"):
            return yaml.safe_load(raw)
        if media.endswith(("json", "yaml")):
            return msgspec.json.decode(raw)
    except (msgspec.DecodeError, yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise status.bad_request(
            f"the object provided is unrecognized: {str(error).splitlines()[0]}"
        ) from None
    raise status.unsupported_media_type((_JSON, _YAML))


def read_document(raw: bytes, content_type: str) -> Doc:
    """A body that has to be an object. Raises as `read_body`."""
    doc = read_body(raw, content_type)
    if not isinstance(doc, dict):
        raise status.bad_request("the object provided is unrecognized: it is not an object")
    return doc


def patch_kind(content_type: str, resource: Resource) -> PatchKind:
    """Raises 415."""
    media = content_type.partition(";")[0].strip()
    allowed = [m for m in PATCHES if resource.crd is None or PATCHES[m] != "strategic"]
    if media not in allowed:
        raise status.unsupported_media_type(allowed)
    return PATCHES[media]


def read_removal(raw: bytes, content_type: str, query: Query) -> Removal:
    """DeleteOptions from the body, else from the query."""
    options = read_document(raw, content_type) if raw.strip() else {}
    preconditions = options.get("preconditions") or {}
    propagation = options.get("propagationPolicy") or query.text("propagationPolicy") or None
    if propagation not in (None, "Background", "Foreground", "Orphan"):
        allowed = '"Foreground", "Background", "Orphan", "nil"'
        raise status.ApiError(
            422,
            "Invalid",
            'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: '
            f'"{propagation}": supported values: {allowed}',
        )
    if options.get("orphanDependents"):
        propagation = "Orphan"
    grace = options.get("gracePeriodSeconds")
    if grace is None and query.text("gracePeriodSeconds"):
        grace = query.number("gracePeriodSeconds")
    return Removal(
        propagation=propagation,  # type: ignore[arg-type]
        grace=grace,
        uid=preconditions.get("uid") or "",
        version=preconditions.get("resourceVersion") or "",
    )


def wanted_form(accept: str) -> Form:
    """The first form in `Accept` that is served. Raises 406 when there is none."""
    if not accept:
        return "full"
    for clause in accept.split(","):
        media, *parameters = (part.strip() for part in clause.split(";"))
        named = dict(p.partition("=")[::2] for p in parameters)
        if media not in (_JSON, "application/*", "*/*"):
            continue
        match named.get("as"):
            case None:
                return "full"
            case "Table" if named.get("v") == "v1":
                return "table"
            case "PartialObjectMetadata" | "PartialObjectMetadataList" if named.get("v") == "v1":
                return "metadata"
    message = "only the following media types are accepted: application/json"
    raise status.ApiError(406, "NotAcceptable", message)
