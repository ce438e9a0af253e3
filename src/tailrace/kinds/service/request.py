"""What a Service asks for, read from its annotations and shape; every wrong input becomes one sentence. Pure."""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass

from tailrace.api import kube, names
from tailrace.fleet import wish
from tailrace.fleet.install import Defaults
from tailrace.fleet.wish import ServiceWish
from tailrace.settings import Mode


class Backend(enum.Enum):
    """What stands behind the Service."""

    CLUSTER_IP = enum.auto()
    HEADLESS = enum.auto()
    EXTERNAL = enum.auto()


@dataclass(frozen=True, kw_only=True, slots=True)
class Request(ServiceWish):
    """A Service's wish. `exposed` False means that it has none, or no longer has one."""

    exposed: bool
    mode: Mode
    proxy_protocol: int  # 0, 1, 2
    backend: Backend


def is_exposed(service: kube.Service, defaults: Defaults) -> bool:
    """The official operator's selection: an address and a wish, or an external name and the annotation."""
    wanted = service.metadata.annotations.get(names.EXPOSE) == "true"
    if service.spec.type == "ExternalName":
        return wanted and bool(service.spec.externalName)
    return bool(service.spec.clusterIP) and (wanted or wish.is_load_balancer(service, defaults))


def read_backend(service: kube.Service) -> Backend:
    if service.spec.type == "ExternalName":
        return Backend.EXTERNAL
    return Backend.HEADLESS if service.spec.clusterIP == "None" else Backend.CLUSTER_IP


def read_request(service: kube.Service, defaults: Defaults) -> Request:
    """Read everything at once: all violations are told together, not one after the other."""
    notes, wrong = service.metadata.annotations, []
    exposed = is_exposed(service, defaults)
    expose = notes.get(names.EXPOSE)
    if expose not in {None, "true", "false", ""}:
        wrong.append(f'{names.EXPOSE} is "{expose}": write exactly "true" to expose the Service, or "false"')
    hostname = wish.read_hostname(service)
    tags, mode = defaults.tags, defaults.mode
    protocol, on_conflict = 0, wish.OnConflict.REPLACE_OFFLINE
    if exposed:
        wrong += wish.check_hostname(hostname)
        tags = wish.read_tags(notes, defaults.tags, wrong)
        mode = Mode(wish.check_choice(notes, names.MODE, tuple(Mode), mode, wrong))
        protocol = {"": 0, "v1": 1, "v2": 2}[
            wish.check_choice(notes, names.PROXY_PROTOCOL, ("v1", "v2"), "", wrong)
        ]
        on_conflict = wish.read_on_conflict(notes, wrong)
    request = Request(
        exposed=exposed,
        hostname=hostname.lower(),
        tags=tags,
        mode=mode,
        proxy_protocol=protocol,
        on_conflict=on_conflict,
        recreate=notes.get(names.RECREATE, ""),
        tailnet=notes.get(names.TAILNET, ""),
        proxy_class=wish.read_proxy_class(notes, service.metadata.labels, defaults.proxy_class),
        backend=read_backend(service),
        later=wish.find_later(service),
        unknown=wish.find_unknown(service),
    )
    if exposed:
        wrong += check_shape(service, request)
    return dataclasses.replace(request, violations=tuple(wrong))


def check_shape(service: kube.Service, request: Request) -> list[str]:
    """What the mode that was asked for cannot do with this Service."""
    udp = [str(port.port) for port in service.spec.ports if port.protocol != "TCP"]
    wrong = []
    if request.mode is Mode.KERNEL:
        if request.backend is Backend.HEADLESS:
            wrong.append(
                f"headless Services are not supported in kernel mode: set {names.MODE} to userspace, or give the "
                "Service a cluster IP"
            )
        if request.proxy_protocol:
            wrong.append(
                f"{names.PROXY_PROTOCOL} needs userspace mode: set {names.MODE} to userspace or auto"
            )
        return wrong
    only = (
        "userspace mode is asked for"
        if request.mode is Mode.USERSPACE
        else "the Service is headless"
        if request.backend is Backend.HEADLESS
        else f"{names.PROXY_PROTOCOL} is set"
        if request.proxy_protocol
        else ""
    )
    if only and udp:
        wrong.append(
            f"{only}, which forwards TCP only, but port {', '.join(udp)} is not TCP: remove it or use kernel mode"
        )
    if only and not service.spec.ports:
        wrong.append(
            f"{only}, which forwards the listed ports, but spec.ports is empty: list the ports to forward"
        )
    return wrong
