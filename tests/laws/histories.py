"""What can happen to a root, and the strategies that make histories of it. Which of it happens to a kind stands in
`kinds`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from tailrace import errors
from tailrace.kube import resources
from tailrace.kube.resource import Key, Resource
from tailrace.tailnet.memory import MemoryPlane
from tests.support.cluster import Unheard
from tests.support.world import World

WEB = Key("demo", "web")

type Edit = Callable[[World[Any]], None]


def change(body: Mapping[str, Any], resource: Resource[Any] = resources.SERVICES, key: Key = WEB) -> Edit:
    """Somebody patches the root, or whatever else is named."""
    return lambda world: world.cluster.edit(resource, key.namespace, key.name, body)


def annotate(name: str, value: str | None) -> Edit:
    return change({"metadata": {"annotations": {name: value}}})


def remove_devices(world: World[Any]) -> None:
    """Somebody deletes every tagged device behind the operator's back."""
    for device in world.plane.devices:
        if device.tags:
            world.plane.remove(device.id)


def lose(kind: str) -> Edit:
    """Somebody deletes all children of a kind by hand, pods included. What a Secret takes with it is in
    `test_lost_secret`."""

    def work(world: World[Any]) -> None:
        for place in [p for p in world.ours() if p[0] == kind]:
            world.cluster.remove(place, foreground=True)

    return work


LOSSES = {f"{kind} lost": lose(kind) for kind in ("StatefulSet", "ServiceAccount", "Role", "RoleBinding")}

FAULTS = (
    errors.Transient("the connection broke"),
    errors.Conflict("somebody wrote in between"),
    errors.RateLimited("slow down", after=0.0),
)


def histories(table: Mapping[str, Edit], most: int = 5) -> st.SearchStrategy[list[str]]:
    """Some edits of a table, by name, one after the other."""
    return st.lists(st.sampled_from(sorted(table)), max_size=most)


faults = st.lists(
    st.one_of(st.none(), st.sampled_from((*FAULTS, Unheard("the answer was lost")))), max_size=12
)
"""What the next writes to the cluster meet."""

CALLS = ("list_devices", "get_device", "mint_key", "revoke_key", "delete_device", "rename_device", "set_tags")

type Trouble = list[tuple[str, errors.TailraceError]]

refusals = st.lists(st.tuples(st.sampled_from(CALLS), st.sampled_from(FAULTS)), max_size=8)
"""What the next calls of the memory twin meet, each by its name."""


def examples(count: int, *, shrink: bool = True) -> settings:
    """Whole worlds are slow, and how slow is the machine's business. Over sockets a failure is shown as it was found:
    making it smaller would take minutes."""
    return settings(
        max_examples=count,
        deadline=None,
        phases=[phase for phase in Phase if shrink or phase not in (Phase.shrink, Phase.explain)],
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def spoil(plane: MemoryPlane, trouble: Trouble) -> None:
    for call, error in trouble:
        plane.fail(call, error)


async def live_through(
    world: World[Any], history: list[str], table: Mapping[str, Edit], key: Key = WEB
) -> None:
    """The operator works after each edit, as far as the faults let it; nobody waits until all is settled."""
    await world.reconcile(key)
    for edit in history:
        table[edit](world)
        world.cluster.run_machinery()
        await world.reconcile(key)
