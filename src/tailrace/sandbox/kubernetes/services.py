"""Services: cluster IPs, node ports, and the fields that follow from the type.

Cluster IPs come from a loopback range, so that what listens there can really be reached. The rules are those of
`pkg/registry/core/service` (alloc.go, strategy.go).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from typing import Any

from tailrace.sandbox.kubernetes.storage import Change, Doc, Store

Refuse = Callable[[str, Any, str], Exception]  # (path, value, detail): 422 for this Service

_NODE_PORTS = range(30000, 32768)

_BALANCED, _REACHABLE = ("LoadBalancer",), ("LoadBalancer", "NodePort")
_FIELDS_OF_TYPES = {
    "allocateLoadBalancerNodePorts": _BALANCED,
    "externalTrafficPolicy": _REACHABLE,
    "healthCheckNodePort": _BALANCED,
    "loadBalancerClass": _BALANCED,
    "internalTrafficPolicy": ("ClusterIP", *_REACHABLE),
}
"""A field that only some types have goes when a Service ceases to be one, unless it is written anew."""


class Services:
    """What is in use is learnt from the store, so that no allocation can leak."""

    def __init__(self, store: Store, cidr: str) -> None:
        self._network = ipaddress.ip_network(cidr)
        self._ips: set[str] = set()
        self._ports: set[tuple[str, int]] = set()
        self._next_port = -1
        self._next = 10  # the low ones are for the API server and DNS
        store.listen(("", "services"), self._learn)

    def prepare(self, new: Doc, old: Doc | None, refuse: Refuse) -> Doc:
        """`new` with addresses, ports and what is defaulted from them."""
        spec = dict(new["spec"])
        before: Doc = (old or {}).get("spec") or {}
        kind = spec.setdefault("type", "ClusterIP")
        if not spec.get("ports"):
            spec.pop("ports", None)
        for field, types in _FIELDS_OF_TYPES.items():
            left_over = before.get("type") in types and kind not in types
            if left_over and spec.get(field) == before.get(field):
                spec.pop(field, None)
        spec.setdefault("sessionAffinity", "None")
        if spec["sessionAffinity"] == "ClientIP":
            spec.setdefault("sessionAffinityConfig", {"clientIP": {"timeoutSeconds": 10800}})
        if kind == "ExternalName":
            for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                if before.get("type", kind) == kind and spec.get(field):
                    continue  # validation refuses what a user wrote
                spec.pop(field, None)
        else:
            self._addresses(spec, before, refuse)
            spec.setdefault("internalTrafficPolicy", "Cluster")
            if spec["clusterIP"] == "None" and not spec.get("selector"):
                _serve_both_families(spec)
        self._node_ports(spec, before, refuse)
        if before.get("type") == "LoadBalancer" != kind:
            return new | {"spec": spec, "status": {"loadBalancer": {}}}
        return new | {"spec": spec}

    def _addresses(self, spec: Doc, before: Doc, refuse: Refuse) -> None:
        if not spec.get("clusterIP") and before.get("clusterIP") and before.get("type") != "ExternalName":
            spec["clusterIP"] = before["clusterIP"]
            spec["clusterIPs"] = before.get("clusterIPs") or [before["clusterIP"]]
        ip = spec.get("clusterIP") or next(iter(spec.get("clusterIPs") or ()), "")
        if not ip:
            ip = self._free_ip()
        elif ip != "None" and ip != before.get("clusterIP"):
            self._check_ip(ip, refuse)
        spec["clusterIP"] = ip
        if not spec.get("clusterIPs"):
            spec["clusterIPs"] = [ip]
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")

    def _check_ip(self, ip: str, refuse: Refuse) -> None:
        try:
            inside = ipaddress.ip_address(ip) in self._network
        except ValueError:
            return  # validation says what is wrong with it
        if not inside:
            text = f"failed to allocate IP {ip}: the provided network does not match the current range"
            raise refuse("spec.clusterIPs", [ip], text)
        if ip in self._ips:
            raise refuse(
                "spec.clusterIPs", [ip], f"failed to allocate IP {ip}: provided IP is already allocated"
            )

    def _free_ip(self) -> str:
        for _ in range(self._network.num_addresses - 2):
            self._next = self._next + 1 if self._next < self._network.num_addresses - 2 else 10
            ip = str(self._network[self._next])
            if ip not in self._ips:
                return ip
        raise RuntimeError(f"no free address in {self._network}")

    def _node_ports(self, spec: Doc, before: Doc, refuse: Refuse) -> None:
        kind = spec["type"]
        if kind == "LoadBalancer":
            spec.setdefault("allocateLoadBalancerNodePorts", True)
        if kind in ("NodePort", "LoadBalancer"):
            spec.setdefault("externalTrafficPolicy", "Cluster")
        wanted = kind == "NodePort" or (kind == "LoadBalancer" and spec["allocateLoadBalancerNodePorts"])
        if not spec.get("ports"):
            return
        mine = set(_ports_of({"spec": before}))
        ports = []
        for at, port in enumerate(spec["ports"]):
            port = dict(port)
            protocol = port.setdefault("protocol", "TCP")
            port.setdefault("targetPort", port.get("port"))
            given = port.get("nodePort")
            if kind in ("ClusterIP", "ExternalName") and given and (protocol, given) in mine:
                port.pop("nodePort")  # left over from the former type
            elif given and (protocol, given) not in mine and (protocol, given) in self._ports:
                raise refuse(f"spec.ports[{at}].nodePort", given, "provided port is already allocated")
            elif wanted and not given:
                kept = self._kept_port(port, before)
                port["nodePort"] = kept or self._free_port(
                    protocol, {p for _, p in _ports_of({"spec": spec})}
                )
            if port.get("nodePort"):
                mine.add((protocol, port["nodePort"]))
            ports.append(port)
            spec["ports"] = [*ports, *spec["ports"][at + 1 :]]

    def _kept_port(self, port: Doc, before: Doc) -> int:
        key = (port.get("port"), port["protocol"])
        same = (p for p in before.get("ports") or () if (p.get("port"), p.get("protocol", "TCP")) == key)
        return next((p.get("nodePort") or 0 for p in same), 0)

    def _free_port(self, protocol: str, taken: set[int]) -> int:
        """One that was not had lately."""
        for _ in _NODE_PORTS:
            self._next_port = (self._next_port + 1) % len(_NODE_PORTS)
            port = _NODE_PORTS[self._next_port]
            if (protocol, port) not in self._ports and port not in taken:
                return port
        raise RuntimeError("no free node port")

    def _learn(self, change: Change) -> None:
        if change.old is not None:
            self._ips.difference_update(_ips_of(change.old.doc))
            self._ports.difference_update(_ports_of(change.old.doc))
        if change.type != "DELETED":
            self._ips.update(_ips_of(change.new.doc))
            self._ports.update(_ports_of(change.new.doc))


def warnings(service: Doc) -> Iterable[str]:
    spec = service.get("spec") or {}
    if spec.get("externalName") and spec.get("type") != "ExternalName":
        yield 'spec.externalName is ignored when spec.type is not "ExternalName"'


def _serve_both_families(spec: Doc) -> None:
    """A headless Service whose endpoints are somebody else's may have them in any family."""
    if spec["ipFamilies"] == ["IPv4"] and spec["ipFamilyPolicy"] == "SingleStack":
        spec["ipFamilies"] = ["IPv4", "IPv6"]
        spec["ipFamilyPolicy"] = "RequireDualStack"


def _ips_of(service: Doc) -> Iterable[str]:
    return [ip for ip in service["spec"].get("clusterIPs") or () if ip != "None"]


def _ports_of(service: Doc) -> Iterable[tuple[str, int]]:
    ports = (service.get("spec") or {}).get("ports") or ()
    return [(p.get("protocol", "TCP"), p["nodePort"]) for p in ports if p.get("nodePort")]
