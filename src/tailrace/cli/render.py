"""Offline: from manifests to what `run` would apply. No IO here, which a contract holds: the same inputs, without a
cluster, give the same children. Addresses that only a cluster hands out are filled with placeholders and told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from tailrace.api import kube
from tailrace.errors import Usage
from tailrace.fleet.install import Install
from tailrace.fleet.world import Admission, Tailnet
from tailrace.kinds.service import decide, inputs, request
from tailrace.plan import ops

PLACEHOLDER_IP = "192.0.2.1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendered:
    """Manifests to apply, and sentences about what cannot be known offline or is wrong."""

    manifests: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]


def render(documents: Iterable[Mapping[str, Any]], install: Install, now: datetime) -> Rendered:
    """What a plan for each exposed Service among the documents would apply, in the order of its stages."""
    services = [read_service(d) for d in documents if d.get("kind") == "Service"]
    manifests: list[Mapping[str, Any]] = []
    notes: list[str] = []
    for service in services:
        if not request.is_exposed(service, install.defaults):
            continue
        where = f"service/{service.metadata.namespace}/{service.metadata.name}"
        if service.spec.clusterIP == PLACEHOLDER_IP:
            notes.append(f"{where}: its cluster IP is not known offline; {PLACEHOLDER_IP} stands for it")
        plan = decide.decide(build_inputs(service, services, install, now))
        for op in plan.ops:
            match op:
                case ops.Apply(manifest=manifest) | ops.MintKey(into=manifest):
                    manifests.append(manifest)
                case ops.Emit(warning=True, message=message):
                    notes.append(f"{where}: {message}")
                case _:
                    pass
    return Rendered(manifests=tuple(manifests), notes=tuple(notes))


def read_service(document: Mapping[str, Any]) -> kube.Service:
    """A Service as the API server would complete it, as far as that can be known.

    Raises:
        Usage: it has a field of a wrong type.
    """
    try:
        service = msgspec.convert(document, kube.Service)
    except msgspec.ValidationError as error:
        name = document.get("metadata", {}).get("name", "?")
        raise Usage(f"Service {name} cannot be read: {error}.", hint="kubectl explain service.spec") from None
    meta, spec = service.metadata, service.spec
    if spec.type != "ExternalName" and not spec.clusterIP:
        spec = msgspec.structs.replace(spec, clusterIP=PLACEHOLDER_IP)
    meta = msgspec.structs.replace(
        meta, namespace=meta.namespace or "default", uid=meta.uid or "00000000-uid-offline"
    )
    return msgspec.structs.replace(service, metadata=meta, spec=spec)


def build_inputs(
    service: kube.Service, others: list[kube.Service], install: Install, now: datetime
) -> inputs.Inputs:
    """The world of a fresh cluster that admits what is asked, and of a tailnet without a namesake."""
    hostname = request.read_hostname(service).lower()
    rivals = tuple(
        other
        for other in others
        if other is not service
        and request.is_exposed(other, install.defaults)
        and request.read_hostname(other).lower() == hostname
    )
    return inputs.Inputs(
        namespace=service.metadata.namespace,
        name=service.metadata.name,
        install=install,
        service=service,
        tailnet=Tailnet(known=True),
        admission=Admission(privileged=True),
        rivals=rivals,
        now=now,
    )
