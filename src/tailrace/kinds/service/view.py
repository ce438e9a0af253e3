"""A Service as one row for people and programs: what `tailrace status` shows. Pure."""

from __future__ import annotations

from datetime import datetime

from tailrace.api import kube, names
from tailrace.api.conditions import ConditionType
from tailrace.fleet.install import Defaults
from tailrace.kinds.service import condition, request
from tailrace.proxy import secret


class Row(kube.Base, frozen=True, kw_only=True):
    """One exposed Service. Field names are those of `-o json`."""

    object: str  # service/<namespace>/<name>
    mode: str  # kernel, userspace or empty
    device: str  # the name that the device really has
    addresses: tuple[str, ...]
    urls: tuple[str, ...]
    ready: str  # True, False, Unknown, or empty while nobody has looked
    reason: str
    message: str
    created: datetime | None


def build_row(
    service: kube.Service, state: kube.ProxySecret | None, workload: kube.StatefulSet | None
) -> Row:
    """The row of a Service that names us."""
    meta = service.metadata
    ready = kube.find_condition(service.status.conditions, ConditionType.READY)
    found = None if state is None else secret.read(state)
    fqdn = found.fqdn if found else ""
    return Row(
        object=f"service/{meta.namespace}/{meta.name}",
        mode=workload.metadata.annotations.get(names.PROXY_MODE, "") if workload else "",
        device=fqdn,
        addresses=found.addresses if found else (),
        urls=condition.build_urls(service, fqdn) if fqdn else (),
        ready=ready.status if ready else "",
        reason=ready.reason if ready else "Pending",
        message=ready.message if ready else "no operator has looked at it yet",
        created=meta.creationTimestamp,
    )


def concerns_us(service: kube.Service, defaults: Defaults) -> bool:
    """Is it exposed, was it, or did somebody mean it to be?"""
    return (
        request.is_exposed(service, defaults)
        or names.FINALIZER in service.metadata.finalizers
        or names.EXPOSE in service.metadata.annotations
        or kube.find_condition(service.status.conditions, ConditionType.ACCEPTED) is not None
    )
