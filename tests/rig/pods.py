"""Pods as plain processes: the real containerboot for each proxy pod, beside a real API server and without a node.

Each runs in a mount namespace of its own, since containerboot reads the service account from a fixed path; that needs
root. What a kubelet does besides is done here: files, environment, readiness, restarts, deletion. Other pods are said
to be ready at an address that nobody dials: `test_traffic` answers at their Services' addresses itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import httpx2

from tailrace.sandbox.workloads import podfiles
from tests.rig import binaries, tailnet
from tests.rig.keeper import die_with_parent

PROGRAMS = ("containerboot", "tailscaled", "tailscale")
TOOLS = ("unshare", "mount")
PERIOD = 0.3
NAMESPACE = "tailscale"
NODE = "rig"

Doc = dict[str, Any]


@dataclass(slots=True)
class Run:
    pod: Doc
    folder: Path
    ip: str
    process: subprocess.Popen[bytes]
    ready: bool = False
    seen: str = field(
        default=""
    )  # annotations at the last look: a change makes a kubelet look at its Secrets


class Pods:
    """`run` as a task; `close` ends every process."""

    def __init__(self, api: httpx2.AsyncClient, folder: Path, *, ca: Path) -> None:
        """`api` speaks to the API server as an administrator."""
        self._api = api
        self._folder = folder
        self._ca = ca
        self._runs: dict[str, Run] = {}
        self._next = 1
        self._binaries = binaries.find((*PROGRAMS, *TOOLS))

    async def run(self) -> None:
        while True:
            with contextlib.suppress(httpx2.TransportError):  # the API server may be away: pods run on
                await self._look()
            await asyncio.sleep(PERIOD)

    def close(self) -> None:
        for uid in list(self._runs):
            self._end(uid)

    @property
    def logs(self) -> list[Path]:
        """Of those that run."""
        return [run.folder / "log" for run in self._runs.values()]

    async def kill(self, name: str) -> None:
        """SIGKILL to a pod's processes. It is started again, and healthy when this returns: until the last of the old
        processes is gone they may answer, and what is pulled next would meet a pod that starts."""
        (run,) = (run for run in self._runs.values() if run.pod["metadata"]["name"] == name)
        killed = run.process
        os.killpg(killed.pid, 9)
        while run.process is killed or not await asyncio.to_thread(_is_healthy, run.ip):
            await asyncio.sleep(PERIOD)

    # Steps of a kubelet ------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        found = {p["metadata"]["uid"]: p for p in await self._list()}
        for uid in self._runs.keys() - found.keys():
            self._end(uid)
        for uid, pod in found.items():
            if pod["metadata"].get("deletionTimestamp"):
                self._end(uid)
                await self._delete(pod)
            elif pod["metadata"]["namespace"] != NAMESPACE:
                await self._place(pod)
                await self._say_ready(pod, "10.1.0.1", True)
            elif uid not in self._runs:
                await self._start(pod)
            else:
                await self._tend(self._runs[uid], pod)

    async def _place(self, pod: Doc) -> None:
        """Onto a node that is a name alone: the endpoint slice controller wants to know one."""
        if pod["spec"].get("nodeName"):
            return
        await self._api.post("/api/v1/nodes", json={"metadata": {"name": NODE}})
        metadata = pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/binding"
        target = {"apiVersion": "v1", "kind": "Node", "name": NODE}
        await self._api.post(path, json={"metadata": {"name": metadata["name"]}, "target": target})

    async def _list(self) -> list[Doc]:
        items: list[Doc] = (await self._get("/api/v1/pods"))["items"]
        return [item | {"kind": "Pod"} for item in items]

    async def _tend(self, run: Run, pod: Doc) -> None:
        noted = json.dumps(pod["metadata"].get("annotations"), sort_keys=True)
        if noted != run.seen:
            run.seen = noted
            self._write_files(run.folder, await self._files(pod))
        if run.process.poll() is not None:
            run.process = await self._launch(pod, run.folder, run.ip)
        ready = await asyncio.to_thread(_is_healthy, run.ip)
        if ready != run.ready:
            run.ready = ready
            await self._say_ready(pod, run.ip, ready)

    async def _start(self, pod: Doc) -> None:
        try:
            files = await self._files(pod)
        except podfiles.MissingSource:
            return  # the Secret comes
        uid = pod["metadata"]["uid"]
        folder = self._folder / uid
        folder.mkdir(parents=True)
        self._next += 1
        ip = f"127.9.{os.getpid() % 250}.{self._next}"
        self._write_files(folder, files)
        process = await self._launch(pod, folder, ip)
        noted = json.dumps(pod["metadata"].get("annotations"), sort_keys=True)
        self._runs[uid] = Run(pod=pod, folder=folder, ip=ip, process=process, seen=noted)
        await self._say_ready(pod, ip, False)

    async def _files(self, pod: Doc) -> dict[str, bytes]:
        read = await self._reader(pod)
        return podfiles.build_files(pod, pod["spec"]["containers"][0], read)

    async def _reader(self, pod: Doc) -> podfiles.Read:
        found: dict[tuple[str, str], Doc] = {}
        for kind, name in podfiles.mounted_sources(pod):
            with contextlib.suppress(httpx2.HTTPStatusError):
                path = f"/api/v1/namespaces/{NAMESPACE}/{kind.lower()}s/{name}"
                found[kind, name] = await self._get(path)
        return lambda kind, name: found.get((kind, name))

    def _write_files(self, folder: Path, files: Mapping[str, bytes]) -> None:
        """Each in one piece: whoever watches sees the old or the new one."""
        for path, data in files.items():
            target = folder / "root" / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            fresh = target.with_name(f".{target.name}.new")
            fresh.write_bytes(data)
            fresh.replace(target)

    async def _launch(self, pod: Doc, folder: Path, ip: str) -> subprocess.Popen[bytes]:
        account = folder / "account"
        account.mkdir(exist_ok=True)
        (account / "token").write_text(await self._token(pod["spec"].get("serviceAccountName", "default")))
        (account / "namespace").write_text(NAMESPACE)
        (account / "ca.crt").write_bytes(self._ca.read_bytes())
        known = pod | {"status": {"podIP": ip, "podIPs": [{"ip": ip}], "hostIP": "127.0.0.1"}}
        read = await self._reader(pod)
        port = str(self._api.base_url.port)
        base = tailnet.environment() | {
            "PATH": f"{Path(self._binaries['containerboot']).parent}:{os.environ['PATH']}",
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": port,
            "KUBERNETES_SERVICE_PORT_HTTPS": port,
            "TS_KUBERNETES_READ_API_SERVER_ADDRESS_FROM_ENV": "true",
            "TS_STATE_DIR": str(folder / "tmp"),  # /tmp is the pod's own; the last network map is kept there
            "TS_SOCKET": "/run/tailscaled.sock",  # in its own mount namespace: a long path would be refused
        }
        values = podfiles.build_environment(known, pod["spec"]["containers"][0], read, base=base)
        mounted = {m["mountPath"].rstrip("/") for m in pod["spec"]["containers"][0].get("volumeMounts") or ()}
        moved = {
            name: _move(value, mounted, folder / "root") for name, value in values.items() if name not in base
        }
        # Only this mount namespace has another /run; the host's stays as it is.
        script = (
            f"mount -t tmpfs none /run && mkdir -p /run/secrets/kubernetes.io && "
            f"cp -r {account} /run/secrets/kubernetes.io/serviceaccount && exec {self._binaries['containerboot']}"
        )
        with (folder / "log").open("ab") as log:
            # A pid namespace, too: tailscaled, which leads a group of its own, ends with containerboot.
            apart = ["--mount", "--pid", "--mount-proc", "--kill-child", "--fork"]
            command = [self._binaries["unshare"], *apart, "sh", "-c", script]
            return _spawn(command, base | moved, log)

    async def _token(self, account: str) -> str:
        path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{account}/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        token: str = (await self._api.post(path, json=body)).raise_for_status().json()["status"]["token"]
        return token

    async def _say_ready(self, pod: Doc, ip: str, ready: bool) -> None:
        conditions = (pod.get("status") or {}).get("conditions") or ()
        if any(c["type"] == "Ready" and (c["status"] == "True") == ready for c in conditions):
            return
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        metadata, container = pod["metadata"], pod["spec"]["containers"][0]
        running = {"name": container["name"], "ready": ready, "restartCount": 0, "image": "x", "imageID": "x"}
        status = {
            "phase": "Running",
            "podIP": "10.1.0.1" if ip.startswith("127.") else ip,  # the real server takes no loopback address
            "podIPs": [{"ip": "10.1.0.1" if ip.startswith("127.") else ip}],
            "conditions": [{"type": "Ready", "status": str(ready), "lastTransitionTime": now}],
            "containerStatuses": [running | {"state": {"running": {"startedAt": now}}}],
        }
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status"
        headers = {"Content-Type": "application/merge-patch+json"}
        await self._api.patch(path, content=json.dumps({"status": status}), headers=headers)

    async def _delete(self, pod: Doc) -> None:
        metadata = pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": metadata["uid"]}}
        await self._api.request("DELETE", path, json=options)

    async def _get(self, path: str) -> Doc:
        found: Doc = (await self._api.get(path)).raise_for_status().json()
        return found | {"kind": found.get("kind", "Secret")}

    def _end(self, uid: str) -> None:
        run = self._runs.pop(uid, None)
        if run is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.process.pid, 15)
        try:
            run.process.wait(5)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.process.pid, 9)
            run.process.wait()


def _spawn(command: list[str], environment: dict[str, str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        env=environment,
        stdout=log,
        stderr=log,
        start_new_session=True,
        preexec_fn=die_with_parent,  # no pod outlives tests that are killed
    )


def _move(value: str, mounted: set[str], root: Path) -> str:
    """A path below a mount, moved to where the files really are."""
    below = any(value == path or value.startswith(f"{path}/") for path in mounted)
    return f"{root}{value}" if below else value


def _is_healthy(ip: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{ip}:9002/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
