"""Operations and plans: the words between Decide and Act.

A plan is stages in order; the operations inside a stage run together. No operation holds a secret: `MintKey` says
where a key is to be put, and only the executor ever sees it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from tailrace.api import conditions

type Manifest = Mapping[str, Any]
"""A Kubernetes object as JSON values; treated as immutable."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ref:
    """Which object: kind, namespace ("" for cluster-scoped), name."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


def ref_of(manifest: Manifest) -> Ref:
    """The reference to a manifest's object."""
    meta = manifest["metadata"]
    return Ref(kind=manifest["kind"], namespace=meta.get("namespace", ""), name=meta["name"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Apply:
    """Server-side apply a child, forced: its fields are ours."""

    manifest: Manifest


@dataclass(frozen=True, kw_only=True, slots=True)
class Delete:
    """Delete a child of ours. `uid` guards against deleting a successor of the same name, `version` against deleting what
    somebody wrote into it meanwhile."""

    ref: Ref
    uid: str
    labels: Mapping[str, str]
    version: str = ""  # resourceVersion; "" where nobody else writes into it


@dataclass(frozen=True, kw_only=True, slots=True)
class DropKeys:
    """Take keys out of a proxy Secret that another operator put there."""

    ref: Ref
    keys: tuple[str, ...]
    labels: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finalize:
    """Put our finalizer on the root."""

    ref: Ref


@dataclass(frozen=True, kw_only=True, slots=True)
class Unfinalize:
    """Take our finalizer off the root: the last operation of a removal. `keep` are the finalizers of others."""

    ref: Ref
    resource_version: str
    keep: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ApplyStatus:
    """Server-side apply our part of the root's status."""

    ref: Ref
    api_version: str
    status: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class AnnotatePod:
    """Change one annotation of a proxy pod, so that its kubelet refreshes mounted Secrets at once."""

    ref: Ref
    key: str
    value: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MintKey:
    """Mint an auth key and apply `into`, a proxy Secret, with the key put in by `proxy.secret.put_key`."""

    tags: tuple[str, ...]
    ttl: timedelta
    description: str
    into: Manifest


@dataclass(frozen=True, kw_only=True, slots=True)
class ApplyKeepingKey:
    """Apply a proxy Secret whose key waits for its login; the executor carries the key over."""

    manifest: Manifest


@dataclass(frozen=True, kw_only=True, slots=True)
class RevokeKey:
    """Make a key that nobody will use unusable."""

    key: str


class Claim(enum.StrEnum):
    """Why a device may be deleted."""

    IDENTITY = "identity"  # its id stands in a state Secret of ours
    DEAD_NAMESAKE = (
        "dead-namesake"  # not connected and all its tags are ours; looked at once more before the act
    )
    ORPHAN = "orphan"  # its id stands in the orphan record


@dataclass(frozen=True, kw_only=True, slots=True)
class DeleteDevice:
    """Delete a device; one that is gone already is fine. `tags` are the tags that count as ours."""

    device: str
    name: str
    claim: Claim
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class RenameDevice:
    device: str
    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TagDevice:
    device: str
    tags: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ApproveRoutes:
    """Replace the approved routes of a device."""

    device: str
    routes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordOrphan:
    """Remember a device (and an unused key) that could not be removed in time."""

    device: str
    note: str  # JSON: name, object, since, tailnet


@dataclass(frozen=True, kw_only=True, slots=True)
class ForgetOrphan:
    device: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchSpec:
    """Change fields of the root's own spec, as a field manager of its own; a null takes a field away."""

    ref: Ref
    resource_version: str  # as it was decided on
    spec: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Emit:
    """A Kubernetes Event on the root."""

    ref: Ref
    api_version: str
    uid: str
    warning: bool
    reason: conditions.EventReason
    message: str


PlaneOp = MintKey | RevokeKey | DeleteDevice | RenameDevice | TagDevice | ApproveRoutes
"""What asks the control plane for something; a plain union, for `isinstance`."""

type Op = (
    Apply
    | Delete
    | DropKeys
    | Finalize
    | Unfinalize
    | ApplyStatus
    | AnnotatePod
    | MintKey
    | ApplyKeepingKey
    | RevokeKey
    | DeleteDevice
    | RenameDevice
    | TagDevice
    | ApproveRoutes
    | PatchSpec
    | RecordOrphan
    | ForgetOrphan
    | Emit
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """How a reconcile ended. `waiting_on` None means settled; `requeue_after` seconds, None where a watch will tell."""

    waiting_on: str | None = None
    requeue_after: float | None = None


SETTLED = Result()


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Stages in order. `owner` are the labels that every child of this root carries; `interest` says that somebody
    waits for a change on the control plane, so that the shared device list is refreshed fast, `hurry` that it is older than
    what we know. `tailnet` is where the operations on the control plane go; "" is the operator's own."""

    stages: tuple[tuple[Op, ...], ...] = ()
    result: Result = SETTLED
    owner: Mapping[str, str] = field(default_factory=dict)
    interest: bool = False
    hurry: bool = False
    tailnet: str = ""

    @property
    def ops(self) -> tuple[Op, ...]:
        return tuple(op for stage in self.stages for op in stage)


def stages(*candidates: Sequence[Op | None]) -> tuple[tuple[Op, ...], ...]:
    """Build stages: None operations and empty stages fall out."""
    built = (tuple(op for op in stage if op is not None) for stage in candidates)
    return tuple(stage for stage in built if stage)
