"""A patch over a pod template: maps are merged, lists by the keys that tell their items apart.

The rules are those of Kubernetes' strategic merge patch as far as a pod template needs them: `null` takes a field
away, `$patch: delete` an item of a list, `$patch: replace` puts a map or a list in place of what was there, and a
list without keys is replaced. Items are told apart by the keys of server-side apply (so two ports with one number
and two protocols stay two), which means that a merged template never has an item twice. Source: Kubernetes
documentation, "Update API Objects in Place Using kubectl patch"; the keys: core/v1 in its OpenAPI document.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

DIRECTIVE = "$patch"

_NAME = ("name",)
KEYS: Mapping[str, tuple[str, ...]] = {
    "claims": _NAME,
    "containers": _NAME,
    "env": _NAME,
    "ephemeralContainers": _NAME,
    "hostAliases": ("ip",),
    "imagePullSecrets": _NAME,
    "initContainers": _NAME,
    "ports": ("containerPort", "protocol"),
    "resourceClaims": _NAME,
    "schedulingGates": _NAME,
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "volumeDevices": ("devicePath",),
    "volumeMounts": ("mountPath",),
    "volumes": _NAME,
}
"""The lists of a pod template that are told apart by keys; the name of the field decides, wherever it stands."""

_DEFAULTS = {"protocol": "TCP"}

type Item = dict[str, Any]


def merge(base: Any, patch: Any, *, field: str = "") -> Any:
    """`base` with the patch over it; `field` is the name under which it stands. Neither is changed; parts are shared."""
    match base, patch:
        case _, {}:
            return _merge_map(base if isinstance(base, dict) else {}, patch)
        case _, list() if field in KEYS and is_keyed(patch):
            return _merge_list(base if isinstance(base, list) else [], patch, field)
        case _:
            return patch


def _merge_map(base: Item, patch: Item) -> Item:
    found = {} if patch.get(DIRECTIVE) == "replace" else dict(base)
    for key, value in patch.items():
        if key == DIRECTIVE:
            continue
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merge(found.get(key), value, field=key)
    return found


def _merge_list(base: Sequence[Item], patch: Sequence[Item], field: str) -> list[Item]:
    """Of several items with one key in a patch the last counts."""
    replaces = any(item.get(DIRECTIVE) == "replace" for item in patch)
    found = {} if replaces else {key_of(item, field): item for item in base}
    wanted = {key_of(item, field): item for item in patch if item.keys() != {DIRECTIVE}}
    for key, item in wanted.items():
        if item.get(DIRECTIVE) == "delete":
            found.pop(key, None)
        else:
            found[key] = _merge_map(found.get(key, {}), item)
    return list(found.values())


def add_missing(base: Sequence[Item], items: Sequence[Item], field: str) -> list[Item]:
    """`base` as it is, and behind it those items that it lacks."""
    known = {key_of(item, field) for item in base}
    return [*base, *(item for item in items if key_of(item, field) not in known)]


def key_of(item: Mapping[str, Any], field: str) -> tuple[str, ...]:
    """What tells an item of that list from the others."""
    return tuple(str(item.get(key, _DEFAULTS.get(key, ""))) for key in KEYS[field])


def is_keyed(items: Sequence[Any]) -> bool:
    return all(isinstance(item, dict) for item in items)


def make_unique(value: Any, field: str = "") -> Any:
    """The same without items that stand in a list twice; the last one counts, as it does for the kubelet."""
    match value:
        case {}:
            return {key: make_unique(inner, key) for key, inner in value.items()}
        case list():
            items = [make_unique(item) for item in value]
            if field in KEYS and is_keyed(items):
                return list({key_of(item, field): item for item in items}.values())
            return items
        case _:
            return value
