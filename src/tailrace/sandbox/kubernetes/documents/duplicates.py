"""Fields that a body says twice: the last counts, and the server tells.

Place: the HTTP server looks before a write, `writing` refuses or warns. A parser forgets what was said twice, so the
text is read once more; only where something is does anybody look for the place.
Source of the words: `sigs.k8s.io/json` for JSON, `sigs.k8s.io/yaml` for YAML.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import yaml


class _Pairs(list[tuple[str, Any]]):
    """An object as it is written."""


def in_json(raw: bytes) -> list[str]:
    """`duplicate field "data.a"` for each, in the order of the text, which has to be JSON."""
    if not _repeats(raw):
        return []
    paths = _walk(json.loads(raw, object_pairs_hook=_Pairs), "")
    return [f'duplicate field "{path}"' for path in dict.fromkeys(paths)]


def in_yaml(raw: bytes) -> list[str]:
    """`line 5: key "a" already set in map` for each, in the order of the text, which has to be YAML or JSON."""
    if raw.lstrip()[:1] == b"{" and not _repeats(raw):
        return []
    return list(_walk_nodes(yaml.compose(raw, Loader=yaml.SafeLoader)))


def _repeats(raw: bytes) -> bool:
    found = False

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal found
        made = dict(pairs)
        found = found or len(made) < len(pairs)
        return made

    try:
        json.loads(raw, object_pairs_hook=note)
    except ValueError:
        return True  # YAML in braces
    return found


def _walk(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, inner in value:
            below = f"{path}.{key}" if path else key
            if key in seen:
                yield below
            seen.add(key)
            yield from _walk(inner, below)
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from _walk(item, f"{path}[{at}]")


def _walk_nodes(node: yaml.Node | None) -> Iterator[str]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                yield f'line {key.start_mark.line + 1}: key "{key.value}" already set in map'
            seen.add(key.value)
            yield from _walk_nodes(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _walk_nodes(item)
