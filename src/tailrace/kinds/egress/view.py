"""An egress Service as one row for people and programs. Pure."""

from __future__ import annotations

from tailrace.api import kube, names
from tailrace.fleet.install import Defaults
from tailrace.fleet.view import Row
from tailrace.fleet.view import build_row as build_common
from tailrace.fleet.world import root_of_service
from tailrace.kinds.egress import request
from tailrace.proxy import secret, spec


def build_row(
    service: kube.Service,
    state: kube.ProxySecret | None,
    workload: kube.StatefulSet | None,
    defaults: Defaults,
) -> Row:
    """The row of a Service that leads out; as its one URL where to."""
    found = None if state is None else secret.read(state)
    return build_common(
        root_of_service(service),
        mode=workload.metadata.annotations.get(names.PROXY_MODE, "") if workload else "",
        devices=(found.fqdn,) if found else (),
        addresses=found.addresses if found else (),
        urls=build_urls(service, defaults),
    )


def build_urls(service: kube.Service, defaults: Defaults) -> tuple[str, ...]:
    """The far end, with each port of the Service; without ports the far end alone."""
    match request.read_request(service, defaults).target:
        case None:
            return ()
        case spec.TailnetName(fqdn=host):
            pass
        case spec.TailnetAddress(ip=ip):
            host = f"[{ip}]" if ":" in ip else ip
    return tuple(f"{p.protocol.lower()}://{host}:{p.port}" for p in service.spec.ports) or (host,)
