"""Carry a plan out: the one file of this room that acts.

Stages run in order, the operations of a stage together; the first failure stops what has not begun, and is raised
once what is under way has ended. Nothing is decided here: a crash, or a failure, leaves a world that the next
decision reads. Ownership is checked before the first operation, for the whole plan; whether this process may act at
all, before every change on the control plane (the cluster's client asks it for each write by itself).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, assert_never

from tailrace import errors
from tailrace.api import kube, names
from tailrace.kube import resources
from tailrace.kube.client import Kube, allow_all
from tailrace.plan import ops, ownership
from tailrace.proxy import secret
from tailrace.tailnet import port

type Recorder = Callable[[ops.Emit], None]
"""Takes Kubernetes Events without waiting for them."""

type Written = Callable[[str, kube.Object], None]
"""Told kind and answer of every write, so that the store knows our own version at once."""


type Planes = Callable[[str], port.ControlPlane]
"""The control plane of a tailnet by its name. Raises `TailraceError` when it cannot be used."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class Executor:
    """Carries plans out against one cluster and one control plane."""

    def __init__(
        self,
        *,
        cluster: Kube,
        planes: Planes,
        namespace: str,
        record: Recorder,
        written: Written,
        allow: Callable[[], None] = allow_all,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._cluster = cluster
        self._planes = planes
        self._namespace = namespace
        self._record = record
        self._written = written
        self._allow = allow
        self._now = now

    async def run(self, plan: ops.Plan) -> ops.Result:
        """Carry it out and give its result.

        Raises:
            TailraceError: the first operation that failed, as its edge named it.
            Bug: the plan would touch something foreign; nothing was done.
        """
        ownership.check_plan(plan)
        for stage in plan.stages:
            turns = (self._act(op, plan.tailnet) for op in stage)
            outcomes = await asyncio.gather(*turns, return_exceptions=True)
            for failure in outcomes:
                if isinstance(failure, BaseException):
                    raise failure
        return plan.result

    async def _act(self, op: ops.Op, tailnet: str) -> None:
        match op:
            case ops.Apply(manifest=manifest):
                await self._apply(manifest)
            case ops.ApplyKeepingKey(manifest=manifest):
                await self._apply_keeping_key(manifest)
            case ops.MintKey():
                await self._mint(op, self._planes(tailnet))
            case ops.Delete():
                await self._delete(op)
            case ops.DropKeys():
                await self._drop_keys(op)
            case ops.Finalize(ref=ref):
                await self._apply(
                    build_root(ref, {"finalizers": [names.FINALIZER]}),
                    manager=f"{names.FIELD_MANAGER}-finalizer",
                )
            case ops.Unfinalize():
                await self._unfinalize(op)
            case ops.ApplyStatus(ref=ref, status=status):
                body = build_root(ref, {}) | ({"status": dict(status)} if status else {})
                await self._apply(body, subresource="status")
            case ops.AnnotatePod(ref=ref, key=key, value=value):
                await self._annotate(ref, key, value)
            case ops.RecordOrphan(device=device, note=note):
                await self._record_orphan(device, note)
            case ops.ForgetOrphan(device=device):
                await self._patch_orphans({device: None})
            case ops.Emit():
                self._record(op)
            case ops.PatchSpec():
                await self._patch_spec(op)
            case (
                ops.RevokeKey()
                | ops.DeleteDevice()
                | ops.RenameDevice()
                | ops.TagDevice()
                | ops.ApproveRoutes()
            ):
                await self._call(op, self._planes(tailnet))
            case _:
                assert_never(op)

    # --- the cluster -------------------------------------------------------------------------------------------

    async def _apply(
        self, manifest: ops.Manifest, *, manager: str = names.FIELD_MANAGER, subresource: str | None = None
    ) -> None:
        resource = resources.BY_KIND[manifest["kind"]]
        answer = await self._cluster.apply(resource, manifest, manager=manager, subresource=subresource)
        self._written(resource.kind, answer)

    async def _apply_keeping_key(self, manifest: ops.Manifest) -> None:
        meta = manifest["metadata"]
        live = await self._cluster.get(resources.SECRETS, meta["name"], meta["namespace"])
        await self._apply(secret.carry_key(manifest, secret.find_key(live)))

    async def _delete(self, op: ops.Delete) -> None:
        resource = resources.BY_KIND[op.ref.kind]
        with_pods = (
            op.ref.kind == "StatefulSet"
        )  # it stays until its pods are gone: then the device is really idle
        try:
            await self._cluster.delete(
                resource,
                op.ref.name,
                op.ref.namespace,
                uid=op.uid,
                resource_version=op.version or None,
                propagation="Foreground" if with_pods else "Background",
            )
        except errors.NotFound:
            return

    async def _drop_keys(self, op: ops.DropKeys) -> None:
        body = {"data": dict.fromkeys(op.keys)}
        answer = await self._cluster.patch(resources.SECRETS, op.ref.name, op.ref.namespace, body)
        self._written(op.ref.kind, answer)

    async def _patch_spec(self, op: ops.PatchSpec) -> None:
        body = {"metadata": {"resourceVersion": op.resource_version}, "spec": dict(op.spec)}
        resource = resources.BY_KIND[op.ref.kind]
        answer = await self._cluster.patch(
            resource, op.ref.name, op.ref.namespace, body, manager=f"{names.FIELD_MANAGER}-egress"
        )
        self._written(op.ref.kind, answer)

    async def _unfinalize(self, op: ops.Unfinalize) -> None:
        body = {"metadata": {"resourceVersion": op.resource_version, "finalizers": list(op.keep)}}
        try:
            answer = await self._cluster.patch(
                resources.BY_KIND[op.ref.kind], op.ref.name, op.ref.namespace, body
            )
        except errors.NotFound:
            return
        self._written(op.ref.kind, answer)

    async def _annotate(self, ref: ops.Ref, key: str, value: str) -> None:
        try:
            body = {"metadata": {"annotations": {key: value}}}
            answer = await self._cluster.patch(resources.PODS, ref.name, ref.namespace, body)
        except errors.NotFound:
            return
        self._written(ref.kind, answer)

    async def _record_orphan(self, device: str, note: str) -> None:
        try:
            await self._patch_orphans({device: note})
        except errors.NotFound:
            record = {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {
                    "name": names.ORPHANS,
                    "namespace": self._namespace,
                    "labels": {names.MANAGED: "true"},
                },
                "data": {device: note},
            }
            answer = await self._cluster.create(resources.CONFIG_MAPS, record)
            self._written("ConfigMap", answer)

    async def _patch_orphans(self, data: Mapping[str, str | None]) -> None:
        answer = await self._cluster.patch(
            resources.CONFIG_MAPS, names.ORPHANS, self._namespace, {"data": dict(data)}
        )
        self._written("ConfigMap", answer)

    # --- the control plane -------------------------------------------------------------------------------------

    async def _mint(self, op: ops.MintKey, plane: port.ControlPlane) -> None:
        """A key that could not be put where it belongs is revoked at once, so that none lies about."""
        self._allow()
        key = await plane.mint_key(port.KeyRequest(tags=op.tags, ttl=op.ttl, description=op.description))
        try:
            await self._apply(secret.put_key(op.into, key.secret, key.id, self._now().isoformat()))
        except BaseException:
            await asyncio.shield(self._revoke_quietly(plane, key.id))
            raise

    async def _revoke_quietly(self, plane: port.ControlPlane, key: port.KeyId) -> None:
        try:
            await plane.revoke_key(key)
        except errors.TailraceError:
            return  # it expires by itself; the failure that led here is the one to tell

    async def _call(
        self,
        op: ops.RevokeKey | ops.DeleteDevice | ops.RenameDevice | ops.TagDevice | ops.ApproveRoutes,
        plane: port.ControlPlane,
    ) -> None:
        self._allow()
        try:
            match op:
                case ops.RevokeKey(key=key):
                    await plane.revoke_key(port.KeyId(key))
                case ops.DeleteDevice():
                    await self._delete_device(op, plane)
                case ops.RenameDevice(device=device, name=name):
                    await plane.rename_device(port.DeviceId(device), name)
                case ops.TagDevice(device=device, tags=tags):
                    await plane.set_tags(port.DeviceId(device), tags)
                case ops.ApproveRoutes(device=device, routes=routes):
                    await plane.approve_routes(port.DeviceId(device), routes)
        except errors.NotFound:
            return  # gone already, or gone meanwhile: the next device list says so

    async def _delete_device(self, op: ops.DeleteDevice, plane: port.ControlPlane) -> None:
        """A namesake is looked at once more before it goes: the list may be a minute old, and a life is at stake."""
        device = port.DeviceId(op.device)
        if op.claim is ops.Claim.DEAD_NAMESAKE:
            found = await plane.get_device(device)
            if found.online or not found.tags or not set(found.tags) <= set(op.tags):
                raise errors.Conflict(f'device {device} ("{op.name}") came back to life meanwhile')
            self._allow()
        await plane.delete_device(device)


def build_root(ref: ops.Ref, meta: Mapping[str, Any]) -> dict[str, Any]:
    """The least that says which root is meant, with the fields that one operation is about."""
    place = {"name": ref.name, "namespace": ref.namespace} if ref.namespace else {"name": ref.name}
    version = resources.BY_KIND[ref.kind].api_version
    return {"apiVersion": version, "kind": ref.kind, "metadata": {**place, **meta}}
