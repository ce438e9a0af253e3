"""The four laws: settles, idempotent, history-free, tidy. They hold for every kind that has proxies, after any history and
with faults at any single write, to the cluster and to the tailnet. Many histories on the memory twin, fewer over HTTP
against each emulated control plane. The kinds are tables in `kinds`."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace import errors
from tailrace.sandbox.controlplane.records import Dialect
from tailrace.tailnet import port
from tests.laws import kinds
from tests.laws.histories import Trouble, examples, faults, histories, live_through, refusals, spoil
from tests.laws.planes import check_keys, every_control_plane, spoilt
from tests.support.faults import Fault
from tests.support.tailnets import open_emulated
from tests.support.world import World, open_world, open_world_on

every_kind = pytest.mark.parametrize("kind", kinds.ALL.values(), ids=list(kinds.ALL))
slow = examples(40)


def draw_history(kind: kinds.Kind, data: st.DataObject, most: int = 5) -> list[str]:
    return data.draw(histories(kind.edits, most), label="history")


async def live(
    kind: kinds.Kind,
    world: World[Any],
    history: list[str],
    trouble: list[errors.TailraceError | None],
    refused: Trouble,
) -> None:
    """From the object's creation through a history, as far as the faults let it."""
    kind.start(world)
    world.cluster.faults.extend(trouble)
    spoil(world.plane, refused)
    await live_through(world, history, kind.edits, kind.key)


async def check_idempotent(kind: kinds.Kind, world: World[Any]) -> None:
    writes = world.cluster.writes
    plan = await world.reconcile(kind.key)
    assert plan.ops == ()
    assert world.cluster.writes == writes


def check_tidy(kind: kinds.Kind, world: World[Any]) -> None:
    """Nothing in the cluster, nothing in the tailnet; what is foreign stays."""
    assert world.ours() == []
    assert kind.place not in world.cluster.objects
    assert sorted(d.name for d in world.plane.devices) == sorted(kinds.FOREIGN)


@every_kind
@slow
@given(data=st.data(), trouble=faults, refused=refusals)
def test_any_history_settles_and_then_writes_nothing(
    kind: kinds.Kind, data: st.DataObject, trouble: list[errors.TailraceError | None], refused: Trouble
) -> None:
    """Laws 1 and 2."""
    history = draw_history(kind, data)

    async def run() -> None:
        async with open_world() as world:
            await live(kind, world, history, trouble, refused)
            await kind.settle(world)
            await check_idempotent(kind, world)

    anyio.run(run)


@every_kind
@slow
@given(data=st.data(), trouble=faults, refused=refusals)
def test_any_history_ends_in_the_same_world_as_a_clean_start(
    kind: kinds.Kind, data: st.DataObject, trouble: list[errors.TailraceError | None], refused: Trouble
) -> None:
    """Law 3: what the object says now decides, not how it got there."""
    history = draw_history(kind, data)

    async def run() -> None:
        async with open_world() as world:
            await live(kind, world, history, trouble, refused)
            kind.mend(world)
            await kind.settle(world)
            await check_idempotent(kind, world)
            assert world.snapshot() == await kind.build_clean_start(world)

    anyio.run(run)


@every_kind
@slow
@given(data=st.data(), trouble=faults, refused=refusals)
def test_a_deleted_object_leaves_nothing(
    kind: kinds.Kind, data: st.DataObject, trouble: list[errors.TailraceError | None], refused: Trouble
) -> None:
    """Law 4: nothing in the cluster, nothing in the tailnet, no key; what is foreign stays."""
    history = draw_history(kind, data)

    async def run() -> None:
        async with open_world() as world:
            await live(kind, world, history, trouble, refused)
            world.cluster.remove(kind.place)
            await kind.settle(world)
            check_tidy(kind, world)
            # A key that could neither be stored nor taken back ends by itself, within the hour.
            assert len(world.plane.usable_keys) <= sum(method == "revoke_key" for method, _ in refused)

    anyio.run(run)


@every_kind
@every_control_plane
@examples(12, shrink=False)
@given(data=st.data(), trouble=faults, before=spoilt, after=spoilt)
def test_the_four_laws_on_every_control_plane(
    kind: kinds.Kind,
    dialect: Dialect,
    names: tuple[str, ...],
    data: st.DataObject,
    trouble: list[errors.TailraceError | None],
    before: list[Fault | None],
    after: list[Fault | None],
) -> None:
    """The real drivers over HTTP, with calls that are spoilt. The clean start of law 3 is the twin's."""
    history = draw_history(kind, data, 4)

    async def run() -> None:
        async with (
            open_emulated(dialect, names) as tailnet,
            open_world_on(tailnet, tailnet.edge) as world,
        ):
            kind.start(world)
            world.cluster.faults.extend(trouble)
            tailnet.faults.script.extend(before)
            await live_through(world, history, kind.edits, kind.key)
            kind.mend(world)
            while not tailnet.edge.has(port.Capability.ROUTES):
                await tailnet.edge.probe()  # where no call got through yet
            await kind.settle(world)
            await check_idempotent(kind, world)
            assert world.snapshot() == await kind.build_clean_start(world)

            world.cluster.remove(kind.place)
            tailnet.faults.script.extend(after)
            await kind.settle(world)
            check_tidy(kind, world)
            check_keys(tailnet)

    anyio.run(run)
