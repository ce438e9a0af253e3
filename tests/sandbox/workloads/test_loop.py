"""What simulated controllers stand on: views that forget completely, a queue that survives its handlers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tailrace.sandbox.kubernetes.status import ApiError
from tailrace.sandbox.kubernetes.storage import Key, Store
from tailrace.sandbox.workloads import loop
from tailrace.sandbox.workloads.loop import Loop, View
from tests.sandbox.workloads.living import until

pytestmark = pytest.mark.anyio
PODS = ("", "pods")


def doc(name: str, owner: str = "") -> dict[str, Any]:
    owners = [{"uid": "other"}, {"uid": owner, "controller": True}] if owner else []
    return {"metadata": {"namespace": "a", "name": name, "uid": name, "ownerReferences": owners}}


async def test_a_view_knows_what_there_is() -> None:
    """By key, by namespace, by controlling owner; also what was there before it."""
    store = Store(100)
    store.put(PODS, ("a", "x"), doc("x", "sts"))
    view = View(store, PODS)
    store.put(PODS, ("a", "y"), doc("y"))
    assert (
        {d["metadata"]["name"] for d in view}
        == {"x", "y"}
        == {d["metadata"]["name"] for d in view.within("a")}
    )
    assert [d["metadata"]["name"] for d in view.owned_by("sts")] == ["x"]
    assert not view.owned_by("other"), "an owner that controls nothing"
    store.put(PODS, ("a", "x"), doc("x", "rs"))
    assert (len(view.owned_by("sts")), len(view.owned_by("rs"))) == (0, 1)


async def test_a_view_forgets_completely() -> None:
    """Owners and namespaces that have nothing left are not kept."""
    store = Store(100)
    view = View(store, PODS)
    for number in range(20):
        key = (f"ns{number}", "x")
        store.put(PODS, key, doc("x", f"owner{number}"))
        store.remove(PODS, key)
    assert view._by_namespace == view._by_owner == {}
    assert view.get(("ns1", "x")) is None


async def test_a_key_is_handled_once_however_often_it_was_added() -> None:
    """Repetitions before its turn are one."""
    seen: list[str] = []
    queue: Loop[str] = Loop("t", seen.append)
    for key in ("a", "b", "a"):
        queue.add(key)
    await until(lambda: queue.idle)
    assert seen == ["a", "b"]
    queue.close()


@pytest.mark.parametrize("error", [ApiError(409, "Conflict", "no"), RuntimeError("a fault")])
async def test_a_handler_that_fails_is_called_again_and_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A refusal or a fault of the sandbox: other keys go on, this one comes back until it succeeds."""
    monkeypatch.setattr(loop, "_RETRY", (0.0, 0.01))
    failures, seen = [error, error, error], []

    def handle(key: str) -> None:
        if key == "bad" and failures:
            raise failures.pop()
        seen.append(key)

    queue: Loop[str] = Loop("t", handle)
    for key in ("bad", *map(str, range(50))):
        queue.add(key)
    await until(lambda: queue.idle)
    assert seen[-1] == "bad"
    assert len(seen) == 51
    assert not queue._failures
    queue.close()


async def test_requests_are_answered_in_between() -> None:
    """A long queue leaves the event loop its turns."""
    queue: Loop[int] = Loop("t", lambda _: None)
    for key in range(1000):
        queue.add(key)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not queue.idle
    await until(lambda: queue.idle)


async def test_a_closed_loop_does_nothing_more() -> None:
    """Neither what was added nor what is due later nor what comes after."""
    seen: list[Key] = []
    queue: Loop[Key] = Loop("t", seen.append)
    queue.add(("a", "1"))
    queue.add_later(("a", "2"), 0.0)
    queue.close()
    queue.add(("a", "3"))
    queue.add_later(("a", "4"), 0.0)
    await asyncio.sleep(0.01)
    assert not seen
