"""The rules of custom resources: what they say, as a real kube-apiserver 1.36 said it, and the laws they keep."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrace.sandbox.kubernetes.rules.cel import Broken, Rules, compile_errors
from tailrace.sandbox.kubernetes.rules.cel_library import to_quantity
from tailrace.sandbox.kubernetes.rules.cel_view import escape
from tests.sandbox.kubernetes.cel_cases import (
    ABSENT,
    CASES,
    INT,
    REFUSED,
    STR,
    Case,
    Node,
    Refused,
    V,
    listed,
    obj,
    only,
    rule,
    text,
)


def schema(node: Node) -> Node:
    """A custom resource with the node at `spec.v`."""
    return {"type": "object", "properties": {"spec": {"type": "object", "properties": {"v": node}}}}


def judge(node: Node, new: Any, old: Any = ABSENT) -> list[Broken]:
    return Rules(schema(node)).check({"spec": {"v": new}}, None if old is ABSENT else {"spec": {"v": old}})


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.name))
def test_a_rule_says_what_the_api_server_says(case: Case) -> None:
    assert sorted(map(str, judge(case.node, case.new, case.old))) == sorted(case.said)
    assert not compile_errors(schema(case.node))


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: str(case.name))
def test_a_rule_that_cannot_be_taken_is_refused_as_the_api_server_does(case: Refused) -> None:
    path = f"spec.validation.openAPIV3Schema.properties[spec].{case.path}"
    assert compile_errors(schema(case.node)) == [(path, case.said)]


def test_the_root_of_a_resource_shows_its_name_and_kind_alone() -> None:
    shown = {"type": "object", V: [rule("self.metadata.name != 'probe' || self.kind == ''")]}
    broken = Rules(shown).check({"kind": "K", "metadata": {"name": "probe", "labels": {}}}, None)
    assert [str(one) for one in broken] == [
        "<nil>: Invalid value: failed rule: self.metadata.name != 'probe' || self.kind == ''"
    ]
    hidden = {"type": "object", V: [rule("self.metadata.labels.size() == 0")]}
    assert "undefined field 'labels'" in compile_errors(hidden)[0][1]


def test_a_rule_that_does_not_compile_breaks_every_check() -> None:
    assert "rule compile error" in str(judge(only("self.nope"), "a")[0])


def test_a_value_that_python_cannot_give_back_is_a_failure_of_the_rule() -> None:
    assert "evaluating rule" in str(judge(only("[duration('1s')].max() == duration('1s')"), "a")[0])


def test_a_cause_has_reason_message_and_field() -> None:
    node = obj({"a": INT}, rule("self.a == 1", reason="FieldValueForbidden", fieldPath=".a", message="no"))
    (broken,) = judge(node, {"a": 2})
    assert broken.cause() == {
        "reason": "FieldValueForbidden",
        "message": "Forbidden: no",
        "field": "spec.v.a",
    }
    assert broken.field_path == ".a"


def test_a_schema_without_rules_has_nothing_to_say() -> None:
    assert judge({"type": "object"}, {"a": 1}) == []
    assert compile_errors(schema(STR)) == []


def test_the_library_is_loaded_by_the_first_rule_alone() -> None:
    code = (
        "import sys; from tailrace.sandbox.kubernetes.rules import cel; "
        "cel.Rules({'type': 'object'}); cel.compile_errors({'type': 'object'}); "
        "assert not [name for name in sys.modules if name.startswith('cel_expr_python')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


PLAIN = Rules(schema(text(rule("self.size() < 3"), rule("self != 'b'"))))
ONCE = Rules(schema(only("self == oldSelf")))
SET = Rules(schema({**listed(STR, rule("self == oldSelf")), "x-kubernetes-list-type": "set"}))
words = st.text("abc", max_size=4)


@settings(deadline=None)
@given(new=words, old=words)
def test_a_rule_without_old_judges_create_and_update_alike_unless_nothing_changed(new: str, old: str) -> None:
    doc, before = {"spec": {"v": new}}, {"spec": {"v": old}}
    assert PLAIN.check(doc, before) == ([] if new == old else PLAIN.check(doc, None))


@settings(deadline=None)
@given(new=words, old=words)
def test_a_transition_rule_is_silent_on_create_and_where_there_was_nothing(new: str, old: str) -> None:
    doc = {"spec": {"v": new}}
    assert ONCE.check(doc, None) == ONCE.check(doc, {"spec": {}}) == []
    assert bool(ONCE.check(doc, {"spec": {"v": old}})) == (new != old)


@settings(deadline=None)
@given(new=st.lists(words, unique=True, max_size=4), old=st.lists(words, unique=True, max_size=4))
def test_sets_are_equal_whatever_their_order(new: list[str], old: list[str]) -> None:
    assert bool(SET.check({"spec": {"v": new}}, {"spec": {"v": old}})) == (set(new) != set(old))


@settings(deadline=None)
@given(
    number=st.integers(-(10**9), 10**9),
    suffix=st.sampled_from(["n", "u", "m", "", "k", "M", "Ki", "Ei", "e3"]),
)
def test_a_quantity_is_an_exact_number(number: int, suffix: str) -> None:
    factor = {"n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000), "": Fraction(1)} | {
        "k": Fraction(1000),
        "M": Fraction(10**6),
        "Ki": Fraction(1024),
        "Ei": Fraction(1024**6),
        "e3": Fraction(1000),
    }
    assert Fraction(to_quantity(f"{number}{suffix}")["quantity"]) == number * factor[suffix]


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("namespace", "__namespace__"),
        ("a-b", "a__dash__b"),
        ("a__b", "a__underscores__b"),
        ("1a", ""),
        ("a b", ""),
    ],
)
def test_names_are_escaped_for_rules(name: str, seen: str) -> None:
    assert escape(name) == seen
