"""Services: types, ports, addresses, and what may not change once it is set.

Place: `builtin_rules.RULES`; `services` gives addresses and ports. Source: `pkg/apis/core/validation`
(`ValidateService`) and `pkg/registry/core/service` for what depends on the cluster: here it is IPv4 only.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Any, Final

from tailrace.sandbox.kubernetes.rules import field_errors as fe
from tailrace.sandbox.kubernetes.rules.field_errors import Doc, FieldError, check, check_one_of
from tailrace.sandbox.kubernetes.rules.pod_rules import PROTOCOLS

_TYPES: Final = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_NODE_PORTS: Final = range(30000, 32768)
_ONLY_LOAD_BALANCER: Final = "may only be used when `type` is 'LoadBalancer'"
_SET_ONCE: Final = "may not change once set"


def check_service(new: Doc, old: Doc | None) -> Iterator[FieldError]:
    spec = new.get("spec") or {}
    kind, addresses = spec.get("type") or "", _addresses(spec, (old or {}).get("spec") or {})
    headless = addresses[:1] == ["None"]
    if not spec.get("ports") and not headless and kind != "ExternalName":
        yield fe.required("spec.ports")
    if headless and kind in ("NodePort", "LoadBalancer"):
        text = f"may not be set to 'None' for {kind} services"
        yield fe.invalid_value("spec.clusterIPs[0]", "None", text)
    if kind == "ExternalName":
        if addresses:
            yield fe.forbidden("spec.clusterIPs", "may not be set for ExternalName services")
        yield from fe.check_named("spec.externalName", spec.get("externalName"), fe.subdomain)
    yield from _check_ports(spec.get("ports") or (), kind)
    yield from fe.check_labels("spec.selector", spec.get("selector"))
    yield from _check_affinity(spec)
    if kind != "ExternalName":
        yield from _check_addresses(spec, addresses)
        if not headless or spec.get("selector"):  # else its endpoints may have any family
            yield from _check_families(spec, addresses)
    yield from _check_external_ips(spec.get("externalIPs") or ())
    yield from check_one_of("spec.type", kind, _TYPES)
    yield from _check_load_balancer(spec, kind)
    yield from _check_traffic(spec, kind)
    if old is not None:
        yield from _check_update(spec, old.get("spec") or {})


def _addresses(spec: Doc, old: Doc) -> list[str]:
    """`clusterIPs`, or `clusterIP` when that alone was given or changed: older clients know only this field."""
    single = spec.get("clusterIP")
    if single and single != old.get("clusterIP") and spec.get("clusterIPs") == old.get("clusterIPs"):
        return [single]
    return spec.get("clusterIPs") or [ip for ip in [spec.get("clusterIP")] if ip]


def _check_ports(ports: Sequence[Doc], kind: str) -> Iterator[FieldError]:
    names: set[str] = set()
    used: set[tuple[str, int]] = set()
    outside: set[tuple[str, int]] = set()
    for at, port in enumerate(ports):
        path, name = f"spec.ports[{at}]", port.get("name") or ""
        protocol, number = port.get("protocol") or "", port.get("port") or 0
        if not name and len(ports) > 1:
            yield fe.required(f"{path}.name")
        elif name:
            yield from check(f"{path}.name", name, fe.label)
            if name in names:
                yield fe.duplicate(f"{path}.name", name)
            names.add(name)
        yield from fe.check_port(f"{path}.port", number)
        yield from check_one_of(f"{path}.protocol", protocol, PROTOCOLS)
        yield from fe.check_port(f"{path}.targetPort", port.get("targetPort", number))
        if app := port.get("appProtocol"):
            yield from check(f"{path}.appProtocol", app, fe.qualified_name)
        yield from _check_node_port(port.get("nodePort") or 0, protocol, kind, f"{path}.nodePort", outside)
        if (protocol, number) in used:
            yield fe.duplicate(path, _key_as_internal(protocol, number))
        used.add((protocol, number))


def _key_as_internal(protocol: str, number: int) -> Doc:
    """The server shows a port made of the two fields that were taken, in its own type."""
    shown: Doc = {"Name": "", "Protocol": protocol, "AppProtocol": None}
    return shown | {"Port": number, "TargetPort": 0, "NodePort": 0}


def _check_node_port(
    given: int, protocol: str, kind: str, path: str, used: set[tuple[str, int]]
) -> Iterator[FieldError]:
    if not given:
        return
    if kind in ("ClusterIP", "ExternalName"):
        yield fe.forbidden(path, f"may not be used when `type` is '{kind}'")
    elif given not in _NODE_PORTS:
        limits = f"{_NODE_PORTS.start}-{_NODE_PORTS.stop - 1}"
        text = f"provided port is not in the valid range. The range of valid ports is {limits}"
        yield fe.invalid_value(path, given, text)
    elif (protocol, given) in used:
        yield fe.invalid_value(path, given, "provided port is already allocated")
    used.add((protocol, given))


def _check_affinity(spec: Doc) -> Iterator[FieldError]:
    affinity, path = spec.get("sessionAffinity") or "", "spec.sessionAffinity"
    if not affinity:
        yield fe.required(path)
    else:
        yield from check_one_of(path, affinity, ("ClientIP", "None"))
    config = spec.get("sessionAffinityConfig")
    if affinity == "ClientIP":
        seconds = ((config or {}).get("clientIP") or {}).get("timeoutSeconds")
        here = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
        if seconds is None:
            yield fe.required(here)
        elif not 0 < seconds <= 86400:
            yield fe.invalid_value(here, seconds, "must be greater than 0 and less than 86400")
    elif affinity == "None" and config is not None:
        text = "must not be set when session affinity is None"
        yield fe.forbidden("spec.sessionAffinityConfig", text)


def _check_addresses(spec: Doc, addresses: list[str]) -> Iterator[FieldError]:
    path, first = "spec.clusterIPs", spec.get("clusterIP") or ""
    if addresses and first and first != addresses[0]:
        yield fe.invalid_value(path, addresses, "first value must match `clusterIP`")
    for at, address in enumerate(addresses):
        if address != "None":
            yield from check(f"{path}[{at}]", address, fe.ip_address)
        elif at or len(addresses) > 1:
            text = "'None' must be the first and only value"
            yield fe.invalid_value(f"{path}[{at}]", address, text)
    if len(addresses) > 2:
        yield fe.invalid_value(path, addresses, "may only hold up to 2 values")


def _check_families(spec: Doc, addresses: list[str]) -> Iterator[FieldError]:
    families, policy = spec.get("ipFamilies") or [], spec.get("ipFamilyPolicy")
    path = "spec.ipFamilies"
    for at, family in enumerate(families):
        here = f"{path}[{at}]"
        if family not in ("IPv4", "IPv6"):
            yield fe.unsupported(here, family, ("IPv4", "IPv6"))
        elif family in families[:at]:
            yield fe.duplicate(here, family)
        elif at < len(addresses) and not fe.ip_address(addresses[at]):
            if family != f"IPv{ipaddress.ip_address(addresses[at]).version}":
                text = f"expected an {family} value as indicated by `ipFamilies[{at}]`"
                yield fe.invalid_value(f"spec.clusterIPs[{at}]", addresses[at], text)
        elif family == "IPv6" and not (
            policy == "SingleStack" and len(families) > 1
        ):  # else the policy is wrong
            yield fe.invalid_value(here, family, "not configured on this cluster")
    path = "spec.ipFamilyPolicy"
    if policy == "SingleStack" and len(families) > 1:
        text = "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"
        yield fe.invalid_value(path, policy, text)
    elif policy == "RequireDualStack":
        yield fe.invalid_value(path, policy, "this cluster is not configured for dual-stack services")
    elif policy is not None:
        allowed = ("PreferDualStack", "RequireDualStack", "SingleStack")
        yield from check_one_of(path, policy, allowed)


_NOT_EXTERNAL: Final = (
    ("is_loopback", "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
    ("is_link_local", "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
)


def _check_external_ips(addresses: Sequence[str]) -> Iterator[FieldError]:
    for at, text in enumerate(addresses):
        path, wrong = f"spec.externalIPs[{at}]", list(check(f"spec.externalIPs[{at}]", text, fe.ip_address))
        yield from wrong
        if wrong:
            continue
        address = ipaddress.ip_address(text)
        if address.is_unspecified:
            yield fe.invalid_value(path, text, f"may not be unspecified ({text})")
        for fact, words in _NOT_EXTERNAL:
            if getattr(address, fact):
                yield fe.invalid_value(path, text, words)


def _check_load_balancer(spec: Doc, kind: str) -> Iterator[FieldError]:
    ranges, balanced = spec.get("loadBalancerSourceRanges") or (), kind == "LoadBalancer"
    path = "spec.LoadBalancerSourceRanges"  # spelt so by the server
    if ranges and not balanced:
        yield fe.forbidden(path, _ONLY_LOAD_BALANCER)
    elif ranges:
        for at, text in enumerate(ranges):
            yield from check(f"{path}[{at}]", text.strip(), fe.cidr)
    if spec.get("allocateLoadBalancerNodePorts") is not None and not balanced:
        yield fe.forbidden("spec.allocateLoadBalancerNodePorts", _ONLY_LOAD_BALANCER)
    elif balanced and spec.get("allocateLoadBalancerNodePorts") is None:
        yield fe.required("spec.allocateLoadBalancerNodePorts")
    chosen, path = spec.get("loadBalancerClass"), "spec.loadBalancerClass"
    if chosen is not None and not balanced:
        yield fe.forbidden(path, _ONLY_LOAD_BALANCER)
    elif chosen is not None:
        yield from check(path, chosen, fe.qualified_name)


def _check_traffic(spec: Doc, kind: str) -> Iterator[FieldError]:
    policy, path = spec.get("externalTrafficPolicy"), "spec.externalTrafficPolicy"
    reachable = kind in ("NodePort", "LoadBalancer") or (
        kind == "ClusterIP" and bool(spec.get("externalIPs"))
    )
    if policy and not reachable:
        yield fe.invalid_value(path, policy, "may only be set for externally-accessible services")
    elif policy:
        yield from check_one_of(path, policy, ("Cluster", "Local"))
    if (health := spec.get("healthCheckNodePort")) and (kind != "LoadBalancer" or policy != "Local"):
        text = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        yield fe.invalid_value("spec.healthCheckNodePort", health, text)
    if inside := spec.get("internalTrafficPolicy"):
        yield from check_one_of("spec.internalTrafficPolicy", inside, ("Cluster", "Local"))
    if (spread := spec.get("trafficDistribution")) is not None:
        allowed = ("PreferClose", "PreferSameZone", "PreferSameNode")
        yield from check_one_of("spec.trafficDistribution", spread, allowed)


def _check_update(spec: Doc, old: Doc) -> Iterator[FieldError]:
    new_ips, old_ips = _addresses(spec, old), _addresses(old, {})
    stays_inside = "ExternalName" not in (spec.get("type"), old.get("type"))
    agree = not spec.get("clusterIP") or spec["clusterIP"] == new_ips[0] if new_ips else False
    if stays_inside and agree and old_ips and new_ips[0] != old_ips[0]:
        yield fe.invalid_value("spec.clusterIPs[0]", new_ips, _SET_ONCE)
    if spec.get("type") == old.get("type") == "LoadBalancer":
        now: Any = spec.get("loadBalancerClass")
        if now != old.get("loadBalancerClass"):
            yield fe.invalid_value("spec.loadBalancerClass", now, _SET_ONCE)
