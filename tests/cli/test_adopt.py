"""`tailrace adopt`: the plan of a take-over and what stands in its way; then the operator does it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from tailrace.cli.exits import Exit
from tailrace.sandbox.kubernetes.resources import Ref
from tailrace.sandbox.world import World
from tests.cli.town import Person, Town, service
from tests.support import official

SERVICES, SECRETS = Ref("", "v1", "services"), Ref("", "v1", "secrets")
DEPLOYMENTS = Ref("apps", "v1", "deployments")


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Where the official operator runs, and Tailrace too: it has made `web` a device, and an Ingress."""
    found = Town(tmp_path_factory.mktemp("town"))
    with found.live(operator=True):
        found.on(make_official)
        yield found


def make_official(world: World) -> None:
    world.apply([official.build_operator(1), service("web")])
    uid = world.cluster.get(SERVICES, "web", namespace="default")["metadata"]["uid"]
    tailnet = world.plane.tailnet
    key = tailnet.add_key(tags=("tag:k8s",), expires=world.now() + timedelta(hours=1))
    proxy = official.Proxy(uid=uid, namespace="default", hostname="default-web", key=key.secret)
    ingress = official.Proxy(
        uid="1", name="page", parent="ingress", suffix="a1b2c", hostname="page", device="n1CNTRL"
    )
    for child in (*official.build_children(proxy), official.build_secret(ingress)):
        world.apply([child])
    mark = {"metadata": {"annotations": {"tailscale.com/expose": "true"}}}
    world.cluster.patch(SERVICES, "web", mark, "merge", namespace="default")


def scale(world: World, replicas: int) -> None:
    body: dict[str, Any] = {"spec": {"replicas": replicas}}
    world.cluster.patch(DEPLOYMENTS, "operator", body, "merge", namespace=official.HOME)


def test_a_take_over_is_planned_waited_for_and_done(person: Person) -> None:
    said = person.type("adopt", "-o", "json")
    assert said.code == Exit.NOT_READY
    rows = {row["object"]: row for row in json.loads(said.out)}
    assert rows["Service default/web"]["adopted"]
    assert not rows["ingress demo/page"]["adopted"]
    assert "kubectl scale deployment operator --replicas=0 -n tailscale" in said.err
    person.town.wait_for("web", "False", "OfficialOperatorRunning")
    assert "TAKEN OVER" in person.type("adopt").out

    person.town.on(lambda world: scale(world, 0))
    person.town.wait_for("web", "False", "NoEndpoints")
    said = person.type("adopt")
    assert said.code == Exit.OK
    assert "default/web" not in said.out
    names = person.town.on(lambda world: [node.name for node in world.plane.tailnet.nodes.all()])
    assert names == ["default-web"]
    person.town.on(lambda world: world.cluster.get(SECRETS, "ts-web-x7k2q-0", namespace=official.HOME))
