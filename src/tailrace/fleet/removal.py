"""Taking a root's proxies away again, so that nothing of ours is left and nothing foreign is touched. Pure.

Order: the proxies stop, then their devices go, then their objects, then whatever the caller adds, then the finalizer. A
control plane that does not answer may hold a deletion up for the deadline only; then each device is written to the orphan
record, from where it is deleted later, and the user's object is let go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from tailrace.api import kube, names
from tailrace.fleet.install import Install
from tailrace.fleet.world import Children, Root
from tailrace.plan import ops


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaving:
    """What goes: the proxies of one root, or those of its replicas that are too many."""

    install: Install
    label: str  # of the root, for people: Service ns/name
    owner: Mapping[str, str]
    proxies: Sequence[Children]
    tailnet: str
    since: datetime | None  # when the deletion began; only then there is a deadline
    now: datetime

    @property
    def late(self) -> bool:
        return self.since is not None and self.now - self.since > self.install.delete_deadline


def decide_removal(
    leaving: Leaving, *, last: Sequence[ops.Op | None] = (), final: ops.Op | None = None
) -> ops.Plan:
    """`last` and then `final` follow when all else is gone."""
    running = [c for c in leaving.proxies if c.statefulset is not None or c.pod is not None]
    if running:
        return ops.Plan(
            stages=ops.stages([decide_stop(c) for c in running]),
            result=ops.Result(waiting_on="the proxy's end"),
            owner=leaving.owner,
            tailnet=leaving.tailnet,
        )
    return ops.Plan(
        stages=ops.stages(
            [op for c in leaving.proxies for op in decide_identity(leaving, c)],
            [build_delete(kind, found) for c in leaving.proxies for kind, found in c.objects],
            last,
            [final],
        ),
        owner=leaving.owner,
        tailnet=leaving.tailnet,
    )


def decide_stop(children: Children) -> ops.Op | None:
    workload = children.statefulset
    going = workload is None or workload.metadata.deletionTimestamp is not None
    return None if going or workload is None else build_delete("StatefulSet", workload)


def decide_identity(leaving: Leaving, children: Children) -> list[ops.Op]:
    """The device, and a key that nobody will use any more."""
    state = children.state
    if state is None:
        return []
    found: list[ops.Op] = []
    if state.has_key and state.note(names.KEY_ID) and not leaving.late:
        found.append(ops.RevokeKey(key=state.note(names.KEY_ID)))
    if state.device_id and leaving.late:
        note = {"object": leaving.label, "name": state.fqdn, "since": leaving.now.isoformat()}
        key = state.device_id
        if leaving.tailnet:  # two control planes may both count their devices from 1
            key = f"{leaving.tailnet}.{state.device_id}"
            note |= {"tailnet": leaving.tailnet, "device": state.device_id}
        found.append(ops.RecordOrphan(device=key, note=msgspec.json.encode(note).decode()))
    elif state.device_id:
        found.append(ops.DeleteDevice(device=state.device_id, name=state.fqdn, claim=ops.Claim.IDENTITY))
    return found


def decide_unfinalize(root: Root) -> ops.Unfinalize | None:
    if not root.held:
        return None
    return ops.Unfinalize(
        ref=root.ref,
        resource_version=root.meta.resourceVersion,
        keep=tuple(f for f in root.meta.finalizers if f != names.FINALIZER),
    )


def find_tailnet(proxies: Sequence[Children]) -> str:
    """The tailnet that these proxies are in, as their Secrets say."""
    return next((c.state.note(names.TAILNET) for c in proxies if c.state is not None), "")


def build_delete(kind: str, found: kube.Object) -> ops.Delete:
    meta = found.metadata
    ref = ops.Ref(kind=kind, namespace=meta.namespace, name=meta.name)
    # A proxy writes into its Secret which device it is, and its pod may be seen gone before that is: then it stays.
    version = meta.resourceVersion if kind == "Secret" else ""
    return ops.Delete(ref=ref, uid=meta.uid, labels=meta.labels, version=version)
