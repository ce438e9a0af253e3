"""A plan read aloud, for `explain`, dry runs and logs. No secret can be in it, since no plan holds one."""

from __future__ import annotations

from tailrace.plan import ops


def describe_op(op: ops.Op) -> str:
    """One operation as an imperative sentence without full stop."""
    match op:
        case ops.Apply(manifest=manifest) | ops.ApplyKeepingKey(manifest=manifest):
            return f"apply {ops.ref_of(manifest)}"
        case ops.Delete(ref=ref):
            return f"delete {ref}"
        case ops.DropKeys(ref=ref, keys=keys):
            return f"take {', '.join(keys)} out of {ref}"
        case ops.Finalize(ref=ref):
            return f"put the finalizer on {ref}"
        case ops.Unfinalize(ref=ref):
            return f"take the finalizer off {ref}"
        case ops.ApplyStatus(ref=ref):
            return f"write the status of {ref}"
        case ops.AnnotatePod(ref=ref):
            return f"touch {ref}, so that it sees its new configuration at once"
        case ops.MintKey(tags=tags, into=into):
            return f"mint a single-use key for {', '.join(tags)} into {ops.ref_of(into)}"
        case ops.RevokeKey(key=key):
            return f"revoke the unused key {key}"
        case ops.DeleteDevice(device=device, name=name, claim=claim):
            return f'delete device "{name}" ({device}, {claim})'
        case ops.RenameDevice(device=device, name=name):
            return f'rename device {device} to "{name}"'
        case ops.TagDevice(device=device, tags=tags):
            return f"give device {device} the tags {', '.join(tags)}"
        case ops.ApproveRoutes(device=device, routes=routes):
            return f"approve the routes {', '.join(routes) or 'none'} of device {device}"
        case ops.PatchSpec(ref=ref, spec=spec):
            return f"set {', '.join(sorted(spec))} of {ref}"
        case ops.RecordOrphan(device=device):
            return f"remember device {device} as an orphan"
        case ops.ForgetOrphan(device=device):
            return f"strike device {device} off the orphan record"
        case ops.Emit(reason=reason, message=message):
            return f"tell by an event ({reason}): {message}"


def describe(plan: ops.Plan) -> list[str]:
    """The plan as numbered lines, a letter for each operation of a stage; one line when there is nothing to do."""
    lines = [
        f"{number}{chr(97 + index % 26) if len(stage) > 1 else ''}. {describe_op(op)}"
        for number, stage in enumerate(plan.stages, 1)
        for index, op in enumerate(stage)
    ]
    return lines or ["nothing to do"]
