"""`tailrace explain`: what the operator sees of a Service, what it decides, and what it would do now."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter

from tailrace import app, errors, settings
from tailrace.api import kube, names
from tailrace.cli import cluster as clusters
from tailrace.cli.exits import Exit
from tailrace.kinds.service import admission, decide, inputs, request
from tailrace.kube import resources
from tailrace.kube.client import Kube
from tailrace.plan import words
from tailrace.proxy import names as proxy_names
from tailrace.proxy import secret
from tailrace.tailnet import port


async def explain(
    name: Annotated[str, Parameter(help="service/NAMESPACE/NAME or NAMESPACE/NAME.")],
    /,
    *,
    cluster: clusters.Target | None = None,
) -> int:
    """Say what the operator sees, decided and would do now. Needs the operator's environment for its settings and
    credentials; without credentials the control plane's part is left out, and said so."""
    async with clusters.connect(cluster) as found:
        namespace, service_name = clusters.parse_name(name, found.namespace)
        service = await clusters.get_service(found, namespace, service_name)
        loaded = settings.load(os.environ)
        home = await clusters.find_operator_namespace(found)
        plane = open_plane(loaded)
        try:
            world = await gather(found, plane, settings.replace_namespace(loaded, home), service)
        finally:
            if plane is not None:
                await plane.close()
    print_seen(world, service)
    for line in words.describe(decide.decide(world)):
        print(f"  {line}")
    return Exit.OK


def open_plane(loaded: settings.Settings) -> port.ControlPlane | None:
    try:
        return app.open_plane(loaded)
    except errors.Usage:
        return None


async def gather(
    cluster: Kube, plane: port.ControlPlane | None, loaded: settings.Settings, service: kube.Service
) -> inputs.Inputs:
    """The same world that the controller would gather, read once instead of watched."""
    install = app.build_install(loaded, plane.login_server if plane else loaded.login_server)
    meta, home = service.metadata, loaded.namespace
    labels = ",".join(
        f"{k}={v}" for k, v in proxy_names.build_labels("svc", meta.namespace, meta.name).items()
    )
    secrets, sets, accounts, roles, bindings = await asyncio.gather(
        cluster.list(resources.SECRETS, home, labels=labels),
        cluster.list(resources.STATEFUL_SETS, home, labels=labels),
        cluster.list(resources.SERVICE_ACCOUNTS, home, labels=labels),
        cluster.list(resources.ROLES, home, labels=labels),
        cluster.list(resources.ROLE_BINDINGS, home, labels=labels),
    )
    behind = f"{names.SERVICE_NAME}={meta.name}"
    pods, slices, services, namespace = await asyncio.gather(
        cluster.list(resources.PODS, home, labels=labels),
        cluster.list(resources.ENDPOINT_SLICES, meta.namespace, labels=behind),
        cluster.list(resources.SERVICES),
        cluster.get(resources.NAMESPACES, home),
    )
    hostname = request.read_hostname(service).lower()
    rivals = tuple(
        s
        for s in services
        if s.metadata.uid != meta.uid
        and request.is_exposed(s, install.defaults)
        and request.read_hostname(s).lower() == hostname
    )
    state = secret.read(secrets[0]) if secrets else None
    return inputs.Inputs(
        namespace=meta.namespace,
        name=meta.name,
        install=install,
        service=service,
        children=inputs.Children(
            service_account=accounts[0] if accounts else None,
            role=roles[0] if roles else None,
            role_binding=bindings[0] if bindings else None,
            state=state,
            statefulset=sets[0] if sets else None,
            pod=pods[0] if pods else None,
        ),
        tailnet=await ask_tailnet(plane, state, hostname),
        admission=await admission.Prober(cluster, home, install.image).ask(namespace.metadata.labels),
        rivals=rivals,
        slices=tuple(slices),
        now=datetime.now(UTC),
    )


async def ask_tailnet(
    plane: port.ControlPlane | None, state: secret.State | None, hostname: str
) -> inputs.Tailnet:
    if plane is None:
        return inputs.Tailnet(known=False, problem="no credentials for the control plane in this environment")
    try:
        devices = await plane.list_devices()
    except errors.TailraceError as error:
        return inputs.Tailnet(known=False, problem=str(error), denied=isinstance(error, errors.Denied))
    own = state.device_id if state else ""
    device = next((d for d in devices if d.id == own), None)
    return inputs.Tailnet(
        known=True,
        device=device,
        gone=bool(own) and device is None,
        namesakes=tuple(d for d in devices if d.id != own and d.name.lower() == hostname),
        can_rename=plane.has(port.Capability.RENAME),
        can_tag=plane.has(port.Capability.SET_TAGS),
    )


def print_seen(world: inputs.Inputs, service: kube.Service) -> None:
    wish = request.read_request(service, world.install.defaults)
    state, tailnet = world.children.state, world.tailnet
    ready = sum(1 for s in world.slices for e in s.endpoints or () if e.conditions.ready is not False)
    rows = (
        ("exposed", "yes" if wish.exposed else "no"),
        ("hostname", wish.hostname),
        ("tags", ", ".join(wish.tags)),
        ("mode asked for", str(wish.mode)),
        ("proxy", proxy_names.build_child_name("svc", world.namespace, world.name)),
        ("device", state.device_id if state and state.device_id else "none yet"),
        ("control plane", tailnet.problem or ("sees it" if tailnet.device else "does not list it")),
        ("ready endpoints", str(ready)),
    )
    print(f"service/{world.namespace}/{world.name}")
    for title, value in rows:
        print(f"  {title + ':':<18}{value}")
    for sentence in (*wish.violations, *wish.later, *wish.unknown):
        print(f"  ! {sentence}")
    print("would do now:")
