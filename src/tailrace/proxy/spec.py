"""What one proxy is, whatever asked for it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from tailrace.api.proxyclass import ProxyClass


class Mode(enum.StrEnum):
    """How tailscaled forwards: with a TUN device in a privileged pod, or with its own network stack."""

    KERNEL = "kernel"
    USERSPACE = "userspace"


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """Kernel target: everything that reaches the device goes to this IP address."""

    ip: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DnsName:
    """Kernel target: the same for a DNS name, which containerboot resolves again every ten minutes."""

    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Forward:
    """Userspace target: one TCP port of the device goes to `host:target`."""

    port: int
    host: str  # IPv4, IPv6 without brackets, or a DNS name
    target: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Forwards:
    ports: tuple[Forward, ...]
    proxy_protocol: int = 0  # 0 none, 1 or 2


@dataclass(frozen=True, kw_only=True, slots=True)
class TailnetAddress:
    """Egress target: what reaches the pod goes to this address of the tailnet, or behind one of its routers."""

    ip: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TailnetName:
    """Egress target: the same for a device of that name, without trailing dot."""

    fqdn: str
    addresses: tuple[str, ...] = ()  # when last known, sorted: other ones restart the pod


@dataclass(frozen=True, kw_only=True, slots=True)
class Router:
    """No single target: the tailnet's traffic for these routes passes through, or for the names of an app connector."""

    routes: tuple[str, ...] = ()  # CIDRs, sorted; those of an exit node are among them
    app_connector: bool = False


type Target = Address | DnsName | Forwards | TailnetAddress | TailnetName | Router


@dataclass(frozen=True, kw_only=True, slots=True)
class Home:
    """A control plane, as a proxy must know it to log in."""

    login_server: str
    ca_pem: str = ""  # a private CA
    private_logs: bool = False  # keep tailscaled from shipping its logs


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """What every proxy of an installation shares."""

    image: str
    priority_class: str = ""
    firewall_mode: str = ""
    login_server: str = ""
    ca_pem: str = ""  # a private CA of the control plane
    private_logs: bool = False  # keep tailscaled from shipping its logs


@dataclass(frozen=True, kw_only=True, slots=True)
class ProxySpec:
    """One proxy: its names, its identity on the tailnet, where its traffic goes."""

    name: str  # of StatefulSet, ServiceAccount, Role, RoleBinding
    namespace: str
    secret_name: str
    labels: Mapping[str, str]  # of every child; name the root
    app: str  # UID of the root
    hostname: str
    mode: Mode
    target: Target
    image: Image
    proxy_class: ProxyClass | None = None
    replica: str = ""  # which of several proxies of its root it is; "" when there is one only
    replaces: str = ""  # id of the gone device for whose sake the pod was restarted
    refresh: str = ""  # carried only where a restart for a lost Secret needs it

    @property
    def accept_routes(self) -> bool:
        """Whether it may send to what lies behind the tailnet's routers."""
        return self.proxy_class is not None and self.proxy_class.spec.tailscale.acceptRoutes
