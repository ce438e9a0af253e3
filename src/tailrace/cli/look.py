"""The world of one Service, read once: the same that the operator's controller gathers from its watches.

Called by `explain`. What this shell may not see is left out and said, never guessed.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tailrace import app, errors
from tailrace.api import kube, names
from tailrace.cli.cluster import Operator, together
from tailrace.kinds.service import admission, inputs, request
from tailrace.kube import resources
from tailrace.kube.client import Kube
from tailrace.proxy import names as proxy_names
from tailrace.proxy import secret
from tailrace.runtime.leader import LEASES
from tailrace.tailnet import port

LEASE_AGE = 30.0  # seconds; a holder that lives renews every two


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What was seen, and in words what of it was not."""

    inputs: inputs.Inputs
    service: kube.Service
    running: str  # is there an operator at all
    control_plane: str
    unseen: tuple[str, ...]


async def look(
    cluster: Kube, plane: port.ControlPlane | None, operator: Operator, service: kube.Service
) -> Look:
    """Read everything that concerns the Service.

    Raises:
        Usage: the operator's namespace does not exist.
    """
    install = build_install(operator)
    meta = service.metadata
    behind = f"{names.SERVICE_NAME}={meta.name}"
    async with together() as group:
        reading = group.create_task(read_children(cluster, operator.namespace, service))
        services = group.create_task(cluster.list(resources.SERVICES))
        slices = group.create_task(cluster.list(resources.ENDPOINT_SLICES, meta.namespace, labels=behind))
        running = group.create_task(describe_operator(cluster, operator.namespace))
    children = reading.result()
    tailnet, control_plane = await ask_tailnet(cluster, plane, operator, service, children.state)
    admitted, unseen = await ask_admission(cluster, install)
    world = inputs.Inputs(
        namespace=meta.namespace,
        name=meta.name,
        install=install,
        service=service,
        children=children,
        tailnet=tailnet,
        admission=admitted,
        rivals=find_rivals(service, services.result(), install.defaults),
        slices=tuple(slices.result()),
        now=datetime.now(UTC),
    )
    return Look(
        inputs=world,
        service=service,
        running=running.result(),
        control_plane=control_plane,
        unseen=tuple(unseen),
    )


def build_install(operator: Operator) -> inputs.Install:
    """As the operator builds it, with the CA that it wrote down instead of a file of its pod."""
    settings = operator.settings
    install = app.build_install(settings, app.find_login_server(settings))
    if operator.ca_pem is None:
        return install
    return dataclasses.replace(install, image=dataclasses.replace(install.image, ca_pem=operator.ca_pem))


async def read_children(cluster: Kube, home: str, service: kube.Service) -> inputs.Children:
    meta = service.metadata
    owner = proxy_names.build_labels("svc", meta.namespace, meta.name)
    labels = ",".join(f"{key}={value}" for key, value in owner.items())
    async with together() as group:
        secrets = group.create_task(cluster.list(resources.SECRETS, home, labels=labels))
        sets = group.create_task(cluster.list(resources.STATEFUL_SETS, home, labels=labels))
        accounts = group.create_task(cluster.list(resources.SERVICE_ACCOUNTS, home, labels=labels))
        roles = group.create_task(cluster.list(resources.ROLES, home, labels=labels))
        bindings = group.create_task(cluster.list(resources.ROLE_BINDINGS, home, labels=labels))
        pods = group.create_task(cluster.list(resources.PODS, home, labels=labels))
    state = first(secrets)
    return inputs.Children(
        service_account=first(accounts),
        role=first(roles),
        role_binding=first(bindings),
        state=None if state is None else secret.read(state),
        statefulset=first(sets),
        pod=first(pods),
    )


def first[T](listed: asyncio.Task[Sequence[T]]) -> T | None:
    found = listed.result()
    return found[0] if found else None


def find_rivals(
    service: kube.Service, services: Iterable[kube.Service], defaults: request.Defaults
) -> tuple[kube.Service, ...]:
    hostname = request.read_hostname(service).lower()
    return tuple(
        other
        for other in services
        if other.metadata.uid != service.metadata.uid
        and request.is_exposed(other, defaults)
        and request.read_hostname(other).lower() == hostname
    )


async def ask_tailnet(
    cluster: Kube,
    plane: port.ControlPlane | None,
    operator: Operator,
    service: kube.Service,
    state: secret.State | None,
) -> tuple[inputs.Tailnet, str]:
    """What the control plane says of the device and its namesakes, and a sentence about that."""
    if plane is None:
        return inputs.Tailnet(known=False), "not asked: this shell has no credentials for it"
    try:
        devices = await plane.list_devices()
    except errors.TailraceError as error:
        denied = isinstance(error, errors.Denied)
        return inputs.Tailnet(known=False, problem=str(error), denied=denied), str(error)
    own, hostname = state.device_id if state else "", request.read_hostname(service).lower()
    device = next((d for d in devices if d.id == own), None)
    namesakes = tuple(d for d in devices if d.id != own and d.name.lower() == hostname)
    found = inputs.Tailnet(
        known=True,
        device=device,
        gone=bool(own) and device is None,
        namesakes=namesakes,
        claimed=await find_claimed(cluster, operator.namespace) if namesakes else frozenset(),
        can_rename=plane.has(port.Capability.RENAME),
        can_tag=plane.has(port.Capability.SET_TAGS),
    )
    return found, describe_device(device, own)


async def find_claimed(cluster: Kube, home: str) -> frozenset[str]:
    """Ids of all devices that proxies of ours have."""
    labels = f"{names.MANAGED}=true,{names.PARENT_TYPE}=svc"
    secrets = await cluster.list(resources.SECRETS, home, labels=labels)
    return frozenset(secret.read(found).device_id for found in secrets)


def describe_device(device: port.Device | None, own: str) -> str:
    if device is None:
        return f"has no device {own}: it was deleted there" if own else "has no device of it yet"
    seen = "connected" if device.online else "not connected"
    return f"sees {device.name} ({', '.join(device.addresses)}), {seen}"


async def ask_admission(cluster: Kube, install: inputs.Install) -> tuple[inputs.Admission, list[str]]:
    """Whether a privileged pod is admitted, by the operator's own dry run; who may not ask is told so."""
    home = install.namespace
    try:
        namespace = await cluster.get(resources.NAMESPACES, home)
    except errors.NotFound:
        raise errors.Usage(
            f"There is no namespace {home}, where the operator would be.",
            hint="install the operator, or set OPERATOR_NAMESPACE to its namespace",
        ) from None
    try:
        prober = admission.Prober(cluster, home, install.image)
        return await prober.ask(namespace.metadata.labels), []
    except errors.Denied:
        note = f"whether {home} admits a privileged pod (you may not create pods there): taken as yes"
        return inputs.Admission(privileged=True), [note]


async def describe_operator(cluster: Kube, home: str) -> str:
    """Who holds the lease, and since when nothing was heard of it."""
    try:
        lease = await cluster.get(LEASES, app.LEASE, home)
    except errors.NotFound:
        return f"none has led in namespace {home}"
    except errors.Denied:
        return "not known: you may not read its lease"
    holder, renewed = lease.spec.holderIdentity, lease.spec.renewTime
    if not holder or not renewed:
        return "none leads: it was stopped"
    age = (datetime.now(UTC) - datetime.fromisoformat(renewed)).total_seconds()
    if age > LEASE_AGE:
        return f"none leads: {holder} has not been heard of for {age:.0f}s"
    return f"{holder} leads"
