"""What is said and done on every control plane while it is away, refuses us, or has our names taken: the real drivers over
HTTP against each emulated dialect. The laws are in `test_laws`."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tailrace import errors
from tailrace.kube import resources
from tailrace.kube.resource import Key
from tailrace.sandbox.controlplane.records import Dialect
from tailrace.tailnet import port
from tests.laws.histories import WEB, remove_devices
from tests.laws.planes import every_control_plane
from tests.support.faults import Answer
from tests.support.tailnets import open_emulated
from tests.support.world import INSTALL, build_service, open_world_on


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
