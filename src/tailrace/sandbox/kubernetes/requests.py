"""What an HTTP request asks for: its path, its query, the form of its body and of the answer that it wants.

Source: "Kubernetes API Concepts" (resource URIs, media types), and `k8s.io/apiserver/pkg/endpoints/request`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote

import msgspec
import yaml

from tailrace.sandbox.kubernetes import status
from tailrace.sandbox.kubernetes.admission import User
from tailrace.sandbox.kubernetes.cluster import PatchKind
from tailrace.sandbox.kubernetes.core import Call
from tailrace.sandbox.kubernetes.deletion import Removal
from tailrace.sandbox.kubernetes.resources import Ref, Resource
from tailrace.sandbox.kubernetes.rules import field_errors as fe
from tailrace.sandbox.kubernetes.storage import Doc
from tailrace.sandbox.kubernetes.writing import unregistered

PATCHES: Mapping[str, PatchKind] = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
}
_JSON, YAML, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
_UNREADABLE = (msgspec.DecodeError, yaml.YAMLError, UnicodeDecodeError, RecursionError)
_MANAGER_LIMIT = 128
Form = Literal["full", "table", "metadata", "metadata list"]
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
            raise status.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


_OPTIONS = {
    "GET": "ListOptions",
    "POST": "CreateOptions",
    "PUT": "UpdateOptions",
    "PATCH": "PatchOptions",
    "DELETE": "DeleteOptions",
}


def build_call(user: User, query: Query, user_agent: str, method: str) -> Call:
    """How a write is to be done. Raises 422 for words that nobody knows."""
    if method not in _OPTIONS or method == "GET":
        return Call(user=user)
    dry_run = query.text("dryRun")
    validation = query.text("fieldValidation") or "Warn"
    manager = query.text("fieldManager")
    wrong = list(_check_dry_run([dry_run] if dry_run else []))
    if method != "DELETE":
        wrong += _check_manager(manager)
        if validation not in ("Strict", "Warn", "Ignore"):
            wrong.append(fe.unsupported("fieldValidation", validation, ("", "Ignore", "Strict", "Warn")))
    refuse_options(method, wrong)
    return Call(
        user=user,
        manager=manager or user_agent.partition("/")[0] or "unknown",
        dry_run=dry_run == "All",
        field_validation=validation,  # type: ignore[arg-type]
        force=query.flag("force"),
    )


def refuse_options(method: str, wrong: list[fe.FieldError]) -> None:
    """Raises 422 when something is `wrong`."""
    if wrong:
        raise status.invalid("meta.k8s.io", _OPTIONS[method], "", wrong)


def check_list_options(query: Query, *, watching: bool) -> None:
    """Which versions are asked for, and how. Raises 422."""
    refuse_options("GET", list(_check_watch(query) if watching else _check_list(query)))


def _check_list(query: Query) -> Iterator[fe.FieldError]:
    match, version, field = (
        query.text("resourceVersionMatch"),
        query.text("resourceVersion"),
        "resourceVersionMatch",
    )
    if match and not version:
        yield fe.forbidden(field, f"{field} is forbidden unless resourceVersion is provided")
    if match and query.text("continue"):
        yield fe.forbidden(field, f"{field} is forbidden when continue is provided")
    if match not in ("", "Exact", "NotOlderThan"):
        yield fe.unsupported(field, match, ("Exact", "NotOlderThan", ""))
    if match == "Exact" and version == "0":
        yield fe.forbidden(field, f'{field} "exact" is forbidden for resourceVersion "0"')
    if query.text("sendInitialEvents"):
        yield fe.forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")


def _check_watch(query: Query) -> Iterator[fe.FieldError]:
    match, initial, field = (
        query.text("resourceVersionMatch"),
        query.text("sendInitialEvents"),
        "resourceVersionMatch",
    )
    if initial and match != "NotOlderThan":
        yield fe.forbidden(field, f"sendInitialEvents requires setting {field} to NotOlderThan")
    if match and not initial:
        yield fe.forbidden(field, f"{field} is forbidden for watch unless sendInitialEvents is provided")
    if match not in ("", "NotOlderThan"):
        yield fe.unsupported(field, match, ("NotOlderThan",))


def _check_dry_run(values: list[str]) -> Iterator[fe.FieldError]:
    if any(value != "All" for value in values):
        yield fe.unsupported("dryRun", values, ("All",))


def _check_manager(manager: str) -> Iterator[fe.FieldError]:
    if len(manager.encode()) > _MANAGER_LIMIT:
        yield fe.too_long("fieldManager", _MANAGER_LIMIT)
    for at, letter in enumerate(manager):
        if not letter.isprintable():
            text = f"invalid character U+{ord(letter):04X} (at position {at})"
            yield fe.invalid_value("fieldManager", manager, text)
            return


def check_patch_options(kind: PatchKind, query: Query) -> None:
    """`force` is for apply, which has to say who applies. Raises 422."""
    wrong = []
    if kind == "apply" and not query.text("fieldManager"):
        wrong.append(fe.required("fieldManager", "is required for apply patch"))
    if kind != "apply" and query.text("force"):
        wrong.append(fe.forbidden("force", "may not be specified for non-apply patch"))
    refuse_options("PATCH", wrong)


def read_document(raw: bytes, content_type: str, kind: str) -> Doc:
    """A body that has to be an object of `kind`. Raises 400 for what cannot be read, 415 for a form unknown."""
    media = content_type.partition(";")[0].strip() or _JSON
    if media not in (_JSON, YAML):
        raise status.unsupported_media_type((_JSON, YAML, PROTOBUF))
    try:
        doc = yaml.safe_load(raw) if media == YAML else msgspec.json.decode(raw)
    except _UNREADABLE as error:
        if media == YAML:
            why = f"yaml: {_in_go(error)}"
        else:
            why = f"couldn't get version/kind; json parse error: {_in_go(error)}"
    else:
        if doc is None:
            return {}
        if isinstance(doc, dict):
            return doc
        why = "couldn't get version/kind; json parse error: json: it is not an object"
    where = (
        f"the object provided is unrecognized (must be of type {kind}): " if kind != "DeleteOptions" else ""
    )
    raise status.bad_request(where + why)


def read_patch(raw: bytes, kind: PatchKind) -> Any:
    """A patch's document, whatever its shape. Raises 400."""
    try:
        return yaml.safe_load(raw) if kind == "apply" and raw[:1] != b"{" else msgspec.json.decode(raw)
    except _UNREADABLE as error:
        where = {"apply": "error decoding YAML: ", "strategic": ""}.get(kind, "error decoding patch: ")
        raise status.bad_request(where + _in_go(error)) from None


def _in_go(error: Exception) -> str:
    text = str(error).splitlines()[0]
    return "unexpected end of JSON input" if "truncated" in text else text


def patch_kind(content_type: str, resource: Resource) -> PatchKind:
    """Raises 415."""
    media = content_type.partition(";")[0].strip()
    allowed = [m for m in PATCHES if resource.crd is None or PATCHES[m] != "strategic"]
    if media in PATCHES and media not in allowed:
        raise status.unsupported_media_type(allowed)
    if media not in PATCHES:
        raise status.ApiError(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})
    return PATCHES[media]


def read_removal(options: Doc, query: Query) -> tuple[Removal, bool]:
    """DeleteOptions from the body, else from the query; and whether it is a trial. Raises 400, 422."""
    kind, version = options.get("kind") or "DeleteOptions", options.get("apiVersion") or "v1"
    if kind != "DeleteOptions":
        raise status.bad_request(unregistered(kind, version))
    preconditions = options.get("preconditions") or {}
    propagation = options.get("propagationPolicy") or query.text("propagationPolicy") or None
    dry_run = options.get("dryRun") or []
    wrong = list(_check_dry_run(dry_run))
    if propagation not in (None, "Background", "Foreground", "Orphan"):
        allowed = ("Foreground", "Background", "Orphan", "nil")
        wrong.append(fe.unsupported("propagationPolicy", propagation, allowed))
    refuse_options("DELETE", wrong)
    if options.get("orphanDependents"):
        propagation = "Orphan"
    grace = options.get("gracePeriodSeconds")
    if grace is None and query.text("gracePeriodSeconds"):
        grace = query.number("gracePeriodSeconds")
    removal = Removal(
        propagation=propagation,  # type: ignore[arg-type]
        grace=grace,
        uid=preconditions.get("uid") or "",
        version=preconditions.get("resourceVersion") or "",
    )
    return removal, bool(dry_run)


def wanted_form(accept: str, *, streams: bool) -> Form:
    """The first form in `Accept` that is served. `streams`: of what can be watched. Raises 406 when there is none."""
    if not accept:
        return "full"
    for clause in accept.split(","):
        media, *parameters = (part.strip() for part in clause.split(";"))
        named = dict(p.partition("=")[::2] for p in parameters)
        if media not in (_JSON, "*/*"):
            continue
        match named.get("as"):
            case None:
                return "full"
            case "Table" if named.get("v") == "v1":
                return "table"
            case "PartialObjectMetadata" if named.get("v") == "v1":
                return "metadata"
            case "PartialObjectMetadataList" if named.get("v") == "v1":
                return "metadata list"
    served = (_JSON, YAML, PROTOBUF)
    raise status.not_acceptable(
        (*served, f"{_JSON};stream=watch", f"{PROTOBUF};stream=watch") if streams else served
    )
