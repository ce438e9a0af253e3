"""What an egress Service asks for, read from its annotations and shape; every wrong input becomes one sentence. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from tailrace.api import kube, names
from tailrace.fleet import wish
from tailrace.fleet.install import Defaults
from tailrace.fleet.wish import ServiceWish
from tailrace.proxy import spec
from tailrace.settings import Mode

type Target = spec.TailnetAddress | spec.TailnetName

HEADLESS = "headless Services are not supported: write type ExternalName with any externalName, which becomes the proxy's"


@dataclass(frozen=True, kw_only=True, slots=True)
class Request(ServiceWish):
    """An egress Service's wish."""

    target: Target | None  # None when it is not valid


def read_request(service: kube.Service, defaults: Defaults) -> Request:
    """Read everything at once: all violations are told together, not one after the other."""
    notes, wrong = service.metadata.annotations, check_shape(service, defaults)
    target = read_target(service, wrong)
    hostname = wish.read_hostname(service)
    wrong += wish.check_hostname(hostname)
    return Request(
        hostname=hostname.lower(),
        tags=wish.read_tags(notes, defaults.tags, wrong),
        on_conflict=wish.read_on_conflict(notes, wrong),
        recreate=notes.get(names.RECREATE, ""),
        tailnet=notes.get(names.TAILNET, ""),
        proxy_class=wish.read_proxy_class(notes, service.metadata.labels, defaults.proxy_class),
        target=target,
        later=wish.find_later(service),
        unknown=(*wish.find_unknown(service), *find_useless(service)),
        violations=tuple(wrong),
    )


def check_shape(service: kube.Service, defaults: Defaults) -> list[str]:
    """What cannot lead out of the cluster."""
    notes, wrong = service.metadata.annotations, []
    if notes.get(names.EXPOSE) == "true" or wish.is_load_balancer(service, defaults):
        wrong.append(
            "the Service is to be exposed to the tailnet and to lead out to it at once: write one of the two, "
            f"{names.EXPOSE} (or the class {names.LOAD_BALANCER_CLASS}), or {find_key(service)}"
        )
    if service.spec.clusterIP == "None":
        wrong.append(HEADLESS)
    mode = wish.check_choice(notes, names.MODE, tuple(Mode), Mode.AUTO, wrong)
    if mode == Mode.USERSPACE:
        wrong.append(f"{names.MODE} is userspace, and egress works in kernel mode only: take it away")
    return wrong


def find_key(service: kube.Service) -> str:
    """The annotation that names the target."""
    keys = (names.TAILNET_FQDN, names.TAILNET_IP, names.TAILNET_IP_OLD)
    return next((key for key in keys if key in service.metadata.annotations), names.TAILNET_FQDN)


def read_target(service: kube.Service, wrong: list[str]) -> Target | None:
    notes, key = service.metadata.annotations, find_key(service)
    if key != names.TAILNET_FQDN:
        return read_address(key, notes.get(key, ""), wrong)
    other = next((k for k in (names.TAILNET_IP, names.TAILNET_IP_OLD) if k in notes), None)
    if other is not None:
        wrong.append(f"{names.TAILNET_FQDN} and {other} exclude each other: keep one of them")
    return read_name(notes.get(key, ""), wrong)


def read_name(value: str, wrong: list[str]) -> spec.TailnetName | None:
    """A device's full name under any base domain, without its trailing dot."""
    name = value.removesuffix(".")
    labels = name.split(".")
    valid = all(wish.LABEL.fullmatch(label) for label in labels) and not labels[-1].isdigit()
    if valid and len(labels) > 1 and len(name) <= 253:
        return spec.TailnetName(fqdn=name.lower())
    try:
        ipaddress.ip_address(value)
        hint = f"for an address use {names.TAILNET_IP}"
    except ValueError:
        hint = 'write the device\'s full name as "tailscale status" shows it, for example "db.example.ts.net"'
    wrong.append(f'{names.TAILNET_FQDN} "{value}" is not the full name of a device: {hint}')
    return None


def read_address(key: str, value: str, wrong: list[str]) -> spec.TailnetAddress | None:
    """One address, in its shortest form."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        hint = "a range is not possible, " if "/" in value else ""
        named = f"for a name use {names.TAILNET_FQDN}, " if wish.LABEL.match(value) and "." in value else ""
        if named and value.replace(".", "").isdigit():
            named = ""
        wrong.append(f'{key} "{value}" is not an IP address: {hint}{named}write one such as "100.64.0.7"')
        return None
    if address.is_link_local or address.is_multicast or address.is_unspecified or "%" in value:
        wrong.append(
            f'{key} "{value}" is an address that no proxy can lead to: write that of a device or host'
        )
        return None
    return spec.TailnetAddress(ip=str(address))


def find_useless(service: kube.Service) -> tuple[str, ...]:
    """Annotations of ours that have no effect on an egress."""
    found = [key for key in (names.PROXY_PROTOCOL,) if key in service.metadata.annotations]
    return tuple(f"{key} has no effect here: it is for Services that are exposed" for key in found)
