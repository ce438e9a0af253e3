"""The chart's values in one table: path, type, default, meaning, the setting behind it.

From it `make gen` writes the chart's `values.yaml` and `values.schema.json` and the reference page, and `lint` reads a
person's file with it. A value has the official chart's name where it means the same; what the official chart has and
this one has not is in `ELSEWHERE`, with the reason.
"""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import yaml

from tailrace.settings import Settings

type Type = Literal["string", "boolean", "integer", "array", "object"]

SETTINGS: Final[Mapping[str, Mapping[str, Any]]] = {
    f.metadata["env"]: f.metadata for f in dataclasses.fields(Settings)
}
BY_THE_POD: Final = frozenset({"OPERATOR_NAMESPACE", "POD_NAME", "TAILRACE_SERVICE_ACCOUNT"})
"""Settings that the pod itself answers: its namespace and its name."""

DURATION: Final = {"pattern": r"^[0-9]+[smh]?$"}
PROXY_IMAGE: Final = SETTINGS["PROXY_IMAGE"]["default"].partition(":")


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One row. `rules` are further keywords of JSON Schema; an object without `rules` is free inside."""

    path: str
    type: Type
    default: Any
    doc: str
    env: str = ""
    rules: Mapping[str, Any] = field(default_factory=dict)


def setting(path: str, env: str, *, default: Any = None, **rules: Any) -> Value:
    """A value that is a setting: default and meaning are the setting's."""
    row = SETTINGS[env]
    found: Any = row["default"] if default is None else default
    kind: Type = "string"
    if found in {"true", "false"}:
        kind, found = "boolean", found == "true"
    elif isinstance(found, str) and found.isdigit():
        kind, found = "integer", int(found)
        rules = {"minimum": 1, **rules}
    return Value(path=path, type=kind, default=found, doc=row["doc"], env=env, rules=rules)


def text(path: str, doc: str, default: str = "", *, env: str = "", **rules: Any) -> Value:
    return Value(path=path, type="string", default=default, doc=doc, env=env, rules=rules)


def flag(path: str, doc: str, default: bool) -> Value:
    return Value(path=path, type="boolean", default=default, doc=doc)


def whole(path: str, doc: str, default: int, *, minimum: int) -> Value:
    return Value(path=path, type="integer", default=default, doc=doc, rules={"minimum": minimum})


def strings(path: str, doc: str) -> Value:
    """A map of strings, such as labels."""
    return Value(
        path=path, type="object", default={}, doc=doc, rules={"additionalProperties": {"type": "string"}}
    )


def free(path: str, doc: str, default: Mapping[str, Any] | None = None) -> Value:
    """An object of Kubernetes, passed on as it is."""
    return Value(path=path, type="object", default=default or {}, doc=doc)


def many(path: str, doc: str, kind: str = "object") -> Value:
    return Value(path=path, type="array", default=[], doc=doc, rules={"items": {"type": kind}})


VALUES: Final = (
    text("nameOverride", "Name of the objects: `<release>-<nameOverride>` instead of `operator`."),
    text("fullnameOverride", "Name of the objects, whole. Default: `operator`."),
    strings("commonLabels", "Labels of every object."),
    strings("commonAnnotations", "Annotations of every object."),
    flag(
        "installCRDs",
        "Install the definitions of Connector, ProxyClass and Tailnet, and upgrade them with the chart; an uninstall "
        "keeps them and all objects of these kinds. `false` where another release, such as the official chart's, "
        "has them.",
        True,
    ),
    setting("loginServer", "OPERATOR_LOGIN_SERVER", pattern=r"^(https?://[^/\s]+.*)?$"),
    text(
        "oauth.clientId",
        "Id of the OAuth client; with `oauth.audience`, of the federated identity. Empty: the Secret "
        "`operator-oauth` with `client_id` and `client_secret` is yours to make.",
        env="CLIENT_ID",
    ),
    text(
        "oauth.clientSecret",
        "Secret of the OAuth client; the chart makes the Secret `operator-oauth` of both.",
        env="CLIENT_SECRET_FILE",
    ),
    text(
        "oauth.audience", "Audience of the service account token: workload identity, without a client secret."
    ),
    Value(
        path="oauthSecretVolume",
        type="object",
        default={},
        doc="Volume with the files `client_id` and `client_secret` instead of the Secret `operator-oauth`, for "
        "example `{secret: {secretName: my-oauth}}`.",
        env="CLIENT_ID_FILE",
    ),
    text(
        "apiKey.value",
        "Headscale API key (or Tailscale API token); the chart makes a Secret of it.",
        env="TAILRACE_API_KEY_FILE",
    ),
    text("apiKey.existingSecret", "Name of a Secret of yours that has the API key."),
    text("apiKey.key", "The key in that Secret.", "api_key", minLength=1),
    text(
        "caBundle",
        "Private CA of the control plane, as PEM text, beside the public ones.",
        env="TAILRACE_CA_BUNDLE",
    ),
    text("caBundleConfigMap.name", "Name of a ConfigMap of yours that has the private CA."),
    text("caBundleConfigMap.key", "The key in that ConfigMap.", "ca.crt", minLength=1),
    many("imagePullSecrets", "Pull secrets of the operator's pod and service account."),
    text("operatorConfig.image.repository", "Image of the operator.", "tailrace/tailrace", minLength=1),
    text("operatorConfig.image.tag", "Its tag. Default: the chart's appVersion."),
    text("operatorConfig.image.digest", "Its digest (`sha256:…`), instead of the tag."),
    text(
        "operatorConfig.image.pullPolicy",
        "When it is pulled.",
        "IfNotPresent",
        enum=["Always", "IfNotPresent", "Never"],
    ),
    whole(
        "operatorConfig.replicas",
        "Pods of the operator; one acts, the others stand by.",
        1,
        minimum=0,
    ),
    setting("operatorConfig.leaderElection", "TAILRACE_LEADER_ELECTION"),
    setting("operatorConfig.logging", "OPERATOR_LOGGING", enum=["info", "debug", "dev"]),
    setting("operatorConfig.defaultLoadBalancer", "OPERATOR_DEFAULT_LOAD_BALANCER"),
    setting("operatorConfig.clusterName", "TAILRACE_CLUSTER_NAME"),
    setting("operatorConfig.clusterDomain", "TAILRACE_CLUSTER_DOMAIN"),
    setting("operatorConfig.deviceRefresh", "TAILRACE_DEVICE_REFRESH", **DURATION),
    setting("operatorConfig.deleteDeadline", "TAILRACE_DELETE_DEADLINE", **DURATION),
    setting("operatorConfig.workers", "TAILRACE_WORKERS"),
    setting("operatorConfig.controlPlaneCalls", "TAILRACE_CONTROL_PLANE_CALLS"),
    text(
        "operatorConfig.metricsAddress",
        "Where /metrics, /healthz and /readyz are served: `:8080`, or `[::]:8080` where pods have IPv6 alone. One "
        "address alone would keep the probes out.",
        SETTINGS["TAILRACE_METRICS_ADDRESS"]["default"],
        env="TAILRACE_METRICS_ADDRESS",
        pattern=r"^(\[::\]|0\.0\.0\.0)?:[0-9]+$",
    ),
    many("operatorConfig.extraEnv", "Further environment variables of the operator."),
    free(
        "operatorConfig.resources",
        "Requests and limits of the operator.",
        {"requests": {"cpu": "20m", "memory": "96Mi"}},
    ),
    strings("operatorConfig.annotations", "Annotations of the Deployment."),
    strings("operatorConfig.podAnnotations", "Annotations of the pod."),
    strings("operatorConfig.podLabels", "Labels of the pod."),
    strings("operatorConfig.serviceAccountAnnotations", "Annotations of the service account."),
    strings("operatorConfig.nodeSelector", "Nodes that the pod may run on."),
    many("operatorConfig.tolerations", "Taints that the pod tolerates."),
    free("operatorConfig.affinity", "Affinity of the pod."),
    text("operatorConfig.priorityClassName", "PriorityClass of the pod."),
    free(
        "operatorConfig.podSecurityContext",
        "Security context of the pod; the default fits the `restricted` standard.",
        {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    ),
    free(
        "operatorConfig.securityContext",
        "Security context of the container; the default fits the `restricted` standard.",
        {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    ),
    text(
        "proxyConfig.image.repository",
        "Image of the proxies; the official one, unchanged.",
        PROXY_IMAGE[0],
        env="PROXY_IMAGE",
        minLength=1,
    ),
    text("proxyConfig.image.tag", "Its tag.", PROXY_IMAGE[2]),
    text("proxyConfig.image.digest", "Its digest (`sha256:…`), instead of the tag."),
    setting("proxyConfig.defaultTags", "PROXY_TAGS", minLength=1),
    setting("proxyConfig.mode", "TAILRACE_PROXY_MODE", enum=["auto", "kernel", "userspace"]),
    setting(
        "proxyConfig.firewallMode",
        "PROXY_FIREWALL_MODE",
        default="auto",
        enum=["", "auto", "nftables", "iptables"],
    ),
    setting("proxyConfig.priorityClassName", "PROXY_PRIORITY_CLASS_NAME"),
    setting("proxyConfig.defaultProxyClass", "PROXY_DEFAULT_CLASS"),
    setting("proxyConfig.keyTTL", "TAILRACE_KEY_TTL", **DURATION),
    flag("podDisruptionBudget.enabled", "A PodDisruptionBudget for the operator.", False),
    whole("podDisruptionBudget.maxUnavailable", "How many pods may be away; 0 blocks drains.", 1, minimum=0),
    flag("networkPolicy.enabled", "A NetworkPolicy for the operator.", False),
    many("networkPolicy.apiServerCIDRs", "Where the Kubernetes API is. Default: anywhere.", "string"),
    Value(
        path="networkPolicy.apiServerPorts",
        type="array",
        default=[443, 6443],
        doc="Its ports, behind its Service too.",
        rules={"items": {"type": "integer"}},
    ),
    many("networkPolicy.controlPlaneCIDRs", "Where the control plane is. Default: anywhere.", "string"),
    Value(
        path="networkPolicy.controlPlanePorts",
        type="array",
        default=[],
        doc="Ports beside that of `loginServer`: those of the Tailnets' control planes.",
        rules={"items": {"type": "integer"}},
    ),
    many(
        "networkPolicy.metricsFrom",
        "Peers that may ask for metrics and health. Default: anyone.",
    ),
    flag(
        "serviceMonitor.enabled",
        "A Service and a ServiceMonitor (Prometheus operator) for the metrics.",
        False,
    ),
    text("serviceMonitor.interval", "How often they are read.", "30s", pattern=r"^[0-9]+(ms|s|m|h)$"),
    strings("serviceMonitor.labels", "Labels by which your Prometheus finds the ServiceMonitor."),
)

BY_PATH: Final[Mapping[str, Value]] = {value.path: value for value in VALUES}

ELSEWHERE: Final[Mapping[str, tuple[str, str]]] = {
    "operatorConfig.acceptRoutes": (
        "has never been a value of the operator's chart: the official one ignores it without a word",
        "remove it; whether a proxy accepts routes is no setting of the operator",
    ),
    "proxyConfig.defaultResources": (
        "has never been a value of the operator's chart: the official one ignores it without a word",
        "remove it; operatorConfig.resources are the operator's own",
    ),
    "operatorConfig.defaultTags": (
        "tags the official operator's own device; this operator is no device and has no tags",
        "remove it; the proxies' tags are proxyConfig.defaultTags, and tag:k8s must not own itself",
    ),
    "operatorConfig.hostname": (
        "names the official operator's own device; this operator is no device",
        "remove it",
    ),
    "operatorConfig.sharedACMEAccountKey": (
        "concerns Ingresses, which this version does not serve",
        "remove it",
    ),
    "operatorConfig.image.repo": (
        "is an old name of the official chart",
        "write operatorConfig.image.repository",
    ),
    "ingressClass": ("concerns Ingresses, which this version does not serve", "remove it"),
    "apiServerProxyConfig": ("concerns the API server proxy, which this version does not serve", "remove it"),
}
"""Values of the official chart, and of texts about it, that mean nothing here: what is so, and what to do."""


def nest(values: tuple[Value, ...] = VALUES) -> dict[str, Any]:
    """The table as a tree: inner nodes are dicts, leaves are rows."""
    tree: dict[str, Any] = {}
    for value in values:
        *parents, name = value.path.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    return tree


def build_schema() -> dict[str, Any]:
    """`values.schema.json`: unknown keys are refused, since Helm would ignore them without a word."""
    schema = describe(nest())
    schema["properties"]["global"] = {
        "type": "object",
        "description": "What a parent chart passes to all of its charts.",
    }
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Values of tailrace", **schema}


def describe(node: dict[str, Any] | Value) -> dict[str, Any]:
    if isinstance(node, Value):
        return {"type": node.type, "description": node.doc, **node.rules}
    properties = {name: describe(child) for name, child in node.items()}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def print_schema() -> str:
    return json.dumps(build_schema(), indent=2, ensure_ascii=False) + "\n"


def print_values() -> str:
    """`values.yaml`: every default with its meaning above it."""
    head = "# Generated by `make gen` from src/tailrace/cli/values.py; edits here are lost.\n"
    return head + "\n".join(list_lines(nest(), "")) + "\n"


def list_lines(tree: Mapping[str, Any], indent: str) -> Iterator[str]:
    for name, node in tree.items():
        if not isinstance(node, Value):
            yield f"{indent}{name}:"
            yield from list_lines(node, indent + "  ")
            continue
        yield from textwrap.wrap(
            node.doc,
            110,
            initial_indent=f"{indent}# ",
            subsequent_indent=f"{indent}# ",
            break_on_hyphens=False,
        )
        if isinstance(node.default, dict) and node.default:
            yield f"{indent}{name}:"
            yield textwrap.indent(yaml.safe_dump(node.default, sort_keys=False), indent + "  ").rstrip()
        else:
            yield f"{indent}{name}: {json.dumps(node.default)}"
