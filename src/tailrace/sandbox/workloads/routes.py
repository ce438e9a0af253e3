"""The part of kube-proxy and of the cluster's DNS: ClusterIPs lead to ready pods, names lead to addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from tailrace.sandbox.controlplane.nodes import NodePort
from tailrace.sandbox.kubernetes.cluster import Cluster
from tailrace.sandbox.kubernetes.storage import Change, Key
from tailrace.sandbox.workloads import dataplane, endpoints
from tailrace.sandbox.workloads.dataplane import Forwards
from tailrace.sandbox.workloads.loop import Doc, Loop, View
from tailrace.sandbox.workloads.network import Network

_SERVICES, _SLICES = ("", "services"), ("discovery.k8s.io", "endpointslices")
_MOST_ALIASES = 8


class ServiceRoutes:
    """Opens the doors of every ClusterIP, and keeps them leading to the endpoints that are ready."""

    def __init__(self, cluster: Cluster, network: Network) -> None:
        self._services = View(cluster.store, _SERVICES)
        self._slices = View(cluster.store, _SLICES)
        self._network = network
        self._forwards: dict[Key, Forwards] = {}
        self.loop: Loop[Key] = Loop("kube-proxy", self._sync)
        cluster.store.listen(_SERVICES, lambda change: self.loop.add(change.key))
        cluster.store.listen(_SLICES, self._slice_changed)
        for doc in self._services:
            self.loop.add((doc["metadata"]["namespace"], doc["metadata"]["name"]))

    def close(self) -> None:
        self.loop.close()
        for forwards in self._forwards.values():
            forwards.close()

    def _slice_changed(self, change: Change) -> None:
        if name := (change.new.doc["metadata"].get("labels") or {}).get(endpoints.SERVICE_NAME):
            self.loop.add((change.key[0], name))

    def _sync(self, key: Key) -> None:
        service = self._services.get(key)
        if service is None:
            if (forwards := self._forwards.pop(key, None)) is not None:
                forwards.close()
            return
        slices = _slices_of(self._slices, key)
        forwards = self._forwards.setdefault(key, Forwards(self._network, cut=False))
        forwards.match(dataplane.build_routes(service, slices))


def _slices_of(slices: View, key: Key) -> list[Doc]:
    """Those that a controller made, and those that somebody wrote by hand."""
    return [
        doc
        for doc in slices.within(key[0])
        if (doc["metadata"].get("labels") or {}).get(endpoints.SERVICE_NAME) == key[1]
    ]


class Resolver:
    """DNS as a pod sees it: Services, pods behind headless ones, aliases, devices of the tailnet."""

    def __init__(self, cluster: Cluster, nodes: NodePort, *, domain: str = "cluster.local") -> None:
        self._services = View(cluster.store, _SERVICES)
        self._slices = View(cluster.store, _SLICES)
        self._nodes = nodes
        self._suffix = f".svc.{domain}"

    def __call__(self, host: str) -> Sequence[str]:
        """The addresses of a name, none when it is unknown."""
        for _ in range(_MOST_ALIASES):
            host = host.rstrip(".").casefold()
            if (address := _literal(host)) is not None:
                return (address,)
            if host == "localhost":
                return ("127.0.0.1",)
            if not host.endswith(self._suffix):
                return self._devices(host)
            labels = host.removesuffix(self._suffix).split(".")
            if len(labels) < 2:
                return ()
            service = self._services.get((labels[-1], labels[-2]))
            if service is None:
                return ()
            spec = service["spec"]
            if spec.get("type") != "ExternalName":
                return self._service(service, labels[:-2])
            host = spec["externalName"]
        return ()

    def _service(self, service: Doc, below: list[str]) -> Sequence[str]:
        metadata, spec = service["metadata"], service["spec"]
        if spec.get("clusterIP") != "None":
            return () if below else tuple(spec.get("clusterIPs") or ())
        found = [
            endpoint
            for doc in _slices_of(self._slices, (metadata["namespace"], metadata["name"]))
            for endpoint in doc.get("endpoints") or ()
            if (endpoint.get("conditions") or {}).get("ready") is not False
        ]
        if below:
            found = [endpoint for endpoint in found if endpoint.get("hostname") == ".".join(below)]
        return tuple(address for endpoint in found for address in endpoint["addresses"])

    def _devices(self, host: str) -> Sequence[str]:
        for node in self._nodes.all():
            if node.fqdn.rstrip(".").casefold() == host:
                return tuple(address for address in node.addresses if ":" not in address)
        return ()


def _literal(host: str) -> str | None:
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return None
