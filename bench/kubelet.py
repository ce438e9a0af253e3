"""Stands in for the StatefulSet controller, a node and containerboot: the same for whoever is measured.

50 ms after a StatefulSet appears its pod is there and ready, and its device has joined with the key in the Secret,
into which goes what containerboot writes.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

from bench.grounds import HOME, READY, encode_device

from tailrace.api import kube, names
from tailrace.kube import resources
from tailrace.kube.client import Kube
from tailrace.kube.store import Event, Store
from tailrace.kube.watch import Watch
from tailrace.proxy import secret
from tailrace.sandbox.controlplane.control import ControlPlane

LAG = 0.05  # seconds between a StatefulSet and its pod


class Kubelet:
    """Use `start`."""

    def __init__(self, cluster: Kube, plane: ControlPlane) -> None:
        self._cluster, self._plane = cluster, plane
        self._tasks: set[asyncio.Task[None]] = set()
        self._joined: dict[str, asyncio.Event] = {}
        self.appeared: list[float] = []  # monotonic seconds, one for each StatefulSet ever seen
        self.store: Store[kube.StatefulSet] = Store("statefulsets")
        self.store.on_event(self._see)

    @classmethod
    @contextlib.asynccontextmanager
    async def start(cls, kubeconfig: Path, plane: ControlPlane) -> AsyncIterator[Self]:
        async with Kube.connect(kubeconfig=kubeconfig) as cluster:
            kubelet = cls(cluster, plane)
            labels = f"{names.MANAGED}=true"
            watch = Watch(cluster, resources.STATEFUL_SETS, kubelet.store, namespace=HOME, labels=labels)
            watching = asyncio.create_task(watch.run())
            await kubelet.store.wait_synced()
            try:
                yield kubelet
            finally:
                for task in (watching, *kubelet._tasks):
                    task.cancel()
                await asyncio.gather(watching, *kubelet._tasks, return_exceptions=True)

    async def wait_joined(self, name: str) -> None:
        await self._joined.setdefault(name, asyncio.Event()).wait()

    def _see(self, event: Event[kube.StatefulSet]) -> None:
        if event.old is None and event.new is not None:
            self.appeared.append(time.monotonic())
            task = asyncio.create_task(self._run(event.new.metadata))
            self._tasks.add(task)
            task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a pod failed", "exception": failure}
            )

    async def _run(self, owner: kube.ObjectMeta) -> None:
        await asyncio.sleep(LAG)
        name = f"{owner.name}-0"
        await self._cluster.create(resources.PODS, build_pod(owner))
        await self._cluster.patch(resources.PODS, name, HOME, {"status": READY}, subresource="status")
        found = await self._cluster.get(resources.SECRETS, name, HOME)
        config = secret.decode_object(kube.decode_key(found.data.config))
        nodes = self._plane.tailnet.nodes
        device = nodes.login(
            auth_key=config["AuthKey"], hostname=config["Hostname"], machine_key=f"mkey:{owner.uid}"
        )
        nodes.set_connected(device.id, True)
        data = encode_device(device)
        await self._cluster.patch(resources.SECRETS, name, HOME, {"data": data})
        self._joined.setdefault(owner.name, asyncio.Event()).set()


def build_pod(owner: kube.ObjectMeta) -> dict[str, Any]:
    """The first pod of a StatefulSet, without a node: whoever deletes it need not wait for one."""
    return {
        "metadata": {
            "name": f"{owner.name}-0",
            "namespace": HOME,
            "labels": dict(owner.labels) | {"statefulset.kubernetes.io/pod-name": f"{owner.name}-0"},
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "StatefulSet",
                    "name": owner.name,
                    "uid": owner.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {"containers": [{"name": "tailscale", "image": "tailscale"}]},
    }
