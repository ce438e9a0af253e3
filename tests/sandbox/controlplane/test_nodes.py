"""The model without HTTP: logging in, coming back, names, routes, ephemeral nodes, addresses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tailrace.sandbox.controlplane import naming
from tailrace.sandbox.controlplane.model import Ids, Tailnet
from tailrace.sandbox.controlplane.records import AuthKey, Dialect, LoginRefused, NodeGone, Refused


class World:
    def __init__(self, dialect: Dialect, policy_text: str = '{"tagOwners": {"tag:k8s": []}}') -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.tailnet = Tailnet(dialect, now=lambda: self.now, ids=Ids(7), policy_text=policy_text)
        self.nodes = self.tailnet.nodes

    def key(self, *, reusable: bool = True, ephemeral: bool = False) -> AuthKey:
        expires = self.now + timedelta(hours=1)
        return self.tailnet.add_key(
            tags=("tag:k8s",), expires=expires, reusable=reusable, ephemeral=ephemeral
        )


ALL: list[Dialect] = ["tailscale", "headscale-0.29", "headscale-0.30"]


@pytest.mark.parametrize(
    "what,tailscale,headscale",
    [
        ("unknown", "invalid key: unable to validate API key", "invalid pre auth key"),
        ("used", "invalid key: API key {id} not valid", "authkey already used"),
        ("expired", "invalid key: API key {id} not valid", "authkey expired"),
        ("revoked", "invalid key: API key {id} not valid", "invalid pre auth key"),
    ],
)
@pytest.mark.parametrize("dialect", ALL)
def test_a_bad_key_is_refused_in_the_real_words(
    dialect: Dialect, what: str, tailscale: str, headscale: str
) -> None:
    world = World(dialect)
    key = world.key(reusable=False)
    if what == "used":
        world.nodes.login(auth_key=key.secret, hostname="app", machine_key="one")
    elif what == "expired":
        world.now += timedelta(hours=1)
    elif what == "revoked":
        world.tailnet.revoke_key(key.id)
    secret = "nonsense" if what == "unknown" else key.secret
    with pytest.raises(LoginRefused) as refused:
        world.nodes.login(auth_key=secret, hostname="app", machine_key="two")
    assert str(refused.value) == (tailscale if dialect == "tailscale" else headscale).format(id=key.id)


def test_advertised_tags_are_refused_on_headscale_and_checked_on_tailscale() -> None:
    old, saas = World("headscale-0.29"), World("tailscale")
    with pytest.raises(LoginRefused) as refused:
        old.nodes.login(auth_key=old.key().secret, hostname="a", machine_key="m", advertise_tags=("tag:k8s",))
    assert str(refused.value) == (
        "handling register with auth key: creating new node: "
        "requested tags [tag:k8s] are invalid or not permitted"
    )
    node = saas.nodes.login(
        auth_key=saas.key().secret, hostname="a", machine_key="m", advertise_tags=("tag:k8s",)
    )
    assert node.tags == ("tag:k8s",)
    with pytest.raises(LoginRefused, match="requested tags"):
        saas.nodes.login(auth_key=saas.key().secret, hostname="a", machine_key="n", advertise_tags=("tag:x",))


@pytest.mark.parametrize("dialect", ALL)
def test_a_restarting_client_finds_out_that_its_node_is_gone(dialect: Dialect) -> None:
    """A connected one does not: what it tells of itself is lost without a word."""
    world = World(dialect)
    node = world.nodes.login(auth_key=world.key().secret, hostname="app", machine_key="m")
    world.nodes.set_connected(node.id, False)
    assert world.nodes.reconnect(node_id=node.id, machine_key="m").online
    with pytest.raises(NodeGone):
        world.nodes.reconnect(node_id=node.id, machine_key="stolen")
    world.tailnet.delete_node(node.id)
    world.nodes.set_connected(node.id, True)
    with pytest.raises(NodeGone):
        world.nodes.reconnect(node_id=node.id, machine_key="m")


def test_a_machine_that_logs_in_again_keeps_its_node() -> None:
    world = World("headscale-0.29")
    first = world.nodes.login(auth_key=world.key().secret, hostname="app", machine_key="m")
    again = world.nodes.login(auth_key=world.key().secret, hostname="app", machine_key="m")
    assert (again.id, again.name, again.addresses) == (first.id, "app", first.addresses)


def test_a_name_follows_the_hostname_until_somebody_renames_the_device() -> None:
    world = World("headscale-0.29")
    node = world.nodes.login(auth_key=world.key().secret, hostname="app", machine_key="m")
    assert world.nodes.update(node.id, hostname="web").name == "web"
    world.tailnet.rename_node(node.id, "chosen")
    told = world.nodes.update(node.id, hostname="other")
    assert (told.name, told.hostname, told.fqdn) == ("chosen", "other", "chosen.tailnet.example")


def test_an_ephemeral_node_goes_with_time_unless_its_key_was_deleted() -> None:
    """Deleting the key's row makes its nodes permanent; that is the real server's trap."""
    world = World("headscale-0.29")
    keys = [world.key(ephemeral=True) for _ in range(2)]
    lost, kept = (
        world.nodes.login(auth_key=key.secret, hostname=f"app{key.id}", machine_key=key.id) for key in keys
    )
    world.tailnet.delete_key(keys[1].id)
    for node in (lost, kept):
        world.nodes.set_connected(node.id, False)
    world.now += timedelta(minutes=3)
    assert [node.id for node in world.nodes.all()] == [kept.id]


def test_routes_are_approved_by_policy_and_served_by_one() -> None:
    rules = '{"tagOwners": {"tag:k8s": []}, "autoApprovers": {"routes": {"10.0.0.0/8": ["tag:k8s"]}}}'
    world = World("headscale-0.29", rules)
    first, second = (
        world.nodes.login(auth_key=world.key().secret, hostname="r", machine_key=name, routes=["10.9.0.0/24"])
        for name in "ab"
    )
    assert (first.approved, second.approved) == (("10.9.0.0/24",), ("10.9.0.0/24",))
    assert (world.tailnet.serving(first), world.tailnet.serving(second)) == (("10.9.0.0/24",), ())
    world.nodes.set_connected(first.id, False)
    assert world.tailnet.serving(second) == ("10.9.0.0/24",)


def test_a_new_policy_approves_what_headscale_s_nodes_advertise_already() -> None:
    """What was approved stays when a later one no longer would. Whoever is no tag and no group needs an @."""
    rules = '{"tagOwners": {"tag:k8s": []}, "autoApprovers": {"routes": {"10.9.0.0/24": ["%s"]}}}'
    approved = {}
    for dialect in ("headscale-0.29", "tailscale"):
        world = World(dialect)
        node = world.nodes.login(
            auth_key=world.key().secret, hostname="r", machine_key="m", routes=["10.9.0.0/24"]
        )
        world.tailnet.set_policy(rules % "tag:k8s")
        world.tailnet.set_policy('{"tagOwners": {"tag:k8s": []}}')
        approved[dialect] = world.tailnet.node(node.id).approved
    assert approved == {"headscale-0.29": ("10.9.0.0/24",), "tailscale": ()}
    with pytest.raises(Refused, match=r'10\.9\.0\.0~124/0": invalid auto approver format: "bob"'):
        World("headscale-0.29").tailnet.set_policy(rules % "bob")


def test_changes_are_told_in_order_and_equal_ones_not_at_all() -> None:
    world = World("headscale-0.30")
    told: list[tuple[str, str]] = []
    end = world.nodes.subscribe(lambda kind, node: told.append((kind, node.name)))
    node = world.nodes.login(auth_key=world.key().secret, hostname="app", machine_key="m")
    world.nodes.set_connected(node.id, True)
    world.tailnet.rename_node(node.id, "web")
    world.tailnet.delete_node(node.id)
    end()
    world.nodes.login(auth_key=world.key().secret, hostname="app", machine_key="m")
    assert told == [("added", "app"), ("changed", "web"), ("deleted", "web")]


def test_addresses_are_loopback_and_never_given_twice() -> None:
    world = World("tailscale")
    node = world.nodes.login(auth_key=world.key().secret, hostname="app", machine_key="a")
    world.tailnet.delete_node(node.id)
    other = world.nodes.login(auth_key=world.key().secret, hostname="app", machine_key="b")
    assert (node.addresses, other.addresses) == (
        ("127.64.0.1", "fd7a:115c:a1e0::1"),
        ("127.64.0.2", "fd7a:115c:a1e0::2"),
    )


def test_one_seed_gives_one_world() -> None:
    assert [World("tailscale").key().secret for _ in range(2)] == [World("tailscale").key().secret] * 2


@pytest.mark.parametrize(
    "hostname,name",
    [
        ("service.example.com", "service-example-com"),
        ("My_App", "my-app"),
        ("nas.local", "nas"),
        ("--x--", "x"),
        ("grüße", "gre"),
        ("x" * 70, "x" * 63),
        ("-", ""),
    ],
)
def test_hostnames_become_labels(hostname: str, name: str) -> None:
    assert naming.sanitize(hostname) == name


def test_no_secret_shows_in_a_repr() -> None:
    world = World("tailscale")
    key, client = world.key(), world.tailnet.add_client(scopes=("all",))
    api = world.tailnet.add_api_key(expires=world.now)
    assert not any(thing.secret in repr(thing) for thing in (key, client, api))
