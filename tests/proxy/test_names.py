"""Names of children: deterministic, valid, distinct."""

from __future__ import annotations

import re
import string

from hypothesis import given
from hypothesis import strategies as st

from tailrace.proxy import names

label = st.text(alphabet=string.ascii_lowercase + string.digits + "-", min_size=1, max_size=63).filter(
    lambda s: s[0] != "-" and s[-1] != "-"
)


@given(label, label)
def test_a_child_name_is_a_label_that_a_statefulset_may_have(namespace: str, name: str) -> None:
    child = names.build_child_name("svc", namespace, name)
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", child)
    assert len(child) <= names.STATEFULSET_LIMIT
    assert child == names.build_child_name("svc", namespace, name)


@given(label, label)
def test_labels_and_hostnames_fit(namespace: str, name: str) -> None:
    assert all(len(value) <= 63 for value in names.build_labels("svc", namespace, name * 5).values())
    assert len(names.build_default_hostname(namespace, name)) <= 63


def test_the_same_name_in_two_namespaces_makes_two_children() -> None:
    assert names.build_child_name("svc", "a", "web") != names.build_child_name("svc", "b", "web")


@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=80))
def test_a_key_description_keeps_tailscales_rule(cluster: str, namespace: str, name: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9 -]{1,50}", names.build_key_description(cluster, namespace, name))
