"""Can the far end be reached: a device, or an address behind a router? Read from the tailnet's list of devices. Pure.

An address of a tailnet is a device's. Any other lies behind a router, and so does one of the range that maps IPv4 networks
into IPv6 (4via6). Behind a router everything must hold at once: the proxy accepts routes, a router advertises one that
covers the address, somebody has approved it, the router is connected. All that is missing is told together.
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from tailrace.api import names
from tailrace.api.conditions import Reason
from tailrace.fleet import approval, provision
from tailrace.fleet.claims import Claim
from tailrace.fleet.ranges import Network, Overlap, Range, find_overlaps, read_network
from tailrace.kinds.egress.inputs import Case
from tailrace.kinds.egress.request import Target
from tailrace.proxy import spec
from tailrace.tailnet.port import Device

type Address = IPv4Address | IPv6Address

TAILNET = (ipaddress.ip_network("100.64.0.0/10"), ipaddress.ip_network("fd7a:115c:a1e0::/48"))
MAPPED = ipaddress.ip_network("fd7a:115c:a1e0:b1a::/64")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is in the way."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Path:
    """A route of a device that covers the target."""

    device: Device
    route: Network

    @property
    def is_advertised(self) -> bool:
        return str(self.route) in self.device.advertised_routes

    @property
    def is_approved(self) -> bool:
        return str(self.route) in self.device.enabled_routes

    @property
    def is_primary(self) -> bool:
        """Whether the control plane says that of several this one serves."""
        return str(self.route) in (self.device.serving_routes or ())

    @property
    def is_usable(self) -> bool:
        """Whether clients know of it."""
        return self.is_advertised and self.is_approved


def judge(case: Case) -> Claim:
    """The claim that `TargetReady` makes."""
    w, target = case.world, case.wish.target
    if not w.tailnet.known or not w.tailnet.fresh:
        problem = w.tailnet.problem or "the tailnet's devices are not known yet"
        return Claim(status=None, reason=Reason.CONTROL_PLANE_UNREACHABLE, message=problem)
    found = [Fault(Reason.INTERNAL_ERROR, "no target")] if target is None else judge_target(case, target)
    if isinstance(found, Claim):
        return found
    return Claim(status=False, reason=found[0].reason, message="; and ".join(f.message for f in found))


def judge_target(case: Case, target: Target) -> Claim | list[Fault]:
    """What can be said for it, or all that is in the way."""
    devices = list_others(case)
    match target:
        case spec.TailnetName(fqdn=fqdn):
            end = judge_name(fqdn, devices)
        case spec.TailnetAddress(ip=text):
            ip = ipaddress.ip_address(text)
            end = judge_behind(case, ip, devices) if is_behind(ip, devices) else judge_address(ip, devices)
    loops = find_loops(case, devices)
    if not loops:
        return end
    return [*([] if isinstance(end, Claim) else end), *loops]


def list_others(case: Case) -> list[Device]:
    """All but the proxy's own."""
    own = case.world.state.device_id if case.world.state else ""
    return [d for d in case.world.tailnet.devices if d.id != own]


# --- a device --------------------------------------------------------------------------------------------------


def judge_name(fqdn: str, devices: list[Device]) -> Claim | list[Fault]:
    """A device by its full name. A control plane that does not tell base domains shows the first label only."""
    label, _, domain = fqdn.partition(".")
    if (device := find_named(fqdn, devices)) is not None:
        return judge_device(device)
    known = {(d.fqdn or d.name).lower(): d for d in devices}
    elsewhere = [name for name, d in known.items() if d.name.lower() == label or name.startswith(f"{label}.")]
    near = elsewhere[:1] or difflib.get_close_matches(fqdn, known, 1, 0.75)
    hint = ""
    if near:
        hint = f': there is "{near[0]}", write that in {names.TAILNET_FQDN}'
        if elsewhere:
            hint = f' under the base domain "{domain}"{hint}'
    return [Fault(Reason.TARGET_NOT_FOUND, f'no device of the tailnet is called "{fqdn}"{hint}')]


def find_named(fqdn: str, devices: Iterable[Device]) -> Device | None:
    domain = fqdn.partition(".")[2]
    return next((d for d in devices if (d.fqdn or f"{d.name}.{domain}").lower() == fqdn), None)


def find_end(case: Case) -> Target:
    """Where the pod is to lead. To a name with the addresses that it has now, or had when the device was last there:
    containerboot keeps to those that it found first (v1.102.5, seen on a real node)."""
    target = case.wish.target
    assert target is not None, "a request without violations has a target"
    if not isinstance(target, spec.TailnetName):
        return target
    device = find_named(target.fqdn, list_others(case))
    if device is not None:
        return dataclasses.replace(target, addresses=tuple(sorted(device.addresses)))
    live = provision.read_template_notes(case.world.children.statefulset)
    known = (
        live.get(names.TARGET_ADDRESSES, "") if live.get(names.LAST_TAILNET_FQDN) == f"{target.fqdn}." else ""
    )
    return dataclasses.replace(target, addresses=tuple(known.split(",")) if known else ())


def judge_address(ip: Address, devices: list[Device]) -> Claim | list[Fault]:
    device = find_device(ip, devices)
    if device is None:
        return [Fault(Reason.TARGET_NOT_FOUND, f"no device of the tailnet has the address {ip}")]
    return judge_device(device)


def find_device(ip: Address, devices: Iterable[Device]) -> Device | None:
    return next((d for d in devices if any(read_ip(a) == ip for a in d.addresses)), None)


def read_ip(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def judge_device(device: Device) -> Claim | list[Fault]:
    where = f"{device.fqdn or device.name} ({', '.join(device.addresses)})"
    if device.online:
        return Claim(status=True, reason=Reason.TARGET_CONNECTED, message=f"{where} is connected")
    return [Fault(Reason.TARGET_OFFLINE, f"{where} is not connected to the tailnet{tell_since(device)}")]


def tell_since(device: Device) -> str:
    return "" if device.last_seen is None else f" since {device.last_seen:%Y-%m-%d %H:%M} UTC"


# --- behind a router -------------------------------------------------------------------------------------------


def is_behind(ip: Address, devices: list[Device]) -> bool:
    """Whether a router is needed; a tailnet may route what looks like a device's address, too."""
    if find_device(ip, devices) is not None:
        return False
    usual = any(ip in network for network in TAILNET) and ip not in MAPPED
    return not usual or any(True for _ in find_paths(ip, devices))


def find_paths(ip: Address, devices: Iterable[Device]) -> Iterator[Path]:
    """Every route that covers the address, exit routes left out: nobody accepts those unasked."""
    for device in devices:
        for text in sorted({*device.advertised_routes, *device.enabled_routes}):
            network = read_network(text)
            if network is not None and network.prefixlen > 0 and ip in network:
                yield Path(device, network)


def judge_behind(case: Case, ip: Address, devices: list[Device]) -> Claim | list[Fault]:
    accepts = list(check_accepts(case, ip))
    paths = sorted(find_paths(ip, devices), key=lambda p: (-p.route.prefixlen, not p.is_primary))
    served = find_served(paths)
    if served is None:
        return [*accepts, explain_unserved(case, ip, paths)]
    if accepts:
        return accepts
    name = served.device.fqdn or served.device.name
    message = f"{ip} is reached through {name}, which serves {served.route}"
    return Claim(status=True, reason=Reason.ROUTE_SERVED, message=message)


def find_served(paths: list[Path]) -> Path | None:
    """The way that traffic takes. Clients choose the most specific route that they know of, be its router connected or
    not; only a control plane that says who serves takes the routes of those that are gone away from them."""
    tells = any(p.device.serving_routes is not None for p in paths)
    usable = [p for p in paths if p.is_usable]
    best = [p for p in usable if tells or p.route == usable[0].route]
    return next((p for p in best if p.device.online), None)


def check_accepts(case: Case, ip: Address) -> Iterator[Fault]:
    """Does the proxy accept routes at all?"""
    proxy_class = case.world.proxy_class
    if proxy_class is not None and proxy_class.spec.tailscale.acceptRoutes:
        return
    field = "spec.tailscale.acceptRoutes: true"
    mend = (
        f'its ProxyClass "{proxy_class.metadata.name}" does not accept routes: set {field} there, or name another '
        f"class in the label {names.PROXY_CLASS}"
        if proxy_class is not None
        else f"the proxy has no ProxyClass that accepts routes: make one with {field} and name it in the label "
        f"{names.PROXY_CLASS}"
    )
    yield Fault(Reason.ROUTE_NOT_ACCEPTED, f"{ip} lies behind a router, and {mend}")


def explain_unserved(case: Case, ip: Address, paths: list[Path]) -> Fault:
    """The nearest miss: a router that is off, one that nobody approved, one that no longer advertises, none."""
    for path in paths:
        if path.is_usable:
            name = path.device.fqdn or path.device.name
            return Fault(
                Reason.ROUTER_OFFLINE,
                f"the router {name}, which has the route {path.route} to {ip}, is not connected{tell_since(path.device)}",
            )
    for path in paths:
        if path.is_advertised:
            return Fault(Reason.ROUTE_NOT_APPROVED, explain_approval(ip, path))
    for path in paths:
        name = path.device.fqdn or path.device.name
        return Fault(
            Reason.NO_ROUTER,
            f"the route {path.route} to {ip} is approved for {name}, which does not advertise it: run "
            f'"tailscale set --advertise-routes={path.route}" there',
        )
    if not case.world.tailnet.can_route:
        message = f"whether the tailnet has a route to {ip} is not known: the credential may not read routes"
        return Fault(Reason.NO_ROUTER, message)
    return Fault(
        Reason.NO_ROUTER,
        f"no device of the tailnet advertises a route to {ip}: on a machine of that network run "
        f'"tailscale set --advertise-routes={guess_network(ip)}", or make a Connector there with this route',
    )


def explain_approval(ip: Address, path: Path) -> str:
    """Which device, and the ways to approve: once, or for ever in the policy."""
    device, route = path.device, str(path.route)
    command = approval.build_command(device, sorted({*device.enabled_routes, route}))
    once = f"by `{command}`" if command else "in the admin console (Machines, Edit route settings)"
    line = json.dumps(
        {"autoApprovers": approval.build_approvers([route], list(device.tags) or [name_user(device.user)])}
    )
    off = "" if device.online else f"; it is not connected either{tell_since(device)}"
    return (
        f"the route {route} to {ip} is advertised by {device.fqdn or device.name} and not approved: approve it "
        f"{once}, or for ever by {line} in the policy{off}"
    )


def name_user(user: str | None) -> str:
    """As a policy names somebody: Headscale's users, which need not be addresses, with an @ behind."""
    if not user:
        return "its owner"
    return user if "@" in user else f"{user}@"


def guess_network(ip: Address) -> str:
    """The network that an address is commonly part of."""
    return str(ipaddress.ip_network(f"{ip}/{24 if ip.version == 4 else 64}", strict=False))


# --- this cluster's own ranges ---------------------------------------------------------------------------------


def find_own_routes(devices: Iterable[Device], ranges: Iterable[Range]) -> Iterator[tuple[Device, Overlap]]:
    """Approved routes of others that lead into this cluster."""
    known = tuple(ranges)
    for device in devices:
        both = [route for route in device.advertised_routes if route in device.enabled_routes]
        for overlap in find_overlaps(both, known):
            yield device, overlap


def find_loops(case: Case, devices: list[Device]) -> list[Fault]:
    """A proxy that accepts a route to its own cluster sends what it should answer out to the tailnet."""
    proxy_class = case.world.proxy_class
    if proxy_class is None or not proxy_class.spec.tailscale.acceptRoutes:
        return []
    owners, name = case.inputs.owners, proxy_class.metadata.name
    return [
        Fault(
            Reason.ROUTE_LOOPS,
            f'ProxyClass "{name}" accepts routes, and {owners.get(device.id) or f"device {device.fqdn or device.name}"} '
            f"serves {overlap}: answers to pods here would leave through the tailnet. Take the route away there, or give "
            "this Service a class that accepts none",
        )
        for device, overlap in find_own_routes(devices, case.inputs.ranges)
    ]


def concerns(target: Target, device: Device) -> bool:
    """Whether a change of this device may change what is true of the target."""
    if isinstance(target, spec.TailnetName):
        return device.name.lower() == target.fqdn.partition(".")[0]
    ip = ipaddress.ip_address(target.ip)
    return find_device(ip, [device]) is not None or any(True for _ in find_paths(ip, [device]))
