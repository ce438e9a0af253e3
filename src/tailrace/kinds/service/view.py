"""An exposed Service as one row for people and programs. Pure."""

from __future__ import annotations

from tailrace.api import kube, names
from tailrace.api.conditions import ConditionType
from tailrace.fleet.install import Defaults
from tailrace.fleet.view import Row
from tailrace.fleet.view import build_row as build_common
from tailrace.fleet.world import root_of_service
from tailrace.kinds.service import condition, request
from tailrace.proxy import secret


def build_row(
    service: kube.Service, state: kube.ProxySecret | None, workload: kube.StatefulSet | None
) -> Row:
    """The row of a Service that names us."""
    found = None if state is None else secret.read(state)
    fqdn = found.fqdn if found else ""
    return build_common(
        root_of_service(service),
        mode=workload.metadata.annotations.get(names.PROXY_MODE, "") if workload else "",
        devices=(fqdn,),
        addresses=found.addresses if found else (),
        urls=condition.build_urls(service, fqdn) if fqdn else (),
    )


def concerns_us(service: kube.Service, defaults: Defaults) -> bool:
    """Is it exposed, was it, or did somebody mean it to be?"""
    return (
        request.is_exposed(service, defaults)
        or names.FINALIZER in service.metadata.finalizers
        or names.EXPOSE in service.metadata.annotations
        or kube.find_condition(service.status.conditions, ConditionType.ACCEPTED) is not None
    )
