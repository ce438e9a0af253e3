"""One container on the node: its environment, its program, its probe, its restarts.

A container of the proxy image runs a `containerboot.Proxy`; every other one answers as a backend (`backends`). A
program that breaks instead of crashing is a fault of the sandbox: it is logged, and the container ends with `BROKEN`.
Called by `podrun`, which knows the pod.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import structlog

from tailrace.sandbox.controlplane.nodes import NodePort
from tailrace.sandbox.kubernetes.admission import User, service_account
from tailrace.sandbox.kubernetes.cluster import Cluster
from tailrace.sandbox.kubernetes.core import Call
from tailrace.sandbox.kubernetes.rbac import Attributes
from tailrace.sandbox.kubernetes.resources import Ref
from tailrace.sandbox.kubernetes.status import ApiError
from tailrace.sandbox.workloads import backends, podfiles, proxypages
from tailrace.sandbox.workloads.containerboot import Crash, Proxy, Surroundings
from tailrace.sandbox.workloads.network import Network
from tailrace.sandbox.workloads.paths import Paths
from tailrace.sandbox.workloads.podstatus import ContainerState
from tailrace.sandbox.workloads.proxytargets import Resolve

log = structlog.get_logger(__name__)

Doc = dict[str, Any]
HOST_IP = "127.0.0.1"
BACKOFF, BACKOFF_MAX, BACKOFF_RESET = 10.0, 300.0, 600.0  # seconds between starts of a container that crashes
CRASHED, BROKEN, KILLED = 1, 70, 137  # exit codes
_SECRETS = Ref("", "v1", "secrets")
_LOG_LINES = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """What pods run on."""

    cluster: Cluster
    network: Network
    nodes: NodePort
    paths: Paths
    resolve: Resolve
    environment: Mapping[str, str]  # what every container finds
    pod_cidr: str
    pace: float = 1.0  # of everything periodical; below 1 it is shorter


class Pod(Protocol):
    """What a container asks its pod."""

    ground: Ground
    doc: Doc
    ip: str
    look: asyncio.Event  # set when a Secret or ConfigMap changed

    def read(self, kind: str, name: str) -> Doc | None: ...
    def files_of(self, container: str) -> Mapping[str, bytes]: ...
    def show(self) -> None: ...
    def say(self, reason: str, message: str) -> None: ...


class Program(Protocol):
    """What runs in a container, once."""

    @property
    def healthy(self) -> bool: ...
    @property
    def shadowed(self) -> bool: ...
    async def run(self) -> None: ...
    def files_changed(self) -> None: ...


class Backend:
    """A program that is not simulated: its doors are open while it runs, and it never ends by itself."""

    healthy = True
    shadowed = False

    def __init__(self, pod: Pod, part: Doc) -> None:
        """`part` is the pod with the containers that this program answers for; none: it opens nothing."""
        self._pod, self._part = pod, part

    async def run(self) -> None:
        try:
            doors = backends.open_backend(self._pod.ground.network, self._part, self._pod.ip)
        except (OSError, ValueError) as error:
            self._pod.say("Failed", f"cannot answer as the manifest says: {error}")
            doors = []
        try:
            await asyncio.Event().wait()
        finally:
            for door in doors:
                door.close(cut=True)

    def files_changed(self) -> None:
        """It reads none."""


class Container:
    """Runs in `run` until the pod ends, or until its restart policy says that this was all."""

    def __init__(self, pod: Pod, container: Doc, policy: str, answers: Doc | None) -> None:
        """`answers`: for a backend, the part of the pod whose ports it opens."""
        self.state = ContainerState(container["name"], container.get("image", ""))
        self._pod, self._doc, self._policy, self._answers = pod, container, policy, answers
        self._program: Program | None = None
        self._running: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Start the program, and again whenever it ends, with the kubelet's pauses."""
        loop, failures = asyncio.get_running_loop(), 0
        while True:
            environment = await self._await_environment()
            began = loop.time()
            code = await self._run_once(environment)
            if self._policy == "Never" or (self._policy == "OnFailure" and not code):
                self.state.over = True
                self._pod.show()
                return
            if loop.time() - began > BACKOFF_RESET * self._pod.ground.pace:
                failures = 0
            if failures:
                await self._back_off(failures)
            failures += 1
            self.state.restarts += 1

    def kill(self) -> None:
        """As SIGKILL does."""
        if self._running is not None:
            self._running.cancel()

    def files_changed(self) -> None:
        if self._program is not None:
            self._program.files_changed()

    def note(self, line: str) -> None:
        """Into the container's log."""
        self.state.log.append(line)
        del self.state.log[:-_LOG_LINES]

    # A run -------------------------------------------------------------------------------------------------------

    async def _run_once(self, environment: Mapping[str, str]) -> int:
        """The exit code."""
        state, now = self.state, self._pod.ground.cluster.core.now
        state.started_at, state.ready = now(), False
        self._program = program = self._build(environment)
        self._running = asyncio.create_task(program.run(), name=f"container {state.name}")
        prober = asyncio.create_task(self._probe(program), name=f"probe {state.name}")
        self._pod.show()
        try:
            await asyncio.wait({self._running})
        finally:
            for task in (self._running, prober):
                task.cancel()
            results = await asyncio.gather(self._running, prober, return_exceptions=True)
            self._program = self._running = None
        if isinstance(results[1], Exception):
            log.error("a simulated probe broke", container=state.name, pod=self._name, exc_info=results[1])
        code = self._judge(results[0])
        reason = "Error" if code else "Completed"
        ended = {"exitCode": code, "reason": reason, "startedAt": state.started_at, "finishedAt": now()}
        state.started_at, state.ready, state.ended = "", False, ended
        return code

    def _judge(self, result: BaseException | None) -> int:
        match result:
            case None:
                return 0
            case asyncio.CancelledError():
                return KILLED
            case Crash():
                self.note(str(result))
                return CRASHED
        log.error("a simulated program broke", container=self.state.name, pod=self._name, exc_info=result)
        self.note("the sandbox itself failed here: see its log")
        return BROKEN

    async def _back_off(self, failures: int) -> None:
        seconds = min(BACKOFF_MAX, BACKOFF * 2 ** (failures - 1))
        text = f"restarting failed container={self.state.name} pod={self._name}"
        self.state.waiting = ("CrashLoopBackOff", f"back-off {_duration(seconds)} {text}")
        self._pod.say(
            "BackOff", f"Back-off restarting failed container {self.state.name} in pod {self._name}"
        )
        self._pod.show()
        await asyncio.sleep(seconds * self._pod.ground.pace)

    @property
    def _name(self) -> str:
        metadata = self._pod.doc["metadata"]
        return f"{metadata['name']}_{metadata['namespace']}({metadata['uid']})"

    async def _await_environment(self) -> dict[str, str]:
        """The container's environment, as soon as all of it is there."""
        pod, state = self._pod, self.state
        while True:
            pod.look.clear()
            # The kubelet knows the address before the API does.
            known = {"podIP": pod.ip, "podIPs": [{"ip": pod.ip}], "hostIP": HOST_IP}
            doc = pod.doc | {"status": {**(pod.doc.get("status") or {}), **known}}
            try:
                return podfiles.build_environment(doc, self._doc, pod.read, base=pod.ground.environment)
            except podfiles.MissingSource as missing:
                state.waiting = ("CreateContainerConfigError", str(missing))
                pod.say("Failed", f"Error: {missing}")
                pod.show()
            await pod.look.wait()

    def _build(self, environment: Mapping[str, str]) -> Program:
        if self._answers is not None:
            return Backend(self._pod, self._answers)
        pod, name = self._pod, self.state.name
        self.note(f"boot: {name}")
        account = pod.doc["spec"].get("serviceAccountName") or "default"
        namespace, secret = pod.doc["metadata"]["namespace"], environment.get("TS_KUBE_SECRET", "")
        return Proxy(
            Surroundings(
                env=environment,
                read_file=lambda path: pod.files_of(name).get(path),
                list_dir=lambda path: _names_in(path, pod.files_of(name)),
                state=_OwnSecret(pod.ground.cluster, namespace, secret, account),
                nodes=pod.ground.nodes,
                network=pod.ground.network,
                paths=pod.ground.paths,
                pod_ip=pod.ip,
                ip_forward=_forwards_ip(pod.doc["spec"], self._doc, environment),
                resolve=pod.ground.resolve,
                log=self.note,
            )
        )

    async def _probe(self, program: Program) -> None:
        """The readiness probe: at once, then in its period. A backend is always ready."""
        probe = self._doc.get("readinessProbe")
        if probe is None or isinstance(program, Backend):
            self._set_ready(True)
            return
        failures, threshold, pace = 0, probe.get("failureThreshold", 3), self._pod.ground.pace
        await asyncio.sleep((probe.get("initialDelaySeconds") or 0) * pace)
        while True:
            failures = 0 if self._answers_probe(program, probe) else failures + 1
            self._set_ready(not failures or (self.state.ready and failures < threshold))
            await asyncio.sleep((probe.get("periodSeconds") or 10) * pace)

    def _answers_probe(self, program: Program, probe: Doc) -> bool:
        """What a connection to the probed port would show; only the health page says more than that it is there.
        What an egress proxy sends on to a device, no page answers; a command that names an address asks inside the pod."""
        if "exec" in probe:
            return program.healthy and self._answers_inside((probe["exec"] or {}).get("command") or ())
        asked = probe.get("httpGet") or probe.get("tcpSocket") or {}
        named = {p["name"]: p["containerPort"] for p in self._doc.get("ports") or () if "name" in p}
        port = named.get(asked.get("port"), asked.get("port"))
        if port is not None:
            try:
                self._pod.ground.network.place("tcp", self._pod.ip, port)
            except ConnectionRefusedError:
                return False
        if "httpGet" in probe and program.shadowed:
            return False
        return program.healthy or "tcpSocket" in probe

    def _answers_inside(self, command: Sequence[str]) -> bool:
        """Whether somebody listens where the command's URL leads, seen from the pod itself."""
        pod = self._pod
        url = next((urlsplit(word) for word in command if word.startswith("http://")), None)
        if url is None:
            return True
        host = "127.0.0.1" if url.hostname == "localhost" else url.hostname or ""
        own = [proxypages.inside(host, pod.ip), *([host] if host == pod.ip else [])]
        return any(("tcp", url.port or 80) in pod.ground.network.listening(at) for at in own)

    def _set_ready(self, ready: bool) -> None:
        if ready != self.state.ready:
            self.state.ready = ready
            self._pod.show()


class _OwnSecret:
    """The state Secret, with the rights of the pod's service account and no more."""

    def __init__(self, cluster: Cluster, namespace: str, name: str, account: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._name = name
        self._user: User = service_account(namespace, account)
        self._call = Call(user=self._user, manager="containerboot")

    def get(self) -> dict[str, bytes]:
        doc = self._cluster.get(_SECRETS, self._name, namespace=self._namespace, call=self._call)
        return podfiles.contents(doc)

    def patch(self, changes: Mapping[str, bytes | None]) -> None:
        data = {k: None if v is None else base64.b64encode(v).decode() for k, v in changes.items()}
        self._cluster.patch(
            _SECRETS, self._name, {"data": data}, "merge", namespace=self._namespace, call=self._call
        )

    def may(self, verb: str) -> bool:
        asked = Attributes(verb=verb, resource="secrets", namespace=self._namespace, name=self._name)
        try:
            self._cluster.access.check(self._user, asked)
        except ApiError:
            return False
        return True


def _forwards_ip(spec: Doc, container: Doc, environment: Mapping[str, str]) -> bool:
    """Whether the pod's kernel forwards: by a sysctl, a privileged initial container that sets it, or containerboot,
    which does it itself when its environment makes it a proxy and it is privileged."""
    sysctls = (spec.get("securityContext") or {}).get("sysctls") or ()
    if any((s.get("name"), s.get("value")) == ("net.ipv4.ip_forward", "1") for s in sysctls):
        return True
    for initial in spec.get("initContainers") or ():
        said = " ".join((*(initial.get("command") or ()), *(initial.get("args") or ())))
        if _is_privileged(initial) and "ip_forward" in said:
            return True
    return _is_privileged(container) and any(environment.get(name) for name in _FORWARDING)


_FORWARDING = (
    "TS_DEST_IP",
    "TS_EXPERIMENTAL_DEST_DNS_NAME",
    "TS_TAILNET_TARGET_IP",
    "TS_TAILNET_TARGET_FQDN",
    "TS_ROUTES",
)


def _is_privileged(container: Doc) -> bool:
    return bool((container.get("securityContext") or {}).get("privileged"))


def is_proxy(container: Doc) -> bool:
    """Whether a container is of the proxy image, wherever it was pulled from."""
    repository = str(container.get("image", "")).partition("@")[0]
    name, _, tag = repository.rpartition(":")
    repository = name if name and "/" not in tag else repository
    return repository.endswith("tailscale/tailscale") or any(
        variable["name"] == "TS_KUBE_SECRET" for variable in container.get("env") or ()
    )


def _names_in(folder: str, files: Mapping[str, bytes]) -> list[str]:
    return [path.rpartition("/")[2] for path in files if path.rpartition("/")[0] == folder]


def _duration(seconds: float) -> str:
    """As Go prints one: `10s`, `1m20s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
