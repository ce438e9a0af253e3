"""Every metric of Tailrace, each declared once; `TABLE` is what the reference page and its test read.

Labels have few values: controllers, resources, verbs, outcomes, tailnets; never the name of anything that users make
many of, an id or a URL.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Literal

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

import tailrace

REGISTRY = CollectorRegistry()

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One metric as the reference page shows it; `name` is the exposed one (counters end in `_total`)."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...]


_rows: list[Row] = []


def _counter(name: str, help: str, *labels: str) -> Counter:
    _rows.append(Row(name=name, kind="counter", help=help, labels=labels))
    return Counter(name, help, labels, registry=REGISTRY)


def _gauge(name: str, help: str, *labels: str) -> Gauge:
    _rows.append(Row(name=name, kind="gauge", help=help, labels=labels))
    return Gauge(name, help, labels, registry=REGISTRY)


def _histogram(name: str, help: str, *labels: str) -> Histogram:
    _rows.append(Row(name=name, kind="histogram", help=help, labels=labels))
    return Histogram(name, help, labels, registry=REGISTRY, buckets=_SECONDS)


# the queue
QUEUE_DEPTH = _gauge("tailrace_queue_depth", "Keys that are ready and wait for a worker.", "controller")
QUEUE_WAIT = _histogram(
    "tailrace_queue_wait_seconds", "How long a ready key waited for a worker.", "controller"
)
QUEUE_RETRIES = _counter("tailrace_queue_retries_total", "Keys put back after a failure.", "controller")

# reconciles
RECONCILES = _counter(
    "tailrace_reconciles_total",
    "Reconciles by outcome: settled, requeued, waiting, conflict, transient, limited, denied, terminal or bug.",
    "controller",
    "outcome",
)
RECONCILE_SECONDS = _histogram("tailrace_reconcile_seconds", "How long a reconcile took.", "controller")
RECONCILES_RUNNING = _gauge("tailrace_reconciles_running", "Reconciles under way.", "controller")

# watches
WATCH_EVENTS = _counter("tailrace_watch_events_total", "Changes that a watch delivered.", "resource")
WATCH_STARTS = _counter(
    "tailrace_watch_starts_total",
    "Requests of a watch: streaming lists, list pages and watches.",
    "resource",
    "request",
)
WATCH_FAILURES = _counter(
    "tailrace_watch_failures_total",
    "Watch requests that ended badly: expired, silent, limited, denied, refused, broken or bug.",
    "resource",
    "failure",
)
WATCH_UNDECODABLE = _counter(
    "tailrace_watch_undecodable_total",
    "Objects that were skipped because they could not be decoded.",
    "resource",
)
STORE_OBJECTS = _gauge("tailrace_store_objects", "Objects in a watch's store.", "resource")

# requests to the Kubernetes API
KUBE_REQUESTS = _counter(
    "tailrace_kube_requests_total",
    "Requests to the Kubernetes API by verb, resource and HTTP status (0: no answer).",
    "verb",
    "resource",
    "code",
)
KUBE_SECONDS = _histogram(
    "tailrace_kube_request_seconds", "Duration of requests to the Kubernetes API.", "verb", "resource"
)

# calls to control planes
CONTROL_PLANE_CALLS = _counter(
    "tailrace_control_plane_calls_total",
    "Calls to a control plane by method, route and HTTP status (0: no answer).",
    "method",
    "route",
    "code",
)
CONTROL_PLANE_SECONDS = _histogram(
    "tailrace_control_plane_call_seconds", "Duration of calls to a control plane.", "method", "route"
)
DEVICES = _gauge(
    "tailrace_devices",
    "Devices in the shared list of a tailnet's control plane: online or offline. `tailnet` names a Tailnet object, "
    'it is "" for the operator\'s own.',
    "tailnet",
    "state",
)

# Connectors, by the official operator's names
CONNECTORS = _gauge("k8s_connector_resources", "Connectors, whatever they are.")
CONNECTOR_SUBNET_ROUTERS = _gauge(
    "k8s_connector_subnetrouter_resources", "Connectors that are subnet routers."
)
CONNECTOR_EXIT_NODES = _gauge("k8s_connector_exitnode_resources", "Connectors that are exit nodes.")
CONNECTOR_APP_CONNECTORS = _gauge(
    "k8s_connector_appconnector_resources", "Connectors that are app connectors."
)

# other kinds, by the official operator's names
EGRESS_PROXIES = _gauge("k8s_egress_proxies", "Services that lead out of the cluster.")

PROXY_CLASSES = _gauge("k8s_proxyclass_resources", "ProxyClasses.")
TAILNETS = _gauge("k8s_tailnet_resources", "Tailnets beside the operator's own.")

# what is left over
SWEPT = _counter(
    "tailrace_swept_total",
    "What was taken away because nobody needs it: orphan (a device of the orphan record), proxy (given to its room) or key.",
    "what",
)
LEFT_OVER = _gauge(
    "tailrace_left_over",
    "What the last sweep of a tailnet found left over: orphan, proxy, device or key. `tailrace gc` shows it.",
    "tailnet",
    "what",
)
LAST_SWEEP = _gauge(
    "tailrace_last_sweep_timestamp_seconds", "When a tailnet was last swept, as a Unix time.", "tailnet"
)

# the process
LEADER = _gauge(
    "tailrace_leader", "1 while this process holds the lease (or needs none), 0 while it stands by."
)
EVENTS = _counter(
    "tailrace_events_total",
    "Kubernetes Events by outcome: written, repeated, limited, dropped or failed.",
    "outcome",
)
LOOP_LAG = _gauge("tailrace_loop_lag_seconds", "How late the event loop's last heartbeat was.")
BUILD = _gauge("tailrace_build_info", "Always 1; the version is a label.", "version")
BUILD.labels(tailrace.__version__).set(1)

TABLE: tuple[Row, ...] = tuple(_rows)

prometheus_client.ProcessCollector(registry=REGISTRY)


def drop(metric: Gauge, *labels: str) -> None:
    """Forget the numbers of something that is no more."""
    with contextlib.suppress(KeyError):  # never set
        metric.remove(*labels)


def observe_kube_request(verb: str, resource: str, code: int, seconds: float) -> None:
    """The observer of `kube.client.Kube`: one finished request; `code` 0 means that no answer came."""
    KUBE_REQUESTS.labels(verb, resource, str(code)).inc()
    KUBE_SECONDS.labels(verb, resource).observe(seconds)


def observe_control_plane_call(method: str, route: str, code: int, seconds: float) -> None:
    """The observer of `wire`'s client: one finished call; `route` is a template without ids."""
    CONTROL_PLANE_CALLS.labels(method, route, str(code)).inc()
    CONTROL_PLANE_SECONDS.labels(method, route).observe(seconds)


def render(accept: str) -> tuple[bytes, str]:
    """All metrics in the format that the `Accept` header asks for: body and content type."""
    encode, content_type = prometheus_client.exposition.choose_encoder(accept)
    return encode(REGISTRY), content_type
