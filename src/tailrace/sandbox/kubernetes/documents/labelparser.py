"""The grammar of label selectors: text in, requirements out, and the server's words for what is no selector.

Place: under `selectors`. A parser with one token of look-ahead, as `k8s.io/apimachinery/pkg/labels/selector.go` is,
because its complaints tell where it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from tailrace.sandbox.kubernetes.rules import field_errors as fe

_TOKEN = re.compile(r"[ \t\r\n]*(?:(==|!=|[=!(),<>])|([^ \t\r\n=!(),<>]+)|$)")
_END = ""
_OPERATORS = ("in", "notin", "=", "==", "!=", "gt", "lt")
_BINARY = frozenset({"in", "notin", "=", "==", "!=", ">", "<"})
_SPECIAL = frozenset({"=", "==", "!=", "!", "(", ")", ",", "<", ">"})


class SelectorError(ValueError):
    """The text is no selector."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """`operator` is one of `in`, `notin`, `=`, `!=`, `>`, `<`, `exists` and `!`."""

    key: str
    operator: str
    values: frozenset[str] = field(default_factory=frozenset)


def parse(text: str) -> list[Requirement]:
    """Raises SelectorError."""
    return _Parser(text).requirements()


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = [found[1] or found[2] or _END for found in _TOKEN.finditer(text)]
        self._at = 0

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else _END

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def requirements(self) -> list[Requirement]:
        found: list[Requirement] = []
        while (token := self._peek()) != _END:
            if token in _SPECIAL and token != "!":
                raise SelectorError(f"found '{token}', expected: !, identifier, or 'end of string'")
            try:
                found.append(self._requirement())
            except SelectorError as error:
                raise SelectorError(f"unable to parse requirement: {error}") from None
            if (token := self._next()) == _END:
                break
            if token != ",":
                raise SelectorError(f"found '{token}', expected: ',' or 'end of string'")
            if (token := self._peek()) == _END or (token in _SPECIAL and token != "!"):
                raise SelectorError(f"found '{token}', expected: identifier after ','")
        return found

    def _requirement(self) -> Requirement:
        key = self._next()
        if absent := key == "!":
            key = self._next()
        if key == _END or key in _SPECIAL:
            raise SelectorError(f"found '{key}', expected: identifier")
        _check(fe.check("<nil>", key, fe.qualified_name))
        if absent or self._peek() in (_END, ","):
            return Requirement(key, "!" if absent else "exists")
        operator = self._next()
        if operator not in _BINARY:
            raise SelectorError(f"found '{operator}', expected: {', '.join(_OPERATORS)}")
        values = self._values() if operator in ("in", "notin") else [self._value()]
        if operator in "<>":
            _check(
                fe.invalid_value(
                    f"values[{at}]", value, "for 'Gt', 'Lt' operators, the value must be an integer"
                )
                for at, value in enumerate(values)
                if not re.fullmatch(r"[+-]?\d+", value)
            )
        for at, value in enumerate(values):
            _check(fe.check(f"values[{at}][{key}]", value, fe.label_value))
        return Requirement(key, "=" if operator == "==" else operator, frozenset(values))

    def _value(self) -> str:
        if self._peek() in (_END, ","):
            return ""
        if (token := self._next()) in _SPECIAL:
            raise SelectorError(f"found '{token}', expected: identifier")
        return token

    def _values(self) -> list[str]:
        if (token := self._next()) != "(":
            raise SelectorError(f"found '{token}' expected: '('")
        token = self._peek()
        if token == ")":
            self._next()
            return [""]
        if token == _END or (token in _SPECIAL and token != ","):
            raise SelectorError(f"found '{token}', expected: ',', ')' or identifier")
        return sorted(self._identifiers())

    def _identifiers(self) -> set[str]:
        """Up to the closing parenthesis; nothing between two commas is the empty value."""
        found: set[str] = set()
        while True:
            token, following = self._next(), self._peek()
            if token not in _SPECIAL and token != _END:
                found.add(token)
                if following not in (",", ")"):
                    raise SelectorError(f"found '{following}', expected: ',' or ')'")
            elif token == "," and (following in (",", ")") or not self._is_special(following)):
                if not found or following in (",", ")"):
                    found.add("")
                if following == ",":
                    self._next()
            else:
                wrong = following if token == "," else token
                raise SelectorError(f"found '{wrong}', expected: ',', or identifier")
            if self._peek() == ")":
                self._next()
                return found

    @staticmethod
    def _is_special(token: str) -> bool:
        return token == _END or token in _SPECIAL


def _check(wrong: Iterable[fe.FieldError]) -> None:
    """Raises SelectorError when there is something."""
    texts = [str(error) for error in wrong]
    if texts:
        raise SelectorError(texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]")
