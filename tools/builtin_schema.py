"""Distil the built-in kinds' facts from a Kubernetes release: its OpenAPI v3 documents and its Go types.

python tools/builtin_schema.py FOLDER MODULE...

FOLDER is `api/openapi-spec/v3` of the module `k8s.io/kubernetes`; each MODULE the folder of one that declares types:
`k8s.io/api`, `apimachinery`, `apiextensions-apiserver`, `kube-aggregator`, all of the same release.

Writes `src/tailrace/sandbox/kubernetes/documents/builtin.json`: names of definitions and fields, their types and the
`x-kubernetes-*` markers (`schema` explains the form), and how protobuf writes them (`protobuf` explains that); no
descriptions. The protobuf facts come from the struct tags and not from the `.proto` files: only the tags say what a
field is called in JSON, what is inlined there, and when a zero is left out.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

TARGET = Path(__file__).resolve().parent.parent / "src/tailrace/sandbox/kubernetes/documents/builtin.json"
STABLE = re.compile(r"apis?__(.+__)?v\d+_openapi\.json")
WELL_KNOWN = {
    "resource.Quantity": "quantity",
    "v1.Time": "time",
    "v1.MicroTime": "time",
    "intstr.IntOrString": "int-or-string",
}
SCALARS = {"string", "bytes", "integer", "number", "boolean"}
STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
MEMBER = re.compile(
    r'^\t(?:\w+ +)?(?P<pointer>\*?)(?P<type>[\w.\[\]*]+) +`json:"(?P<name>[^",]*)(?P<options>[^"]*)"'
    r'.*protobuf:"\w+,(?P<number>\d+)',
    re.MULTILINE,
)
# A list type that is a message of its own, with the items in field 1.
WRAPPED = re.compile(r"\+protobuf\.nullable=true[^}]*?^type (\w+) \[\]", re.MULTILINE)


class Member(NamedTuple):
    """One field on the wire."""

    path: str
    """Its number, after those of the messages that JSON inlines: `2.10`."""
    keeps_zero: bool
    type: str


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


def read_messages(modules: Iterable[str]) -> dict[str, dict[str, Member]]:
    """Every struct with protobuf numbers (`core.v1.Pod`), its members by their names in JSON."""
    found: dict[str, dict[str, Member]] = {}
    folders = (path.parent for module in modules for path in Path(module).rglob("generated.proto"))
    for folder in (folder for folder in folders if re.fullmatch(r"v\d+", folder.name)):
        text = "".join(path.read_text() for path in sorted(folder.glob("*.go")))
        structs, wrapped = dict(STRUCT.findall(text)), set(WRAPPED.findall(text))
        for name in structs:
            found[f"{folder.parent.name}.{folder.name}.{name}"] = dict(read_members(name, structs, wrapped))
    return found


def read_members(name: str, structs: dict[str, str], wrapped: set[str]) -> Iterator[tuple[str, Member]]:
    for member in MEMBER.finditer(structs[name]):
        number = member["number"]
        if member["name"]:
            path = f"{number}.1" if member["type"] in wrapped else number
            keeps_zero = bool(member["pointer"]) or "omitempty" not in member["options"]
            yield member["name"], Member(path, keeps_zero, member["type"])
        elif "inline" in member["options"]:
            for below, inner in read_members(member["type"], structs, wrapped):
                yield below, inner._replace(path=f"{number}.{inner.path}")


def read_wire(fields: dict[str, Any], members: dict[str, Member]) -> dict[str, Any]:
    """How protobuf writes a definition: a number or path for each field in turn, and what the types do not say."""
    words = {name: use if isinstance(use, str) else use[0] for name, use in fields.items()}
    paths = [members[name].path if name in members else "0" for name in fields]
    known = [(name, member) for name, member in sorted(members.items()) if name in words]
    facts = {
        "numbers": [int(path) if path.isdigit() else path for path in paths],
        "zeros": [name for name, member in known if member.keeps_zero and words[name] in SCALARS],
        "micro": [name for name, member in known if member.type.endswith("MicroTime")],
    }
    return {key: value for key, value in facts.items() if value}


def main(folder: str, *modules: str) -> None:
    facts: dict[str, Any] = {}
    messages = read_messages(modules)
    for path in sorted(Path(folder).iterdir()):
        if STABLE.fullmatch(path.name):
            for name, found in json.loads(path.read_text())["components"]["schemas"].items():
                short = shorten(name)
                facts[short] = made = read_definition(found)
                if short in messages and made["fields"]:
                    made |= read_wire(made["fields"], messages[short])
    lines = (f"{json.dumps(name)}:{json.dumps(facts[name], separators=(',', ':'))}" for name in sorted(facts))
    TARGET.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
