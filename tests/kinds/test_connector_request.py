"""What a Connector asks for: names of devices, routes, and everything wrong with it in one go."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.api.connector import Connector, ConnectorSpec
from tailrace.fleet import wish
from tailrace.fleet.install import Defaults
from tailrace.fleet.world import Children
from tailrace.kinds.connector import place, request
from tailrace.proxy import names as proxy_names
from tailrace.settings import Mode

DEFAULTS = Defaults(tags=("tag:k8s",), mode=Mode.AUTO, load_balancer=False, proxy_class="for-services")
ROUTER: dict[str, Any] = {"subnetRouter": {"advertiseRoutes": ["10.1.0.0/24"]}}


def read(name: str = "home", *, notes: dict[str, str] | None = None, **spec: Any) -> request.Request:
    document = {"metadata": {"name": name, "annotations": notes or {}}, "spec": spec}
    return request.read_request(msgspec.convert(document, Connector), DEFAULTS)


def test_a_plain_router_has_one_device_and_the_defaults() -> None:
    """The default ProxyClass is not meant for Connectors."""
    asked = read(**ROUTER)
    assert asked.violations == ()
    assert asked.hostnames == ("home-connector",)
    assert (asked.tags, asked.mode, asked.proxy_class) == (("tag:k8s",), Mode.AUTO, "")
    assert (asked.routes, asked.approve) == (("10.1.0.0/24",), False)


@pytest.mark.parametrize(
    ("spec", "hostnames"),
    [
        ({"replicas": 0}, ()),
        ({"replicas": 3}, ("home-connector", "home-connector-1", "home-connector-2")),
        ({"hostname": "gate"}, ("gate",)),
        ({"hostnamePrefix": "gate"}, ("gate-0",)),
        ({"hostnamePrefix": "gate", "replicas": 2}, ("gate-0", "gate-1")),
    ],
)
def test_names_of_devices(spec: dict[str, Any], hostnames: tuple[str, ...]) -> None:
    """More replicas change no name."""
    asked = read(**ROUTER, **spec)
    assert (asked.hostnames, asked.violations) == (hostnames, ())


def test_an_exit_node_is_both_default_routes() -> None:
    assert read(**ROUTER, exitNode=True).routes == ("0.0.0.0/0", "10.1.0.0/24", "::/0")
    assert read(exitNode=True).routes == ("0.0.0.0/0", "::/0")


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({}, "at least one of exit node, subnet router or app connector"),
        ({"exitNode": False}, "at least one of exit node, subnet router or app connector"),
        ({**ROUTER, "appConnector": {}}, "mutually exclusive with exitNode and subnetRouter"),
        ({"exitNode": True, "appConnector": {}}, "mutually exclusive with exitNode and subnetRouter"),
        (
            {**ROUTER, "hostname": "gate", "replicas": 2},
            "cannot be specified when replicas is greater than 1",
        ),
        ({**ROUTER, "hostname": "gate", "hostnamePrefix": "g"}, "are mutually exclusive"),
        ({"subnetRouter": {"advertiseRoutes": []}}, "no routes defined"),
        (
            {"subnetRouter": {"advertiseRoutes": ["10.96.0.1/12"]}},
            "route 10.96.0.1/12 has non-address bits set; expected 10.96.0.0/12",
        ),
        ({"appConnector": {"routes": ["10.1.0.9/24"]}}, "expected 10.1.0.0/24"),
        ({**ROUTER, "replicas": 5000}, "at most 1000"),
        ({**ROUTER, "hostnamePrefix": "g" * 62}, "hostnamePrefix, with its number,"),
    ],
)
def test_what_is_wrong_is_one_sentence(spec: dict[str, Any], sentence: str) -> None:
    [told] = read(**spec).violations
    assert sentence in told


def test_all_that_is_wrong_is_told_together() -> None:
    """Routes one by one, and annotations."""
    asked = read(
        notes={"tailrace.dev/mode": "kernl", "tailrace.dev/approve-routes": "yes"},
        subnetRouter={"advertiseRoutes": ["10.1.0.1/24", "10.2.0.1/24"]},
        appConnector={},
    )
    assert len(asked.violations) == 5
    assert any('did you mean "kernel"?' in told for told in asked.violations)


# --- places ----------------------------------------------------------------------------------------------------

words = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?", fullmatch=True)


@given(words, st.integers(0, request.MOST - 1))
def test_names_of_children_fit_whatever_the_name(name: str, number: int) -> None:
    """A StatefulSet's name is at most 52 long, and is a DNS label."""
    child = f"{place.build_base(name)}-{number}"
    assert len(child) <= proxy_names.STATEFULSET_LIMIT
    assert place.NUMBERED.fullmatch(child)
    assert wish.LABEL.fullmatch(child)


@given(st.lists(words, min_size=2, max_size=2, unique=True))
def test_names_of_children_differ_for_two_connectors(names: list[str]) -> None:
    one, other = names
    assert place.build_base(one) != place.build_base(other)


@given(words)
def test_names_of_devices_are_labels_whatever_the_name(name: str) -> None:
    spec = msgspec.convert({}, type=ConnectorSpec)
    for hostname in request.build_hostnames(name, spec, 3):
        assert len(hostname) <= 63
        assert "." not in hostname


def test_without_anything_the_base_is_the_usual_one() -> None:
    found = place.find_places({}, "home", 2)
    assert [where.name for where in found.replicas] == [
        f"{place.build_base('home')}-0",
        f"{place.build_base('home')}-1",
    ]
    assert all(where.children == Children() for where in found.replicas)
    assert (found.surplus, found.foreign, found.all) == ((), (), ())
