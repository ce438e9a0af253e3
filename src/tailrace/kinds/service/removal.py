"""Taking an exposure away again, so that nothing of ours is left and nothing foreign is touched. Pure.

Order: the proxy stops, then its device goes, then its objects, then the finalizer. A control plane that does not
answer may hold a deletion up for the deadline only; then the device is written to the orphan record, from where it
is deleted later, and the user's object is let go.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from tailrace.api import kube, names
from tailrace.kinds.service import condition
from tailrace.kinds.service.inputs import Inputs
from tailrace.plan import ops
from tailrace.proxy import names as proxy_names


def decide_removal(i: Inputs, service: kube.Service) -> ops.Plan:
    """The Service is being deleted, or no longer wants to be exposed."""
    deleting = service.metadata.deletionTimestamp
    held = names.FINALIZER in service.metadata.finalizers
    ref = ops.Ref(kind="Service", namespace=i.namespace, name=i.name)
    unfinalize = (
        ops.Unfinalize(
            ref=ref,
            resource_version=service.metadata.resourceVersion,
            keep=tuple(f for f in service.metadata.finalizers if f != names.FINALIZER),
        )
        if held
        else None
    )
    clear = None if deleting else condition.decide_clear(service)
    return build_plan(i, since=deleting, last=[clear, unfinalize])


def decide_leftovers(i: Inputs) -> ops.Plan:
    """The Service is gone without us (its finalizer was taken off by hand): whatever it left is removed."""
    return build_plan(i, since=None, last=[])


def build_plan(i: Inputs, *, since: datetime | None, last: list[ops.Op | None]) -> ops.Plan:
    """Proxy, then device and key, then objects, then `last`; `since` starts the deadline."""
    owner = proxy_names.build_labels("svc", i.namespace, i.name)
    workload = i.children.statefulset
    if workload is not None or i.children.pod is not None:
        going = workload is None or workload.metadata.deletionTimestamp is not None
        stop = None if going or workload is None else build_delete("StatefulSet", workload)
        return ops.Plan(
            stages=ops.stages([stop]), result=ops.Result(waiting_on="the proxy's end"), owner=owner
        )
    objects = [build_delete(kind, found) for kind, found in i.children.objects]
    return ops.Plan(
        stages=ops.stages([*decide_identity(i, since)], objects, [last[0]] if last else [], last[1:]),
        owner=owner,
    )


def decide_identity(i: Inputs, since: datetime | None) -> list[ops.Op]:
    """The device, and a key that nobody will use any more."""
    state = i.children.state
    if state is None:
        return []
    late = since is not None and i.now - since > i.install.delete_deadline
    found: list[ops.Op] = []
    if state.has_key and state.note(names.KEY_ID) and not late:
        found.append(ops.RevokeKey(key=state.note(names.KEY_ID)))
    if state.device_id and late:
        note = {"object": f"Service {i.namespace}/{i.name}", "name": state.fqdn, "since": i.now.isoformat()}
        found.append(ops.RecordOrphan(device=state.device_id, note=msgspec.json.encode(note).decode()))
    elif state.device_id:
        found.append(ops.DeleteDevice(device=state.device_id, name=state.fqdn, claim=ops.Claim.IDENTITY))
    return found


def build_delete(kind: str, found: kube.Object) -> ops.Delete:
    meta = found.metadata
    ref = ops.Ref(kind=kind, namespace=meta.namespace, name=meta.name)
    return ops.Delete(ref=ref, uid=meta.uid, labels=meta.labels)
