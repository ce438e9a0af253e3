"""Where the benchmark runs: a sandbox of its own, or a real API server with stand-ins for the proxies.

A `Ground` is all that the measurement needs to know of either: how to reach the cluster and what the operator is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tailrace import errors
from tailrace.api import kube, names
from tailrace.api.conditions import ConditionType
from tailrace.kube import resources
from tailrace.kube.client import Kube
from tailrace.kube.store import Event, Store
from tailrace.kube.watch import Watch
from tailrace.proxy import secret
from tailrace.sandbox.controlplane.control import ControlPlane
from tailrace.sandbox.controlplane.records import Dialect, Node

HOME, BENCH = "tailscale", "bench"
BACKEND = "backend"
_START_LIMIT = 60.0
_CREDENTIALS = {
    "client_id": "CLIENT_ID_FILE",
    "client_secret": "CLIENT_SECRET_FILE",
    "api_key": "TAILRACE_API_KEY_FILE",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """A cluster and a control plane that are up."""

    name: str  # for the table
    admin: Path  # kubeconfig
    operator: Path  # kubeconfig
    environment: Mapping[str, str]  # of the operator
    goal: ConditionType  # the last condition that a Service gets here
    pid: int | None = None  # of the process that is cluster, node and control plane at once


@contextlib.asynccontextmanager
async def start_sandbox(folder: Path, dialect: Dialect) -> AsyncIterator[Ground]:
    """`tailrace sandbox` in a process of its own: API server, controllers, simulated proxies, control plane."""
    manifest = folder / "backend.yaml"
    manifest.write_text(yaml.safe_dump_all(build_backend()))
    arguments = ("sandbox", "--no-operator", "--dir", str(folder), "--control-plane", dialect)
    async with run_tailrace(*arguments, "-f", str(manifest), log=folder / "sandbox.log") as process:
        assert process.stdout is not None
        async with asyncio.timeout(_START_LIMIT):
            if await process.stdout.readline() != b"ready\n":
                raise SystemExit((folder / "sandbox.log").read_text()[-2000:])
        plane = json.loads((folder / "sandbox.json").read_text())["controlPlane"]
        yield Ground(
            name=f"sandbox, {dialect}",
            admin=folder / "kubeconfig",
            operator=folder / "operator.kubeconfig",
            environment=write_environment(folder, plane["url"], plane["credentials"]),
            goal=ConditionType.READY,
            pid=process.pid,
        )


@contextlib.asynccontextmanager
async def use_server(folder: Path, dialect: Dialect, kubeconfig: Path) -> AsyncIterator[Ground]:
    """A real API server, made for this; the control plane and the proxies' stand-ins live in this process."""
    async with Kube.connect(kubeconfig=kubeconfig) as cluster, await ControlPlane.start(dialect) as plane:
        for name in (HOME, BENCH):
            with contextlib.suppress(errors.Conflict):
                await cluster.create(resources.NAMESPACES, {"metadata": {"name": name}})
        proxies = Proxies(cluster, plane)
        labels = f"{names.MANAGED}=true"
        watch = Watch(cluster, resources.STATEFUL_SETS, proxies.store, namespace=HOME, labels=labels)
        watching = asyncio.create_task(watch.run())
        try:
            yield Ground(
                name=f"real API server, {dialect}",
                admin=kubeconfig,
                operator=kubeconfig,
                environment=write_environment(folder, plane.url, plane.credentials),
                goal=ConditionType.ONLINE,  # there is no node that could run a backend
            )
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


@contextlib.asynccontextmanager
async def run_tailrace(
    *arguments: str, log: Path, environment: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """`tailrace …` as a process, ended with the context; its standard output is a pipe, the rest goes to `log`."""
    command = (sys.executable, "-m", "tailrace", *arguments)
    with log.open("wb") as errs:
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=errs
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def write_environment(folder: Path, url: str, credentials: Mapping[str, str]) -> dict[str, str]:
    """The operator's settings for a control plane; the credentials go to files. An OAuth client is preferred."""
    oauth = "client_id" in credentials
    found = {}
    for name, value in credentials.items():
        if oauth and name == "api_key":
            continue
        path = folder / name
        path.touch(0o600)
        path.write_text(value)
        found[_CREDENTIALS[name]] = str(path)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TAILRACE_", "CLIENT_", "PROXY_"))}
    return (
        kept
        | found
        | {
            "OPERATOR_NAMESPACE": HOME,
            "OPERATOR_LOGIN_SERVER": url,
            "TAILRACE_CLUSTER_DOMAIN": "cluster.local",
        }
    )


def build_backend() -> list[dict[str, Any]]:
    """The namespace of the Services, and the one Deployment behind all of them."""
    labels = {"app": BACKEND}
    container = {"name": "web", "image": "web", "ports": [{"containerPort": 80}]}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": BACKEND, "namespace": BENCH},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
    return [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": BENCH}}, deployment]


READY = {
    "phase": "Running",
    "conditions": [{"type": "Ready", "status": "True"}, {"type": "ContainersReady", "status": "True"}],
}
"""The status of a pod whose proxy is up."""


def encode_device(node: Node) -> dict[str, str]:
    """What containerboot writes into its Secret about its device, as `data`."""
    values = {
        "device_id": node.id,
        "device_fqdn": f"{node.fqdn}.",
        "device_ips": json.dumps(list(node.addresses)),
    }
    return {key: kube.encode_key(value) for key, value in values.items()}


class Proxies:
    """Stands in for kubelet and containerboot: one device for each StatefulSet, 50 ms after it appears.

    The device joins with the key in the StatefulSet's Secret, and the Secret gets what containerboot writes.
    """

    def __init__(self, cluster: Kube, plane: ControlPlane) -> None:
        self._cluster, self._plane = cluster, plane
        self._tasks: set[asyncio.Task[None]] = set()
        self.store: Store[kube.StatefulSet] = Store("statefulsets")
        self.store.on_event(self._see)

    def _see(self, event: Event[kube.StatefulSet]) -> None:
        if event.old is None and event.new is not None:
            task = asyncio.create_task(self._join(event.new.metadata.name))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _join(self, name: str) -> None:
        await asyncio.sleep(0.05)
        found = await self._cluster.get(resources.SECRETS, f"{name}-0", HOME)
        config = secret.decode_object(kube.decode_key(found.data.config))
        node = self._plane.tailnet.nodes.login(
            auth_key=config["AuthKey"], hostname=config["Hostname"], machine_key=f"mkey:{name}"
        )
        self._plane.tailnet.nodes.set_connected(node.id, True)
        await self._cluster.patch(resources.SECRETS, f"{name}-0", HOME, {"data": encode_device(node)})
