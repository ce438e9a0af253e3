"""Which routes lead into this cluster's own ranges."""

from __future__ import annotations

import pytest

from tailrace.api import kube
from tailrace.fleet import ranges
from tailrace.fleet.ranges import Range

NODES = [
    kube.Node(spec=kube.NodeSpec(podCIDRs=("10.244.0.0/24", "fd00:10:244::/64"))),
    kube.Node(spec=kube.NodeSpec(podCIDRs=("10.244.1.0/24", "nonsense"))),
    kube.Node(),
]
CIDRS = [kube.ServiceCIDR(spec=kube.ServiceCIDRSpec(cidrs=("10.96.0.0/12",)))]
own = ranges.list_own_ranges(NODES, CIDRS)


def test_ranges_of_neighbouring_nodes_are_one() -> None:
    assert own == (
        Range("10.244.0.0/23", "pods"),
        Range("fd00:10:244::/64", "pods"),
        Range("10.96.0.0/12", "Services"),
    )


@pytest.mark.parametrize(
    ("route", "what"),
    [
        ("10.244.0.0/16", "pods"),
        ("10.244.1.7/32", "pods"),
        ("10.0.0.0/8", "pods"),
        ("fd00:10::/32", "pods"),
        ("10.97.3.0/24", "Services"),
        ("192.168.0.0/16", None),
        ("0.0.0.0/0", None),
        ("::/0", None),
        ("fd7a:115c:a1e0:b1a:0:7:c0a8:100/120", None),
        ("nonsense", None),
    ],
)
def test_a_route_overlaps_what_it_covers_and_what_it_lies_in(route: str, what: str | None) -> None:
    """Never an exit route, and never the other family."""
    found = ranges.find_overlaps([route], own)
    assert [overlap.range.what for overlap in found] == ([what] if what else [])
