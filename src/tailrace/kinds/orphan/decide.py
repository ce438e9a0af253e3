"""What to do about the orphan record. Pure."""

from __future__ import annotations

from tailrace.api import kube
from tailrace.plan import ops


def decide(record: kube.ConfigMap | None) -> ops.Plan:
    """Delete every device of the record, then strike it off; one after the other, so that a control plane that has
    just come back is not overrun."""
    if record is None or not record.data:
        return ops.Plan()
    stages = [
        stage
        for device in sorted(record.data)
        for stage in (
            [ops.DeleteDevice(device=device, name=record.data[device], claim=ops.Claim.ORPHAN)],
            [ops.ForgetOrphan(device=device)],
        )
    ]
    return ops.Plan(stages=ops.stages(*stages))
