"""What a monitoring system needs to find a proxy's metrics: a Service, and a ServiceMonitor where its kind exists.

Names and labels are those of the official operator, so that dashboards go on working; beside them stand the labels
that say whose child it is. The selector names the one pod: the replicas of a Connector share all other labels.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tailrace.api import names, proxyclass
from tailrace.proxy.names import truncate_label

PORT = "metrics"
TARGET = "tailscale.com/metrics-target"
TYPE = "ts_proxy_type"
PARENT = "ts_proxy_parent_name"
PARENT_NAMESPACE = "ts_proxy_parent_namespace"
JOB = "ts_prom_job"
POD_NAME = "statefulset.kubernetes.io/pod-name"  # set by the StatefulSet controller


class ProxyType(enum.StrEnum):
    """What a proxy is for, as its metrics are labelled."""

    SERVICE = "ingress_service"
    EGRESS = "egress_service"
    INGRESS = "ingress_resource"
    CONNECTOR = "connector"

    @property
    def can_be_measured(self) -> bool:
        """An egress proxy forwards what comes to the pod's address, so nothing of its own can listen there."""
        return self is not ProxyType.EGRESS

    @property
    def serves_https(self) -> bool:
        return self is ProxyType.INGRESS


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One proxy whose metrics are to be found."""

    statefulset: str
    namespace: str  # the operator's
    labels: Mapping[str, str]  # of every child of its parent
    type: ProxyType
    parent: str
    parent_namespace: str = ""  # empty for kinds without a namespace


def build_name(statefulset: str) -> str:
    """Of the Service and the ServiceMonitor."""
    return f"{statefulset}-metrics"


def build_service(proxy: Measured) -> dict[str, Any]:
    """The Service in front of the metrics port of one proxy."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": build_name(proxy.statefulset),
            "namespace": proxy.namespace,
            "labels": {**proxy.labels, **build_labels(proxy)},
        },
        "spec": {
            "type": "ClusterIP",
            "ports": [{"name": PORT, "port": proxyclass.METRICS_PORT, "protocol": "TCP"}],
            "selector": {**proxy.labels, POD_NAME: f"{proxy.statefulset}-0"},
        },
    }


def build_service_monitor(proxy: Measured, monitor: proxyclass.ServiceMonitor) -> dict[str, Any]:
    """The ServiceMonitor that makes Prometheus scrape that Service; the user's labels never displace ours."""
    labels = build_labels(proxy)
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": {
            "name": build_name(proxy.statefulset),
            "namespace": proxy.namespace,
            "labels": {**monitor.labels, **proxy.labels, **labels},
        },
        "spec": {
            "selector": {"matchLabels": labels},
            "endpoints": [{"port": PORT}],
            "namespaceSelector": {"matchNames": [proxy.namespace]},
            "jobLabel": JOB,
            "targetLabels": [PARENT, PARENT_NAMESPACE, TYPE],
        },
    }


def build_labels(proxy: Measured) -> dict[str, str]:
    """The labels by which metrics are found and told apart; over-long values are cut as everywhere."""
    found = {
        names.MANAGED: "true",
        TARGET: proxy.statefulset,
        TYPE: proxy.type.value,
        PARENT: truncate_label(proxy.parent),
    }
    where = (proxy.parent_namespace, proxy.parent) if proxy.parent_namespace else (proxy.parent,)
    if proxy.parent_namespace:
        found[PARENT_NAMESPACE] = proxy.parent_namespace
    return found | {JOB: truncate_label("_".join(("ts", proxy.type, *where)))}
