"""What the official operator (1.102) leaves in a cluster for an exposed Service, in its exact shapes: random suffix, keys of
the Secret, variables, volumes, condition. Its own Deployment too."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tailrace.api import kube

HOME = "tailscale"


@dataclass(frozen=True, kw_only=True, slots=True)
class Proxy:
    """The proxy of one root. Without a device it waits with its key."""

    uid: str
    name: str = "web"
    namespace: str = "demo"
    parent: str = "svc"
    suffix: str = "x7k2q"
    hostname: str = "demo-web"
    target: str = "10.96.0.7"
    device: str = ""
    fqdn: str = "demo-web.tailnet.test."
    addresses: tuple[str, ...] = ("100.64.0.1", "fd7a:115c:a1e0::1")
    key: str = ""

    @property
    def base(self) -> str:
        return f"ts-{self.name}-{self.suffix}"

    @property
    def labels(self) -> dict[str, str]:
        return {
            "tailscale.com/managed": "true",
            "tailscale.com/parent-resource": self.name,
            "tailscale.com/parent-resource-ns": self.namespace,
            "tailscale.com/parent-resource-type": self.parent,
        }

    def meta(self, name: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "namespace": HOME, "labels": self.labels, **more}


def build_headless(proxy: Proxy) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": proxy.meta(proxy.base, generateName=f"ts-{proxy.name}-"),
        "spec": {
            "clusterIP": "None",
            "ipFamilyPolicy": "PreferDualStack",
            "selector": {"app": proxy.uid},
            "type": "ClusterIP",
        },
    }


def build_config(proxy: Proxy, *, connector: bool) -> str:
    key = {"AuthKey": proxy.key} if proxy.key else {}
    config: dict[str, Any] = {
        "Version": "alpha0",
        "Locked": False,
        "ServerURL": "https://control.test",
        **key,
        "Hostname": proxy.hostname,
        "acceptDNS": False,
        "acceptRoutes": False,
    }
    if connector:
        config["AppConnector"] = {"Advertise": False}
    return json.dumps(config | {"NoStatefulFiltering": True})


def build_secret(proxy: Proxy) -> dict[str, Any]:
    """Configuration for two capability versions, and what containerboot and tailscaled wrote."""
    data = {
        "cap-95.hujson": build_config(proxy, connector=False),
        "cap-107.hujson": build_config(proxy, connector=True),
    }
    if proxy.device:
        data |= {
            "_current-profile": "profile-1a2b",
            "_machinekey": "privkey:00",
            "_profiles": "{}",
            "device_fqdn": proxy.fqdn,
            "device_id": proxy.device,
            "device_ips": json.dumps(list(proxy.addresses)),
            "pod_uid": "0a1b2c3d",
            "tailscale_capver": "133",
        }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": proxy.meta(f"{proxy.base}-0"),
        "data": {key: kube.encode_key(value) for key, value in data.items()},
    }


def build_statefulset(proxy: Proxy) -> dict[str, Any]:
    secret = f"{proxy.base}-0"
    field = {
        name: {"valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
        for name, path in (
            ("POD_IP", "status.podIP"),
            ("POD_NAME", "metadata.name"),
            ("POD_UID", "metadata.uid"),
        )
    }
    privileged = {"securityContext": {"privileged": True}}
    image = {"image": "tailscale/tailscale:v1.102.5", "imagePullPolicy": "Always"}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": proxy.meta(proxy.base),
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": proxy.uid}},
            "serviceName": proxy.base,
            "template": {
                "metadata": {
                    "annotations": {"tailscale.com/operator-last-set-cluster-ip": proxy.target},
                    "labels": {**proxy.labels, "app": proxy.uid},
                },
                "spec": {
                    "serviceAccountName": "proxies",
                    "initContainers": [
                        {
                            "name": "sysctler",
                            "command": ["/bin/sh", "-c"],
                            "args": ["sysctl -w net.ipv4.ip_forward=1"],
                            **image,
                            **privileged,
                        }
                    ],
                    "containers": [
                        {
                            "name": "tailscale",
                            **image,
                            **privileged,
                            "env": [
                                {"name": "TS_USERSPACE", "value": "false"},
                                *({"name": name, **source} for name, source in field.items()),
                                {"name": "TS_KUBE_SECRET", "value": "$(POD_NAME)"},
                                {
                                    "name": "TS_EXPERIMENTAL_SERVICE_AUTO_ADVERTISEMENT",
                                    "value": "false",
                                },
                                {
                                    "name": "TS_EXPERIMENTAL_VERSIONED_CONFIG_DIR",
                                    "value": "/etc/tsconfig/$(POD_NAME)",
                                },
                                {"name": "TS_DEBUG_ACME_FORCE_RENEWAL", "value": "true"},
                                {"name": "TS_DEBUG_FIREWALL_MODE", "value": "auto"},
                                {"name": "TS_DEST_IP", "value": proxy.target},
                                {"name": "TS_INTERNAL_APP", "value": "k8s-operator-ingress-proxy"},
                            ],
                            "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}},
                            "volumeMounts": [
                                {
                                    "name": "tailscaledconfig-0",
                                    "mountPath": f"/etc/tsconfig/{secret}",
                                    "readOnly": True,
                                }
                            ],
                        }
                    ],
                    "volumes": [{"name": "tailscaledconfig-0", "secret": {"secretName": secret}}],
                },
            },
        },
    }


def build_children(proxy: Proxy) -> list[dict[str, Any]]:
    """In the order in which it makes them."""
    return [build_headless(proxy), build_secret(proxy), build_statefulset(proxy)]


def build_root_marks(generation: int = 1) -> dict[str, Any]:
    """What it writes on the user's Service: the finalizer and its condition."""
    return {
        "metadata": {"finalizers": ["tailscale.com/finalizer"]},
        "status": {
            "conditions": [
                {
                    "type": "TailscaleProxyReady",
                    "status": "True",
                    "reason": "ProxyCreated",
                    "message": "ProxyCreated",
                    "observedGeneration": generation,
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                }
            ]
        },
    }


def build_operator(replicas: int = 1) -> dict[str, Any]:
    """Its Deployment, as chart and manifests have it."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "operator", "namespace": HOME},
        "spec": {
            "replicas": replicas,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {"app": "operator"}},
            "template": {
                "metadata": {"labels": {"app": "operator"}},
                "spec": {
                    "serviceAccountName": "operator",
                    "containers": [{"name": "operator", "image": "tailscale/k8s-operator:v1.102.5"}],
                },
            },
        },
    }
