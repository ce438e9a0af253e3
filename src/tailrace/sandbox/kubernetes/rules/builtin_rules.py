"""Built-in kinds: the table of their rules, and the rules of those that hold configuration, rights and routes.

Place: `validation.validate`. A rule takes the new document and, on update, the stored one; defaults are filled in
both. Source: `pkg/apis/*/validation`.
"""

from __future__ import annotations

import base64
import ipaddress
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from tailrace.sandbox.kubernetes.rules import (
    cluster_rules,
    crd_rules,
    pod_rules,
    service_rules,
    workload_rules,
)
from tailrace.sandbox.kubernetes.rules import field_errors as fe
from tailrace.sandbox.kubernetes.rules.field_errors import Doc, FieldError, check, check_named, check_one_of
from tailrace.sandbox.kubernetes.rules.pod_rules import PROTOCOLS

Rule = Callable[[Doc, Doc | None], Iterator[FieldError]]

_RBAC: Final = "rbac.authorization.k8s.io"
_SIZE_LIMIT: Final = 1024 * 1024


def _check_namespace(new: Doc, _old: Doc | None) -> Iterator[FieldError]:
    for name in (new.get("spec") or {}).get("finalizers") or ():
        yield from check("spec.finalizers", name, fe.qualified_name)
        if "/" not in name and name != "kubernetes":
            text = "name is neither a standard finalizer name nor is it fully qualified"
            yield fe.invalid_value("spec.finalizers", name, text)


# Secrets and ConfigMaps -------------------------------------------------------------------------------------------

_NEEDED_KEYS: Final[Mapping[str, Sequence[str]]] = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}


def _check_secret(new: Doc, old: Doc | None) -> Iterator[FieldError]:
    data: dict[str, str] = new.get("data") or {}
    for key in data:
        yield from check(f"data[{key}]", key, fe.config_key)
    if sum(_decoded_size(value) for value in data.values()) > _SIZE_LIMIT:
        yield fe.too_long("data", _SIZE_LIMIT)
    yield from _check_secret_type(new, data)
    if old is not None:
        yield from fe.check_immutable("type", new.get("type"), old.get("type"))
        yield from _check_frozen(new, old, "data")


def _check_secret_type(new: Doc, data: Mapping[str, str]) -> Iterator[FieldError]:
    kind = new.get("type") or "Opaque"
    for key in _NEEDED_KEYS.get(kind, ()):
        if key not in data:
            yield fe.required(f"data[{key}]")
        elif key.startswith(".docker") and (words := _json_complaint(data[key])):
            yield fe.invalid_value(f"data[{key}]", "<secret contents redacted>", words)
    if kind == "kubernetes.io/basic-auth" and not data.keys() & {"username", "password"}:
        yield fe.required("data[username]")
        yield fe.required("data[password]")
    name = "kubernetes.io/service-account.name"
    annotations = (new.get("metadata") or {}).get("annotations") or {}
    if kind == "kubernetes.io/service-account-token" and not annotations.get(name):
        yield fe.required(f"metadata.annotations[{name}]")


def _json_complaint(text: str) -> str:
    """What Go says of a text that is no JSON; empty when it is."""
    raw = base64.b64decode(text)
    try:
        json.loads(raw)
    except json.JSONDecodeError as error:
        rest = error.doc[error.pos :]
        return (
            f"invalid character '{rest[0]}' looking for beginning of value"
            if rest
            else "unexpected end of JSON input"
        )
    except UnicodeDecodeError as error:
        return f"invalid character '\\x{raw[error.start]:02x}' looking for beginning of value"
    return ""


def _decoded_size(text: str | None) -> int:
    return len(text) * 3 // 4 - text.count("=", -2) if text else 0


def _check_config_map(new: Doc, old: Doc | None) -> Iterator[FieldError]:
    data: dict[str, str] = new.get("data") or {}
    binary: dict[str, str] = new.get("binaryData") or {}
    for key in data:
        yield from check(f"data[{key}]", key, fe.config_key)
        if key in binary:
            yield fe.invalid_value(f"data[{key}]", key, "duplicate of key present in binaryData")
    for key in binary:
        yield from check(f"binaryData[{key}]", key, fe.config_key)
    size = sum(len((value or "").encode()) for value in data.values())
    if size + sum(_decoded_size(value) for value in binary.values()) > _SIZE_LIMIT:
        yield fe.too_long("[]", _SIZE_LIMIT)  # the server names no field
    if old is not None:
        yield from _check_frozen(new, old, "data", "binaryData")


def _check_frozen(new: Doc, old: Doc, *fields: str) -> Iterator[FieldError]:
    if not old.get("immutable"):
        return
    text = "field is immutable when `immutable` is set"
    if not new.get("immutable"):
        yield fe.forbidden("immutable", text)
    for field in fields:
        if (new.get(field) or {}) != (old.get(field) or {}):
            yield fe.forbidden(field, text)


# Rights -----------------------------------------------------------------------------------------------------------


def _check_role(new: Doc, _old: Doc | None) -> Iterator[FieldError]:
    for at, rule in enumerate(new.get("rules") or ()):
        yield from _check_policy_rule(rule, f"rules[{at}]", namespaced=True)


def _check_cluster_role(new: Doc, _old: Doc | None) -> Iterator[FieldError]:
    for at, rule in enumerate(new.get("rules") or ()):
        yield from _check_policy_rule(rule, f"rules[{at}]", namespaced=False)
    aggregation = new.get("aggregationRule")
    if aggregation is not None:
        path, chosen = "aggregationRule.clusterRoleSelectors", aggregation.get("clusterRoleSelectors") or ()
        if not chosen:
            text = "at least one clusterRoleSelector required if aggregationRule is non-nil"
            yield fe.required(path, text)
        for at, selector in enumerate(chosen):
            yield from fe.check_selector(f"{path}[{at}]", selector)


def _check_policy_rule(rule: Doc, path: str, *, namespaced: bool) -> Iterator[FieldError]:
    if not rule.get("verbs"):
        yield fe.required(f"{path}.verbs", "verbs must contain at least one value")
    if urls := rule.get("nonResourceURLs"):
        if namespaced:
            text = "namespaced rules cannot apply to non-resource URLs"
            yield fe.invalid_value(f"{path}.nonResourceURLs", urls, text)
        if any(rule.get(field) for field in ("apiGroups", "resources", "resourceNames")):
            text = "rules cannot apply to both regular resources and non-resource URLs"
            yield fe.invalid_value(f"{path}.nonResourceURLs", urls, text)
        return
    if not rule.get("apiGroups"):
        yield fe.required(f"{path}.apiGroups", "resource rules must supply at least one api group")
    if not rule.get("resources"):
        yield fe.required(f"{path}.resources", "resource rules must supply at least one resource")


def _check_binding(new: Doc, old: Doc | None) -> Iterator[FieldError]:
    namespaced = new.get("kind") != "ClusterRoleBinding"
    role = new.get("roleRef") or {}
    yield from check_one_of("roleRef.apiGroup", role.get("apiGroup"), (_RBAC,))
    kinds = ("Role", "ClusterRole") if namespaced else ("ClusterRole",)
    yield from check_one_of("roleRef.kind", role.get("kind"), kinds)
    yield from check_named("roleRef.name", role.get("name"), fe.path_segment)
    for at, subject in enumerate(new.get("subjects") or ()):
        yield from _check_subject(subject, f"subjects[{at}]", namespaced)
    if old is not None and role != old.get("roleRef"):
        shown = {"APIGroup": role.get("apiGroup"), "Kind": role.get("kind"), "Name": role.get("name")}
        yield fe.invalid_value("roleRef", shown, "cannot change roleRef")


def _check_subject(subject: Doc, path: str, namespaced: bool) -> Iterator[FieldError]:
    kind, name, group = subject.get("kind"), subject.get("name") or "", subject.get("apiGroup") or ""
    if not name:
        yield fe.required(f"{path}.name")
    if kind == "ServiceAccount":
        if name:
            yield from check(f"{path}.name", name, fe.subdomain)
        yield from check_one_of(f"{path}.apiGroup", group, ("",))
        if not namespaced and not subject.get("namespace"):
            yield fe.required(f"{path}.namespace")
    elif kind in ("User", "Group"):
        yield from check_one_of(f"{path}.apiGroup", group, (_RBAC,))
    else:
        yield fe.unsupported(f"{path}.kind", kind or "", ("ServiceAccount", "User", "Group"))


def _check_lease(new: Doc, _old: Doc | None) -> Iterator[FieldError]:
    spec = new.get("spec") or {}
    duration = spec.get("leaseDurationSeconds")
    if duration is not None and duration <= 0:
        yield fe.invalid_value("spec.leaseDurationSeconds", duration, "must be greater than 0")
    yield from fe.check_not_negative(spec, "spec", "leaseTransitions")


# Routes -----------------------------------------------------------------------------------------------------------

_WILDCARD: Final = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
    "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', "
    r"regex used for validation is '\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_CLASS: Final = "kubernetes.io/ingress.class"


def _check_ingress(new: Doc, old: Doc | None) -> Iterator[FieldError]:
    spec = new.get("spec") or {}
    annotated = ((new.get("metadata") or {}).get("annotations") or {}).get(_CLASS)
    chosen = spec.get("ingressClassName")
    if old is None and annotated is not None and chosen is not None and annotated != chosen:
        text = "must match `ingressClassName` when both are specified"
        yield fe.invalid_value(f"annotations.{_CLASS}", annotated, text)
    if not spec.get("rules") and spec.get("defaultBackend") is None:
        yield fe.invalid_value("spec", None, "either `defaultBackend` or `rules` must be specified")
    if (backend := spec.get("defaultBackend")) is not None:
        yield from _check_backend(backend, "spec.defaultBackend")
    for at, rule in enumerate(spec.get("rules") or ()):
        path = f"spec.rules[{at}]"
        if host := rule.get("host"):
            if not fe.ip_address(host):
                yield fe.invalid_value(f"{path}.host", host, "must be a DNS name, not an IP address")
            yield from check(f"{path}.host", host, _host)
        if (http := rule.get("http")) is not None:
            yield from _check_paths(http.get("paths") or (), f"{path}.http.paths")
    for at, tls in enumerate(spec.get("tls") or ()):
        path = f"spec.tls[{at}]"
        for position, host in enumerate(tls.get("hosts") or ()):
            yield from check(f"{path}.hosts[{position}]", host, _host)
        if secret := tls.get("secretName"):
            yield from check(f"{path}.secretName", secret, fe.subdomain)
    if chosen is not None:
        yield from check("spec.ingressClassName", chosen, fe.subdomain)


def _host(name: str) -> list[str]:
    if "*" not in name:
        return fe.subdomain(name)
    return [] if name.startswith("*.") and not fe.subdomain(name[2:]) else [_WILDCARD]


def _check_paths(paths: Sequence[Doc], path: str) -> Iterator[FieldError]:
    if not paths:
        yield fe.required(path)
    for at, route in enumerate(paths):
        here, kind, text = f"{path}[{at}]", route.get("pathType"), route.get("path") or ""
        if kind is None:
            yield fe.required(f"{here}.pathType", "pathType must be specified")
        elif kind in ("Exact", "Prefix"):
            yield from _check_exact_path(text, f"{here}.path")
        elif kind == "ImplementationSpecific":
            if text and not text.startswith("/"):
                yield fe.invalid_value(f"{here}.path", text, "must be an absolute path")
        else:
            allowed = ("Exact", "ImplementationSpecific", "Prefix")
            yield fe.unsupported(f"{here}.pathType", kind, allowed)
        yield from _check_backend(route.get("backend") or {}, f"{here}.backend")


def _check_exact_path(text: str, path: str) -> Iterator[FieldError]:
    if not text.startswith("/"):
        yield fe.invalid_value(path, text, "must be an absolute path")
    for part in ("//", "/./", "/../", "%2f", "%2F"):
        if part in text:
            yield fe.invalid_value(path, text, f"must not contain '{part}'")
    for end in ("/..", "/."):
        if text.endswith(end):
            yield fe.invalid_value(path, text, f"cannot end with '{end}'")


def _check_backend(backend: Doc, path: str) -> Iterator[FieldError]:
    service, resource = backend.get("service"), backend.get("resource")
    if resource is not None and service is not None:
        yield fe.invalid_value(path, "", "cannot set both resource and service backends")
    elif resource is not None:
        for field in ("kind", "name"):
            if not resource.get(field):
                yield fe.required(f"{path}.resource.{field}")
    elif service is None:
        yield fe.invalid_value(path, "", "resource or service backend is required")
    else:
        yield from check_named(f"{path}.service.name", service.get("name"), fe.label)
        port = service.get("port") or {}
        name, number = port.get("name"), port.get("number")
        if name and number:
            yield fe.invalid_value(path, "", "cannot set both port name & port number")
        elif name:
            yield from fe.check_port(f"{path}.service.port.name", name)
        elif number:
            yield from fe.check_port(f"{path}.service.port.number", number)
        else:
            yield fe.required(path, "port name or number is required")


def _check_ingress_class(new: Doc, old: Doc | None) -> Iterator[FieldError]:
    spec = new.get("spec") or {}
    controller, path = spec.get("controller") or "", "spec.controller"
    if old is not None:
        yield from fe.check_immutable(path, controller, (old.get("spec") or {}).get("controller"))
    if len(controller) > 250:
        yield fe.too_long(path, 250)
    prefix, slash, below = controller.partition("/")
    if not controller:
        yield fe.required(path)
    elif not slash or not prefix or not below:
        text = 'must be a domain-prefixed path (such as "acme.io/foo")'
        yield fe.invalid_value(path, controller, text)
    else:
        yield from check(path, prefix, fe.subdomain)
    if (parameters := spec.get("parameters")) is not None:
        yield from _check_class_parameters(parameters, "spec.parameters")


def _check_class_parameters(parameters: Doc, path: str) -> Iterator[FieldError]:
    for field in ("kind", "name"):
        if not parameters.get(field):
            yield fe.required(f"{path}.{field}")
    scope, namespace = parameters.get("scope"), parameters.get("namespace")
    if scope == "Namespace" and not namespace:
        yield fe.required(f"{path}.namespace", "`parameters.scope` is set to 'Namespace'")
    elif scope == "Cluster" and namespace:
        yield fe.forbidden(f"{path}.namespace", "`parameters.scope` is set to 'Cluster'")
    elif scope not in ("Cluster", "Namespace"):
        yield fe.unsupported(f"{path}.scope", scope or "", ("Cluster", "Namespace"))


def _check_network_policy(new: Doc, _old: Doc | None) -> Iterator[FieldError]:
    spec = new.get("spec") or {}
    yield from fe.check_selector("spec.podSelector", spec.get("podSelector"))
    for field, side in (("ingress", "from"), ("egress", "to")):
        for at, rule in enumerate(spec.get(field) or ()):
            path = f"spec.{field}[{at}]"
            for position, port in enumerate(rule.get("ports") or ()):
                yield from _check_policy_port(port, f"{path}.ports[{position}]")
            for position, peer in enumerate(rule.get(side) or ()):
                yield from _check_peer(peer, f"{path}.{side}[{position}]")
    types = spec.get("policyTypes") or []
    if len(types) > 2:
        yield fe.invalid_value("spec.policyTypes", types, "may not specify more than two policyTypes")
        return
    for at, word in enumerate(types):
        yield from check_one_of(f"spec.policyTypes[{at}]", word, ("Ingress", "Egress"))


def _check_policy_port(port: Doc, path: str) -> Iterator[FieldError]:
    if protocol := port.get("protocol"):
        yield from check_one_of(f"{path}.protocol", protocol, ("TCP", "UDP", "SCTP"))
    number, end = port.get("port"), port.get("endPort")
    if number is not None:
        yield from fe.check_port(f"{path}.port", number)
    if end is None:
        return
    if isinstance(number, int) and end < number:
        # The server shows the port here, not the end.
        yield fe.invalid_value(f"{path}.endPort", number, "must be greater than or equal to `port`")
    elif number is None or isinstance(number, str):
        text = "may not be specified when `port` is " + ("not specified" if number is None else "non-numeric")
        yield fe.invalid_value(f"{path}.endPort", end, text)
    else:
        yield from fe.check_port(f"{path}.endPort", end)


def _check_peer(peer: Doc, path: str) -> Iterator[FieldError]:
    block = peer.get("ipBlock")
    for field in ("podSelector", "namespaceSelector"):
        yield from fe.check_selector(f"{path}.{field}", peer.get(field))
    if block is not None:
        yield from _check_block(block, f"{path}.ipBlock")
    if not peer:
        yield fe.required(path, "must specify a peer")
    elif block is not None and len(peer) > 1:
        yield fe.forbidden(path, "may not specify both ipBlock and another peer")


def _check_block(block: Doc, path: str) -> Iterator[FieldError]:
    whole = block.get("cidr") or ""
    yield from check_named(f"{path}.cidr", whole, fe.cidr)
    if fe.cidr(whole):
        return
    for at, text in enumerate(block.get("except") or ()):
        here, wrong = f"{path}.except[{at}]", fe.cidr(text)
        if wrong:
            yield from check(here, text, fe.cidr)
        elif not _inside(text, whole):
            yield fe.invalid_value(here, text, "must be a strict subset of `cidr`")


def _inside(part: str, whole: str) -> bool:
    inner, outer = (ipaddress.ip_network(text, strict=False) for text in (part, whole))
    contained = inner.network_address in outer
    return contained and inner.prefixlen > outer.prefixlen


_ADDRESS_TYPES: Final = ("FQDN", "IPv4", "IPv6")


def _check_endpoint_slice(new: Doc, old: Doc | None) -> Iterator[FieldError]:
    kind = new.get("addressType") or ""
    if not kind:
        yield fe.required("addressType")
    else:
        yield from check_one_of("addressType", kind, _ADDRESS_TYPES)
    endpoints = new.get("endpoints") or ()
    if len(endpoints) > 1000:
        yield fe.too_many("endpoints", len(endpoints), 1000)
    for at, endpoint in enumerate(endpoints):
        yield from _check_endpoint(endpoint, f"endpoints[{at}]", kind)
    names: set[str] = set()
    for at, port in enumerate(new.get("ports") or ()):
        path, name = f"ports[{at}]", port.get("name") or ""
        if name:
            yield from check(f"{path}.name", name, fe.label)
        if name in names:
            yield fe.duplicate(f"{path}.name", name)
        names.add(name)
        yield from check_one_of(f"{path}.protocol", port.get("protocol"), PROTOCOLS)
        if protocol := port.get("appProtocol"):
            yield from check(f"{path}.appProtocol", protocol, fe.qualified_name)
    if old is not None:
        yield from fe.check_immutable("addressType", kind, old.get("addressType"))


def _check_endpoint(endpoint: Doc, path: str, kind: str) -> Iterator[FieldError]:
    addresses = endpoint.get("addresses") or ()
    if not addresses:
        yield fe.required(f"{path}.addresses", "must contain at least 1 address")
    elif len(addresses) > 100:
        yield fe.too_many(f"{path}.addresses", len(addresses), 100)
    for at, address in enumerate(addresses):
        here = f"{path}.addresses[{at}]"
        if kind == "FQDN":
            yield from check(here, address, fe.subdomain)
        elif kind in ("IPv4", "IPv6"):
            wrong = list(check(here, address, fe.ip_address))
            yield from wrong
            if not wrong:
                yield from _check_address(address, here, kind)
    if (node := endpoint.get("nodeName")) is not None:
        yield from check(f"{path}.nodeName", node, fe.subdomain)
    if (host := endpoint.get("hostname")) is not None:
        yield from check(f"{path}.hostname", host, fe.label)


def _check_address(text: str, path: str, kind: str) -> Iterator[FieldError]:
    """The server refuses loopback as well. Here it is allowed: the sandbox's devices live in 127.0.0.0/8."""
    address: Any = ipaddress.ip_address(text)
    if f"IPv{address.version}" != kind:
        yield fe.invalid_value(path.rpartition("[")[0], text, f"must be an {kind} address")
    if address.is_unspecified:
        yield fe.invalid_value(path, text, f"may not be unspecified ({text})")
    if address.is_link_local:
        words = "may not be in the link-local range (169.254.0.0/16, fe80::/10)"
        yield fe.invalid_value(path, text, words)
    if any(address in ipaddress.ip_network(n) for n in ("224.0.0.0/24", "ff02::/16")):
        words = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
        yield fe.invalid_value(path, text, words)


RULES: Final[Mapping[tuple[str, str], Rule]] = {
    ("", "ConfigMap"): _check_config_map,
    ("", "Namespace"): _check_namespace,
    ("", "Node"): cluster_rules.check_node,
    ("", "Pod"): pod_rules.check_pod,
    ("", "Secret"): _check_secret,
    ("", "Service"): service_rules.check_service,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): crd_rules.check_crd,
    ("apps", "DaemonSet"): workload_rules.check_daemonset,
    ("apps", "Deployment"): workload_rules.check_deployment,
    ("apps", "ReplicaSet"): workload_rules.check_replicaset,
    ("apps", "StatefulSet"): workload_rules.check_statefulset,
    ("batch", "Job"): workload_rules.check_job,
    ("coordination.k8s.io", "Lease"): _check_lease,
    ("discovery.k8s.io", "EndpointSlice"): _check_endpoint_slice,
    ("networking.k8s.io", "Ingress"): _check_ingress,
    ("networking.k8s.io", "IngressClass"): _check_ingress_class,
    ("networking.k8s.io", "NetworkPolicy"): _check_network_policy,
    ("networking.k8s.io", "ServiceCIDR"): cluster_rules.check_service_cidr,
    ("policy", "PodDisruptionBudget"): workload_rules.check_disruption_budget,
    (_RBAC, "ClusterRole"): _check_cluster_role,
    (_RBAC, "ClusterRoleBinding"): _check_binding,
    (_RBAC, "Role"): _check_role,
    (_RBAC, "RoleBinding"): _check_binding,
}
"""A ServiceAccount, an Event and the like have nothing to be judged beyond their types and metadata."""
