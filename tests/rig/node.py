"""Stands in for a node: its kubelet and, in each proxy pod, containerboot. The pods are the real controllers' work.

A pod is bound, joins with the key in its Secret, is told Ready, and once it is deleted it stays until its proxy has
left the tailnet: what an operator may rely on. What a proxy is belongs to its Secret: a new Secret is a new machine.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from bench.grounds import HOME, READY, encode_device

from tailrace import errors
from tailrace.api import kube, names
from tailrace.kube import resources
from tailrace.kube.client import Kube
from tailrace.kube.resource import Resource
from tailrace.kube.store import Event, Store
from tailrace.kube.watch import Watch
from tailrace.proxy import secret
from tailrace.sandbox.controlplane.control import ControlPlane
from tailrace.sandbox.controlplane.records import LoginRefused

NAME = "rig"
NODES = Resource(group="", version="v1", plural="nodes", kind="Node", type=kube.Object, namespaced=False)
_PAUSE = 0.2  # seconds until a container is tried again; a real node waits longer
_HEARTBEAT = 10.0  # seconds, as a kubelet has it; pods of a node that says nothing are marked as not ready


class Kubelet(Kube):
    """What nobody but a node does with a pod."""

    async def bind(self, pod: str) -> None:
        target = {"metadata": {"name": pod}, "target": {"kind": "Node", "name": NAME}}
        await self._call("create", resources.PODS, HOME, pod, subresource="binding", body=target)

    async def report(self) -> None:
        """The node is well."""
        now = datetime.now(UTC).isoformat()
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": now}
        await self.patch(NODES, NAME, None, {"status": {"conditions": [ready]}}, subresource="status")

    async def bury(self, pod: str, uid: str) -> None:
        """Its containers have ended: the object may go."""
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": uid}}
        await self._call("delete", resources.PODS, HOME, pod, body=options)


class Node:
    """Runs every pod of ours, each as a task. Use `start`."""

    def __init__(self, cluster: Kubelet, plane: ControlPlane) -> None:
        self._cluster, self._plane = cluster, plane
        self._bells: dict[str, asyncio.Event] = {}  # by pod uid
        self._tasks: set[asyncio.Task[None]] = set()
        self._logins: dict[str, str] = {}  # device by pod uid
        self._faults: list[BaseException] = []
        self._store: Store[kube.Pod] = Store("pods")
        self._store.on_event(self._see)

    @classmethod
    @contextlib.asynccontextmanager
    async def start(cls, kubeconfig: Path, plane: ControlPlane) -> AsyncIterator[Self]:
        async with Kubelet.connect(kubeconfig=kubeconfig) as cluster:
            with contextlib.suppress(errors.Conflict):
                await cluster.create(NODES, {"metadata": {"name": NAME}})
            node = cls(cluster, plane)
            labels = f"{names.MANAGED}=true"
            watch = Watch(cluster, resources.PODS, node._store, namespace=HOME, labels=labels)
            lasting = [asyncio.create_task(watch.run()), asyncio.create_task(node._beat())]
            try:
                yield node
            finally:
                for task in (*lasting, *node._tasks):
                    task.cancel()
                await asyncio.gather(*lasting, *node._tasks, return_exceptions=True)
            if node._faults:  # a pod whose kubelet died would only be waited for in vain
                raise BaseExceptionGroup("pods of the stand-in node", node._faults)

    async def _beat(self) -> None:
        while True:
            with contextlib.suppress(errors.TailraceError):
                await self._cluster.report()
            await asyncio.sleep(_HEARTBEAT)

    def _see(self, event: Event[kube.Pod]) -> None:
        uid = event.obj.metadata.uid
        bell = self._bells.get(uid)
        if bell is not None:
            bell.set()
        elif event.new is not None:
            self._bells[uid] = asyncio.Event()
            task = asyncio.create_task(self._run(event.new.metadata.name, uid))
            self._tasks.add(task)
            task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._faults.append(fault)

    def _is_wanted(self, name: str, uid: str) -> bool:
        pod = self._store.get(HOME, name)
        return pod is not None and pod.metadata.uid == uid and pod.metadata.deletionTimestamp is None

    def _secret_of(self, name: str) -> str:
        """Of one of several replicas it is called like the StatefulSet, else like the pod."""
        pod = self._store.get(HOME, name)
        replica = pod is not None and names.REPLICA in pod.metadata.labels
        return name.removesuffix("-0") if replica else name

    async def _run(self, name: str, uid: str) -> None:
        """One pod's life."""
        bell, joined, own = self._bells[uid], "", self._secret_of(name)
        while self._is_wanted(name, uid):
            bell.clear()
            try:
                joined = await self._turn(name, uid, own, started=bool(joined))
            except (errors.TailraceError, LoginRefused):
                joined = ""  # a container that failed is started again
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(bell.wait(), None if joined else _PAUSE)
        device = self._plane.tailnet.nodes.get(self._logins.pop(uid, ""))
        if device is not None:
            self._plane.tailnet.nodes.set_connected(device.id, False)
        while True:
            try:
                if device is not None and not joined:  # its last word, or nobody would ever know of it
                    with contextlib.suppress(errors.NotFound):
                        data = {"data": encode_device(device)}
                        await self._cluster.patch(resources.SECRETS, own, HOME, data)
                await self._cluster.bury(name, uid)
            except (errors.NotFound, errors.Conflict):
                break
            except errors.TailraceError:
                await asyncio.sleep(_PAUSE)
            else:
                break
        del self._bells[uid]

    async def _turn(self, name: str, uid: str, own: str, *, started: bool) -> str:
        """Bring the container to where its Secret (`own`) wants it; gives the id of its device."""
        if not started:
            with contextlib.suppress(errors.Conflict):
                await self._cluster.bind(name)
        found = await self._cluster.get(resources.SECRETS, own, HOME)
        config = secret.decode_object(kube.decode_key(found.data.config))
        nodes = self._plane.tailnet.nodes
        # What has joined stays so while it runs, also where the Secret could not be written: a key is good for once.
        device = nodes.get(self._logins.get(uid, ""))
        if device is None:
            device = nodes.get(kube.decode_key(found.data.device_id))
            if device is None or config.get("AuthKey"):
                device = nodes.login(
                    auth_key=config.get("AuthKey", ""),
                    hostname=config["Hostname"],
                    machine_key=f"mkey:{found.metadata.uid}",
                )
            self._logins[uid] = device.id
        device = nodes.update(device.id, hostname=config["Hostname"])
        nodes.set_connected(device.id, True)
        data = encode_device(device)
        if not data.items() <= {k: getattr(found.data, k) for k in data}.items():
            await self._cluster.patch(resources.SECRETS, own, HOME, {"data": data})
        if not started:
            await self._cluster.patch(resources.PODS, name, HOME, {"status": READY}, subresource="status")
        return device.id
