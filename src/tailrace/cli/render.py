"""Offline: from manifests to what `run` would apply. No IO here, which a contract holds: the same inputs, without a
cluster, give the same children. Addresses that only a cluster hands out are filled with placeholders and told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from tailrace.api import connector, crd, kube, proxyclass
from tailrace.api import tailnet as tailnets
from tailrace.errors import Usage
from tailrace.fleet import wish as wishes
from tailrace.fleet.install import Install
from tailrace.fleet.world import Admission, Class, Tailnet, is_egress
from tailrace.kinds.connector import decide as connector_decide
from tailrace.kinds.connector import inputs as connector_inputs
from tailrace.kinds.connector import request as connector_request
from tailrace.kinds.egress import decide as egress_decide
from tailrace.kinds.egress import inputs as egress_inputs
from tailrace.kinds.egress import request as egress_request
from tailrace.kinds.proxyclass import decide as class_decide
from tailrace.kinds.proxyclass import inputs as class_inputs
from tailrace.kinds.service import decide as service_decide
from tailrace.kinds.service import inputs as service_inputs
from tailrace.kinds.service import request as service_request
from tailrace.plan import ops
from tailrace.proxy import spec

PLACEHOLDER_IP = "192.0.2.1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendered:
    """Manifests to apply, and sentences about what cannot be known offline or is wrong."""

    manifests: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Offline:
    """A fresh cluster that admits what is asked and has these objects alone, on a tailnet without a namesake."""

    install: Install
    now: datetime
    tailscale: str
    services: tuple[kube.Service, ...] = ()
    connectors: tuple[connector.Connector, ...] = ()
    classes: Mapping[str, proxyclass.ProxyClass] = field(default_factory=dict)
    tailnets: Mapping[str, tailnets.Tailnet] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def render(
    documents: Iterable[Mapping[str, Any]], install: Install, now: datetime, *, tailscale: str
) -> Rendered:
    """What a plan for each Service and Connector among the documents would apply, in the order of its stages.
    `tailscale` is where proxies of Tailnets log in that name no server."""
    world = read_world(list(documents), install, now, tailscale)
    manifests: list[Mapping[str, Any]] = []
    for service in world.services:
        where = f"service/{service.metadata.namespace}/{service.metadata.name}"
        if is_egress(service):
            plan = plan_egress(world, service, where)
        elif service_request.is_exposed(service, install.defaults):
            plan = plan_exposure(world, service, where)
        else:
            continue
        manifests += collect(plan, where, world.notes)
    for found in world.connectors:
        where = f"connector/{found.metadata.name}"
        manifests += collect(plan_connector(world, found, where), where, world.notes)
    return Rendered(manifests=tuple(manifests), notes=tuple(world.notes))


def collect(plan: ops.Plan, where: str, notes: list[str]) -> Iterable[Mapping[str, Any]]:
    """What a plan applies; what it would warn of becomes a note."""
    for op in plan.ops:
        match op:
            case ops.Apply(manifest=manifest) | ops.MintKey(into=manifest):
                yield manifest
            case ops.Emit(warning=True, message=message):
                notes.append(f"{where}: {message}")
            case _:
                pass


# --- what is among the documents -------------------------------------------------------------------------------


def read_world(
    documents: list[Mapping[str, Any]], install: Install, now: datetime, tailscale: str
) -> Offline:
    """The objects that have a say.

    Raises:
        Usage: one has a field of a wrong type.
    """

    def read_own[T: kube.Object](kind: crd.Definition, struct: type[T]) -> dict[str, T]:
        ours = [d for d in documents if d.get("kind") == kind.kind and is_of(d, kind.group)]
        return {found.metadata.name: found for found in (read(d, struct) for d in ours)}

    world = Offline(
        install=install,
        now=now,
        tailscale=tailscale,
        services=tuple(read_service(d) for d in documents if d.get("kind") == "Service"),
        connectors=tuple(read_own(connector.DEFINITION, connector.Connector).values()),
        classes=read_own(proxyclass.DEFINITION, proxyclass.ProxyClass),
        tailnets=read_own(tailnets.DEFINITION, tailnets.Tailnet),
    )
    for name in world.classes:
        if problem := explain_class(world, name):
            world.notes.append(f"proxyclass/{name}: {problem}")
    return world


def is_of(document: Mapping[str, Any], group: str) -> bool:
    return str(document.get("apiVersion", "")).startswith(group)


def read[T: kube.Object](document: Mapping[str, Any], struct: type[T]) -> T:
    kind, name = document["kind"], (document.get("metadata") or {}).get("name", "?")
    try:
        found = msgspec.convert(document, struct)
    except msgspec.ValidationError as error:
        hint = f"kubectl explain {str(kind).lower()}.spec"
        raise Usage(f"{kind} {name} cannot be read: {error}.", hint=hint) from None
    if not found.metadata.name:
        raise Usage(f"A {kind} has no name.", hint="write metadata.name")
    meta = msgspec.structs.replace(found.metadata, uid=found.metadata.uid or "00000000-uid-offline")
    return msgspec.structs.replace(found, metadata=meta)


def read_service(document: Mapping[str, Any]) -> kube.Service:
    """A Service as the API server would complete it, as far as that can be known."""
    service = read(document, kube.Service)
    meta, wanted = service.metadata, service.spec
    if wanted.type != "ExternalName" and not wanted.clusterIP:
        wanted = msgspec.structs.replace(wanted, clusterIP=PLACEHOLDER_IP)
    meta = msgspec.structs.replace(meta, namespace=meta.namespace or "default")
    return msgspec.structs.replace(service, metadata=meta, spec=wanted)


# --- plans -----------------------------------------------------------------------------------------------------


def plan_exposure(world: Offline, service: kube.Service, where: str) -> ops.Plan:
    if service.spec.clusterIP == PLACEHOLDER_IP:
        world.notes.append(f"{where}: its cluster IP is not known offline; {PLACEHOLDER_IP} stands for it")
    return service_decide.decide(build_inputs(world, service, where))


def build_inputs(world: Offline, service: kube.Service, where: str) -> service_inputs.Inputs:
    """The world of a Service that is exposed, as bench/limit asks for it too; `where` is what notes call it."""
    wish = service_request.read_request(service, world.install.defaults)
    return service_inputs.Inputs(
        namespace=service.metadata.namespace,
        name=service.metadata.name,
        install=world.install,
        service=service,
        tailnet=find_tailnet(world, wish.tailnet, where),
        admission=Admission(privileged=True),
        proxy_class=find_class(world, wish.proxy_class, where),
        rivals=find_rivals(world, service, lambda s: service_request.is_exposed(s, world.install.defaults)),
        now=world.now,
    )


def plan_egress(world: Offline, service: kube.Service, where: str) -> ops.Plan:
    wish = egress_request.read_request(service, world.install.defaults)
    return egress_decide.decide(
        egress_inputs.Inputs(
            namespace=service.metadata.namespace,
            name=service.metadata.name,
            install=world.install,
            service=service,
            tailnet=find_tailnet(world, wish.tailnet, where),
            admission=Admission(privileged=True),
            proxy_class=find_class(world, wish.proxy_class, where),
            rivals=find_rivals(world, service, is_egress),
            now=world.now,
        )
    )


def plan_connector(world: Offline, found: connector.Connector, where: str) -> ops.Plan:
    wish = connector_request.read_request(found, world.install.defaults)
    return connector_decide.decide(
        connector_inputs.Inputs(
            name=found.metadata.name,
            install=world.install,
            connector=found,
            tailnets=(find_tailnet(world, wish.tailnet, where),) * max(1, wish.replicas),
            admission=Admission(privileged=True),
            proxy_class=find_class(world, wish.proxy_class, where),
            now=world.now,
        )
    )


def find_rivals(
    world: Offline,
    service: kube.Service,
    is_alike: Callable[[kube.Service], bool],
) -> tuple[kube.Service, ...]:
    """Other Services of its sort that ask for the same hostname."""
    hostname = wishes.read_hostname(service).lower()
    alike = (other for other in world.services if other is not service and is_alike(other))
    return tuple(other for other in alike if wishes.read_hostname(other).lower() == hostname)


def find_class(world: Offline, name: str, where: str) -> Class:
    """The class as the files have it; without it the proxy is rendered all the same."""
    if not name:
        return Class()
    if name not in world.classes:
        world.notes.append(f"{where}: ProxyClass {name} is not among the files, so it is rendered without")
        return Class()
    problem = explain_class(world, name)
    said = f'ProxyClass "{name}" is not ready: {problem}' if problem else ""
    return Class(problem=said) if said else Class(found=world.classes[name])


def explain_class(world: Offline, name: str) -> str:
    """What is wrong with a class, "" when nothing is."""
    others = tuple(found for other, found in world.classes.items() if other != name)
    given = world.classes[name]
    claim, _ = class_decide.judge(class_inputs.Inputs(given=given, others=others, now=world.now), given)
    return "" if claim.status else claim.message


def find_tailnet(world: Offline, name: str, where: str) -> Tailnet:
    if not name:
        return Tailnet(known=True)
    found = world.tailnets.get(name)
    if found is None:
        world.notes.append(
            f"{where}: Tailnet {name} is not among the files: the operator's own stands for it"
        )
        return Tailnet(known=True)
    server = found.spec.loginUrl
    home = spec.Home(login_server=server or world.tailscale, private_logs=bool(server))
    return Tailnet(known=True, home=home)
