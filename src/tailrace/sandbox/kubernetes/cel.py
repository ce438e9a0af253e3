"""The rules that a custom resource's schema carries (`x-kubernetes-validations`), compiled once and judged often.

Place: `validation` asks `Rules.check` after the schema itself is satisfied; who accepts a CustomResourceDefinition
asks `compile_errors`. The CEL library (`cel_library`) is imported when a schema with rules is first met.

A rule sees a *view* of the document: fields that the schema declares, under their CEL names, with CEL's types.
Source of the behaviour: Kubernetes' "Validation rules" and "Ratcheting" sections of its Custom Resources page.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from .cel_view import View, view_of
from .schema import Doc

RULES: Final = "x-kubernetes-validations"
REASONS: Final = {
    "FieldValueInvalid": "Invalid value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueRequired": "Required value",
    "FieldValueDuplicate": "Duplicate value",
}
OMITTED: Final = object()
"""`Broken.value` of an object or array, which the server does not repeat."""


@dataclass(frozen=True, slots=True)
class Broken:
    """One rule that does not hold. `str` of it is what the API server says."""

    path: str
    """The place to report, with the rule's `fieldPath`; empty is the resource itself."""
    value: Any
    message: str
    reason: str = "FieldValueInvalid"
    field_path: str = ""
    """The rule's own `fieldPath`, as written."""

    def __str__(self) -> str:
        said = f"{self.path or '<nil>'}: {REASONS[self.reason]}"
        if self.reason in ("FieldValueInvalid", "FieldValueDuplicate") and self.value is not OMITTED:
            said += f": {json.dumps(self.value, ensure_ascii=False)}"
        return said if self.reason == "FieldValueDuplicate" else f"{said}: {self.message}"


class Rules:
    """All rules of one version of a custom resource."""

    def __init__(self, openapi: Mapping[str, Any]) -> None:
        """Compile the rules of an `openAPIV3Schema`. A rule that does not compile breaks every check."""
        self._root = _place(openapi, openapi, view_of(openapi, root=True)) if _has_rules(openapi) else None

    def check(self, new: Doc, old: Doc | None) -> list[Broken]:
        """The rules that `new` breaks, `old` being what it replaces (None: it is created).

        A rule with `oldSelf` runs where an old value corresponds. Any other rule that is broken at a place which the
        update leaves as it was is let pass, as the server does ("ratcheting").
        """
        return list(self._root.check("", new, old, above=False)) if self._root else []


def compile_errors(openapi: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Why the rules of an `openAPIV3Schema` cannot be taken: (path within it, message), in document order.

    A path is like `openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule`.
    """
    if not _has_rules(openapi):
        return []
    return list(_refusals("openAPIV3Schema", openapi, view_of(openapi, root=True), correlated=True))


def _has_rules(node: Any) -> bool:
    if isinstance(node, Mapping):
        return RULES in node or any(_has_rules(inner) for inner in node.values())
    return isinstance(node, Sequence) and not isinstance(node, str) and any(map(_has_rules, node))


# Rules and where they stand


@dataclass(slots=True, kw_only=True)
class Rule:
    """One rule. Without a program it does not compile: `error` says why, and `where` (rule or messageExpression)."""

    facts: Mapping[str, Any]
    program: Any = None
    message: Any = None
    uses_old: bool = False
    error: str = ""
    where: str = "rule"

    @property
    def optional_old(self) -> bool:
        return bool(self.facts.get("optionalOldSelf"))

    def judge(self, data: Mapping[str, Any]) -> str | None:
        """None when the rule holds; else what to say."""
        if self.error:
            return f"rule compile error: {self.error}"
        result = self.program.eval(data=data)
        if result.type().name() == "ERROR":
            return _failure(str(result.value()), self._name)
        return None if result.value() is True else self._say(data)

    @property
    def _name(self) -> str:
        return str(self.facts.get("message") or self.facts["rule"]).strip()

    def _say(self, data: Mapping[str, Any]) -> str:
        if self.message is not None:
            said = self.message.eval(data=data).plain_value()
            failed = self.message.eval(data=data).type().name() != "STRING"
            if not failed and (text := str(said).strip()) and not re.search(r"[\r\n]", text):
                return text
        return str(self.facts.get("message", "")).strip() or f"failed rule: {self._name}"


def _failure(said: str, rule: str) -> str:
    """The server's words for an evaluation that failed, from the library's (`NOT_FOUND: Key not found …`)."""
    what = said.partition(": ")[2]
    if found := re.fullmatch(r'Key not found in map : "?(.*?)"?', what):
        return f"no such key: {found[1]} evaluating rule: {rule}"
    if found := re.fullmatch(r"Index error: index=(-?\d+) size=\d+", what):
        return f"index out of bounds: {found[1]} evaluating rule: {rule}"
    if what.startswith("No matching overloads found"):
        return (
            "'no such overload': call arguments did not match a supported operator, function or macro signature "
            f"for rule: {rule}"
        )
    what = {"divide by zero": "division by zero"}.get(what, what)
    return f"{what} evaluating rule: {rule}"


@dataclass(slots=True, kw_only=True)
class Place:
    """The rules of one schema node, and of those below it that have some."""

    type: str
    rules: tuple[Rule, ...]
    view: View
    fields: dict[str, Place]
    values: Place | None
    items: Place | None
    all_of: tuple[Place, ...]
    correlated: bool
    """Whether an update's old value of a field, map value or item is known (not in atomic lists, sets, maps)."""

    def check(self, path: str, new: Any, old: Any, *, above: bool) -> Iterator[Broken]:
        """`above`: something that holds this place is as it was."""
        if new is None:
            return
        same = above or (old is not None and new == old)
        yield from self._judge(path, new, old, same=same)
        for place in self.all_of:
            yield from place.check(path, new, old, above=above)
        if isinstance(new, dict):
            before = old if self.correlated and isinstance(old, dict) else {}
            for key, value in new.items():
                if self.values:
                    yield from self.values.check(f"{path}[{key}]", value, before.get(key), above=same)
                if place_below := self.fields.get(key):
                    below = f"{path}.{key}" if path else key
                    yield from place_below.check(below, value, before.get(key), above=same)
        elif isinstance(new, list) and self.items:
            known = old if self.correlated and isinstance(old, list) else []
            by_key = {self.view.key_of(item): item for item in known}
            for i, item in enumerate(new):
                yield from self.items.check(
                    f"{path}[{i}]", item, by_key.get(self.view.key_of(item)), above=same
                )

    def _judge(self, path: str, new: Any, old: Any, *, same: bool) -> Iterator[Broken]:
        data: dict[str, Any] = {}
        for rule in self.rules:
            if rule.uses_old and old is None and not rule.optional_old:
                continue
            if not data:
                try:
                    data = self._data(new, old)
                except ValueError as unreadable:
                    yield Broken(path, self.type, str(unreadable))
                    return
            said = rule.judge(data)
            if said is None or (same and not rule.uses_old):
                continue
            inside = str(rule.facts.get("fieldPath", ""))
            yield Broken(
                path=(path + inside).lstrip("."),
                value=OMITTED if self.type in ("object", "array") else new,
                message=said,
                reason=rule.facts.get("reason", "FieldValueInvalid"),
                field_path=inside,
            )

    def _data(self, new: Any, old: Any) -> dict[str, Any]:
        """The variables of this place's programs; `oldSelf` is a list of none or one."""
        before = [] if old is None else [self.view.show(self.view.align(old, new))]
        return {"_self": self.view.show(new), "_old": before}


def _place(rules: Mapping[str, Any], node: Mapping[str, Any], view: View | None) -> Place | None:
    """Where `rules` (the node itself, or one of its `allOf`) has rules, or None; `node` has the types."""
    if view is None or not _has_rules(rules):
        return None
    seen = dict(view.fields.values())
    fields = {}
    for name, below in rules.get("properties", {}).items():
        typed = node.get("properties", {}).get(name)
        if typed is not None and (place := _place(below, typed, seen.get(name) or view_of(typed))):
            fields[name] = place
    below, typed = _inner(rules), _inner(node)
    inner = _place(below, typed, view.inner) if below and typed else None
    return Place(
        type=str(node.get("type", "")),
        rules=tuple(_compile(facts, view) for facts in rules.get(RULES, ())),
        view=view,
        fields=fields,
        values=inner if view.kind == "map" else None,
        items=inner if view.kind == "array" else None,
        all_of=tuple(p for part in rules.get("allOf", ()) if (p := _place(part, node, view))),
        correlated=_correlated(node),
    )


def _inner(node: Mapping[str, Any]) -> Mapping[str, Any] | None:
    found = node.get("additionalProperties") or node.get("items")
    return found if isinstance(found, Mapping) else None


def _correlated(node: Mapping[str, Any]) -> bool:
    if node.get("type") == "array":
        return bool(node.get("x-kubernetes-list-type") == "map")
    return bool(node.get("x-kubernetes-map-type") != "atomic")


# Compiling

BLANKS: Final = re.compile(
    r"""[rR]?(?:'''.*?'''|\"\"\".*?\"\"\"|'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")|//[^\n]*""", re.DOTALL
)
CHAIN: Final = re.compile(r"(?<![\w.])(?:self|oldSelf)((?:\s*\.\s*\??\s*[A-Za-z_]\w*)+)(\s*\()?")


def _compile(facts: Mapping[str, Any], view: View) -> Rule:
    source = str(facts.get("rule", ""))
    rule = Rule(facts=facts, uses_old=_uses_old(source))
    if not source.strip():
        rule.error = "rule is not specified"
        return rule
    try:
        rule.program = _program(source, "BOOL", view, optional=rule.optional_old)
        rule.where = "messageExpression"
        if expression := str(facts.get("messageExpression", "")):
            rule.message = _program(expression, "STRING", view, optional=False)
    except ValueError as broken:
        rule.error = str(broken)
    return rule


def _blank(source: str) -> str:
    """The source with literals and comments as spaces."""
    return BLANKS.sub(lambda found: " " * len(found.group()), source)


def _program(source: str, wanted: str, view: View, *, optional: bool) -> Any:
    """Compile an expression of `self` and `oldSelf`.

    First as it is written, with the types that the schema declares, for the sake of errors; then bound to the raw
    values of `Place._data`.

    Raises:
        ValueError: it does not compile; the message is the compiler's.
    """
    declared = view.signature
    checked = _compile_in(
        source, self=declared, oldSelf=f"optional_type<{declared}>" if optional else declared
    )
    if checked.return_type().name() not in (wanted, "DYN"):
        raise ValueError(f"cel expression must evaluate to a {wanted.lower()}")
    for place, name in _undefined(source, view):
        raise ValueError(
            f"ERROR: <input>:1:{place}: undefined field '{name}'\n | {source}\n | {'.' * (place - 1)}^"
        )
    bound = f"cel.bind(self, {view.retyped('_self') or '_self'}, {source}\n)"
    if _uses_old(source):
        before = view.retyped("_old[0]") or "_old[0]"
        if optional:
            before = f"size(_old) > 0 ? optional.of({before}) : optional.none()"
        bound = f"cel.bind(oldSelf, {before}, {bound})"
    return _compile_in(bound, _self="dyn", _old="list<dyn>")


def _uses_old(source: str) -> bool:
    return bool(re.search(r"(?<![\w.])oldSelf\b", _blank(source)))


def _compile_in(source: str, **variables: str) -> Any:
    try:
        return _environment(**variables).compile(source)
    except RuntimeError as broken:
        said = str(broken).removeprefix("INVALID_ARGUMENT: ").removesuffix(" [INVALID_ARGUMENT]")
        raise ValueError(said) from broken


@functools.lru_cache(64)
def _environment(**variables: str) -> Any:
    from cel_expr_python import cel  # type: ignore[import-untyped]

    from .cel_library import extensions

    return cel.NewEnv(
        variables={name: cel.Type(kind) for name, kind in variables.items()}, extensions=extensions()
    )


def _undefined(source: str, view: View) -> Iterator[tuple[int, str]]:
    """Fields of `self` and `oldSelf` that the schema does not declare: column of the dot, name.

    The library's own check cannot know: objects are maps to it.
    """
    for found in CHAIN.finditer(_blank(source)):
        steps = list(re.finditer(r"\.\s*\??\s*(\w+)", found[1]))
        at: View | None = view
        for step in steps[:-1] if found[2] else steps:
            if at is None or at.kind != "object":
                at = at.inner if at is not None and at.kind == "map" else None
                continue
            if step[1] not in at.fields:
                yield found.start(1) + step.start() + 1, step[1]
                return
            at = at.fields[step[1]][1]


def _refusals(
    path: str, node: Mapping[str, Any], view: View | None, *, correlated: bool
) -> Iterator[tuple[str, str]]:
    for i, facts in enumerate(node.get(RULES, ())):
        if view is not None:
            yield from _refuse(f"{path}.{RULES}[{i}]", facts, view, correlated=correlated)
    below = correlated and _correlated(node)
    seen = dict(view.fields.values()) if view else {}
    for name, inner in node.get("properties", {}).items():
        yield from _refusals(
            f"{path}.properties[{name}]", inner, seen.get(name) or view_of(inner), correlated=below
        )
    for word in ("additionalProperties", "items"):
        if isinstance(inner := node.get(word), Mapping):
            yield from _refusals(f"{path}.{word}", inner, view and view.inner, correlated=below)
    for i, part in enumerate(node.get("allOf", ())):
        merged = {**node, **part, "allOf": ()}
        yield from _refusals(f"{path}.allOf[{i}]", merged, view, correlated=correlated)


def _refuse(
    path: str, facts: Mapping[str, Any], view: View, *, correlated: bool
) -> Iterator[tuple[str, str]]:
    rule = _compile(facts, view)
    if rule.error:
        yield f"{path}.{rule.where}", rule.error
    if rule.uses_old and not correlated:
        yield f"{path}.rule", "oldSelf cannot be used on the uncorrelatable portion of the schema"
    if rule.optional_old and not rule.uses_old:
        yield f"{path}.optionalOldSelf", "may not be set if oldSelf is not used in rule"
    if facts.get("reason", "FieldValueInvalid") not in REASONS:
        yield f"{path}.reason", f'Unsupported value: "{facts["reason"]}"'
