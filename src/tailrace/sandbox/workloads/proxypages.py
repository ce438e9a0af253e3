"""The two pages that a proxy container answers itself: /healthz for probes, /metrics for Prometheus.

Written after `kube/health`, `kube/metrics` and tailscaled's user metrics, 1.102.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from functools import partial

from tailrace.sandbox.controlplane.records import Node
from tailrace.sandbox.workloads import bootconfig, web
from tailrace.sandbox.workloads.dataplane import Door
from tailrace.sandbox.workloads.network import Address, Network

HEALTH, METRICS = "/healthz", "/metrics"

Page = web.Response
Pages = Mapping[Address, frozenset[str]]


def read_pages(env: Mapping[str, str], settings: bootconfig.Settings, pod_ip: str) -> Pages:
    """Which pages are answered where: `ip%pod` is inside the pod alone. Raises bootconfig.Refused."""
    found: dict[Address, frozenset[str]] = {}
    asked = ((METRICS, settings.metrics_enabled), (HEALTH, settings.health_enabled))
    local = frozenset(path for path, enabled in asked if enabled)
    if local:
        found[settings.local_address] = local
    if text := env.get("TS_HEALTHCHECK_ADDR_PORT"):
        name = "TS_HEALTHCHECK_ADDR_PORT"
        if settings.health_enabled:
            raise bootconfig.Refused(
                f"{name} is deprecated and will be removed in 1.82.0, use TS_ENABLE_HEALTH_CHECK and optionally "
                "TS_LOCAL_ADDR_PORT"
            )
        host, _, port = text.rpartition(":")
        try:
            address = str(ipaddress.ip_address(host.strip("[]"))), int(port)
        except ValueError as error:
            raise bootconfig.Refused(f"error parsing {name} value {json.dumps(text)}: {error}") from error
        found[address] = found.get(address, frozenset()) | {HEALTH}
    egress = settings.tailnet_target
    placed: dict[Address, frozenset[str]] = {}
    for (ip, number), paths in found.items():
        for at in _places(ip, pod_ip, egress=egress):
            placed[at, number] = placed.get((at, number), frozenset()) | paths
    return placed


def _places(ip: str, pod_ip: str, *, egress: bool) -> Iterable[str]:
    """An address that stands for all of the pod's is the pod's and its loopback. What an egress proxy listens to at the
    pod's address is soon heard inside alone."""
    address = ipaddress.ip_address(ip)
    if address.is_unspecified:
        yield inside("127.0.0.1", pod_ip)
        ip = pod_ip
    elif address.is_loopback and ip != pod_ip:
        yield inside(ip, pod_ip)
        return
    yield ip
    if egress:
        yield inside(ip, pod_ip)


def inside(ip: str, pod_ip: str) -> str:
    """How the network knows an address that only the pod itself reaches."""
    return f"{ip}%{pod_ip}"


def doors(pages: Pages) -> Iterable[Door]:
    return [Door("tcp", *address) for address in pages if "%" not in address[0]]


def open_pages(
    network: Network, pages: Pages, answer: Callable[[str], Page], inner: ExitStack, outer: ExitStack
) -> None:
    """Start to answer; `outer` closes what is heard from outside the pod, `inner` the rest. Raises OSError when
    somebody else listens there."""

    def reply(paths: frozenset[str], request: web.Request) -> Page:
        path = request.path.partition("?")[0]
        if path not in paths:
            return Page(status=404, body=b"404 page not found\n")
        if request.method not in ("GET", "HEAD"):
            return Page(status=405, body=b"Method Not Allowed\n", headers={"allow": "GET, HEAD"})
        return answer(path)

    for (ip, port), paths in pages.items():
        listener = network.listen_tcp(ip, port, partial(web.serve, answer=partial(reply, paths)))
        (inner if "%" in ip else outer).callback(listener.close, cut=True)


def build_health(healthy: bool, pod_ip: str | None) -> Page:
    if not healthy:
        return Page(status=503, body=b"node currently has no tailscale IPs\n")
    return Page(body=b"ok", headers={"Pod-IPv4": pod_ip} if pod_ip and ":" not in pod_ip else {})


def build_metrics(node: Node | None) -> Page:
    """tailscaled's user metrics, as far as they say something here."""
    advertised = node.advertised if node else ()
    approved = [route for route in advertised if node and route in node.approved]
    values = {
        "tailscaled_advertised_routes": (
            len(advertised),
            "Number of advertised network routes (e.g. by a subnet router)",
        ),
        "tailscaled_approved_routes": (
            len(approved),
            "Number of approved network routes (e.g. by a subnet router)",
        ),
    }
    text = "".join(
        f"# TYPE {name} gauge\n# HELP {name} {said}\n{name} {value}\n"
        for name, (value, said) in values.items()
    )
    return Page(body=text.encode(), headers={"content-type": "text/plain; version=0.0.4"})
