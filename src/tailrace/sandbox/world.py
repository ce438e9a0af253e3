"""A cluster in one process, put together: Kubernetes API, controllers, node, control plane. Start reading here.

`World.start` brings all of it up; `folder` then holds kubeconfigs and `sandbox.json`, the address book. The operator
is not here: `cli.sandbox` runs it beside this world, through the same doors as in a cluster.
"""

from __future__ import annotations

import base64
import errno
import json
import resource as limits
import socket
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

import yaml

from tailrace.errors import Usage
from tailrace.sandbox import certificates
from tailrace.sandbox.controlplane import control
from tailrace.sandbox.controlplane.control import ControlPlane
from tailrace.sandbox.controlplane.nodes import IPV4_RANGE
from tailrace.sandbox.controlplane.records import Dialect
from tailrace.sandbox.kubernetes.admission import ADMIN, service_account
from tailrace.sandbox.kubernetes.cluster import Cluster
from tailrace.sandbox.kubernetes.core import Call
from tailrace.sandbox.kubernetes.server import ApiServer
from tailrace.sandbox.kubernetes.status import ApiError
from tailrace.sandbox.serve import Listener
from tailrace.sandbox.workloads import controllers, outsideverbs, web
from tailrace.sandbox.workloads.containers import Ground
from tailrace.sandbox.workloads.disruption import Disruption
from tailrace.sandbox.workloads.kubelet import Kubelet
from tailrace.sandbox.workloads.network import Network
from tailrace.sandbox.workloads.outside import Outside
from tailrace.sandbox.workloads.paths import Paths
from tailrace.sandbox.workloads.routes import Resolver, ServiceRoutes
from tailrace.sandbox.workloads.security import PodSecurity

SERVICE_CIDR, POD_CIDR = "10.96.0.0/16", "10.244.0.0/16"
TWINS = {SERVICE_CIDR: "127.200.0.0/16", POD_CIDR: "127.201.0.0/16"}
"""Where Services and pods are on this machine: the same last two numbers."""
OPERATOR_ACCOUNT = "operator"
_FILES_WANTED = 16_384


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    dialect: Dialect = "tailscale"
    namespace: str = "tailscale"  # the operator's
    metrics: str = ""  # where the operator's metrics are, for the address book
    pace: float = 1.0  # of everything that a node does periodically
    control_plane: control.Options | None = None


class World:
    """Use it in `async with await World.start(folder)`, or end it with `close`."""

    def __init__(self, folder: Path, options: Options, plane: ControlPlane | None = None) -> None:
        """`plane`: one that has been through a world before, and is stopped; it keeps its tailnet and its address.

        Raises Usage when the folder cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            certificate = certificates.issue(folder)
        except OSError as error:
            raise Usage(f"{folder} cannot be written: {error.strerror}.", hint="name another --dir") from None
        self._ca_pem = certificate.ca_pem
        self._open = AsyncExitStack()
        self.folder = folder
        self.options = options
        chosen = options.control_plane or control.Options()
        self._clock, self._ahead = chosen.now, timedelta()
        self.cluster = Cluster(clock=self.now, service_cidr=SERVICE_CIDR)
        self.api = ApiServer(self.cluster)
        self._listener = Listener(self.api, cert=certificate.cert, key=certificate.key)
        self.plane = plane or ControlPlane(options.dialect, replace(chosen, now=self.now))
        self.network = Network((str(IPV4_RANGE),), TWINS)
        self.paths = Paths(self.network, self.plane.tailnet, (SERVICE_CIDR, POD_CIDR))
        self.outside = Outside(self.network, self.paths, self.plane.tailnet)
        self.join, self.host = self.outside.join, self.outside.host
        self.resolve = Resolver(self.cluster, self.plane.tailnet.nodes)
        self.admin_token = self.cluster.tokens.add(ADMIN)
        account = service_account(options.namespace, OPERATOR_ACCOUNT)
        self.operator_token = self.cluster.tokens.add(account)

    @classmethod
    async def start(
        cls, folder: Path, options: Options | None = None, plane: ControlPlane | None = None
    ) -> Self:
        """Everything up, the folder written. Raises Usage."""
        world = cls(folder, options or Options(), plane)
        _raise_file_limit()
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(world.network)
            stack.callback(world.paths.close)
            stack.callback(world.outside.close)
            stack.push_async_callback(world.plane.stop)
            await world.plane.accept_connections()
            stack.push_async_callback(world.refuse_connections)
            await world._listener.start()
            await world._start_node(stack)
            world._write_files()
            world._open = stack.pop_all()
        return world

    async def _start_node(self, stack: AsyncExitStack) -> None:
        cluster = self.cluster
        cluster.core.admission.append(PodSecurity(cluster.core.namespace, self._pods_in))
        routes = ServiceRoutes(cluster, self.network)
        stack.callback(routes.close)
        self.kubelet = Kubelet(
            Ground(
                cluster=cluster,
                network=self.network,
                nodes=self.plane.tailnet.nodes,
                paths=self.paths,
                resolve=self.resolve,
                environment={
                    "KUBERNETES_SERVICE_HOST": "127.0.0.1",
                    "KUBERNETES_SERVICE_PORT": str(self._listener.port),
                },
                pod_cidr=POD_CIDR,
                pace=self.options.pace,
            )
        )
        stack.push_async_callback(self.kubelet.close)
        self.api.read_log = self.kubelet.read_log
        self.api.admin |= {
            ("POST", "pods/*/*/crash"): lambda namespace, pod, _: self.kubelet.kill(namespace, pod),
            ("POST", "clock"): lambda body: self.jump(float(body["seconds"])),
            **outsideverbs.build(self.outside),
        }
        await self.kubelet.start()
        for controller in (
            controllers.Accounts(cluster, self._ca_pem),
            controllers.StatefulSets(cluster),
            controllers.Deployments(cluster),
            controllers.ReplicaSets(cluster),
            controllers.EndpointSlices(cluster),
            Disruption(cluster),
        ):
            stack.callback(controller.loop.close)

    def _pods_in(self, namespace: str) -> list[dict[str, Any]]:
        pods = self.cluster.store.all(("", "pods")).items()
        return [stored.doc for key, stored in pods if key[0] == namespace]

    async def close(self) -> None:
        """Everything down; the files stay."""
        await self._open.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # Its doors ---------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return self._listener.url

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.folder / "kubeconfig"

    @property
    def operator_kubeconfig(self) -> Path:
        """That of the operator's service account, with its rights alone."""
        return self.folder / "operator.kubeconfig"

    async def refuse_connections(self) -> None:
        """The API server is down; what it knows stays."""
        self.api.cut_watches()
        await self._listener.stop()

    async def accept_connections(self) -> None:
        await self._listener.start()

    def now(self) -> datetime:
        """The time of the cluster and of the control plane."""
        return self._clock() + self._ahead

    def jump(self, seconds: float) -> None:
        """Their clocks go ahead of the operator's."""
        self._ahead += timedelta(seconds=seconds)

    async def dial(self, host: str, port: int) -> socket.socket:
        """A TCP connection as another device of the tailnet would open it. Raises OSError."""
        found = self.resolve(host)
        if not found:
            raise OSError(f"no device is called {host}")
        if self.network.twin(found[0]) is None:
            raise OSError(errno.EHOSTUNREACH, f"{found[0]} is neither in the cluster nor a device")
        return await self.network.connect(found[0], port)

    async def fetch(self, host: str, port: int = 80, path: str = "/") -> tuple[int, bytes]:
        """Status and body of an HTTP request through the tailnet. Raises OSError."""
        return await web.get(await self.dial(host, port), host, path)

    def knows(self, document: Mapping[str, Any]) -> bool:
        """Whether the document's kind is served."""
        return (
            self.cluster.registry.of_kind(document.get("apiVersion", ""), document.get("kind", ""))
            is not None
        )

    def apply(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """Server-side apply as an administrator.

        Raises:
            Usage: the cluster refuses one; it says which.
        """
        for document in documents:
            apply_document(self.cluster, dict(document))

    # Its files ---------------------------------------------------------------------------------------------------

    def _write_files(self) -> None:
        self.write("kubeconfig", self._kubeconfig("admin", self.admin_token))
        self.write("operator.kubeconfig", self._kubeconfig("operator", self.operator_token))
        self.write("sandbox.json", json.dumps(self.address_book(), indent=2) + "\n")

    def address_book(self) -> dict[str, Any]:
        """The addresses and throw-away credentials of everything."""
        return {
            "kubernetes": {
                "url": self.url,
                "kubeconfig": str(self.kubeconfig),
                "token": self.admin_token,
            },
            "controlPlane": self.plane.address_book(),
            "operator": {"namespace": self.options.namespace, "metrics": self.options.metrics},
            "tailnet": {"cidr": str(IPV4_RANGE)},
            "twins": TWINS,
        }

    def _kubeconfig(self, user: str, token: str) -> str:
        ca = base64.b64encode(self._ca_pem.encode()).decode()
        text: str = yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "sandbox",
                "clusters": [
                    {"name": "sandbox", "cluster": {"server": self.url, "certificate-authority-data": ca}}
                ],
                "users": [{"name": user, "user": {"token": token}}],
                "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": user}}],
            },
            sort_keys=False,
        )
        return text

    def write(self, name: str, text: str) -> None:
        """A file of the folder that only its owner reads: there are credentials in it."""
        path = self.folder / name
        path.unlink(missing_ok=True)
        path.touch(0o600)
        path.write_text(text)


def apply_document(cluster: Cluster, document: dict[str, Any]) -> None:
    """Server-side apply of one manifest. Raises Usage."""
    kind, metadata = document.get("kind", ""), document.get("metadata") or {}
    name = metadata.get("name", "")
    resource = cluster.registry.of_kind(document.get("apiVersion", ""), kind)
    if resource is None:
        raise Usage(
            f"The sandbox knows no kind {kind} in {document.get('apiVersion', '')}.",
            hint="apply its CustomResourceDefinition first, or leave it out",
        )
    namespace = metadata.get("namespace") or "default" if resource.namespaced else ""
    call = Call(manager="tailrace-sandbox", force=True)
    try:
        cluster.patch(resource.ref, name, document, "apply", namespace=namespace, call=call)
    except ApiError as error:
        raise Usage(f"{kind} {name} is refused: {error.message}", hint="correct the manifest") from None


def _raise_file_limit() -> None:
    """Every address that answers is an open file."""
    soft, hard = limits.getrlimit(limits.RLIMIT_NOFILE)
    wanted = _FILES_WANTED if hard == limits.RLIM_INFINITY else min(_FILES_WANTED, hard)
    if soft < wanted:
        with suppress(ValueError, OSError):
            limits.setrlimit(limits.RLIMIT_NOFILE, (wanted, hard))


__all__ = ["Options", "World", "apply_document"]
