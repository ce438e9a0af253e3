"""One rule: its compilation against a view, its evaluation, and the server's words for what goes wrong.

Place: below `cel`, which knows where rules stand. The library is Google's own CEL, the C++ one; see the decision
"Google's CEL library judges the rules". It is imported with the first rule that is compiled.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tailrace.sandbox.kubernetes.rules.cel_view import View

BLANKS: Final = re.compile(
    r"""[rR]?(?:'''.*?'''|\"\"\".*?\"\"\"|'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")|//[^\n]*""", re.DOTALL
)
CHAIN: Final = re.compile(r"(?<![\w.])(?:self|oldSelf)((?:\s*\.\s*\??\s*[A-Za-z_]\w*)+)(\s*\()?")
STEP: Final = re.compile(r"\.\s*\??\s*(\w+)")


@dataclass(slots=True, kw_only=True)
class Rule:
    """One rule. Without a program it does not compile, and `error` says why."""

    facts: Mapping[str, Any]
    program: Any = None
    message: Any = None
    uses_old: bool = False
    error: str = ""
    message_error: str = ""

    @property
    def field_path(self) -> str:
        return str(self.facts.get("fieldPath", ""))

    @property
    def optional_old(self) -> bool:
        return bool(self.facts.get("optionalOldSelf"))

    def judge(self, data: Mapping[str, Any]) -> str | None:
        """None when the rule holds; else what to say.

        Raises:
            ValueError: it could not be judged; the message is the server's.
        """
        if self.error:
            raise ValueError(f"rule compile error: {self.error}")
        kind, value = _evaluate(self.program, data)
        if kind == "ERROR":
            raise ValueError(_failure(str(value), self._name))
        return None if value is True else self._say(data)

    @property
    def _name(self) -> str:
        return str(self.facts.get("message") or self.facts["rule"]).strip()

    def _say(self, data: Mapping[str, Any]) -> str:
        if self.message is not None:
            kind, value = _evaluate(self.message, data)
            text = str(value).strip()
            if kind == "STRING" and text and not BREAKS.search(text):
                return text
        return str(self.facts.get("message", "")).strip() or f"failed rule: {self._name}"


def _evaluate(program: Any, data: Mapping[str, Any]) -> tuple[str, Any]:
    """The result's type and value. What the library cannot take or give back is an error like any other."""
    try:
        result = program.eval(data=data)
    except RuntimeError as broken:
        return "ERROR", str(broken)
    return result.type().name(), result.value()


def _failure(said: str, rule: str) -> str:
    """The server's words for an evaluation that failed, from the library's (`NOT_FOUND: Key not found …`)."""
    what = said.partition(": ")[2]
    if what.startswith("No matching overloads found"):
        return (
            "'no such overload': call arguments did not match a supported operator, function or macro signature "
            f"for rule: {rule}"
        )
    for pattern, words in FAILURES:
        if found := pattern.fullmatch(what):
            what = found.expand(words)
            break
    return f"{what} evaluating rule: {rule}"


FAILURES: Final = [
    (re.compile(pattern), words)
    for pattern, words in (
        (r'Key not found in map : "?(.*?)"?', r"no such key: \1"),
        (r"Index error: index=(-?\d+) size=\d+", r"index out of bounds: \1"),
        ("divide by zero", "division by zero"),
        (r"cannot convert (\w+) to (\w+)", r"type conversion error from '\1' to '\2'"),
        (
            r"String to (\w+) conversion failed",
            r"type conversion error from 'string' to 'google.protobuf.\1'",
        ),
        (r"invalid regular expression: missing \): (.*)", r"error parsing regexp: missing closing ): `\1`"),
        (r"invalid regular expression: (.*): (.*)", r"error parsing regexp: \1: `\2`"),
    )
]
BREAKS: Final = re.compile(r"[\r\n]")


def compile_rule(facts: Mapping[str, Any], view: View) -> Rule:
    """Compile one entry of `x-kubernetes-validations` at a node whose view is `view`."""
    source, expression = str(facts.get("rule", "")), str(facts.get("messageExpression", ""))
    rule = Rule(facts=facts, uses_old=mentions_old(source))
    try:
        rule.program = _program(source, "bool", view, optional=rule.optional_old)
    except ValueError as broken:
        rule.error = str(broken).replace("must evaluate", "cel expression must evaluate")
    try:
        rule.message = _program(expression, "string", view, optional=False) if expression else None
    except ValueError as broken:
        rule.message_error = f"messageExpression {broken}"
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
    checked = _compile_in(source, self=view.signature, oldSelf="dyn" if optional else view.signature)
    if checked.return_type().name().lower() not in (wanted, "dyn"):
        raise ValueError(f"must evaluate to a {wanted}")
    _check_fields(source, view)
    bound = f"cel.bind(self, {view.retyped('_self') or '_self'}, {source}\n)"
    if mentions_old(source):
        before = view.retyped("_old[0]") or "_old[0]"
        if optional:
            before = f"size(_old) > 0 ? optional.of({before}) : optional.none()"
        bound = f"cel.bind(oldSelf, {before}, {bound})"
    return _compile_in(bound, _self="dyn", _old="list<dyn>")


def mentions_old(source: str) -> bool:
    """Whether an expression is about a transition."""
    return bool(re.search(r"(?<![\w.])oldSelf\b", _blank(source)))


def _compile_in(source: str, **variables: str) -> Any:
    try:
        return _environment(**variables).compile(source)
    except RuntimeError as broken:
        said = str(broken).removeprefix("INVALID_ARGUMENT: ").removesuffix(" [INVALID_ARGUMENT]")
        errors = sorted(re.split(r"\n(?=ERROR: )", said), key=_position)
        raise ValueError("compilation failed: " + "\n".join(errors)) from broken


def _position(error: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", error.partition(": ")[2].partition(" ")[0])))


@functools.lru_cache(64)
def _environment(**variables: str) -> Any:
    """Both Kubernetes' functions and, where raw values are bound, the macro that does it."""
    from cel_expr_python import cel  # type: ignore[import-untyped]

    from tailrace.sandbox.kubernetes.rules.cel_library import extensions

    return cel.NewEnv(
        variables={name: cel.Type(kind) for name, kind in variables.items()},
        extensions=extensions(binding="_self" in variables),
    )


def _check_fields(source: str, view: View) -> None:
    """Refuse fields of `self` and `oldSelf` that the schema does not declare.

    The library's own check cannot know: objects are maps to it.

    Raises:
        ValueError: in the words of the server's compiler.
    """
    for chain in CHAIN.finditer(_blank(source)):
        at: View | None = view
        for step in STEP.finditer(chain[1]):
            if at is None or (chain[2] and step.end() == len(chain[1])):
                break
            if at.kind != "object":
                at = at.inner if at.kind == "map" else None
            elif step[1] in at.fields:
                at = at.fields[step[1]][1]
            else:
                dot = chain.start(1) + step.start()
                column = dot - (source.rfind("\n", 0, dot) + 1)
                number = source.count("\n", 0, dot)
                raise ValueError(
                    f"compilation failed: ERROR: <input>:{number + 1}:{column + 1}: undefined field '{step[1]}'\n"
                    f" | {source.splitlines()[number]}\n | {'.' * column}^"
                )
