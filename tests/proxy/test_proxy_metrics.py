"""The objects by which a monitoring system finds a proxy's metrics."""

from __future__ import annotations

import pytest

from tailrace.api import names
from tailrace.api.proxyclass import ServiceMonitor
from tailrace.plan import ownership
from tailrace.proxy import metrics
from tailrace.proxy.metrics import Measured, ProxyType
from tailrace.proxy.names import build_labels

SERVICE = Measured(
    statefulset="ts-web-abc",
    namespace="tailscale",
    labels=build_labels("svc", "media", "web"),
    type=ProxyType.SERVICE,
    parent="web",
    parent_namespace="media",
)
CONNECTOR = Measured(
    statefulset="ts-home-abc-1",
    namespace="tailscale",
    labels=build_labels("connector", "", "home"),
    type=ProxyType.CONNECTOR,
    parent="home",
)


def test_the_service_stands_in_front_of_one_pod_alone() -> None:
    found = metrics.build_service(CONNECTOR)
    assert found["metadata"]["name"] == "ts-home-abc-1-metrics"
    assert found["spec"]["ports"] == [{"name": "metrics", "port": 9002, "protocol": "TCP"}]
    assert found["spec"]["selector"]["statefulset.kubernetes.io/pod-name"] == "ts-home-abc-1-0"
    assert found["spec"]["selector"].items() >= CONNECTOR.labels.items()


@pytest.mark.parametrize(
    ("proxy", "expected"),
    [
        (
            SERVICE,
            {
                "tailscale.com/managed": "true",
                "tailscale.com/metrics-target": "ts-web-abc",
                "ts_proxy_type": "ingress_service",
                "ts_proxy_parent_name": "web",
                "ts_proxy_parent_namespace": "media",
                "ts_prom_job": "ts_ingress_service_media_web",
            },
        ),
        (
            CONNECTOR,
            {
                "tailscale.com/managed": "true",
                "tailscale.com/metrics-target": "ts-home-abc-1",
                "ts_proxy_type": "connector",
                "ts_proxy_parent_name": "home",
                "ts_prom_job": "ts_connector_home",
            },
        ),
    ],
    ids=["service", "connector"],
)
def test_the_labels_are_those_of_the_official_operator(proxy: Measured, expected: dict[str, str]) -> None:
    assert metrics.build_labels(proxy) == expected


def test_label_values_are_cut_like_everywhere() -> None:
    long = Measured(
        statefulset="ts-x", namespace="tailscale", labels={}, type=ProxyType.CONNECTOR, parent="x" * 80
    )
    found = metrics.build_labels(long)
    assert max(map(len, found.values())) == 63
    assert found["ts_proxy_parent_name"] != found["ts_prom_job"]


def test_the_service_monitor_selects_that_service_and_keeps_our_labels() -> None:
    monitor = ServiceMonitor(enable=True, labels={"release": "prometheus", "ts_proxy_type": "mine"})
    found = metrics.build_service_monitor(SERVICE, monitor)
    service = metrics.build_service(SERVICE)["metadata"]["labels"]
    assert found["metadata"]["labels"] == {**service, "release": "prometheus"}
    assert found["spec"]["selector"]["matchLabels"].items() <= service.items()
    assert found["spec"]["endpoints"] == [{"port": "metrics"}]
    assert found["spec"]["namespaceSelector"] == {"matchNames": ["tailscale"]}
    assert found["spec"]["jobLabel"] == "ts_prom_job"
    assert set(found["spec"]["targetLabels"]) == {
        "ts_proxy_parent_name",
        "ts_proxy_parent_namespace",
        "ts_proxy_type",
    }


@pytest.mark.parametrize("proxy", [SERVICE, CONNECTOR], ids=["service", "connector"])
def test_both_belong_to_the_proxys_parent(proxy: Measured) -> None:
    """What does not carry its parent's labels could neither be applied nor deleted by a plan."""
    for manifest in (
        metrics.build_service(proxy),
        metrics.build_service_monitor(proxy, ServiceMonitor(enable=True)),
    ):
        assert ownership.is_ours(manifest["metadata"]["labels"], proxy.labels)
        assert names.MANAGED in manifest["metadata"]["labels"]


def test_an_egress_proxy_is_not_measured() -> None:
    assert [each for each in ProxyType if not each.can_be_measured] == [ProxyType.EGRESS]
