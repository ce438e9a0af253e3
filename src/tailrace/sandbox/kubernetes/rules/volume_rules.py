"""Volumes of a pod, and where its containers mount them.

Place: `pod_rules`. Source: `pkg/apis/core/validation` (`ValidateVolumes`, `ValidateVolumeMounts`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from tailrace.sandbox.kubernetes.rules import field_errors as fe
from tailrace.sandbox.kubernetes.rules.field_errors import Doc, FieldError, check_named, check_one_of

_HOST_PATHS: Final = (
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
)
_NAMED: Final = {"secret": "secretName", "configMap": "name", "persistentVolumeClaim": "claimName"}


def check_volume(volume: Doc, path: str, taken: Sequence[str]) -> Iterator[FieldError]:
    name = volume.get("name") or ""
    yield from check_named(f"{path}.name", name, fe.label)
    if name and name in taken:
        yield fe.duplicate(f"{path}.name", name)
    kinds = sorted((k for k in volume if k != "name"), key=lambda k: k != "emptyDir")
    for kind in kinds[1:]:
        yield fe.forbidden(f"{path}.{kind}", "may not specify more than 1 volume type")
    for kind in kinds[:1]:
        here, source = f"{path}.{kind}", volume[kind] or {}
        if kind in _NAMED and not source.get(_NAMED[kind]):
            yield fe.required(f"{here}.{_NAMED[kind]}")
        if kind == "hostPath":
            yield from _check_host_path(source, here)
        yield from _check_mode(source, "defaultMode", here)
        if kind in ("secret", "configMap"):
            yield from _check_items(source.get("items") or (), f"{here}.items")


def _check_host_path(source: Doc, path: str) -> Iterator[FieldError]:
    place = source.get("path") or ""
    if not place:
        yield fe.required(f"{path}.path")
    elif ".." in place.split("/"):
        yield fe.invalid_value(f"{path}.path", place, "must not contain '..'")
    yield from check_one_of(f"{path}.type", source.get("type", ""), _HOST_PATHS)


def _check_mode(source: Doc, field: str, path: str) -> Iterator[FieldError]:
    mode = source.get(field)
    if mode is not None and not 0 <= mode <= 0o777:
        text = "must be a number between 0 and 0777 (octal), both inclusive"
        yield fe.invalid_value(f"{path}.{field}", mode, text)


def _check_items(items: Sequence[Doc], path: str) -> Iterator[FieldError]:
    for at, item in enumerate(items):
        here = f"{path}[{at}]"
        if not item.get("key"):
            yield fe.required(f"{here}.key")
        if not item.get("path"):
            yield fe.required(f"{here}.path")
        else:
            yield from _check_relative(f"{here}.path", item["path"])
        yield from _check_mode(item, "mode", here)


def check_mounts(mounts: Sequence[Doc], path: str, volumes: Sequence[str]) -> Iterator[FieldError]:
    places: set[str] = set()
    for at, mount in enumerate(mounts):
        here, name, place = f"{path}[{at}]", mount.get("name") or "", mount.get("mountPath") or ""
        if not name:
            yield fe.required(f"{here}.name")
        if name not in volumes:
            yield fe.not_found(f"{here}.name", name)
        if not place:
            yield fe.required(f"{here}.mountPath")
        elif place in places:
            yield fe.invalid_value(f"{here}.mountPath", place, "must be unique")
        places.add(place)
        if below := mount.get("subPath"):
            yield from _check_relative(f"{path}.subPath", below)


def _check_relative(path: str, text: str) -> Iterator[FieldError]:
    if text.startswith("/"):
        yield fe.invalid_value(path, text, "must be a relative path")
    if ".." in text.split("/"):
        yield fe.invalid_value(path, text, "must not contain '..'")
