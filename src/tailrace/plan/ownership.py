"""What a plan may touch: the one place that keeps foreign things safe.

Every deletion in a plan carries the labels that the object really has; it passes only when they name the same root
as the plan does. Decisions cannot forget this check, because they do not make it.
"""

from __future__ import annotations

from collections.abc import Mapping

from tailrace.api import names
from tailrace.errors import Bug
from tailrace.plan import ops

IDENTITY = (
    names.MANAGED,
    names.PARENT_TYPE,
    names.PARENT_NAMESPACE,
    names.PARENT_NAME,
)


def is_ours(labels: Mapping[str, str], owner: Mapping[str, str]) -> bool:
    """Do these labels name the same root as `owner`?"""
    return all(key in owner and labels.get(key) == owner[key] for key in IDENTITY)


def check_plan(plan: ops.Plan) -> None:
    """Refuse a plan that would touch something foreign.

    Raises:
        Bug: an operation is outside of what this root owns; nothing of the plan may run.
    """
    for op in plan.ops:
        match op:
            case ops.Delete(ref=ref, labels=labels) if not is_ours(labels, plan.owner):
                raise Bug(f"refused to delete {ref}: it does not belong to this object")
            case ops.DropKeys(ref=ref, labels=labels) if not is_ours(labels, plan.owner):
                raise Bug(f"refused to change {ref}: it does not belong to this object")
            case (
                ops.Apply(manifest=manifest)
                | ops.ApplyKeepingKey(manifest=manifest)
                | ops.MintKey(into=manifest)
            ) if not is_ours(manifest["metadata"].get("labels", {}), plan.owner):
                raise Bug(f"refused to apply {ops.ref_of(manifest)}: it would not carry this object's labels")
            case _:
                pass
