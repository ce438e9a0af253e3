"""What one proxy is, whatever asked for it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass


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


type Target = Address | DnsName | Forwards


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

    name: str  # of StatefulSet, ServiceAccount, Role, RoleBinding; the Secret is `<name>-0`
    namespace: str
    labels: Mapping[str, str]  # of every child; name the root
    app: str  # UID of the root
    hostname: str
    target: Target
    image: Image
    replaces: str = ""  # id of the gone device for whose sake the pod was restarted
    refresh: str = ""  # carried only where a restart for a lost Secret needs it

    @property
    def mode(self) -> Mode:
        return Mode.USERSPACE if isinstance(self.target, Forwards) else Mode.KERNEL

    @property
    def secret_name(self) -> str:
        return f"{self.name}-0"
