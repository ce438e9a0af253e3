"""`tailrace gc` after a cluster that was treated badly: what it shows, what it deletes, and what it never touches."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import yaml

from tailrace.api import names
from tailrace.cli import gc
from tailrace.cli.exits import Exit
from tailrace.sandbox.kubernetes.resources import Ref
from tailrace.sandbox.world import World
from tests.cli.test_explain import set_credentials
from tests.cli.town import Person, Town, backend, service

SERVICES = Ref("", "v1", "services")


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """No operator any more. `web` is exposed, `lost` was deleted past its finalizer; a dead twin of `default-web`, somebody's
    dead `elsewhere`, a living `stranger` and a laptop are on the tailnet; two keys wait for nobody."""
    found = Town(tmp_path_factory.mktemp("town"))
    with found.live(operator=True, TAILRACE_PROXY_MODE="userspace", TAILRACE_CLUSTER_NAME="prod"):
        found.apply(
            service("web", expose="true"), backend("web"), service("lost", expose="true"), backend("lost")
        )
        found.wait_for("web", "True", "Ready")
        found.wait_for("lost", "True", "Ready")
        found.stop_operator()
        found.on(make_litter)
        yield found


def make_litter(world: World) -> None:
    for hostname, tags, alive in (
        ("default-web", ("tag:k8s",), False),
        ("elsewhere", ("tag:k8s",), False),
        ("stranger", ("tag:k8s",), True),
        ("laptop", ("tag:laptops",), False),
    ):
        join(world, hostname, tags, alive=alive)
    tailnet = world.plane.tailnet
    for description in ("tailrace prod default gone", "by hand"):
        key = tailnet.add_key(
            tags=("tag:k8s",), expires=world.now() + timedelta(hours=1), description=description
        )
        tailnet.keys[key.number] = dataclasses.replace(key, created=world.now() - timedelta(hours=1))
    lost: dict[str, Any] = {"metadata": {"finalizers": []}}
    world.cluster.patch(SERVICES, "lost", lost, "merge", namespace="default")
    world.cluster.delete(SERVICES, "lost", namespace="default")


def join(world: World, hostname: str, tags: tuple[str, ...], *, alive: bool) -> str:
    tailnet = world.plane.tailnet
    key = tailnet.add_key(tags=tags, expires=world.now() + timedelta(hours=1))
    node = tailnet.nodes.login(auth_key=key.secret, hostname=hostname, machine_key=f"mkey:{hostname}")
    tailnet.nodes.set_connected(node.id, alive)
    return node.id


@pytest.fixture
def knower(person: Person, monkeypatch: pytest.MonkeyPatch) -> Person:
    """Somebody whose shell has the control plane's credentials, and who does not wait."""
    set_credentials(monkeypatch, person.town)
    monkeypatch.setattr(gc, "LOOK", 0.05)
    return person


def list_devices(town: Town) -> set[str]:
    return town.on(lambda world: {node.name for node in world.plane.tailnet.nodes.all()})


def list_secrets(world: World) -> list[str]:
    """Names of the proxies' Secrets."""
    found = (stored.doc["metadata"] for _, stored in world.cluster.store.all(("", "secrets")).items())
    return [m["name"] for m in found if m.get("labels", {}).get(names.MANAGED)]


def read(text: str) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["what"], row["name"]): row for row in json.loads(text)}


def test_a_dry_run_shows_all_with_its_reason_and_deletes_nothing(knower: Person) -> None:
    before = list_devices(knower.town)
    said = knower.type("gc", "--age", "0s", "-o", "json")
    assert said.code == Exit.OK, said.err
    rows = read(said.out)
    assert {key: (row["verdict"], row["goes"]) for key, row in rows.items()} == {
        ("proxy", "default/lost"): ("ours", True),
        ("device", "default-web-1"): ("named", True),
        ("device", "elsewhere"): ("shared", False),
        ("device", "stranger"): ("kept", False),
        ("key", "tailrace prod default gone"): ("named", True),
    }
    assert rows["proxy", "default/lost"]["why"] == "Service default/lost does not exist"
    assert "connected" in rows["device", "stranger"]["why"]
    assert not any(row["outcome"] for row in rows.values())
    assert list_devices(knower.town) == before


def test_the_table_says_what_to_do_next(knower: Person) -> None:
    said = knower.type("gc", "--age", "0s")
    assert said.out.splitlines()[0].split() == [
        "WHAT",
        "NAME",
        "ID",
        "TAILNET",
        "LAST",
        "SEEN",
        "GOES",
        "WHY",
    ]
    assert "if shared" in said.out
    assert "3 of 5 would go: add --yes to delete them." in said.err
    assert "--include-shared-tags" in said.err


def test_what_was_connected_lately_is_left(knower: Person) -> None:
    rows = yaml.safe_load(knower.type("gc", "-o", "yaml").out)
    assert {r["verdict"] for r in rows if r["what"] == "device"} == {"kept"}


def test_without_credentials_the_cluster_alone_is_judged(person: Person) -> None:
    said = person.type("gc", "-o", "json")
    assert said.code == Exit.OK
    assert set(read(said.out)) == {("proxy", "default/lost")}
    assert "this shell has no credentials for it" in said.err


def test_a_wrong_age_is_said(person: Person) -> None:
    said = person.type("gc", "--age", "soon")
    assert said.code == Exit.USAGE
    assert "--age 1h" in said.err


def test_yes_deletes_what_goes_and_keeps_the_rest(knower: Person) -> None:
    """Last: the town is clean afterwards."""
    said = knower.type("gc", "--age", "0s", "--yes", "-o", "json")
    assert said.code == Exit.OK, said.err
    done = {key for key, row in read(said.out).items() if row["outcome"] == "deleted"}
    assert done == {
        ("proxy", "default/lost"),
        ("device", "default-web-1"),
        ("key", "tailrace prod default gone"),
    }
    assert list_devices(knower.town) == {"default-web", "elsewhere", "stranger", "laptop"}
    left = knower.town.on(list_secrets)
    assert [name.rpartition("-")[0][:6] for name in left] == ["ts-web"]
    shared = read(knower.type("gc", "--age", "0s", "--yes", "--include-shared-tags", "-o", "json").out)
    assert shared["device", "elsewhere"]["outcome"] == "deleted"
    assert list_devices(knower.town) == {"default-web", "stranger", "laptop"}
    assert set(read(knower.type("gc", "-o", "json").out)) == {("device", "stranger")}
