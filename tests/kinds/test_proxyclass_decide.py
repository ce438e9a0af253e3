"""What is said of a ProxyClass: a table of worlds, and what each comes to."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import pytest

from tailrace import errors
from tailrace.api.proxyclass import PortRange, ProxyClass
from tailrace.kinds.proxyclass import controller, decide
from tailrace.kinds.proxyclass.inputs import Inputs
from tailrace.kube import resources
from tailrace.kube.client import Kube
from tailrace.kube.resource import Key
from tailrace.kube.store import Event
from tailrace.plan import ops
from tailrace.proxy.spec import Mode
from tests.support.world import open_world

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def build(spec: dict[str, Any] | None = None, *, name: str = "home", **meta: Any) -> ProxyClass:
    found = {"metadata": {"name": name, "generation": 3, **meta}, "spec": spec or {}}
    return msgspec.convert(found, ProxyClass)


def read_claim(plan: ops.Plan) -> tuple[str, str, str]:
    (status,) = (op for op in plan.ops if isinstance(op, ops.ApplyStatus))
    (condition,) = status.status["conditions"]
    assert condition["type"] == "ProxyClassReady"
    assert condition["observedGeneration"] == 3
    return condition["status"], condition["reason"], condition["message"]


def with_condition(given: ProxyClass, plan: ops.Plan) -> ProxyClass:
    """The class after the plan."""
    (status,) = (op for op in plan.ops if isinstance(op, ops.ApplyStatus))
    plain = msgspec.to_builtins(given) | {"status": status.status}
    return msgspec.convert(plain, ProxyClass)


MONITORED = {"metrics": {"enable": True, "serviceMonitor": {"enable": True}}}
PORTS = {"staticEndpoints": {"nodePort": {"ports": [{"port": 30001, "endPort": 30010}]}}}


@pytest.mark.parametrize(
    ("world", "status", "said"),
    [
        (Inputs(given=build(), now=NOW), "True", "ProxyClassValid"),
        (Inputs(given=build({"statefulSet": {"labels": {"a b": "c"}}}), now=NOW), "False", "spec.statefulSet.labels"),
        (Inputs(given=build(MONITORED), has_monitors=True, now=NOW), "True", "ProxyClassValid"),
        (Inputs(given=build(MONITORED), has_monitors=False, now=NOW), "False", "ServiceMonitor"),
        (Inputs(given=build(PORTS), node_ports=PortRange(port=30000, endPort=32767), now=NOW), "True", "ProxyClassValid"),
        (Inputs(given=build(PORTS), node_ports=PortRange(port=31000, endPort=32767), now=NOW), "False",
         'range "30001-30010" is not within Cluster configured range "31000-32767"'),
        (Inputs(given=build(annotations={"tailrace.dev/volumes": "{"}), now=NOW), "False", "tailrace.dev/volumes"),
        (Inputs(given=build({"tailscale": {"acceptRoutes": True}}), mode=Mode.USERSPACE, now=NOW), "True", "acceptRoutes"),
    ],
)  # fmt: skip
def test_the_condition_says_whether_it_can_be_used_and_what_has_no_effect(
    world: Inputs, status: str, said: str
) -> None:
    found = read_claim(decide.decide(world))
    assert found[0] == status
    assert said in found[2]


def test_a_class_that_says_the_truth_is_left_alone_and_nothing_is_told_twice() -> None:
    world = Inputs(given=build({"statefulSet": {"labels": {"a b": "c"}}}), now=NOW)
    plan = decide.decide(world)
    assert [op.reason for op in plan.ops if isinstance(op, ops.Emit)] == ["ProxyClassInvalid"]
    assert world.given is not None
    judged = dataclasses.replace(world, given=with_condition(world.given, plan))
    assert decide.decide(judged).ops == ()


def test_what_is_still_wrong_after_another_change_is_no_news() -> None:
    """The condition is of the newest generation; nobody is told again."""
    world = Inputs(given=build({"statefulSet": {"labels": {"a b": "c"}}}), now=NOW)
    assert world.given is not None
    judged = with_condition(world.given, decide.decide(world))
    later = msgspec.structs.replace(judged, metadata=msgspec.structs.replace(judged.metadata, generation=4))
    assert [type(op) for op in decide.decide(dataclasses.replace(world, given=later)).ops] == [
        ops.ApplyStatus
    ]


def test_a_variable_of_tailscales_own_is_told_by_an_event_in_the_official_words() -> None:
    container = {"env": [{"name": "TS_EXTRA_ARGS", "value": "--x"}]}
    given = build({"statefulSet": {"pod": {"tailscaleContainer": container}}})
    told = [op for op in decide.decide(Inputs(given=given, now=NOW)).ops if isinstance(op, ops.Emit)]
    assert [op.reason for op in told] == ["CustomTSEnvVar"]


def test_the_official_operators_finalizer_does_not_hold_a_class() -> None:
    given = build(finalizers=["tailscale.com/finalizer", "other"], deletionTimestamp="2026-01-01T00:00:00Z")
    (op,) = decide.decide(Inputs(given=given, now=NOW)).ops
    assert isinstance(op, ops.Unfinalize)
    assert op.keep == ("other",)


def test_no_class_no_plan() -> None:
    assert decide.decide(Inputs(given=None, now=NOW)).ops == ()


@pytest.mark.parametrize(
    ("refusal", "found"),
    [
        ('Invalid value: 777777: provided port is not in the valid range. The range of valid ports is 30000-32767',
         PortRange(port=30000, endPort=32767)),
        ("it is forbidden", None),
        ("1-2 and 3-4", None),
    ],
)  # fmt: skip
def test_the_clusters_node_ports_are_read_from_a_refusal(refusal: str, found: PortRange | None) -> None:
    assert controller.read_range(refusal) == found


@pytest.mark.anyio
async def test_ports_that_come_or_go_have_all_classes_judged_anew() -> None:
    """One that was in the way may be so no longer; a class without ports concerns itself alone."""
    async with open_world() as world:
        room = controller.ProxyClasses(world.fleet, cast(Kube, world.cluster))
        for name in ("home", "other"):
            world.cluster.put(resources.PROXY_CLASSES, {"metadata": {"name": name}, "spec": {}})
        home, other = Key("", "home"), Key("", "other")
        ported = build(PORTS)
        assert {*room.map_class(Event(old=build(), new=ported))} == {home, other}
        assert {*room.map_class(Event(old=ported, new=None))} == {home, other}
        assert {*room.map_class(Event(old=build(), new=build()))} == {home}


@pytest.mark.anyio
async def test_the_clusters_node_ports_are_asked_for_once_they_are_known() -> None:
    """A failure to ask is no answer."""
    answers: list[errors.TailraceError] = [
        errors.Transient("it is away"),
        errors.Terminal("The range of valid ports is 30000-32767", reason="Invalid"),
    ]
    async with open_world() as world:

        async def create(*_: Any, **__: Any) -> Any:
            raise answers.pop(0)

        world.cluster.create = create  # type: ignore[method-assign]
        room = controller.ProxyClasses(world.fleet, cast(Kube, world.cluster))
        assert await room.ask_node_ports() is None
        for _ in range(2):
            assert await room.ask_node_ports() == PortRange(port=30000, endPort=32767)
