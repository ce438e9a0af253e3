"""Distil the built-in kinds' facts from a Kubernetes release's OpenAPI v3 documents.

python tools/builtin_schema.py FOLDER     (FOLDER: `api/openapi-spec/v3` of the module `k8s.io/kubernetes`)

Writes `src/tailrace/sandbox/kubernetes/builtin.json`: names of definitions and fields, their types and the
`x-kubernetes-*` markers; no descriptions. `schema` explains the form.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parent.parent / "src/tailrace/sandbox/kubernetes/builtin.json"
STABLE = re.compile(r"apis?__(.+__)?v\d+_openapi\.json")
WELL_KNOWN = {
    "resource.Quantity": "quantity",
    "v1.Time": "time",
    "v1.MicroTime": "time",
    "intstr.IntOrString": "int-or-string",
}


def shorten(name: str) -> str:
    """`io.k8s.api.core.v1.Pod` → `core.v1.Pod`; apimachinery's `…meta.v1.ObjectMeta` → `meta.v1.ObjectMeta`."""
    return ".".join(name.rsplit(".", 3)[1:])


def read_type(use: dict[str, Any]) -> str:
    """One word for a field's type: a scalar, `@definition`, `[items]` or `{values}`."""
    if reference := use.get("$ref") or (use.get("allOf") or [{}])[0].get("$ref"):
        name = shorten(reference.rsplit("/", 1)[1])
        return WELL_KNOWN.get(name.split(".", 1)[1], "@" + name)
    match use.get("type"):
        case "array":
            return f"[{read_type(use['items'])}]"
        case "object" if "additionalProperties" in use:
            return f"{{{read_type(use['additionalProperties'])}}}"
        case "string":
            return "bytes" if use.get("format") == "byte" else "string"
        case str(kind):
            return kind
        case _:
            return "any"


def read_field(use: dict[str, Any]) -> Any:
    """The type alone, or the type and what the field's use adds to it."""
    marks: dict[str, Any] = {}
    if use.get("default") == {}:
        marks["value"] = True
    elif "default" in use:
        marks["default"] = use["default"]
    for mark in ("list-type", "list-map-keys", "map-type", "patch-merge-key", "patch-strategy"):
        if value := use.get("x-kubernetes-" + mark):
            marks[mark] = value
    word = read_type(use)
    return [word, marks] if marks else word


def read_definition(found: dict[str, Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "fields": {k: read_field(v) for k, v in sorted(found.get("properties", {}).items())}
    }
    if found.get("x-kubernetes-map-type") == "atomic":
        facts["atomic"] = True
    if found.get("required"):
        facts["required"] = found["required"]
    kinds = found.get("x-kubernetes-group-version-kind", [])
    if len(kinds) == 1:
        facts["kind"] = [kinds[0]["group"], kinds[0]["version"], kinds[0]["kind"]]
    return facts


def main(folder: str) -> None:
    facts: dict[str, Any] = {}
    for path in sorted(Path(folder).iterdir()):
        if STABLE.fullmatch(path.name):
            for name, found in json.loads(path.read_text())["components"]["schemas"].items():
                facts[shorten(name)] = read_definition(found)
    lines = (f"{json.dumps(name)}:{json.dumps(facts[name], separators=(',', ':'))}" for name in sorted(facts))
    TARGET.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1])
