"""What a ProxyClass asks for in annotations, because its kind is the official operator's and has no field for it.

Each annotation holds YAML (or JSON) in the words of core/v1. What cannot be read is left out and told; a class with
such an annotation is not valid, so nothing half-read reaches a pod.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import yaml
from lightkube.models import core_v1

from tailrace.api import names
from tailrace.proxy import merge

VOLUMES = names.VOLUMES
VOLUME_MOUNTS = names.VOLUME_MOUNTS
ENV_FROM = names.ENV_FROM
POD_PATCH = names.POD_PATCH

EXAMPLES: Mapping[str, str] = {
    VOLUMES: "a list of volumes: `[{name: ca, configMap: {name: home-ca}}]`",
    VOLUME_MOUNTS: "a list of mounts: `[{name: ca, mountPath: /etc/home-ca, readOnly: true}]`",
    ENV_FROM: "a list of sources: `[{secretRef: {name: proxy-env}}]`",
    POD_PATCH: "a part of a pod template: `{spec: {terminationGracePeriodSeconds: 60}}`",
}

type Item = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extensions:
    """What the annotations ask for, as plain documents."""

    volumes: tuple[Item, ...] = ()
    mounts: tuple[Item, ...] = ()
    env_from: tuple[Item, ...] = ()
    patch: Item = field(default_factory=dict)


class _Metadata(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    labels: dict[str, str | None] = {}
    annotations: dict[str, str | None] = {}


class _Patch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    metadata: _Metadata = _Metadata()
    spec: dict[str, Any] = {}


_SHAPES: Mapping[str, Any] = {
    VOLUMES: list[core_v1.Volume],
    VOLUME_MOUNTS: list[core_v1.VolumeMount],
    ENV_FROM: list[core_v1.EnvFromSource],
    POD_PATCH: _Patch,
}


def read(annotations: Mapping[str, str]) -> tuple[Extensions, tuple[str, ...]]:
    """What a class asks for in its annotations, and a sentence for each that cannot be read."""
    found = {key: _read_one(key, annotations.get(key, "")) for key in EXAMPLES}
    read = Extensions(
        volumes=tuple(found[VOLUMES][0] or ()),
        mounts=tuple(found[VOLUME_MOUNTS][0] or ()),
        env_from=tuple(found[ENV_FROM][0] or ()),
        patch=found[POD_PATCH][0] or {},
    )
    return read, tuple(problem for _, problem in found.values() if problem)


@functools.lru_cache(maxsize=256)  # every proxy of a class reads the same texts whenever it is looked at
def _read_one(key: str, text: str) -> tuple[Any, str]:
    """The document, which nobody may change, and what is wrong with it."""
    if not text:
        return None, ""
    try:
        return _check(_parse(text), _SHAPES[key]), ""
    except ValueError as error:
        return None, f"annotation {key}: {error}; write {EXAMPLES[key]}"


def _parse(text: str) -> Any:
    """The document in a text, with nothing in it that JSON could not say.

    Raises:
        ValueError: what is wrong with it.
    """
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise ValueError("it has YAML aliases, which are not read here")
        return msgspec.json.decode(msgspec.json.encode(yaml.safe_load(text)))
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        raise ValueError(f"it is not YAML{f' (line {where.line + 1})' if where else ''}") from error
    except (TypeError, RecursionError) as error:
        raise ValueError("it is not a document that JSON could hold") from error


def _check(document: Any, kind: Any) -> Any:
    """The document, if it has the shape of `kind` and no field that Kubernetes does not know.

    Raises:
        ValueError: what is wrong with it.
    """
    if kind is not _Patch:
        unknown = _list_unknown(document, [item.to_dict() for item in msgspec.convert(document, kind)])
    else:
        msgspec.convert(document, _Patch)
        if strange := sorted(set(_list_directives(document))):
            raise ValueError(f"{strange[0]} is no directive that is obeyed here")
        spec = {"containers": [], **_strip(document.get("spec", {}))}
        unknown = _list_unknown({"spec": spec}, {"spec": msgspec.convert(spec, core_v1.PodSpec).to_dict()})
    if first := next(unknown, ""):
        raise ValueError(f"no field {first} is known")
    return document


def _list_directives(value: Any, inside: str = "") -> Iterator[str]:
    """Directives that `merge` does not obey; a deletion is one of an item, not of a map."""
    match value:
        case {}:
            for key, inner in value.items():
                if (
                    key == merge.DIRECTIVE
                    and inner != "replace"
                    and not (inner == "delete" and inside in merge.KEYS)
                ):
                    yield f"{key}: {inner}"
                elif key.startswith("$") and key != merge.DIRECTIVE:
                    yield key
                yield from _list_directives(inner, key)
        case list():
            for inner in value:
                yield from _list_directives(inner, inside)


def _strip(value: Any) -> Any:
    """A patch without what takes away: what it leaves must look like a part of a pod."""
    match value:
        case {}:
            return {
                key: _strip(inner)
                for key, inner in value.items()
                if inner is not None and key != merge.DIRECTIVE
            }
        case list():
            return [
                _strip(inner) for inner in value if not (isinstance(inner, dict) and merge.DIRECTIVE in inner)
            ]
        case _:
            return value


def _list_unknown(given: Any, known: Any, path: str = "") -> Iterator[str]:
    """Fields of a document that its decoded form has lost."""
    match given, known:
        case {}, {}:
            for key, inner in given.items():
                if key in known:
                    yield from _list_unknown(inner, known[key], f"{path}.{key}".lstrip("."))
                elif inner is not None:
                    yield f"{path}.{key}".lstrip(".")
        case list(), list():
            for index, (inner, read) in enumerate(zip(given, known, strict=True)):
                yield from _list_unknown(inner, read, f"{path}[{index}]")
