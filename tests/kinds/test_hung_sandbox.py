"""A proxy that hangs, in the sandbox: the node tells it, the control plane does not, and the commands show it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tailrace.fleet import truth
from tailrace.sandbox.kubernetes.resources import Ref
from tailrace.sandbox.world import World
from tests.cli.town import HOME, Person, Town, backend, service

PODS = Ref("", "v1", "pods")


@pytest.fixture
def town(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Town]:
    """One in which a second is long."""
    monkeypatch.setattr(truth, "HUNG", timedelta(seconds=1))
    found = Town(tmp_path)
    with found.live(operator=True):
        yield found


def report(world: World, *, ready: bool) -> str:
    """As a kubelet whose probe of the one proxy fails, or succeeds again; gives the pod's name."""
    ((_, name),) = (key for key in world.cluster.store.all(("", "pods")) if key[0] == HOME)
    pod = world.cluster.get(PODS, name, namespace=HOME)
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": world.cluster.core.now()}
    others = [c for c in pod["status"]["conditions"] if c["type"] != "Ready"]
    fresh = pod | {"status": pod["status"] | {"conditions": [*others, condition]}}
    world.cluster.update(PODS, name, fresh, namespace=HOME, subresource="status")
    return name


def count_writes(world: World) -> int:
    """Of Services' statuses."""
    return sum(
        n
        for (_, verb, what), n in world.api.requests.items()
        if verb == "patch" and what == "services/status"
    )


def test_a_proxy_that_hangs_is_shown_and_comes_back(town: Town, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody wakes the operator at the moment when it is sure: it looks by itself. Each of the two is one write."""
    person = Person(town, capsys, town.world.kubeconfig)
    town.apply(service("web", expose="true"), backend("web"))
    town.wait_for("web", "True", "Ready")
    before = town.on(count_writes)

    pod = town.on(lambda world: report(world, ready=False))
    town.wait_for("web", "False", "ProxyNotReady")
    assert "ProxyNotReady" in person.type("status").out
    explained = person.type("explain", "service/default/web").out
    assert f"kubectl logs -n {HOME} {pod}" in explained

    town.on(lambda world: report(world, ready=True))
    town.wait_for("web", "True", "Ready")
    assert town.on(count_writes) == before + 2
