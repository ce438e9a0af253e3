"""Put the operator together: settings in, a running process out. Start reading here.

Everything is made here and handed down; no room finds anything by itself. The order in which things run is the
manager's (`runtime.manager`), what there is to run is `kinds`' table of contents.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from tailrace import settings as configuration
from tailrace.api.kube import ConfigMap
from tailrace.errors import Usage
from tailrace.fleet import admission, gather, stores
from tailrace.fleet.install import Defaults, Install
from tailrace.kinds.connector.controller import Connectors
from tailrace.kinds.egress.controller import Egresses
from tailrace.kinds.orphan import decide as orphan_decide
from tailrace.kinds.orphan.controller import Orphans
from tailrace.kinds.proxyclass.controller import ProxyClasses
from tailrace.kinds.service.controller import Services
from tailrace.kinds.sweep.controller import Kind, Sweeper
from tailrace.kinds.sweep.inputs import Remembered
from tailrace.kinds.tailnet import watched as tailnet_secrets
from tailrace.kinds.tailnet.controller import TailnetObjects
from tailrace.kinds.tailnet.tokens import build_mint
from tailrace.kube.client import Kube, allow_all
from tailrace.kube.resource import Key, key_of
from tailrace.observe import logs, metrics
from tailrace.plan import ops
from tailrace.plan.executor import Executor
from tailrace.proxy import spec
from tailrace.runtime import health as healths
from tailrace.runtime import published
from tailrace.runtime.controller import Controller
from tailrace.runtime.events import Notice, Recorder
from tailrace.runtime.leader import Elector
from tailrace.runtime.manager import Manager
from tailrace.settings import Settings
from tailrace.tailnet import connect, credentials, devices, registry, tailscale
from tailrace.tailnet.port import ControlPlane
from tailrace.wire import http

log = structlog.get_logger(__name__)

LEASE = "tailrace"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """What the operator talks to."""

    cluster: Kube
    plane: ControlPlane


def open_plane(settings: Settings) -> ControlPlane:
    """The control plane that the settings name; nothing is asked yet.

    Raises:
        Usage: credentials are missing or named twice.
    """
    source = credentials.choose_files(
        client_id=settings.client_id,
        client_id_file=settings.client_id_file,
        client_secret_file=settings.client_secret_file,
        api_key_file=settings.api_key_file,
    )
    wiring = connect.Wiring(
        ca_bundle=settings.ca_bundle,
        options=http.Options(concurrency=settings.control_plane_calls),
        observer=metrics.observe_control_plane_call,
    )
    return connect.connect(source, settings.login_server, wiring=wiring)


def open_edges(settings: Settings, *, kubeconfig: Path | None = None, context: str | None = None) -> Edges:
    """Connect to the cluster and the control plane; nothing is asked yet.

    Raises:
        Usage: kubeconfig, context or credentials are missing or broken.
    """
    plane = open_plane(settings)
    cluster = Kube.connect(kubeconfig=kubeconfig, context=context, observer=metrics.observe_kube_request)
    return Edges(cluster=cluster, plane=plane)


def find_login_server(settings: Settings) -> str:
    """Where proxies log in, without asking anybody."""
    return settings.login_server or tailscale.LOGIN_SERVER


def build_install(settings: Settings, login_server: str) -> Install:
    """What is the same for every object of this installation."""
    namespace = configuration.find_namespace(settings)
    return Install(
        namespace=namespace,
        defaults=Defaults(
            tags=settings.proxy_tags,
            mode=settings.proxy_mode,
            load_balancer=settings.default_load_balancer,
            proxy_class=settings.proxy_default_class,
        ),
        image=spec.Image(
            image=settings.proxy_image,
            priority_class=settings.proxy_priority_class,
            firewall_mode=settings.proxy_firewall_mode,
            login_server=login_server,
            ca_pem=read_text(settings.ca_bundle, "TAILRACE_CA_BUNDLE"),
            private_logs=bool(settings.login_server),
        ),
        cluster_name=settings.cluster_name,
        cluster_domain=settings.cluster_domain or read_cluster_domain(namespace),
        key_ttl=settings.key_ttl,
        delete_deadline=settings.delete_deadline,
    )


def read_text(path: Path | None, env: str) -> str:
    try:
        return "" if path is None else path.read_text()
    except OSError as error:
        raise Usage(
            f"{env} names {path}, which cannot be read: {error.strerror}.", hint=f"correct {env}"
        ) from None


def read_cluster_domain(namespace: str) -> str:
    try:
        return configuration.find_cluster_domain(Path("/etc/resolv.conf").read_text(), namespace)
    except OSError:
        return "cluster.local"


def build_manager(settings: Settings, edges: Edges) -> Manager:
    """The whole operator as one manager: tasks, watches, controllers, lease."""
    install = build_install(settings, edges.plane.login_server)
    elector = build_elector(settings, edges.cluster, install.namespace)
    allow = elector.check if elector is not None else allow_all
    acting = edges.cluster.guard(allow)
    health, recorder = healths.Health(), Recorder(acting)
    tailnets = build_tailnets(settings, edges.plane)
    shared = stores.Stores()
    executor = Executor(
        cluster=acting,
        planes=tailnets.find_plane,
        namespace=install.namespace,
        record=lambda event: recorder.record(build_notice(event)),
        written=shared.note,
        allow=allow,
    )
    fleet = gather.Fleet(
        install=install,
        stores=shared,
        tailnets=tailnets,
        executor=executor,
        admission=admission.Prober(acting, install.namespace, install.image),
    )
    services, orphans = Services(fleet, workers=settings.workers), Orphans(executor)
    egresses = Egresses(fleet, workers=settings.workers)
    classes, connectors = ProxyClasses(fleet, acting), Connectors(fleet)
    objects = build_tailnet_objects(settings, fleet, edges.cluster, orphans)
    sweeper = build_sweeper(fleet, orphans, connectors, (services.controller, egresses.controller))
    watches = stores.build_watches(shared, edges.cluster, install.namespace)
    watches += [*services.build_watches(edges.cluster), orphans.build_watch(edges.cluster, install.namespace)]
    watches += [*connectors.build_watches(edges.cluster), objects.build_watch(edges.cluster)]
    manager = Manager(elector=elector)
    for room in (services, egresses, connectors, classes, objects, orphans, sweeper):
        manager.add(room.controller)
    for watch in watches:
        manager.add_reflector(watch)
        health.watch(watch)
    health.ready["synced"] = manager.check_synced
    health.ready["lease"] = manager.check_role
    health.ready["control plane"] = lambda: describe_list(tailnets.own.devices)
    host, port = settings.metrics_address
    known = dataclasses.replace(settings, namespace=install.namespace, cluster_domain=install.cluster_domain)
    manager.add_task("tailnets", lambda: keep_tailnets(tailnets))
    manager.add_task("tailnet secrets", objects.secrets.run)
    manager.add_task("events", recorder.run)
    manager.add_task(
        "settings", lambda: published.publish(acting, known, install.image.ca_pem), leader_only=True
    )
    manager.add_task("heartbeat", health.beat)
    manager.add_task("http", lambda: healths.serve(health, healths.listen(host, port)))
    return manager


def build_tailnets(settings: Settings, plane: ControlPlane) -> registry.Tailnets:
    """The operator's own tailnet; others come with their Tailnet objects."""
    schedule = devices.Schedule(slow=settings.device_refresh.total_seconds())
    build = functools.partial(registry.build_membership, schedule=schedule)
    return registry.Tailnets(build(registry.OWN, plane), build=build)


async def keep_tailnets(tailnets: registry.Tailnets) -> None:
    """Every tailnet's list of devices, for ever; then nothing of theirs stays open."""
    try:
        await tailnets.run()
    finally:
        await tailnets.close()


def build_tailnet_objects(
    settings: Settings, fleet: gather.Fleet, cluster: Kube, orphans: Orphans
) -> TailnetObjects:
    """The room that keeps the other tailnets, with the way to their control planes, and to those who use them."""
    namespace = fleet.install.namespace

    def open_plane(source: credentials.Source, server: str, ca_pem: str) -> ControlPlane:
        wiring = connect.Wiring(
            ca_pem=ca_pem,
            options=http.Options(concurrency=settings.control_plane_calls),
            observer=metrics.observe_control_plane_call,
        )
        return connect.connect(source, server, wiring=wiring)

    room = TailnetObjects(
        namespace=namespace,
        tailnets=fleet.tailnets,
        executor=fleet.executor,
        open_plane=open_plane,
        open_watch=tailnet_secrets.build_watch(cluster, namespace),
        users=lambda name: (*fleet.list_users(name), *orphans.list_users(name)),
        mint=build_mint(cluster, namespace, settings.service_account),
    )
    fleet.on_user_change(room.wake)
    return room


def build_sweeper(
    fleet: gather.Fleet, orphans: Orphans, connectors: Connectors, services: Sequence[Controller]
) -> Sweeper:
    """The room that finds what is left over, with the ways to those that take proxies away."""

    def wake_service(key: Key) -> None:
        """Whose it was, a proxy says by its objects alone: each of the two rooms looks."""
        for controller in services:
            controller.enqueue(key)

    def list_remembered() -> tuple[Remembered, ...]:
        return tuple(entry for record in orphans.store.list() for entry in remember(record))

    kinds = {
        "svc": Kind(list_keys=lambda: (key_of(s) for s in fleet.stores.services.list()), wake=wake_service),
        "connector": Kind(
            list_keys=lambda: (key_of(c) for c in connectors.store.list()), wake=connectors.controller.enqueue
        ),
    }
    return Sweeper(fleet, kinds, list_remembered)


def remember(record: ConfigMap) -> tuple[Remembered, ...]:
    """The orphan record as the sweeper knows it: rooms do not know each other."""
    return tuple(
        Remembered(key=e.key, device=e.device, name=e.note.name, object=e.note.object, tailnet=e.note.tailnet)
        for e in orphan_decide.list_entries(record)
    )


def build_elector(settings: Settings, cluster: Kube, namespace: str) -> Elector | None:
    identity = settings.pod_name or f"{os.uname().nodename}-{os.getpid()}"
    elector = Elector(cluster.beside(), namespace=namespace, name=LEASE, identity=identity)
    return elector if settings.leader_election else None


def describe_list(listing: devices.DeviceList) -> str:
    snapshot = listing.snapshot()
    return str(snapshot.error) if snapshot.error else "" if snapshot.known else "no device list yet"


def build_notice(event: ops.Emit) -> Notice:
    return Notice(
        api_version=event.api_version,
        kind=event.ref.kind,
        namespace=event.ref.namespace,
        name=event.ref.name,
        uid=event.uid,
        warning=event.warning,
        reason=event.reason,
        message=event.message,
    )


async def run(settings: Settings, edges: Edges, *, stop: asyncio.Event | None = None) -> None:
    """Run the operator until `stop` is set (or a signal comes), and leave nothing open."""
    manager = build_manager(settings, edges)
    try:
        await manager.run(stop or catch_signals())
    finally:
        await edges.plane.close()
        await edges.cluster.close()


def catch_signals() -> asyncio.Event:
    """An event that SIGINT and SIGTERM set."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


async def main(settings: Settings, *, kubeconfig: Path | None = None, context: str | None = None) -> None:
    """What `tailrace run` does."""
    edges = open_edges(settings, kubeconfig=kubeconfig, context=context)
    verbose = settings.logging != "info"
    logs.configure(level="debug" if verbose else "info", pretty=settings.logging == "dev" or None)
    await run(settings, edges)
