"""The life of one pod on the node: placed, its volumes waited for and refreshed late, its containers run, ended.

What one container does is in `containers`, what the pod's status says in `podstatus`. Called by `kubelet`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import structlog

from tailrace.sandbox.kubernetes.core import Call
from tailrace.sandbox.kubernetes.deletion import Removal
from tailrace.sandbox.kubernetes.resources import Ref
from tailrace.sandbox.kubernetes.status import ApiError
from tailrace.sandbox.kubernetes.storage import Key
from tailrace.sandbox.workloads import events, podfiles, podstatus
from tailrace.sandbox.workloads.containers import BROKEN, HOST_IP, Container, Ground, is_proxy

log = structlog.get_logger(__name__)

Doc = dict[str, Any]
NODE = "sandbox"
MOUNT_LAG = 45.0  # seconds until a changed Secret shows in a mount, when nothing else makes the kubelet look
CALL = Call(manager="kubelet")
_PODS = Ref("", "v1", "pods")


class PodRun:
    """`main` is the pod's life; everything else is what the kubelet tells it meanwhile."""

    def __init__(self, ground: Ground, pod: Doc, ip: str) -> None:
        self.ground = ground
        self.doc = pod
        self.ip = ip
        self.look = asyncio.Event()
        self.key: Key = (pod["metadata"]["namespace"], pod["metadata"]["name"])
        self.sources = podfiles.mounted_sources(pod) | frozenset(_environment_sources(pod))
        self._containers = {c.state.name: c for c in _build_containers(self, pod)}
        self._files: dict[str, dict[str, bytes]] | None = None  # by container, from the first mount on
        self._refresh: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._ended = False

    # What the kubelet tells --------------------------------------------------------------------------------------

    def changed(self, pod: Doc) -> None:
        """The pod's document changed: its end was asked for, or an annotation makes the kubelet look at once."""
        before, self.doc = self.doc, pod
        if pod["metadata"].get("deletionTimestamp"):
            self.stop()
        elif before["metadata"].get("annotations") != pod["metadata"].get("annotations"):
            self._refresh_files()

    def source_changed(self) -> None:
        """A Secret or ConfigMap that the pod shows changed: who waits for one looks at once, a mount shows it late."""
        self.look.set()
        if self._files is not None and self._refresh is None and not self._ended:
            lag = MOUNT_LAG * self.ground.pace
            self._refresh = asyncio.get_running_loop().call_later(lag, self._refresh_files)

    def stop(self) -> None:
        """End; `main` returns soon."""
        if not self._ended:
            self._ended = True
            if self._task is not None:
                self._task.cancel()

    def kill(self) -> None:
        """All its containers, as SIGKILL does."""
        for container in self._containers.values():
            container.kill()

    def lines(self, container: str) -> list[str] | None:
        """A container's log; None when it never ran."""
        found = self._containers.get(container)
        return found.state.log if found and (found.state.started_at or found.state.ended) else None

    # What containers ask -----------------------------------------------------------------------------------------

    def read(self, kind: str, name: str) -> Doc | None:
        stored = self.ground.cluster.store.get(("", f"{kind.lower()}s"), (self.key[0], name))
        return stored.doc if stored else None

    def files_of(self, container: str) -> Mapping[str, bytes]:
        return (self._files or {}).get(container, {})

    def show(self) -> None:
        """Write the pod's status when it differs."""
        cluster = self.ground.cluster
        stored = cluster.store.get(("", "pods"), self.key)
        if stored is None or stored.doc["metadata"]["uid"] != self.doc["metadata"]["uid"]:
            return
        place = podstatus.Place(ip=self.ip, host_ip=HOST_IP, mounted=self._files is not None)
        states = [container.state for container in self._containers.values()]
        status = podstatus.build(stored.doc, place, states, cluster.core.now())
        if status != stored.doc.get("status"):
            namespace, name = self.key
            fresh = stored.doc | {"status": status}
            with suppress(ApiError):
                cluster.update(_PODS, name, fresh, namespace=namespace, subresource="status", call=CALL)

    def say(self, reason: str, message: str) -> None:
        """A warning about the pod."""
        events.record(self.ground.cluster, self.doc, "kubelet", reason, message, warning=True)

    # Its life ----------------------------------------------------------------------------------------------------

    async def main(self) -> None:
        """Until the pod is deleted or the node ends. A fault of the sandbox in it stays in it."""
        self._task = asyncio.current_task()
        try:
            if not self._ended and not self.doc["metadata"].get("deletionTimestamp"):
                with suppress(asyncio.CancelledError):
                    await self._live()
        finally:
            self._end()

    async def _live(self) -> None:
        try:
            self._bind()
            self._files = await self._mount()
            async with asyncio.TaskGroup() as group:
                for container in self._containers.values():
                    group.create_task(container.run(), name=f"container {container.state.name} of {self.key}")
        except Exception:
            log.exception("a simulated pod broke", pod=self.key)
            self._break_down()
        await asyncio.Event().wait()  # the pod stays until somebody deletes it

    def _break_down(self) -> None:
        now = self.ground.cluster.core.now()
        for container in self._containers.values():
            state = container.state
            ended = {"exitCode": BROKEN, "reason": "Error", "startedAt": now, "finishedAt": now}
            state.started_at, state.ready, state.over, state.ended = "", False, True, ended
        self.say("Failed", "the sandbox itself failed here: see its log")
        self.show()

    def _end(self) -> None:
        if self._refresh is not None:
            self._refresh.cancel()
        metadata, (namespace, name) = self.doc["metadata"], self.key
        if metadata.get("deletionTimestamp"):
            removal = Removal(grace=0, uid=metadata["uid"])
            with suppress(ApiError):
                self.ground.cluster.delete(_PODS, name, namespace=namespace, removal=removal, call=CALL)

    def _bind(self) -> None:
        if not self.doc["spec"].get("nodeName"):
            namespace, name = self.key
            target = {"target": {"kind": "Node", "name": NODE}}
            with suppress(ApiError):
                self.ground.cluster.create(
                    _PODS, target, namespace=namespace, name=name, subresource="binding", call=CALL
                )

    async def _mount(self) -> dict[str, dict[str, bytes]]:
        """What the containers see, as soon as every Secret and ConfigMap that the pod mounts is there."""
        while True:
            self.look.clear()
            if (missing := self._find_missing()) is None:
                return self._read_files()
            self.say("FailedMount", missing)
            self.show()
            await self.look.wait()

    def _find_missing(self) -> str | None:
        """What the kubelet says about the first volume that cannot be mounted; it mounts unused ones, too."""
        for volume in self.doc["spec"].get("volumes") or ():
            user = {"volumeMounts": [{"name": volume["name"], "mountPath": "/"}]}
            try:
                podfiles.build_files(self.doc, user, self.read)
            except podfiles.MissingSource as missing:
                return f'MountVolume.SetUp failed for volume "{volume["name"]}" : {missing}'
        return None

    def _read_files(self) -> dict[str, dict[str, bytes]]:
        return {c["name"]: podfiles.build_files(self.doc, c, self.read) for c in _running(self.doc)}

    def _refresh_files(self) -> None:
        """What is mounted is looked at again; a source that went stays as it was seen last, as on a node."""
        if self._refresh is not None:
            self._refresh.cancel()
            self._refresh = None
        if self._files is None:
            return
        with suppress(podfiles.MissingSource):
            fresh = self._read_files()
            changed = [name for name, files in fresh.items() if files != self._files.get(name)]
            self._files = fresh
            for name in changed:
                self._containers[name].files_changed()


def _running(pod: Doc) -> list[Doc]:
    """The containers that run on: the main ones, and initial ones that are restarted (sidecars)."""
    spec = pod["spec"]
    return [
        *(c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"),
        *(spec.get("containers") or ()),
    ]


def _build_containers(run: PodRun, pod: Doc) -> Iterator[Container]:
    """The first container that is not a proxy answers for all of those."""
    spec = pod["spec"]
    others = [c for c in _running(pod) if not is_proxy(c)]
    nobody = {"metadata": {"name": run.key[1]}, "spec": {"containers": []}}
    everybody = {"metadata": pod["metadata"], "spec": {"containers": others}}
    for container in _running(pod):
        policy = container.get("restartPolicy") or spec.get("restartPolicy") or "Always"
        answers = None if is_proxy(container) else everybody if container is others[0] else nobody
        yield Container(run, container, policy, answers)


def _environment_sources(pod: Doc) -> Iterator[tuple[str, str]]:
    """(kind, name) of what the containers' environment is read from."""
    for container in _running(pod):
        for entry in (
            *(container.get("envFrom") or ()),
            *((e.get("valueFrom") or {}) for e in container.get("env") or ()),
        ):
            for field, kind in (("secret", "Secret"), ("configMap", "ConfigMap")):
                for reference in (entry.get(f"{field}Ref"), entry.get(f"{field}KeyRef")):
                    if reference:
                        yield kind, reference.get("name", "")
