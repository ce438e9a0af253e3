"""The world of one Service, read once: the same that the operator's controller gathers from its watches.

Called by `explain`. What this shell may not see is left out and said, never guessed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from tailrace import app, errors
from tailrace.api import kube, names
from tailrace.cli.cluster import Operator, together
from tailrace.fleet import admission, gather
from tailrace.fleet.install import Defaults, Install
from tailrace.fleet.world import Admission, Children, Tailnet, find_place, root_of_service
from tailrace.kinds.service import inputs, request
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
        reading = group.create_task(read_proxies(cluster, operator.namespace, root_of_service(service).owner))
        services = group.create_task(cluster.list(resources.SERVICES))
        slices = group.create_task(cluster.list(resources.ENDPOINT_SLICES, meta.namespace, labels=behind))
        running = group.create_task(describe_operator(cluster, operator.namespace))
    proxies = reading.result()
    place = find_place(proxies, proxy_names.build_child_name("svc", meta.namespace, meta.name))
    tailnet, control_plane = await ask_tailnet(cluster, plane, operator, service, place.children.state)
    admitted, unseen = await ask_admission(cluster, install)
    world = inputs.Inputs(
        namespace=meta.namespace,
        name=meta.name,
        install=install,
        service=service,
        proxies=proxies,
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


def build_install(operator: Operator) -> Install:
    """As the operator builds it, with the CA that it wrote down instead of a file of its pod."""
    settings = operator.settings
    install = app.build_install(settings, app.find_login_server(settings))
    if operator.ca_pem is None:
        return install
    return dataclasses.replace(install, image=dataclasses.replace(install.image, ca_pem=operator.ca_pem))


async def read_proxies(cluster: Kube, home: str, owner: Mapping[str, str]) -> dict[str, Children]:
    """The proxies of a root by name of their Secret, as the operator's stores have them."""
    labels = ",".join(f"{key}={value}" for key, value in owner.items())
    wanted = (
        resources.SECRETS,
        resources.STATEFUL_SETS,
        resources.SERVICE_ACCOUNTS,
        resources.ROLES,
        resources.ROLE_BINDINGS,
        resources.PODS,
        resources.SERVICES,
        resources.POD_DISRUPTION_BUDGETS,
    )
    async with together() as group:
        tasks = {r.kind: group.create_task(cluster.list(r, home, labels=labels)) for r in wanted}
    pairs = [(kind, found) for kind, task in tasks.items() for found in task.result()]
    return gather.group_proxies(owner[names.PARENT_TYPE], pairs)


def find_rivals(
    service: kube.Service, services: Iterable[kube.Service], defaults: Defaults
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
) -> tuple[Tailnet, str]:
    """What the control plane says of the device and its namesakes, and a sentence about that."""
    if plane is None:
        return Tailnet(known=False), "not asked: this shell has no credentials for it"
    try:
        devices = await plane.list_devices()
    except errors.TailraceError as error:
        denied = isinstance(error, errors.Denied)
        return Tailnet(known=False, problem=str(error), denied=denied), str(error)
    own, hostname = state.device_id if state else "", request.read_hostname(service).lower()
    device = next((d for d in devices if d.id == own), None)
    namesakes = tuple(d for d in devices if d.id != own and d.name.lower() == hostname)
    found = Tailnet(
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


async def ask_admission(cluster: Kube, install: Install) -> tuple[Admission, list[str]]:
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
        return Admission(privileged=True), [note]


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
