"""The one defining file of annotations, labels, finalizers and fixed names.

The reference page is generated from `ANNOTATIONS` and `LABELS`; a test holds that nothing is undocumented.
Names under `tailscale.com/` mean what they mean to the official operator; ours are under `tailrace.dev/`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Setter(enum.StrEnum):
    """Who writes a name."""

    USER = "you"
    TAILRACE = "Tailrace"


@dataclass(frozen=True, slots=True)
class Name:
    """One annotation or label: its key, where it stands, who writes it, what it means."""

    key: str
    on: str
    by: Setter
    doc: str


EXPOSE = "tailscale.com/expose"
HOSTNAME = "tailscale.com/hostname"
TAGS = "tailscale.com/tags"
TAILNET_IP = "tailscale.com/tailnet-ip"
TAILNET_IP_OLD = "tailscale.com/ts-tailnet-target-ip"
TAILNET_FQDN = "tailscale.com/tailnet-fqdn"
PROXY_CLASS = "tailscale.com/proxy-class"
PROXY_GROUP = "tailscale.com/proxy-group"

MODE = "tailrace.dev/mode"
PROXY_PROTOCOL = "tailrace.dev/proxy-protocol"
NAME_CONFLICT = "tailrace.dev/name-conflict"
RECREATE = "tailrace.dev/recreate"
TAILNET = "tailrace.dev/tailnet"
APPROVE_ROUTES = "tailrace.dev/approve-routes"

LAST_CLUSTER_IP = "tailscale.com/operator-last-set-cluster-ip"
LAST_CLUSTER_DNS_NAME = "tailscale.com/operator-last-set-cluster-dns-name"
LAST_TAILNET_IP = "tailscale.com/operator-last-set-ts-tailnet-target-ip"
LAST_TAILNET_FQDN = "tailscale.com/operator-last-set-ts-tailnet-target-fqdn"
TARGET_ADDRESSES = "tailrace.dev/target-addresses"
APPLIED = "tailrace.dev/applied"
KEY_ID = "tailrace.dev/key-id"
KEY_TAGS = "tailrace.dev/key-tags"
REFRESH = "tailrace.dev/refresh"
REFRESHED_AT = "tailrace.dev/refreshed-at"
RECREATED = "tailrace.dev/recreated"
STARTED_AGAIN = "tailrace.dev/started-again"
REPLACES = "tailrace.dev/replaces-device"
VOLUMES = "tailrace.dev/volumes"
VOLUME_MOUNTS = "tailrace.dev/volume-mounts"
ENV_FROM = "tailrace.dev/env-from"
POD_PATCH = "tailrace.dev/pod-patch"

PROXY_MODE = "tailrace.dev/proxy-mode"
ORIGINAL = "tailrace.dev/original-spec"
REPLICA = "tailrace.dev/replica"

FINALIZER = "tailscale.com/finalizer"
LOAD_BALANCER_CLASS = "tailscale"

MANAGED = "tailscale.com/managed"
PARENT_TYPE = "tailscale.com/parent-resource-type"
PARENT_NAME = "tailscale.com/parent-resource"
PARENT_NAMESPACE = "tailscale.com/parent-resource-ns"
SECRET_TYPE = "tailscale.com/secret-type"
APP = "app"
SERVICE_NAME = "kubernetes.io/service-name"

ORPHANS = "tailrace-orphans"
"""Name of the ConfigMap in the operator's namespace that remembers devices which could not be deleted in time."""

SETTINGS = "tailrace-settings"
"""Name of the ConfigMap in the operator's namespace that says with which settings it runs; nothing secret is in it."""

FIELD_MANAGER = "tailrace"
"""Field manager of everything that Tailrace applies."""

ANNOTATIONS: tuple[Name, ...] = (
    Name(
        EXPOSE,
        "Service",
        Setter.USER,
        'Exactly `"true"` makes the Service a device of the tailnet: its cluster IP, or for type ExternalName its external name.',
    ),
    Name(
        HOSTNAME,
        "Service",
        Setter.USER,
        "Name of the device: one DNS label (1 to 63 letters, digits, hyphens; no dots). Default `<namespace>-<name>`. A change renames the device.",
    ),
    Name(
        TAGS,
        "Service",
        Setter.USER,
        "Comma-separated tags of the device, each `tag:` and a letter, then letters, digits, hyphens. Replaces the default of `PROXY_TAGS`.",
    ),
    Name(
        MODE,
        "Service, Connector",
        Setter.USER,
        "`auto`, `kernel` or `userspace`: how the proxy forwards. Default: the setting `TAILRACE_PROXY_MODE`. A switch keeps the device.",
    ),
    Name(
        PROXY_PROTOCOL,
        "Service",
        Setter.USER,
        "`v1` or `v2`: the proxy tells the backend the client's tailnet address by a PROXY protocol header. Needs userspace mode.",
    ),
    Name(
        NAME_CONFLICT,
        "Service, Connector",
        Setter.USER,
        "What to do when a device of that name exists: `replace-offline` (default: delete it if it is dead and its tags are ours, otherwise refuse), `suffix` (take `name-1`), `fail`.",
    ),
    Name(
        RECREATE,
        "Service, Connector",
        Setter.USER,
        "Any new value deletes the device and makes it anew under the same name, for example to apply tags that the control plane cannot change.",
    ),
    Name(
        TAILNET_IP,
        "Service",
        Setter.USER,
        "Egress: an address of the tailnet, or of a network behind one of its routers. The Service becomes a name in the cluster for it.",
    ),
    Name(TAILNET_IP_OLD, "Service", Setter.USER, f"Old spelling of `{TAILNET_IP}`."),
    Name(
        TAILNET_FQDN,
        "Service",
        Setter.USER,
        "Egress: the full name of a device, under any base domain. The Service becomes a name in the cluster for it.",
    ),
    Name(
        PROXY_CLASS,
        "Service",
        Setter.USER,
        "ProxyClass of the proxy: a label, else an annotation, else the setting `PROXY_DEFAULT_CLASS`. It is waited for until it is there and ready.",
    ),
    Name(
        PROXY_GROUP,
        "Service",
        Setter.USER,
        "ProxyGroup that shares its proxies. Not served by this version: the Service gets a condition that says so.",
    ),
    Name(
        TAILNET,
        "Service",
        Setter.USER,
        "Name of the Tailnet that the device joins. Default: the operator's own. A change moves the device: it leaves the one and joins the other.",
    ),
    Name(
        APPROVE_ROUTES,
        "Connector",
        Setter.USER,
        '`"true"`: Tailrace approves the routes that the Connector advertises, where its credential permits. Otherwise `RoutesApproved` says what to put into the policy.',
    ),
    Name(
        VOLUMES,
        "ProxyClass",
        Setter.USER,
        "YAML list of volumes for the pods of proxies, such as a private CA.",
    ),
    Name(VOLUME_MOUNTS, "ProxyClass", Setter.USER, "YAML list of where the proxy's container mounts them."),
    Name(
        ENV_FROM,
        "ProxyClass",
        Setter.USER,
        "YAML list of ConfigMaps and Secrets whose keys become variables.",
    ),
    Name(
        POD_PATCH,
        "ProxyClass",
        Setter.USER,
        "YAML strategic merge patch over the pod template, for what the kind has no field for. It cannot touch what is ours.",
    ),
    Name(LAST_CLUSTER_IP, "proxy pod", Setter.TAILRACE, "The cluster IP that the kernel proxy forwards to."),
    Name(
        LAST_CLUSTER_DNS_NAME,
        "proxy pod",
        Setter.TAILRACE,
        "The external name that the kernel proxy forwards to.",
    ),
    Name(
        LAST_TAILNET_IP, "proxy pod", Setter.TAILRACE, "The tailnet address that the egress proxy leads to."
    ),
    Name(LAST_TAILNET_FQDN, "proxy pod", Setter.TAILRACE, "The device that the egress proxy leads to."),
    Name(
        TARGET_ADDRESSES,
        "proxy pod",
        Setter.TAILRACE,
        "The addresses of that device: when they change the pod restarts, since a running one keeps to the old ones.",
    ),
    Name(
        ORIGINAL,
        "headless Service, proxy Secret",
        Setter.TAILRACE,
        "What an egress Service's spec was before it was led to the proxy; it gets that back.",
    ),
    Name(
        APPLIED,
        "every child",
        Setter.TAILRACE,
        "Digest of what was last applied: with an equal digest and equal fields no request is sent.",
    ),
    Name(
        KEY_ID, "proxy Secret", Setter.TAILRACE, "Id (not the secret) of the auth key that was minted last."
    ),
    Name(
        KEY_TAGS,
        "proxy Secret",
        Setter.TAILRACE,
        "Tags that were asked for when that key was minted.",
    ),
    Name(
        REFRESH,
        "proxy Secret, proxy pod",
        Setter.TAILRACE,
        "Digest of the configuration that the proxy must see; bumped on the pod so that the kubelet looks at once.",
    ),
    Name(REFRESHED_AT, "proxy Secret", Setter.TAILRACE, "When that digest last changed."),
    Name(RECREATED, "proxy Secret", Setter.TAILRACE, f"The last value of `{RECREATE}` that was obeyed."),
    Name(
        STARTED_AGAIN,
        "proxy Secret",
        Setter.TAILRACE,
        "When the proxy was started again because it asked for another key although its device was there.",
    ),
    Name(
        REPLACES,
        "proxy pod",
        Setter.TAILRACE,
        "Id of the device that was gone when the pod was restarted to join again.",
    ),
    Name(
        PROXY_MODE, "proxy StatefulSet", Setter.TAILRACE, "The mode that was chosen: `kernel` or `userspace`."
    ),
)

LABELS: tuple[Name, ...] = (
    Name(MANAGED, "every child", Setter.TAILRACE, '`"true"`: made by the operator.'),
    Name(PARENT_TYPE, "every child", Setter.TAILRACE, "Kind of the root: `svc` or `connector`."),
    Name(
        PARENT_NAME,
        "every child",
        Setter.TAILRACE,
        "Name of the root; over 63 characters its first 54, `-` and 8 digits of its SHA-256.",
    ),
    Name(PARENT_NAMESPACE, "every child", Setter.TAILRACE, "Namespace of the root; empty for a Connector."),
    Name(REPLICA, "proxy pod", Setter.TAILRACE, "Which of a Connector's replicas it is, from 0."),
    Name(SECRET_TYPE, "proxy Secret", Setter.TAILRACE, "`state`."),
    Name(APP, "proxy pod", Setter.TAILRACE, "UID of the root; the selector of the StatefulSet."),
)

USER_KEYS = frozenset(n.key for n in ANNOTATIONS if n.by is Setter.USER)
