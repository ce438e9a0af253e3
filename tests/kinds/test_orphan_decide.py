"""The orphan record: which device, on which tailnet, and that an odd note harms nothing."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from tailrace import errors
from tailrace.api import kube
from tailrace.kinds.orphan import controller, decide
from tailrace.kube.reflector import Put
from tailrace.kube.resource import Key
from tailrace.plan import ops
from tailrace.plan.executor import Executor

RECORD = kube.ConfigMap(
    metadata=kube.ObjectMeta(namespace="tailscale", name="tailrace-orphans", resourceVersion="1"),
    data={
        "7": json.dumps({"name": "web.tail.example", "object": "Service demo/web", "since": "today"}),
        "lab.7": json.dumps({"name": "db.lab.example", "tailnet": "lab", "device": "7"}),
        "n9": "written by hand",
    },
)


def show(plan: ops.Plan) -> list[str]:
    return [
        f"delete {op.device}" if isinstance(op, ops.DeleteDevice) else f"strike off {op.device}"
        for op in plan.ops
        if isinstance(op, ops.DeleteDevice | ops.ForgetOrphan)
    ]


def test_each_tailnet_has_its_own_plan() -> None:
    """Two Headscales may both have a device 7; only the right one is touched."""
    assert decide.list_tailnets(RECORD) == ("", "lab")
    own, lab = decide.decide(RECORD, ""), decide.decide(RECORD, "lab")
    assert (own.tailnet, show(own)) == ("", ["delete 7", "strike off 7", "delete n9", "strike off n9"])
    assert (lab.tailnet, show(lab)) == ("lab", ["delete 7", "strike off lab.7"])


def test_no_record_is_nothing_to_do() -> None:
    assert decide.decide(None, "") == ops.Plan()
    assert decide.list_tailnets(None) == ()


def test_what_is_left_on_a_tailnet_is_named() -> None:
    assert decide.list_users(RECORD, "lab") == ("the orphaned device db.lab.example",)
    assert decide.list_users(RECORD, "other") == ()


class Recorder:
    """An executor that notes plans, and cannot reach our own tailnet."""

    def __init__(self) -> None:
        self.done: list[str] = []

    async def run(self, plan: ops.Plan) -> ops.Result:
        if not plan.tailnet:
            raise errors.Transient("it is away")
        self.done += show(plan)
        return plan.result


@pytest.mark.anyio
async def test_a_tailnet_that_is_away_holds_up_no_other() -> None:
    """And the failure is told, so that it is tried again."""
    recorder = Recorder()
    room = controller.Orphans(cast(Executor, cast(Any, recorder)))
    room.store.apply(Put(obj=RECORD))
    with pytest.raises(errors.Transient):
        await room.reconcile(Key("tailscale", "tailrace-orphans"))
    assert recorder.done == ["delete 7", "strike off lab.7"]
