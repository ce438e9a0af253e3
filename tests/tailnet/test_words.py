"""Texts that control planes are picky about."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from tailrace.tailnet import words


@given(st.text(max_size=200))
def test_any_description_becomes_one_that_is_accepted(text: str) -> None:
    """At most 50 of letters, digits, hyphen and blank."""
    assert re.fullmatch(r"[A-Za-z0-9 -]{0,50}", words.clean_description(text))


def test_a_description_names_cluster_and_object() -> None:
    """The object is never what gives way, and long ones stay different."""
    assert words.describe_key("prod", "media/jellyfin") == "tailrace prod media-jellyfin"
    assert "media-jellyfin" in words.describe_key(
        "a-very-long-name-of-a-cluster-in-europe-west-1", "media/jellyfin"
    )
    long = "x" * 60
    assert words.describe_key("prod", long + "/a") != words.describe_key("prod", long + "/b")


def test_times_as_go_prints_them() -> None:
    """Nanoseconds are cut; the zero time and nonsense are no time."""
    assert words.parse_time("2026-01-02T03:04:05.123456789Z") == datetime(
        2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC
    )
    assert words.parse_time("0001-01-01T00:00:00Z") is None
    assert words.parse_time("soon") is None
    assert words.parse_time(None) is None


def test_addresses_and_routes_have_one_order() -> None:
    """IPv4 first; routes by network, each once."""
    assert words.sort_addresses(["fd7a::1", "100.64.0.1/32"]) == ("100.64.0.1", "fd7a::1")
    assert words.sort_routes(["::/0", "10.2.0.0/16", "10.2.0.0/16", "0.0.0.0/0"]) == (
        "0.0.0.0/0",
        "10.2.0.0/16",
        "::/0",
    )
