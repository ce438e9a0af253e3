"""What a proxy gets that asks for another key: by what is known of its device, and by how often it was started again."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest

from tailrace.api import names
from tailrace.api.conditions import Reason
from tailrace.fleet import naming, plea, provision, truth
from tailrace.fleet.plea import PAUSE, STARTS, WINDOW, Answer
from tailrace.fleet.world import Tailnet, World
from tailrace.plan import ops
from tailrace.proxy import spec
from tests.fleet.test_rows import DEVICE, HEARD, NOW, STALE, build_state, build_world

TARGET = spec.Address(ip="10.96.0.7")
TROUBLED = dataclasses.replace(STALE, fresh=True)
GONE = Tailnet(known=True, gone=True)
PAUSED, LATER = PAUSE - timedelta(seconds=1), PAUSE


def ask(tailnet: Tailnet, *starts: timedelta, key: str = "", **data: str) -> World:
    """A proxy that has joined and asks, after starts that long ago."""
    note = " ".join((NOW - ago).isoformat() for ago in starts)
    who = {"device_id": "n1", "device_fqdn": "web.test.", "reissue_authkey": ""} | data
    return build_world(
        tailnet, build_state(key=key, notes={names.STARTED_AGAIN: note} if note else None, **who)
    )


def list_ops(w: World) -> list[ops.Op]:
    stages = provision.decide_proxy(w, provision.build_spec(w, TARGET))
    return [op for stage in stages for op in stage if op is not None]


def withdraws(op: ops.Op) -> bool:
    return isinstance(op, ops.DropKeys) and op.keys == ("reissue_authkey",)


def list_applied(stage: tuple[ops.Op, ...], kind: str) -> list[ops.Op]:
    return [op for op in stage if isinstance(op, ops.Apply) and op.manifest["kind"] == kind]


@pytest.mark.parametrize(
    ("world", "answer"),
    [
        pytest.param(ask(HEARD), Answer.RESTART, id="for the first time"),
        pytest.param(
            ask(dataclasses.replace(HEARD, device=dataclasses.replace(DEVICE, online=False))),
            Answer.RESTART,
            id="not connected",
        ),
        pytest.param(ask(TROUBLED), Answer.WAIT, id="the control plane has begun to be away"),
        pytest.param(ask(STALE), Answer.WAIT, id="it is away for long"),
        pytest.param(ask(STALE, *[WINDOW / 2] * STARTS), Answer.WAIT, id="away, after all starts"),
        pytest.param(ask(Tailnet(known=False, fresh=False)), Answer.WAIT, id="no list yet"),
        pytest.param(ask(Tailnet(known=True)), Answer.WAIT, id="the list is older than the login"),
        pytest.param(ask(HEARD, PAUSED), Answer.WAIT, id="just started again"),
        pytest.param(ask(HEARD, LATER), Answer.RESTART, id="that did not help"),
        pytest.param(ask(HEARD, *[LATER] * (STARTS - 1)), Answer.RESTART, id="the last start"),
        pytest.param(ask(HEARD, *[LATER] * STARTS), Answer.OBEY, id="none of them helped"),
        pytest.param(ask(HEARD, *[PAUSED] * STARTS), Answer.WAIT, id="nor may the last one yet"),
        pytest.param(ask(HEARD, *[WINDOW] * STARTS), Answer.RESTART, id="they were another story"),
        pytest.param(ask(HEARD, WINDOW, *[LATER] * (STARTS - 1)), Answer.RESTART, id="one of them was"),
        pytest.param(ask(GONE), None, id="its device is gone"),
        pytest.param(ask(HEARD, device_id=""), None, id="never joined"),
        pytest.param(ask(HEARD, key="new"), None, id="another key is there already"),
        pytest.param(
            ask(HEARD, key="used", reissue_authkey="used"), Answer.RESTART, id="the key still lies there"
        ),
        pytest.param(build_world(HEARD), None, id="it asks for nothing"),
    ],
)
def test_what_it_gets(world: World, answer: Answer | None) -> None:
    """Its device is deleted, and a key minted, only where it is obeyed."""
    assert world.answer is answer
    done = list_ops(world)
    deleted = any(isinstance(op, ops.DeleteDevice) for op in done)
    minted = any(isinstance(op, ops.MintKey) for op in done)
    dropped = any(withdraws(op) for op in done)
    match answer:
        case Answer.OBEY:
            assert (deleted, minted, dropped) == (True, True, False)
        case Answer.RESTART:
            assert (deleted, minted, dropped) == (False, False, True)
        case Answer.WAIT:
            assert (deleted, minted) == (False, False)
        case None:
            asks = world.state is not None and world.state.wants_key
            assert (deleted, minted, dropped) == (False, asks, False)


def test_a_start_is_noted_before_the_request_goes_and_made_after_it() -> None:
    """So that whatever is broken off goes on: the pod follows the note."""
    w = ask(HEARD)
    kept = ops.stages(*provision.decide_proxy(w, provision.build_spec(w, TARGET)))
    (noting,) = [i for i, stage in enumerate(kept) if list_applied(stage, "Secret")]
    (dropping,) = [i for i, stage in enumerate(kept) if any(withdraws(op) for op in stage)]
    (starting,) = [i for i, stage in enumerate(kept) if list_applied(stage, "StatefulSet")]
    assert noting < dropping < starting
    noted = ask(HEARD, timedelta(seconds=1))
    assert provision.build_spec(noted, TARGET).refresh == (NOW - timedelta(seconds=1)).isoformat()
    assert provision.build_spec(w, TARGET).refresh == NOW.isoformat()


def test_a_wish_for_a_new_device_goes_before_a_start() -> None:
    """`recreate` deletes the device anyway."""
    asking = ask(HEARD)
    w = dataclasses.replace(asking, wish=dataclasses.replace(asking.wish, recreate="1"))
    assert (w.answer, w.needs_key) == (None, True)
    assert [type(op) for op in naming.decide_dead_devices(w)] == [ops.DeleteDevice]


@pytest.mark.parametrize(
    ("world", "reason", "part"),
    [
        (ask(HEARD), Reason.DISCONNECTED, "could not log in: pod tailscale/ts-web-0 is started again"),
        (ask(TROUBLED), Reason.DISCONNECTED, "when the control plane answers: it does not answer"),
        (ask(STALE), Reason.CONTROL_PLANE_UNREACHABLE, "it does not answer"),
        (ask(HEARD, *[LATER] * STARTS), Reason.DISCONNECTED, "joins again with a new key"),
        (ask(GONE), Reason.DEVICE_GONE, "was deleted"),
    ],
)
def test_what_is_said_meanwhile(world: World, reason: Reason, part: str) -> None:
    """Never that it is connected, whatever the control plane has not noticed yet."""
    told = truth.judge_online(world)
    assert told.reason is reason
    assert part in told.message
    assert not told.status


def test_a_note_that_is_no_list_of_times_counts_as_none() -> None:
    assert plea.choose_answer("soon", NOW) is plea.choose_answer("2026-01-01", NOW) is Answer.RESTART
    assert plea.add_start("soon", NOW) == NOW.isoformat()
    old = (NOW - WINDOW).isoformat()
    assert plea.add_start(f"{old} {NOW.isoformat()}", NOW) == f"{NOW.isoformat()} {NOW.isoformat()}"
