"""The rules that a custom resource's schema carries (`x-kubernetes-validations`), compiled once and judged often.

Place: `validation` asks `Rules.check` after the schema itself is satisfied; who accepts a CustomResourceDefinition
asks `compile_errors`. The CEL library (`cel_library`) is imported when a schema with rules is first met.

A rule sees a *view* of the document: fields that the schema declares, under their CEL names, with CEL's types.
Source of the behaviour: Kubernetes' "Validation rules" and "Ratcheting" sections of its Custom Resources page.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tailrace.sandbox.kubernetes.documents.schema import Doc
from tailrace.sandbox.kubernetes.rules.cel_rule import BREAKS, Rule, compile_rule
from tailrace.sandbox.kubernetes.rules.cel_view import View, view_of

RULES: Final = "x-kubernetes-validations"
REASONS: Final = {
    "FieldValueInvalid": "Invalid value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueRequired": "Required value",
    "FieldValueDuplicate": "Duplicate value",
}
WITH_VALUE: Final = frozenset({"FieldValueInvalid", "FieldValueDuplicate"})
ROOT_PATH: Final = "<nil>"
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

    @property
    def body(self) -> str:
        """What the server says, without the path."""
        words = [REASONS[self.reason]]
        if self.reason in WITH_VALUE and self.value is not OMITTED:
            words.append(json.dumps(self.value, ensure_ascii=False))
        return ": ".join(words if self.reason == "FieldValueDuplicate" else [*words, self.message])

    def __str__(self) -> str:
        return f"{self.path or ROOT_PATH}: {self.body}"

    def cause(self) -> dict[str, str]:
        """The entry for `details.causes` of the server's answer."""
        return {"reason": self.reason, "message": self.body, "field": self.path or ROOT_PATH}


class Rules:
    """All rules of one version of a custom resource."""

    def __init__(self, openapi: Mapping[str, Any]) -> None:
        """Compile the rules of an `openAPIV3Schema`. A rule that does not compile breaks every check."""
        self._root = _place(openapi, view_of(openapi, root=True))

    def __bool__(self) -> bool:
        """Whether there is any."""
        return self._root is not None

    def check(self, new: Doc, old: Doc | None) -> list[Broken]:
        """The rules that `new` breaks, `old` being what it replaces (None: it is created).

        A rule with `oldSelf` runs where an old value corresponds. Any other rule that is broken at a place which the
        update leaves as it was is let pass, as the server does ("ratcheting").
        """
        return list(self._root.check("", new, old, above=False)) if self._root else []


def compile_errors(openapi: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Why the rules of an `openAPIV3Schema` cannot be taken: (path within it, message), in document order.

    Path and message are those of the server's answer; the path is that of a CRD with one version, or whose versions
    have the same schema: `spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule`.
    """
    path = "spec.validation.openAPIV3Schema"
    return list(_refusals(path, openapi, view_of(openapi, root=True), uncorrelated=""))


def _has_rules(node: Any) -> bool:
    if isinstance(node, Mapping):
        return RULES in node or any(_has_rules(inner) for inner in node.values())
    return isinstance(node, Sequence) and not isinstance(node, str) and any(map(_has_rules, node))


@dataclass(slots=True, kw_only=True)
class Place:
    """The rules of one schema node, and of those below it that have some."""

    type: str
    rules: tuple[Rule, ...]
    view: View
    fields: dict[str, Place]
    values: Place | None
    items: Place | None

    def check(self, path: str, new: Any, old: Any, *, above: bool) -> Iterator[Broken]:
        """`old` is None where no old value corresponds; `above`: something that holds this place is as it was."""
        if new is None:
            return
        same = above or (old is not None and new == old)
        yield from self._judge(path, new, old, same=same)
        if isinstance(new, dict):
            before = old if isinstance(old, dict) else {}
            for key, value in new.items():
                if self.values:
                    yield from self.values.check(f"{path}[{key}]", value, before.get(key), above=same)
                if place := self.fields.get(key):
                    yield from place.check(
                        f"{path}.{key}" if path else key, value, before.get(key), above=same
                    )
        elif isinstance(new, list) and self.items:
            known = old if self.view.keys and isinstance(old, list) else []
            by_key = {self.view.key_of(item): item for item in known}
            for i, item in enumerate(new):
                was = by_key.get(self.view.key_of(item))
                yield from self.items.check(f"{path}[{i}]", item, was, above=same)

    def _judge(self, path: str, new: Any, old: Any, *, same: bool) -> Iterator[Broken]:
        data: Mapping[str, Any] | None = None
        for rule in self.rules:
            if rule.uses_old and old is None and not rule.optional_old:
                continue
            try:
                data = data or self._data(new, old)
                said = rule.judge(data)
            except ValueError as failed:
                yield Broken(path, self.type, str(failed))
                continue
            if said is None or (same and not rule.uses_old):
                continue
            yield Broken(
                path=f"{path}{_plain(rule.field_path)}".lstrip("."),
                value=OMITTED if self.type in ("object", "array") else new,
                message=said,
                reason=rule.facts.get("reason", "FieldValueInvalid"),
                field_path=rule.field_path,
            )

    def _data(self, new: Any, old: Any) -> Mapping[str, Any]:
        """The variables of this place's programs; `_old` is a list of none or one."""
        before = [] if old is None else [self.view.show(self.view.align(old, new))]
        return {"_self": self.view.show(new), "_old": before}


def _plain(field_path: str) -> str:
    """A rule's `fieldPath` as the server reports it: `.a['b-c']` is `.a.b-c`."""
    return re.sub(r"\['(.*?)'\]", r".\1", field_path)


def _place(node: Mapping[str, Any], view: View | None) -> Place | None:
    """The place of a schema node; None when there are no rules at it and below it."""
    if view is None or not _has_rules(node):
        return None
    seen = dict(view.fields.values())
    below = node.get("properties", {}).items()
    inner = next(
        (found for word in ("additionalProperties", "items") if isinstance(found := node.get(word), Mapping)),
        None,
    )
    held = _place(inner, view.inner) if inner else None
    return Place(
        type=str(node.get("type", "")),
        rules=tuple(compile_rule(facts, view) for facts in node.get(RULES, ())),
        view=view,
        fields={
            name: place for name, part in below if (place := _place(part, seen.get(name) or view_of(part)))
        },
        values=held if view.kind == "map" else None,
        items=held if view.kind == "array" else None,
    )


def _correlated(node: Mapping[str, Any]) -> bool:
    if node.get("type") == "array":
        return bool(node.get("x-kubernetes-list-type") == "map")
    return bool(node.get("x-kubernetes-map-type") != "atomic")


def _refusals(
    path: str, node: Mapping[str, Any], view: View | None, *, uncorrelated: str
) -> Iterator[tuple[str, str]]:
    """`uncorrelated`: the place above, if any, below which an update's old values are not known."""
    for i, facts in enumerate(node.get(RULES, ())):
        if view is not None:
            here = f"{path}.{RULES}[{i}]"
            wrong = list(_misshapen(facts, view))
            for name, said in wrong or _uncompiled(facts, view, uncorrelated):
                yield f"{here}.{name}", said
    below = uncorrelated or ("" if _correlated(node) else path)
    seen = dict(view.fields.values()) if view else {}
    for name, inner in node.get("properties", {}).items():
        part = seen.get(name) or view_of(inner)
        yield from _refusals(f"{path}.properties[{name}]", inner, part, uncorrelated=below)
    for word in ("additionalProperties", "items"):
        if isinstance(inner := node.get(word), Mapping):
            yield from _refusals(f"{path}.{word}", inner, view and view.inner, uncorrelated=below)


def _misshapen(facts: Mapping[str, Any], view: View) -> Iterator[tuple[str, str]]:
    """What is wrong before anything is compiled: (field of the rule, message)."""
    rule, message, path = (str(facts.get(name, "")) for name in ("rule", "message", "fieldPath"))
    if not rule.strip():
        yield "rule", "Required value: rule is not specified"
    elif message and not message.strip():
        yield "message", f"Invalid value: {_go(message)}: must be non-empty if specified"
    elif BREAKS.search(message.strip()):
        yield "message", f"Invalid value: {_go(message)}: must not contain line breaks"
    elif BREAKS.search(rule.strip()) and not message:
        yield "message", "Required value: message must be specified if rule contains line breaks"
    if facts.get("reason", "FieldValueInvalid") not in REASONS:
        known = ", ".join(map(_go, sorted(REASONS)))
        yield "reason", f"Unsupported value: {_go(facts['reason'])}: supported values: {known}"
    if path and not _leads_somewhere(path, view):
        yield "fieldPath", f"Invalid value: {_go(path)}: must be a valid path"


def _leads_somewhere(field_path: str, view: View) -> bool:
    at: View | None = view
    for step in _plain(field_path).removeprefix(".").split("."):
        at = (at.inner or dict(at.fields.values()).get(step)) if at else None
    return at is not None


def _uncompiled(facts: Mapping[str, Any], view: View, uncorrelated: str) -> Iterator[tuple[str, str]]:
    rule = compile_rule(facts, view)
    whole = _go(
        {
            "Rule": facts["rule"],
            "Message": facts.get("message", ""),
            "MessageExpression": facts.get("messageExpression", ""),
            "Reason": facts.get("reason"),
            "FieldPath": rule.field_path,
            "OptionalOldSelf": facts.get("optionalOldSelf"),
        }
    )
    if rule.error:
        yield "rule", f"Invalid value: {whole}: {rule.error}"
    if rule.message_error:
        yield "messageExpression", f"Invalid value: {whole}: {rule.message_error}"
    if rule.uses_old and uncorrelated:
        said = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {uncorrelated}"
        yield "rule", f"Invalid value: {_go(facts['rule'])}: {said}"
    if "optionalOldSelf" in facts and not rule.uses_old:
        yield (
            "optionalOldSelf",
            (
                f"Invalid value: {_go(facts['optionalOldSelf'])}: may not be set if oldSelf is not used in rule"
            ),
        )


def _go(value: Any) -> str:
    """JSON as Go writes it in messages."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if isinstance(value, dict):
        for char in "<>&":
            text = text.replace(char, f"\\u{ord(char):04x}")
    return text
