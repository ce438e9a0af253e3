"""`tailrace lint values FILE`: what a chart's values file says that would not do what was meant.

Helm ignores unknown keys without a word unless a schema forbids them, and its refusals name no line. Each finding here
has the line, a sentence and the way out. What a value may be is in `values`; the parsers are those of the settings.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from cyclopts import Parameter

from tailrace.cli import files, output, values
from tailrace.cli.exits import Exit
from tailrace.errors import Usage

GROUPS: Final = frozenset(
    path.rsplit(".", depth)[0] for path in values.BY_PATH for depth in range(1, path.count(".") + 1)
)
NAMES: Final[Mapping[type, str]] = {
    bool: "a boolean",
    int: "a whole number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "a map",
}
WANTED: Final[Mapping[values.Type, tuple[type, str]]] = {
    "string": (str, "a string"),
    "boolean": (bool, "true or false"),
    "integer": (int, "a whole number"),
    "array": (list, "a list"),
    "object": (dict, "a map"),
}
CONTENTS: Final = frozenset({"oauth.clientId", "oauth.clientSecret", "apiKey.value", "caBundle"})
"""Values that are contents of files, not the settings that name those files; what they hold is never printed."""
SECRET_NAMES: Final = frozenset({"existingsecret", "existingsecretname", "secretname", "secretref"})
"""What other charts call the name of a Secret that is there already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One mistake: the line it is on, what is wrong, what to write instead."""

    line: int
    sentence: str
    hint: str


def lint(
    what: Annotated[Literal["values"], Parameter(help="`values`: a values file of the chart.")],
    file: Annotated[
        Path,
        Parameter(help="What `helm install -f` would get; - is standard input.", allow_leading_hyphen=True),
    ],
    /,
) -> int:
    """Look for mistakes before a cluster sees them: unknown keys, wrong types, values that contradict each other."""
    text = files.read_text(file, hint="name the file that helm install -f would get")
    found = sorted(examine(text, file), key=lambda f: f.line)
    for finding in found:
        print(f"{file}:{finding.line}: {finding.sentence}.\n  hint: {finding.hint}")
    if found:
        output.tell(f"{file}: {len(found)} {'mistake' if len(found) == 1 else 'mistakes'}")
        return Exit.USAGE
    output.tell(f"{file}: nothing is wrong")
    return Exit.OK


def examine(text: str, name: Path | str = "the file") -> list[Finding]:
    """All mistakes of a values file.

    Raises:
        Usage: the text is no YAML.
    """
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return []
        plain = loader.construct_document(node)  # also puts merge keys (<<) in their place
    except yaml.YAMLError as error:
        raise files.explain_yaml(name, error) from None
    finally:
        loader.dispose()
    if not isinstance(node, yaml.MappingNode):
        raise Usage(
            f"{name} is {name_type(plain)}, not a map of values.", hint="write loginServer: https://…"
        )
    if "kind" in plain and "apiVersion" in plain:
        return list(examine_manifest(plain))
    return [*walk(node, plain, ""), *examine_together(node, plain)]


def walk(node: yaml.MappingNode, plain: Mapping[str, Any], prefix: str) -> Iterator[Finding]:
    """Every key of a map: known, of the right type, written once."""
    seen: set[str] = set()
    for key_node, child in node.value:
        key, line = str(key_node.value), key_node.start_mark.line + 1
        path, value = f"{prefix}{key}", plain.get(key)
        if key in seen:
            yield Finding(
                line=line, sentence=f"{path} is there twice; only the last one counts", hint="keep one"
            )
        seen.add(key)
        if value is None or path == "global":
            continue  # Helm takes null as "without this value"
        if path in values.BY_PATH:
            yield from examine_value(line, values.BY_PATH[path], value)
        elif path not in GROUPS:
            yield explain_unknown(line, path, value)
        elif isinstance(child, yaml.MappingNode):
            yield from walk(child, value, f"{path}.")
        else:
            yield Finding(
                line=line,
                sentence=f"{path} is {name_type(value)} where a map is wanted",
                hint=f"it has {', '.join(list_children(path))}",
            )


def explain_unknown(line: int, path: str, value: Any) -> Finding:
    for known, (reason, way) in values.ELSEWHERE.items():
        if path == known or path.startswith(f"{known}."):
            return Finding(line=line, sentence=f"{path} {reason}", hint=way)
    if squash(path.rsplit(".", 1)[-1]) not in SECRET_NAMES:
        near = suggest(path)
        hint = f"did you mean {near}?" if near else "remove it; values.yaml of the chart lists them all"
    elif path.startswith("apiKey."):
        hint = "write apiKey.existingSecret"
    else:
        volume = f"{{secret: {{secretName: {value}}}}}"
        hint = f"a Secret of yours: oauthSecretVolume: {volume}, with the keys client_id and client_secret"
    return Finding(line=line, sentence=f"{path} is not a value of this chart", hint=hint)


def suggest(path: str) -> str:
    """The known path that was likely meant: the same last word somewhere, else the likest path."""
    known = {squash(p): p for p in (*values.BY_PATH, *sorted(GROUPS))}
    leaf = squash(path.rsplit(".", 1)[-1])
    same = [s for s, p in known.items() if squash(p.rsplit(".", 1)[-1]) == leaf]
    near = difflib.get_close_matches(squash(path), same, n=1, cutoff=0.0) or difflib.get_close_matches(
        squash(path), known, n=1, cutoff=0.7
    )
    return known[near[0]] if near else ""


def squash(path: str) -> str:
    return path.lower().replace("_", "").replace("-", "")


def examine_value(line: int, row: values.Value, value: Any) -> Iterator[Finding]:
    kind, wanted = WANTED[row.type]
    if not is_exactly(value, kind):
        yield Finding(
            line=line,
            sentence=f"{row.path} is {name_type(value)} where {wanted} is wanted",
            hint=convert(row, value),
        )
        return
    if wrong := find_wrong(row, value):
        yield Finding(line=line, sentence=f"{row.path}: {format_value(value)} {wrong}", hint=row.doc)
    if row.path == "operatorConfig.extraEnv":
        yield from examine_variables(line, value)
    if row.path == "oauthSecretVolume":
        yield from examine_volume(line, value)


def convert(row: values.Value, value: Any) -> str:
    """What to write instead of a value of the wrong type."""
    if row.type == "string" and isinstance(value, list) and row.path not in CONTENTS:
        return (
            f"write {row.path}: {','.join(map(str, value))!r} (a list in an environment variable is what the API "
            'server refuses as "cannot unmarshal array into Go struct field EnvVar")'
        )
    if row.type == "string" and not isinstance(value, dict | list):
        return f'write {row.path}: "{"…" if row.path in CONTENTS else format_value(value)}"'
    if row.type == "boolean" and str(value) in {"true", "false"}:
        return f"write {row.path}: {value}, without quotes"
    return f"write {row.path}: {format_value(row.default)}, for example"


def find_wrong(row: values.Value, value: Any) -> str:
    """What the setting's own parser, or the schema's rules, have against it; empty if nothing."""
    rules = row.rules
    if "enum" in rules and value not in rules["enum"]:
        return f"is not one of {', '.join(choice or repr('') for choice in rules['enum'])}"
    if "minimum" in rules and value < rules["minimum"]:
        return f"is less than {rules['minimum']}"
    if rules.get("minLength") and not value:
        return "is empty"
    item = rules.get("items") or rules.get("additionalProperties")
    if item:
        inner = value.values() if isinstance(value, dict) else value
        kind, wanted = WANTED[item["type"]]
        if not all(is_exactly(each, kind) for each in inner):
            return f"has something that is not {wanted}"
    if row.env and row.type == "string" and row.path not in CONTENTS:
        try:
            values.SETTINGS[row.env]["parse"](value)
        except ValueError as error:
            return str(error)
    if "pattern" in rules and not re.search(rules["pattern"], value):
        return "is not in the form that is wanted"
    return ""


def examine_variables(line: int, variables: Sequence[Any]) -> Iterator[Finding]:
    """A variable that a value sets already would be there twice, which the API server refuses."""
    by_env = {value.env: value.path for value in values.VALUES if value.env}
    for variable in variables:
        name = variable.get("name") if isinstance(variable, dict) else None
        if isinstance(name, str) and name in by_env:
            yield Finding(
                line=line,
                sentence=f"operatorConfig.extraEnv has {name}, which the chart sets itself",
                hint=f"set {by_env[name]}",
            )


def examine_volume(line: int, volume: Mapping[str, Any]) -> Iterator[Finding]:
    secret = volume.get("secret")
    items = secret.get("items") if isinstance(secret, dict) else None
    if not isinstance(items, list):
        return
    paths = {str(item.get("path")) for item in items if isinstance(item, dict)}
    if missing := sorted({"client_id", "client_secret"} - paths):
        yield Finding(
            line=line,
            sentence=f"oauthSecretVolume has no file {' and no file '.join(missing)}",
            hint="items: [{key: clientId, path: client_id}, {key: clientSecret, path: client_secret}]",
        )


def examine_manifest(document: Mapping[str, Any]) -> Iterator[Finding]:
    """Somebody gave a manifest; of a Secret with the wrong keys we know what was meant."""
    metadata, data, strings = (as_map(document.get(key)) for key in ("metadata", "data", "stringData"))
    kind, name, keys = document["kind"], metadata.get("name", ""), {str(key) for key in (*data, *strings)}
    if kind == "Secret" and keys & {"clientId", "clientSecret"}:
        yield Finding(
            line=1,
            sentence=f"Secret {name} has the keys {' and '.join(sorted(keys))}, which nobody reads",
            hint="name it operator-oauth and its keys client_id and client_secret",
        )
    else:
        yield Finding(
            line=1,
            sentence=f"this is a manifest ({kind} {name}), not a values file",
            hint="give it to kubectl apply",
        )


def examine_together(node: yaml.MappingNode, plain: Mapping[str, Any]) -> Iterator[Finding]:
    """What no single value shows; the chart refuses the same (`tailrace.check`)."""

    def get(path: str) -> Any:
        found: Any = plain
        for name in path.split("."):
            found = found.get(name) if isinstance(found, dict) else None
        return values.BY_PATH[path].default if found is None else found

    def refuse(paths: Iterable[str], sentence: str, hint: str = "keep one") -> Finding:
        first = next(p for p in paths if p.partition(".")[0] in plain)
        line = next(k.start_mark.line + 1 for k, _ in node.value if k.value == first.partition(".")[0])
        return Finding(line=line, sentence=sentence, hint=hint)

    secret, client, audience = get("oauth.clientSecret"), get("oauth.clientId"), get("oauth.audience")
    volume, key, existing = get("oauthSecretVolume"), get("apiKey.value"), get("apiKey.existingSecret")
    if key and existing:
        yield refuse(["apiKey"], "apiKey.value and apiKey.existingSecret both name the API key")
    if (key or existing) and (client or secret or audience or volume):
        yield refuse(["apiKey"], "apiKey and an OAuth client are both named")
    if audience and not client:
        yield refuse(
            ["oauth"], "oauth.audience asks for workload identity, which has a client", "set oauth.clientId"
        )
    if audience and (secret or volume):
        yield refuse(["oauth"], "oauth.audience asks for workload identity, which has no client secret")
    if volume and (client or secret):
        yield refuse(
            ["oauthSecretVolume"],
            "oauthSecretVolume has the OAuth client already, so oauth.clientId and oauth.clientSecret would not be read",
        )
    if not audience and bool(client) != bool(secret):
        missing = "oauth.clientSecret" if client else "oauth.clientId"
        yield refuse(["oauth"], "half of an OAuth client is named", f"set {missing} too")
    if get("caBundle") and get("caBundleConfigMap.name"):
        yield refuse(["caBundle"], "caBundle and caBundleConfigMap.name both name the private CA")
    replicas = get("operatorConfig.replicas")
    if isinstance(replicas, int) and replicas > 1 and get("operatorConfig.leaderElection") is False:
        yield refuse(
            ["operatorConfig"],
            f"{replicas} operators without a lease would work against each other",
            "set operatorConfig.leaderElection: true",
        )


def list_children(group: str) -> list[str]:
    rest = (path.removeprefix(f"{group}.") for path in values.BY_PATH if path.startswith(f"{group}."))
    return sorted({path.partition(".")[0] for path in rest})


def as_map(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, dict) else {}


def is_exactly(value: Any, kind: type) -> bool:
    """As JSON sees it: true is no number."""
    return type(value) is kind


def name_type(value: Any) -> str:
    return NAMES.get(type(value), "something else")


def format_value(value: Any) -> str:
    return (
        str(value).lower()
        if isinstance(value, bool)
        else repr(value)
        if isinstance(value, str)
        else str(value)
    )
