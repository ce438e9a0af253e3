"""The four laws on every control plane: the real drivers over HTTP against each emulated dialect, with spoilt calls.

The clean start of law 3 is the twin's: what a history ends in differs neither by how it went nor by where.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import anyio
import pytest
from hypothesis import given

from tailrace import errors
from tailrace.kube import resources
from tailrace.kube.resource import Key
from tailrace.sandbox.controlplane.records import Dialect
from tailrace.tailnet import port
from tests.laws.histories import WEB, edits, examples, faults, live_through, remove_devices
from tests.support.faults import UNDONE, UNHEARD, Answer, Fault, scripts
from tests.support.tailnets import CLIENT, EmulatedTailnet, open_emulated
from tests.support.world import INSTALL, World, build_service, open_world, open_world_on

CONTROL_PLANES: list[tuple[Dialect, tuple[str, ...]]] = [
    ("tailscale", CLIENT),
    ("headscale-0.29", ("api_key",)),
    ("headscale-0.30", CLIENT),
    ("headscale-0.30", ("api_key",)),
]

every_control_plane = pytest.mark.parametrize(
    ("dialect", "names"), CONTROL_PLANES, ids=["tailscale", "0.29", "0.30-client", "0.30-key"]
)
spoilt = scripts(*UNDONE, *UNHEARD, most=12)


@every_control_plane
@examples(15, shrink=False)
@given(history=edits, trouble=faults, before=spoilt, after=spoilt)
def test_the_four_laws(
    dialect: Dialect,
    names: tuple[str, ...],
    history: list[str],
    trouble: list[Any],
    before: list[Fault | None],
    after: list[Fault | None],
) -> None:
    """Settles, writes nothing then, is as after a clean start, and leaves nothing when the Service goes."""

    async def run() -> None:
        async with (
            open_emulated(dialect, names) as tailnet,
            open_world_on(tailnet, tailnet.edge) as world,
        ):
            stranger = tailnet.add("laptop", user="somebody")
            world.cluster.put(resources.SERVICES, build_service())
            world.cluster.faults.extend(trouble)
            tailnet.faults.script.extend(before)
            await live_through(world, history)
            await world.settle(WEB)
            await check_idempotent(world)
            assert world.snapshot() == await build_clean_start(world)

            world.cluster.remove(("Service", *WEB))
            tailnet.faults.script.extend(after)
            await world.settle(WEB)
            assert world.ours() == []
            assert ("Service", *WEB) not in world.cluster.objects
            assert [d.id for d in tailnet.devices] == [stranger.id]
            check_keys(tailnet)

    anyio.run(run)


def check_keys(tailnet: EmulatedTailnet) -> None:
    """No key is left that admits a device, save one for each call about keys whose answer nobody heard: its id is not
    known to us, so that it ends by itself, used by nobody."""
    lost = [
        line
        for line, fault in tailnet.faults.struck
        if "key" in line and not line.startswith("GET") and (fault in UNHEARD or is_revocation(line))
    ]
    left = tailnet.usable_keys
    assert len(left) <= len(lost)
    soon = tailnet.server.tailnet.now() + INSTALL.key_ttl
    assert all(not key.reusable and key.expires is not None and key.expires <= soon for key in left)


def is_revocation(line: str) -> bool:
    return line.startswith("DELETE") or line.endswith("/expire")


async def check_idempotent(world: World[Any]) -> None:
    writes = world.cluster.writes
    plan = await world.reconcile(WEB)
    assert plan.ops == ()
    assert world.cluster.writes == writes


async def build_clean_start(world: World[Any]) -> dict[Any, Any]:
    """What the Service as it is now comes to where nothing ever happened."""
    service = world.cluster.objects["Service", *WEB]
    notes = service["metadata"].get("annotations", {})
    async with open_world() as clean:
        clean.plane.add("laptop", user="somebody")
        meta = {"name": WEB.name, "namespace": WEB.namespace, "annotations": notes}
        clean.cluster.put(resources.SERVICES, {"metadata": meta, "spec": service["spec"]})
        await clean.settle(WEB)
        return clean.snapshot()


@pytest.mark.anyio
@every_control_plane
async def test_a_server_that_is_away_holds_a_deletion_for_the_deadline_only(
    dialect: Dialect, names: tuple[str, ...]
) -> None:
    """Then the Service goes, the device is remembered, and deleted when somebody listens again."""
    overdue = timedelta(seconds=-1)
    async with (
        open_emulated(dialect, names) as tailnet,
        open_world_on(tailnet, tailnet.edge, delete_deadline=overdue) as world,
    ):
        world.cluster.put(resources.SERVICES, build_service())
        await world.settle(WEB)
        await tailnet.server.refuse_connections()
        world.cluster.remove(("Service", *WEB))
        for _ in range(6):
            world.cluster.run_machinery()
            await world.reconcile(WEB)
        assert ("Service", *WEB) not in world.cluster.objects
        assert [device.name for device in tailnet.devices] == ["demo-web"]
        await tailnet.server.accept_connections()
        await world.settle(WEB)
        assert tailnet.devices == ()


@pytest.mark.anyio
@every_control_plane
async def test_revoked_credentials_are_told_and_new_ones_taken_up(
    dialect: Dialect, names: tuple[str, ...]
) -> None:
    """No restart; what was begun under the old ones is finished, or cleaned up, under the new ones."""
    async with (
        open_emulated(dialect, names) as tailnet,
        open_world_on(tailnet, tailnet.edge) as world,
    ):
        world.cluster.put(resources.SERVICES, build_service())
        await world.settle(WEB)
        tailnet.server.revoke_credentials()
        remove_devices(world)
        world.cluster.put(resources.SERVICES, build_service("late"))
        for _ in range(3):
            world.cluster.run_machinery()
            await world.reconcile(WEB)
            await world.reconcile(Key("demo", "late"))
        assert world.conditions("late")["Provisioned"][:2] == ("False", "CredentialsRefused")
        assert not tailnet.devices
        tailnet.server.rotate_credentials()
        await world.settle(WEB, Key("demo", "late"))
        assert sorted(device.name for device in tailnet.devices) == ["demo-late", "demo-web"]
        assert world.conditions()["Online"][0] == world.conditions("late")["Online"][0] == "True"
        assert tailnet.usable_keys == ()


@pytest.mark.anyio
@every_control_plane
async def test_a_dead_namesake_of_ours_makes_room_and_a_living_one_does_not(
    dialect: Dialect, names: tuple[str, ...]
) -> None:
    async with (
        open_emulated(dialect, names) as tailnet,
        open_world_on(tailnet, tailnet.edge) as world,
    ):
        dead = tailnet.add("demo-web", tags=["tag:k8s"], online=False)
        foreign = tailnet.add("demo-late", user="somebody")
        world.cluster.put(resources.SERVICES, build_service())
        world.cluster.put(resources.SERVICES, build_service("late"))
        await world.settle(WEB, Key("demo", "late"))
        found = {device.name: device.id for device in tailnet.devices}
        assert found.keys() == {"demo-web", "demo-late"}
        assert found["demo-web"] != dead.id
        assert found["demo-late"] == foreign.id
        assert world.conditions("late")["Accepted"][1] == "NameConflict"


@pytest.mark.anyio
@pytest.mark.parametrize("status", [409, 410])
async def test_an_answer_that_says_nothing_chooses_no_dialect(status: int) -> None:
    """Whatever stands before the server may answer the question for its dialect; the next call asks again."""
    async with open_emulated("headscale-0.29", ("api_key",)) as tailnet:
        tailnet.faults.script.extend([None, Answer(status=status)])
        with pytest.raises(errors.Transient):
            await tailnet.edge.list_devices()
        key = await tailnet.edge.mint_key(
            port.KeyRequest(tags=("tag:k8s",), ttl=INSTALL.key_ttl, description="")
        )
        assert key.secret in {found.secret for found in tailnet.usable_keys}
