"""The node: which pods run here, and what each of them is told. A pod's own life is in `podrun`.

The periods are the kubelet's own; `Ground.pace` shortens them for tests.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import deque
from typing import Any

from tailrace.sandbox.kubernetes.resources import Ref
from tailrace.sandbox.kubernetes.storage import Change, Key
from tailrace.sandbox.workloads.containers import HOST_IP, Ground
from tailrace.sandbox.workloads.podrun import CALL, NODE, PodRun

Doc = dict[str, Any]
NODES = Ref("", "v1", "nodes")
_KINDS = {("", "secrets"): "Secret", ("", "configmaps"): "ConfigMap"}


class Kubelet:
    """Starts with `start`; ends with `close`."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._runs: dict[str, PodRun] = {}  # by uid
        self._by_key: dict[Key, PodRun] = {}
        self._mounting: dict[tuple[str, str, str], set[str]] = {}  # (namespace, kind, name) → uids
        self._addresses = (str(ip) for ip in ipaddress.ip_network(ground.pod_cidr).hosts())
        self._returned: deque[str] = deque()
        self._tasks: asyncio.TaskGroup | None = None
        self._closing = False

    async def start(self) -> None:
        """Say that there is a node, and run the pods that are there already."""
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()
        store = self._ground.cluster.store
        self._register_node()
        store.listen(("", "pods"), self._pod_changed)
        for kind in _KINDS:
            store.listen(kind, self._source_changed)
        for key, stored in list(store.all(("", "pods")).items()):
            self._begin(key, stored.doc)

    async def close(self) -> None:
        """Every pod ends; nothing is written any more."""
        self._closing = True
        for run in list(self._runs.values()):
            run.stop()
        if self._tasks is not None:
            await self._tasks.__aexit__(None, None, None)

    def read_log(self, namespace: str, pod: str, container: str, tail: int | None) -> str | None:
        """What `kubectl logs` shows; None when the container never ran."""
        run = self._by_key.get((namespace, pod))
        lines = run.lines(container) if run else None
        if lines is None:
            return None
        return "".join(f"{line}\n" for line in (lines[-tail:] if tail else lines if tail is None else ()))

    def kill(self, namespace: str, pod: str) -> None:
        """Kill the pod's containers as a fault; they are started again like any that end.

        Raises:
            ValueError: no such pod runs here.
        """
        run = self._by_key.get((namespace, pod))
        if run is None:
            raise ValueError(f"no pod {pod} runs in namespace {namespace}")
        run.kill()

    async def crash(self, namespace: str, pod: str) -> None:
        """The same, and the programs have ended when this returns; the first restart follows at once."""
        self.kill(namespace, pod)
        await asyncio.sleep(0)

    def _register_node(self) -> None:
        cluster = self._ground.cluster
        now = cluster.core.now()
        if cluster.store.get(("", "nodes"), ("", NODE)):
            return
        labels = {"kubernetes.io/hostname": NODE, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
        status = {
            "addresses": [{"type": "InternalIP", "address": HOST_IP}, {"type": "Hostname", "address": NODE}],
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "reason": "KubeletReady",
                    "message": "the sandbox is running",
                    "lastHeartbeatTime": now,
                    "lastTransitionTime": now,
                }
            ],
            "nodeInfo": {"kubeletVersion": "v1.36.0+tailrace-sandbox", "osImage": "Tailrace sandbox"},
        }
        wanted = {
            "metadata": {"name": NODE, "labels": labels},
            "spec": {"podCIDR": self._ground.pod_cidr, "podCIDRs": [self._ground.pod_cidr]},
        }
        node = cluster.create(NODES, wanted, call=CALL)
        cluster.update(NODES, NODE, node | {"status": status}, subresource="status", call=CALL)

    def _pod_changed(self, change: Change) -> None:
        uid = change.new.doc["metadata"]["uid"]
        run = self._runs.get(uid)
        if change.type == "DELETED":
            if run is not None:
                run.stop()
        elif run is None:
            self._begin(change.key, change.new.doc)
        else:
            run.changed(change.new.doc)

    def _begin(self, key: Key, pod: Doc) -> None:
        if self._closing or self._tasks is None:
            return
        uid = pod["metadata"]["uid"]
        run = PodRun(self._ground, pod, self._take_address())
        self._runs[uid] = self._by_key[key] = run
        for kind, name in run.sources:
            self._mounting.setdefault((key[0], kind, name), set()).add(uid)
        task = self._tasks.create_task(run.main(), name=f"pod {key[0]}/{key[1]}")
        task.add_done_callback(lambda _: self._forget(key, uid, run))

    def _take_address(self) -> str:
        """A new one as long as there are any: a client that is late must not reach another pod."""
        return next(self._addresses, None) or self._returned.popleft()

    def _forget(self, key: Key, uid: str, run: PodRun) -> None:
        self._returned.append(run.ip)
        del self._runs[uid]
        if self._by_key.get(key) is run:
            del self._by_key[key]
        for kind, name in run.sources:
            source = (key[0], kind, name)
            self._mounting[source].discard(uid)
            if not self._mounting[source]:
                del self._mounting[source]

    def _source_changed(self, change: Change) -> None:
        for uid in tuple(self._mounting.get((change.key[0], _KINDS[change.kind], change.key[1]), ())):
            self._runs[uid].source_changed()
