"""Routes: what is written wrongly, what is approved and served, the lines for the policy, 4via6, and what they run into."""

from __future__ import annotations

import dataclasses
from ipaddress import IPv4Network
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.fleet import approval
from tailrace.fleet.ranges import Range
from tailrace.kinds.connector import overlap, routes
from tailrace.kinds.connector.inputs import Accepting, Neighbour, Surroundings
from tailrace.tailnet.port import Device, DeviceId, Nameserver

NET, PODS = "10.1.0.0/24", "10.244.0.0/16"
networks = st.builds(
    lambda value, length: IPv4Network((value >> 32 - length << 32 - length, length)),
    st.integers(0, 2**32 - 1),
    st.integers(1, 32),
)
sites = st.integers(0, routes.SITES - 1)


def device(name: str = "gate", **changes: Any) -> Device:
    plain = Device(
        id=DeviceId("7"),
        name=name,
        hostname=name,
        fqdn=None,
        addresses=("100.64.0.7",),
        tags=("tag:k8s",),
        online=True,
        last_seen=None,
        advertised_routes=(NET,),
        enabled_routes=(NET,),
    )
    return dataclasses.replace(plain, **changes)


@given(sites, networks)
def test_a_4via6_prefix_holds_site_and_network(site: int, network: IPv4Network) -> None:
    """There and back, and it is one that may be advertised."""
    prefix = routes.build_via(site, network)
    bits = int(prefix.network_address)
    back = IPv4Network((bits & 0xFFFF_FFFF, prefix.prefixlen - 96))
    assert (bits >> 32 & 0xFFFF, back) == (site, network)
    assert routes.check_route(str(prefix)) == []


@pytest.mark.parametrize(
    ("site", "network", "prefix"),
    [
        (7, "10.1.1.0/24", "fd7a:115c:a1e0:b1a:0:7:a01:100/120"),
        (1, "192.168.1.0/24", "fd7a:115c:a1e0:b1a:0:1:c0a8:100/120"),
        (255, "10.0.0.0/8", "fd7a:115c:a1e0:b1a:0:ff:a00:0/104"),
    ],
)
def test_known_4via6_prefixes(site: int, network: str, prefix: str) -> None:
    """As `tailscale debug via` prints them."""
    assert str(routes.build_via(site, IPv4Network(network))) == prefix


@given(networks, st.integers(1, 2**32 - 1))
def test_bits_behind_the_length_are_refused_with_the_network_meant(network: IPv4Network, noise: int) -> None:
    host = noise & int(network.hostmask)
    written = f"{network.network_address + host}/{network.prefixlen}"
    expected = [f"route {written} has non-address bits set; expected {network}"] if host else []
    assert routes.check_route(written) == expected


@pytest.mark.parametrize("route", ["10.0.0.0", "home", "10.0.0.0/33", "", "10.0/8"])
def test_what_is_no_network_is_told(route: str) -> None:
    [sentence] = routes.check_route(route)
    assert "is no network" in sentence


@pytest.mark.parametrize(
    ("route", "word"),
    [("fd7a:115c:a1e0:b1a::/80", "at least 96"), ("fd7a:115c:a1e0:b1a:1:0::/96", "site 65536 is over")],
)
def test_a_wrong_4via6_prefix_is_told(route: str, word: str) -> None:
    [sentence] = routes.check_route(route)
    assert word in sentence


@given(st.lists(networks.map(str)))
def test_routes_are_sorted_once(found: list[str]) -> None:
    """Sorting twice is sorting once, and loses nothing."""
    once = routes.sort(found)
    assert routes.sort(once) == once
    assert set(once) == set(found)


# --- approval --------------------------------------------------------------------------------------------------


def test_approved_and_served_is_told_with_who_serves() -> None:
    claim = routes.judge((NET,), [device()], [], can_approve=True)
    assert (claim.status, claim.reason) == (True, "RoutesServed")
    assert claim.message == f"{NET} served by gate"


def test_a_standby_serves_nothing_and_that_is_well() -> None:
    """Where the control plane tells who serves, one of the replicas is enough."""
    first = device("gate-0", serving_routes=(NET,))
    second = device("gate-1", id=DeviceId("8"), serving_routes=())
    assert routes.judge((NET,), [first, second], [], can_approve=True).status is True
    assert routes.judge((NET,), [second], [first], can_approve=True).message == (
        f"{NET} is served by gate-0, ours stand by"
    )
    alone = routes.judge((NET,), [second], [], can_approve=True)
    assert (alone.status, alone.reason) == (False, "RoutesNotServed")


def test_missing_approval_names_routes_devices_and_every_way_out() -> None:
    """The exit node too; the tags are those that the device has."""
    wanted = routes.sort((NET, *approval.EXIT))
    claim = routes.judge(wanted, [device(tags=("tag:gate",))], [], can_approve=True)
    assert claim.reason == "RoutesNotApproved"
    assert "0.0.0.0/0, ::/0 on gate" in claim.message
    assert '"autoApprovers": {"exitNode":["tag:gate"]}' in claim.message
    assert "--identifier 7 --routes 0.0.0.0/0,10.1.0.0/24,::/0" in claim.message
    assert "tailrace.dev/approve-routes" in claim.message


def test_every_device_needs_the_approval() -> None:
    """Or the one without it cannot take over."""
    late = device("gate-1", id=DeviceId("n8"), enabled_routes=())
    claim = routes.judge((NET,), [device(), late], [], can_approve=False)
    assert claim.status is False
    assert f"not approved: {NET} on gate-1;" in claim.message
    assert "headscale" not in claim.message
    assert "approve-routes" not in claim.message


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"advertised_routes": ()}, "does not advertise"),
        ({"online": False}, "no device is connected"),
    ],
)
def test_what_is_approved_and_not_served_is_told(changes: dict[str, Any], word: str) -> None:
    claim = routes.judge((NET,), [device(**changes)], [], can_approve=True)
    assert (claim.status, claim.reason) == (False, "RoutesNotServed")
    assert word in claim.message


@given(st.lists(networks.map(str), min_size=1), st.booleans())
def test_the_policy_lines_are_json_and_approve_exactly_what_is_asked(found: list[str], exits: bool) -> None:
    wanted = routes.sort((*found, *(approval.EXIT if exits else ())))
    line = approval.encode_approvers(wanted, ["tag:k8s"])
    policy = msgspec.json.decode(f"{{{line}}}")["autoApprovers"]
    assert {*policy.get("routes", {}), *(approval.EXIT if "exitNode" in policy else ())} == {*wanted}


# --- what routes run into --------------------------------------------------------------------------------------

PODS_HERE = Surroundings(ranges=(Range(PODS, "pods"),))


def describe(
    wanted: tuple[str, ...], around: Surroundings | None = None, others: tuple[Device, ...] = ()
) -> str:
    return "\n".join(overlap.describe("home", wanted, around or Surroundings(), others))


def test_routes_without_neighbours_are_silent() -> None:
    assert describe((NET, *approval.EXIT)) == ""


def test_the_clusters_own_range_is_told_and_who_would_accept_it() -> None:
    """Both objects are named."""
    around = dataclasses.replace(
        PODS_HERE, accepting=(Accepting(user="Service demo/db", proxy_class="open"),)
    )
    said = describe(("10.0.0.0/8",), around)
    assert f"10.0.0.0/8 overlaps the range of this cluster's pods ({PODS})" in said
    assert "Service demo/db accepts routes by ProxyClass open" in said
    assert describe(approval.EXIT, around) == ""


def test_another_connector_and_another_device_of_the_same_route_are_told_once_each() -> None:
    around = Surroundings(neighbours=(Neighbour(name="other", routes=(NET,), devices=frozenset({"7"})),))
    said = describe((NET,), around, (device(), device("pi", id=DeviceId("9"))))
    assert said.count("do not add up") == 2
    assert "Connector other" in said
    assert "device pi" in said
    narrower = Surroundings(
        neighbours=(Neighbour(name="other", routes=("10.1.0.0/16",), devices=frozenset()),)
    )
    assert "the narrower one wins" in describe((NET,), narrower)


@pytest.mark.parametrize(
    ("endpoints", "told"),
    [
        (("10.1.0.5", "203.0.113.9"), True),
        (("10.1.1.5",), False),  # elsewhere
        (("10.1.0.200",), False),  # one of this cluster's ranges: a proxy
        (("fd00::5", "nonsense", ""), False),
        ((), False),
    ],
)
def test_a_device_that_stands_in_the_network_is_told_with_the_way_out(
    endpoints: tuple[str, ...], told: bool
) -> None:
    around = Surroundings(ranges=(Range("10.1.0.128/25", "pods"),))
    nas = device("nas", id=DeviceId("9"), enabled_routes=(), endpoints=endpoints)
    said = [s for s in overlap.describe("home", (NET,), around, (nas,)) if "accept-routes" in s]
    assert bool(said) == told
    if told:
        assert "nas (10.1.0.5) in 10.1.0.0/24" in said[0]
        assert "tailscale set --accept-routes=false" in said[0]


def test_this_clusters_proxies_stand_where_they_should() -> None:
    """Where the cluster does not tell its pods' range, too."""
    proxy = device("proxy", id=DeviceId("9"), enabled_routes=(), endpoints=("10.1.0.5",))
    assert describe((NET,), Surroundings(proxies=frozenset({"9"})), (proxy,)) == ""


def test_the_address_of_a_router_in_front_of_a_device_is_not_its_own() -> None:
    phone = device("phone", id=DeviceId("9"), enabled_routes=(), endpoints=("8.8.8.5",))
    assert describe(("8.8.8.0/24",), others=(phone,)) == ""


def test_of_many_devices_a_few_are_named() -> None:
    found = tuple(
        device(f"d{n}", id=DeviceId(f"9{n}"), enabled_routes=(), endpoints=(f"10.1.0.{n}",))
        for n in range(9, 0, -1)
    )
    assert "d1 (10.1.0.1), d2 (10.1.0.2), d3 (10.1.0.3) and 6 more in" in describe((NET,), others=found)


def test_a_home_network_comes_with_the_prefix_to_use_instead() -> None:
    """The same site each time, and the prefix itself is good."""
    [said] = overlap.describe("home", ("192.168.0.0/24",), Surroundings(), ())
    site = overlap.suggest_site("home")
    prefix = routes.build_via(site, IPv4Network("192.168.0.0/24"))
    assert f"{prefix} (site {site})" in said
    assert describe((str(prefix),)) == ""
    assert 1 <= site < routes.SITES


def test_the_tailnets_own_addresses_are_told() -> None:
    assert "addresses of the tailnet itself" in describe(("100.64.1.0/24",))
    assert "addresses of the tailnet itself" in describe(("fd7a:115c:a1e0::/64",))


HOME_DNS, PUBLIC = Nameserver(address="10.1.0.53"), Nameserver(address="1.1.1.1")
CORP = Nameserver(address="10.1.0.54", domain="corp.example.com")


@pytest.mark.parametrize(
    ("nameservers", "told"),
    [
        ((), "no nameserver of the tailnet is behind these routes (there is none)"),
        ((PUBLIC, Nameserver(address="https://dns.example/x")), "(1.1.1.1, https://dns.example/x)"),
        ((HOME_DNS,), "names are asked of 10.1.0.53 (behind 10.1.0.0/24)"),
        ((HOME_DNS,), "names stop resolving for every device. Give the tailnet a second nameserver"),
        ((HOME_DNS, PUBLIC), "when this Connector goes or is away, only 1.1.1.1 answers"),
        ((PUBLIC, CORP), "names under corp.example.com stop resolving for every device"),
        ("nobody was asked", "are not known: nobody was asked. If one of them is behind"),
    ],
)
def test_what_goes_down_with_a_route_to_a_nameserver(
    nameservers: tuple[Nameserver, ...] | str, told: str
) -> None:
    """One sentence for all names, and one for each domain of split DNS that is concerned."""
    [said] = overlap.describe_dns((*approval.EXIT, NET), nameservers)
    assert told in said


def test_a_connector_that_leads_to_no_network_carries_no_dns() -> None:
    """An exit node alone, and an app connector without routes."""
    assert not list(overlap.describe_dns(approval.EXIT, (HOME_DNS,)))
    assert not list(overlap.describe_dns((), "nobody was asked"))


def test_an_approved_route_counts_however_it_is_written() -> None:
    found = device(enabled_routes=("FD00:0:0::/64",), advertised_routes=("fd00::/64",))
    assert routes.find_unapproved(("fd00::/64", NET), found) == (NET,)
