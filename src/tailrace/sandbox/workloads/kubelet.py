"""The node: pods are placed, started, probed, restarted and ended; what is mounted is refreshed late, as it is there.

A container of the proxy image is a `containerboot.Proxy`; every other one answers as a backend (`backends`). The
periods are the kubelet's own; `pace` shortens them for tests.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog

from tailrace.sandbox.controlplane.nodes import NodePort
from tailrace.sandbox.kubernetes.admission import User, service_account
from tailrace.sandbox.kubernetes.cluster import Cluster
from tailrace.sandbox.kubernetes.core import Call
from tailrace.sandbox.kubernetes.rbac import Attributes
from tailrace.sandbox.kubernetes.resources import Ref
from tailrace.sandbox.kubernetes.status import ApiError
from tailrace.sandbox.kubernetes.storage import Change, Key
from tailrace.sandbox.kubernetes.writing import Removal
from tailrace.sandbox.workloads import backends, events, podfiles, podstatus
from tailrace.sandbox.workloads.containerboot import Crash, Proxy, Surroundings
from tailrace.sandbox.workloads.network import Network, TcpListener, UdpEcho
from tailrace.sandbox.workloads.podstatus import ContainerState
from tailrace.sandbox.workloads.proxytargets import Resolve

log = structlog.get_logger(__name__)

Doc = dict[str, Any]
PODS, SECRETS, NODES = Ref("", "v1", "pods"), Ref("", "v1", "secrets"), Ref("", "v1", "nodes")
NODE, HOST_IP = "sandbox", "127.0.0.1"
MOUNT_LAG = 45.0  # seconds until a changed Secret shows in a mount, when nothing else makes the kubelet look
BACKOFF, BACKOFF_MAX, BACKOFF_RESET = 10.0, 300.0, 600.0  # seconds between starts of a container that crashes
_CALL = Call(manager="kubelet")
_LOG_LINES = 500
_KINDS = {("", "secrets"): "Secret", ("", "configmaps"): "ConfigMap"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """What pods run on."""

    cluster: Cluster
    network: Network
    nodes: NodePort
    resolve: Resolve
    environment: Mapping[str, str]  # what every container finds
    pod_cidr: str
    pace: float = 1.0


class Kubelet:
    """Starts with `start`; ends with `close`."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._runs: dict[str, PodRun] = {}  # by uid
        self._by_key: dict[Key, PodRun] = {}
        self._mounting: dict[tuple[str, str, str], set[str]] = {}  # (namespace, kind, name) → uids
        self._addresses = (str(ip) for ip in ipaddress.ip_network(ground.pod_cidr).hosts())
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

    async def crash(self, namespace: str, pod: str) -> None:
        """Kill the pod's proxy as a fault; it is started again like any container that ends."""
        await self._by_key[(namespace, pod)].kill()

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
        node = cluster.create(NODES, {"metadata": {"name": NODE, "labels": labels}}, call=_CALL)
        cluster.update(NODES, NODE, node | {"status": status}, subresource="status", call=_CALL)

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
        phase = (pod.get("status") or {}).get("phase")
        if self._closing or self._tasks is None or phase in ("Succeeded", "Failed"):
            return
        uid = pod["metadata"]["uid"]
        run = PodRun(self._ground, pod, next(self._addresses))
        self._runs[uid] = self._by_key[key] = run
        for kind, name in run.sources:
            self._mounting.setdefault((key[0], kind, name), set()).add(uid)
        task = self._tasks.create_task(run.main(), name=f"pod {key[0]}/{key[1]}")
        task.add_done_callback(lambda _: self._forget(key, uid, run))

    def _forget(self, key: Key, uid: str, run: PodRun) -> None:
        self._runs.pop(uid, None)
        if self._by_key.get(key) is run:
            del self._by_key[key]
        for kind, name in run.sources:
            self._mounting.get((key[0], kind, name), set()).discard(uid)

    def _source_changed(self, change: Change) -> None:
        for uid in self._mounting.get((change.key[0], _KINDS[change.kind], change.key[1]), ()):
            self._runs[uid].source_changed()


class PodRun:
    """The life of one pod on this node."""

    def __init__(self, ground: Ground, pod: Doc, ip: str) -> None:
        self._ground = ground
        self._pod = pod
        self._ip = ip
        self._key: Key = (pod["metadata"]["namespace"], pod["metadata"]["name"])
        self.sources = podfiles.mounted_sources(pod) | _environment_sources(pod)
        self._states = {
            c["name"]: ContainerState(c["name"], c.get("image", ""))
            for c in pod["spec"].get("containers") or ()
        }
        self._files: dict[str, dict[str, bytes]] = {}  # by container
        self._proxies: dict[str, Proxy] = {}
        self._listeners: list[TcpListener | UdpEcho] = []
        self._look = asyncio.Event()
        self._refresh: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._ended = False

    # What the kubelet tells --------------------------------------------------------------------------------------

    def changed(self, pod: Doc) -> None:
        """The pod's document changed: its end was asked for, or an annotation makes the kubelet look at once."""
        before, self._pod = self._pod, pod
        if pod["metadata"].get("deletionTimestamp"):
            self.stop()
        elif before["metadata"].get("annotations") != pod["metadata"].get("annotations"):
            self._refresh_files()

    def source_changed(self) -> None:
        """A Secret or ConfigMap that the pod shows changed."""
        if not self._files:
            self._look.set()
        elif self._refresh is None:
            lag = MOUNT_LAG * self._ground.pace
            self._refresh = asyncio.get_running_loop().call_later(lag, self._refresh_files)

    def stop(self) -> None:
        self._ended = True
        if self._task is not None:
            self._task.cancel()

    async def kill(self) -> None:
        for proxy in list(self._proxies.values()):
            await proxy.close()

    def lines(self, container: str) -> list[str] | None:
        state = self._states.get(container)
        return state.log if state and (state.started_at or state.ended) else None

    # Its life ----------------------------------------------------------------------------------------------------

    async def main(self) -> None:
        """Until the pod is deleted or the node ends."""
        self._task = asyncio.current_task()
        try:
            if not self._ended:
                with suppress(asyncio.CancelledError):
                    await self._live()
        finally:
            await self._end()

    async def _live(self) -> None:
        self._bind()
        await self._mount()
        async with asyncio.TaskGroup() as group:
            for container in self._pod["spec"]["containers"]:
                work = self._run_proxy if is_proxy(container) else self._run_backend
                group.create_task(work(container))
            if not any(map(is_proxy, self._pod["spec"]["containers"])) or backends_declared(self._pod):
                self._open_backend()
            await asyncio.Event().wait()  # until somebody ends the pod

    async def _end(self) -> None:
        for proxy in list(self._proxies.values()):
            await proxy.close()
        for listener in self._listeners:
            listener.close(cut=True)
        if self._refresh is not None:
            self._refresh.cancel()
        metadata = self._pod["metadata"]
        if metadata.get("deletionTimestamp"):
            with suppress(ApiError):
                self._ground.cluster.delete(
                    PODS,
                    self._key[1],
                    namespace=self._key[0],
                    removal=Removal(grace=0, uid=metadata["uid"]),
                    call=_CALL,
                )

    def _bind(self) -> None:
        if not self._pod["spec"].get("nodeName"):
            target = {"target": {"kind": "Node", "name": NODE}}
            with suppress(ApiError):
                self._ground.cluster.create(
                    PODS, target, namespace=self._key[0], name=self._key[1], subresource="binding", call=_CALL
                )

    async def _mount(self) -> None:
        """Wait until every Secret and ConfigMap that the pod mounts is there."""
        while True:
            self._look.clear()
            try:
                self._files = self._read_files()
                return
            except podfiles.MissingSource as missing:
                self._say("FailedMount", f"MountVolume.SetUp failed for volume: {missing}", warning=True)
                self._show()
            await self._look.wait()

    def _read_files(self) -> dict[str, dict[str, bytes]]:
        pod = self._pod
        return {c["name"]: podfiles.build_files(pod, c, self._read) for c in pod["spec"]["containers"]}

    def _refresh_files(self) -> None:
        """What is mounted is looked at again; a source that went stays as it was seen last, as on a node."""
        if self._refresh is not None:
            self._refresh.cancel()
            self._refresh = None
        if not self._files:
            return
        try:
            fresh = self._read_files()
        except podfiles.MissingSource:
            return
        if fresh != self._files:
            self._files = fresh
            for proxy in self._proxies.values():
                proxy.files_changed()

    def _read(self, kind: str, name: str) -> Doc | None:
        stored = self._ground.cluster.store.get(("", f"{kind.lower()}s"), (self._key[0], name))
        return stored.doc if stored else None

    # Containers --------------------------------------------------------------------------------------------------

    async def _run_backend(self, container: Doc) -> None:
        """A container that is not simulated: it runs, and is ready."""
        state = self._states[container["name"]]
        await self._environment(container, state)
        state.started_at, state.ready = self._ground.cluster.core.now(), True
        self._show()

    def _open_backend(self) -> None:
        try:
            self._listeners = backends.open_backend(self._ground.network, self._pod, self._ip)
        except (OSError, ValueError) as error:
            self._say("Failed", f"cannot answer as the manifest says: {error}", warning=True)

    async def _run_proxy(self, container: Doc) -> None:
        """Start the proxy, and again whenever it ends, with the kubelet's pauses."""
        state, loop = self._states[container["name"]], asyncio.get_running_loop()
        failures = 0
        while True:
            environment = await self._environment(container, state)
            began, state.started_at = loop.time(), self._ground.cluster.core.now()
            self._note(state, f"boot: {container['name']}")
            proxy = self._proxies[container["name"]] = self._build_proxy(container, state, environment)
            prober = asyncio.create_task(self._probe(container, state, proxy), name="probe")
            self._show()
            code = 0
            try:
                await proxy.run()
            except Crash as crash:
                code = 1
                self._note(state, str(crash))
            except asyncio.CancelledError:
                await proxy.close()
                raise
            finally:
                prober.cancel()
                self._proxies.pop(container["name"], None)
            failures = 0 if loop.time() - began > BACKOFF_RESET * self._ground.pace else failures
            await self._pause(container, state, code, failures)
            failures += 1

    async def _pause(self, container: Doc, state: ContainerState, code: int, failures: int) -> None:
        """Between two runs: the first restart is at once."""
        now = self._ground.cluster.core.now()
        state.ended = {
            "exitCode": code,
            "reason": "Error" if code else "Completed",
            "startedAt": state.started_at,
            "finishedAt": now,
        }
        state.started_at, state.ready = "", False
        state.restarts += 1
        if not failures:
            return
        seconds = min(BACKOFF_MAX, BACKOFF * 2 ** (failures - 1))
        name = f"{self._key[1]}_{self._key[0]}"
        text = f"back-off {seconds:g}s restarting failed container={container['name']} pod={name}"
        state.waiting = ("CrashLoopBackOff", text)
        self._say(
            "BackOff", f"Back-off restarting failed container {container['name']} in pod {name}", warning=True
        )
        self._show()
        await asyncio.sleep(seconds * self._ground.pace)

    async def _environment(self, container: Doc, state: ContainerState) -> dict[str, str]:
        """The container's environment, as soon as all of it is there."""
        while True:
            self._look.clear()
            # The kubelet knows the address before the API does.
            pod = self._pod | {
                "status": {**(self._pod.get("status") or {}), "podIP": self._ip, "hostIP": HOST_IP}
            }
            pod["status"]["podIPs"] = [{"ip": self._ip}]
            try:
                return podfiles.build_environment(pod, container, self._read, base=self._ground.environment)
            except podfiles.MissingSource as missing:
                state.waiting = ("CreateContainerConfigError", str(missing))
                self._say("Failed", f"Error: {missing}", warning=True)
                self._show()
            await self._look.wait()

    def _build_proxy(self, container: Doc, state: ContainerState, environment: Mapping[str, str]) -> Proxy:
        name = container["name"]
        account = self._pod["spec"].get("serviceAccountName") or "default"
        return Proxy(
            Surroundings(
                env=environment,
                read_file=lambda path: self._files[name].get(path),
                list_dir=lambda path: [
                    f.rpartition("/")[2] for f in self._files[name] if f.rpartition("/")[0] == path
                ],
                state=_OwnSecret(
                    self._ground.cluster, self._key[0], environment.get("TS_KUBE_SECRET", ""), account
                ),
                nodes=self._ground.nodes,
                network=self._ground.network,
                pod_ip=self._ip,
                resolve=self._ground.resolve,
                log=lambda line: self._note(state, line),
            )
        )

    async def _probe(self, container: Doc, state: ContainerState, proxy: Proxy) -> None:
        """The readiness probe: at once, then in its period."""
        probe = container.get("readinessProbe")
        if probe is None:
            state.ready = True
            self._show()
            return
        failures, threshold = 0, probe.get("failureThreshold", 3)
        port = (probe.get("httpGet") or probe.get("tcpSocket") or {}).get("port")
        await asyncio.sleep((probe.get("initialDelaySeconds") or 0) * self._ground.pace)
        while True:
            listening = port is None or ("tcp", port) in self._ground.network.listening(self._ip)
            failures = 0 if listening and proxy.healthy else failures + 1
            ready = not failures or (state.ready and failures < threshold)
            if ready != state.ready:
                state.ready = ready
                self._show()
            await asyncio.sleep((probe.get("periodSeconds") or 10) * self._ground.pace)

    # What it tells -----------------------------------------------------------------------------------------------

    def _show(self) -> None:
        """Write the pod's status when it differs."""
        cluster = self._ground.cluster
        stored = cluster.store.get(("", "pods"), self._key)
        if stored is None or stored.doc["metadata"]["uid"] != self._pod["metadata"]["uid"]:
            return
        states = list(self._states.values())
        status = podstatus.build(stored.doc, self._ip, HOST_IP, states, cluster.core.now())
        if status != stored.doc.get("status"):
            with suppress(ApiError):
                cluster.update(
                    PODS,
                    self._key[1],
                    stored.doc | {"status": status},
                    namespace=self._key[0],
                    subresource="status",
                    call=_CALL,
                )

    def _say(self, reason: str, message: str, *, warning: bool = False) -> None:
        events.record(self._ground.cluster, self._pod, "kubelet", reason, message, warning=warning)

    def _note(self, state: ContainerState, line: str) -> None:
        state.log.append(line)
        del state.log[:-_LOG_LINES]


class _OwnSecret:
    """The state Secret, with the rights of the pod's service account and no more."""

    def __init__(self, cluster: Cluster, namespace: str, name: str, account: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._name = name
        self._user: User = service_account(namespace, account)
        self._call = Call(user=self._user, manager="containerboot")

    def get(self) -> dict[str, bytes]:
        doc = self._cluster.get(SECRETS, self._name, namespace=self._namespace, call=self._call)
        return podfiles.contents(doc)

    def patch(self, changes: Mapping[str, bytes | None]) -> None:
        data = {k: None if v is None else base64.b64encode(v).decode() for k, v in changes.items()}
        self._cluster.patch(
            SECRETS, self._name, {"data": data}, "merge", namespace=self._namespace, call=self._call
        )

    def may(self, verb: str) -> bool:
        asked = Attributes(verb=verb, resource="secrets", namespace=self._namespace, name=self._name)
        try:
            self._cluster.access.check(self._user, asked)
        except ApiError:
            return False
        return True


def is_proxy(container: Doc) -> bool:
    """Whether a container is of the proxy image, wherever it was pulled from."""
    repository = str(container.get("image", "")).partition("@")[0]
    name, _, tag = repository.rpartition(":")
    repository = name if name and "/" not in tag else repository
    return repository.endswith("tailscale/tailscale") or any(
        variable["name"] == "TS_KUBE_SECRET" for variable in container.get("env") or ()
    )


def backends_declared(pod: Doc) -> bool:
    """Whether something answers beside the proxy in its pod."""
    others = {
        **pod,
        "spec": {**pod["spec"], "containers": [c for c in pod["spec"]["containers"] if not is_proxy(c)]},
    }
    with suppress(ValueError):
        return any(True for _ in backends.find_services(others))
    return True


def _environment_sources(pod: Doc) -> frozenset[tuple[str, str]]:
    """(kind, name) of what the containers' environment is read from."""
    return frozenset(_sources(pod))


def _sources(pod: Doc) -> Iterator[tuple[str, str]]:
    for container in pod["spec"].get("containers") or ():
        for entry in (
            *(container.get("envFrom") or ()),
            *((e.get("valueFrom") or {}) for e in container.get("env") or ()),
        ):
            for field, kind in (("secret", "Secret"), ("configMap", "ConfigMap")):
                for reference in (entry.get(f"{field}Ref"), entry.get(f"{field}KeyRef")):
                    if reference:
                        yield kind, reference.get("name", "")
