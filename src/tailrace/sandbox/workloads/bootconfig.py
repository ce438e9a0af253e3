"""What the proxy image reads before it starts: its environment, the versioned configuration, the serve file.

Pure parsing and refusing, in the words of containerboot 1.102 (`cmd/containerboot/settings.go`, `serve.go`,
`ipn/conf.go`). `containerboot` acts on the result.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tailrace.sandbox.workloads import hujson

CAPABILITY_VERSION = 142  # of containerboot 1.102
NO_HTTPS = "no-https"  # what stands for the certificate domain where there is none
DEFAULT_SERVER = "https://controlplane.tailscale.com"


class Refused(Exception):
    """containerboot exits at once; the message is what it logs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The environment, understood."""

    userspace: bool
    config_dir: str | None
    kube_secret: str  # "" keeps the state in memory
    serve_config: str | None
    dest_ip: str | None
    dest_dns_name: str | None
    tailnet_target: bool  # an egress proxy
    tailnet_ip: str | None
    auth_key: str | None
    auth_once: bool
    hostname: str | None
    advertise_tags: tuple[str, ...]
    server: str | None  # --login-server of TS_EXTRA_ARGS
    routes: tuple[str, ...] | None
    pod_ip: str | None
    pod_uid: str | None
    local_address: tuple[str, int]
    health_enabled: bool
    metrics_enabled: bool
    boot_timeout: float

    @property
    def one_step(self) -> bool:
        """Configured by a file that tailscaled reads itself, as operators do it."""
        return self.config_dir is not None

    @property
    def forwards(self) -> bool:
        """It asks the kernel itself to forward; a router that a file configures does not."""
        return bool(self.dest_ip or self.dest_dns_name or self.tailnet_target or self.routes is not None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """The fields of tailscaled's configuration file that matter here."""

    auth_key: str | None = None
    hostname: str | None = None
    server: str = DEFAULT_SERVER
    locked: bool = True
    enabled: bool = True
    routes: tuple[str, ...] = ()
    accept_routes: bool = False  # as on Linux, where nothing is said
    exit_node: str = ""
    app_connector: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Forward:
    """One TCP handler of the serve configuration."""

    host: str
    port: int
    proxy_protocol: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Serve:
    tcp: Mapping[int, Forward]
    https: bool = False


_CONFIG_DIR_EXCLUDES = (
    "TS_HOSTNAME",
    "TS_EXTRA_ARGS",
    "TS_AUTHKEY",
    "TS_ROUTES",
    "TS_ACCEPT_DNS",
    "TS_CLIENT_ID",
    "TS_CLIENT_SECRET",
    "TS_ID_TOKEN",
    "TS_AUDIENCE",
)
_USERSPACE_EXCLUDES = (
    "TS_DEST_IP",
    "TS_EXPERIMENTAL_DEST_DNS_NAME",
    "TS_TAILNET_TARGET_IP",
    "TS_TAILNET_TARGET_FQDN",
)
_TRUE, _FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")


def read_settings(env: Mapping[str, str]) -> Settings:
    """Raises Refused for what containerboot refuses; the files that it names are checked by `read_config`."""
    _refuse_conflicts(env)
    extra = _extra_args(env.get("TS_EXTRA_ARGS", ""))
    in_kubernetes = bool(env.get("KUBERNETES_SERVICE_HOST"))
    health, metrics = _flag(env, "TS_ENABLE_HEALTH_CHECK"), _flag(env, "TS_ENABLE_METRICS")
    address = env.get("TS_LOCAL_ADDR_PORT") or "[::]:9002"
    routes = env.get("TS_ROUTES")
    return Settings(
        userspace=_flag(env, "TS_USERSPACE", default=True),
        config_dir=env.get("TS_EXPERIMENTAL_VERSIONED_CONFIG_DIR") or None,
        kube_secret=env.get("TS_KUBE_SECRET", "tailscale" if in_kubernetes else ""),
        serve_config=env.get("TS_SERVE_CONFIG") or None,
        dest_ip=env.get("TS_DEST_IP") or None,
        dest_dns_name=env.get("TS_EXPERIMENTAL_DEST_DNS_NAME") or None,
        tailnet_target=bool(env.get("TS_TAILNET_TARGET_IP") or env.get("TS_TAILNET_TARGET_FQDN")),
        tailnet_ip=env.get("TS_TAILNET_TARGET_IP") or None,
        auth_key=env.get("TS_AUTHKEY") or env.get("TS_AUTH_KEY") or None,
        auth_once=_flag(env, "TS_AUTH_ONCE"),
        hostname=env.get("TS_HOSTNAME") or extra.get("hostname"),
        advertise_tags=tuple(filter(None, extra.get("advertise-tags", "").split(","))),
        server=extra.get("login-server"),
        routes=None if routes is None else tuple(filter(None, routes.split(","))),
        pod_ip=env.get("POD_IP") or None,
        pod_uid=env.get("POD_UID") or None,
        local_address=_address("TS_LOCAL_ADDR_PORT", address) if health or metrics else ("::", 9002),
        health_enabled=health,
        metrics_enabled=metrics,
        boot_timeout=_duration(env.get("TS_BOOT_TIMEOUT", "")),
    )


def _refuse_conflicts(env: Mapping[str, str]) -> None:
    def given(name: str) -> bool:
        return bool(env.get(name))

    if _flag(env, "TS_USERSPACE", default=True):
        for name in filter(given, _USERSPACE_EXCLUDES):
            raise Refused(f"{name} is not supported with TS_USERSPACE")
    if given("TS_DEST_IP") and given("TS_EXPERIMENTAL_DEST_DNS_NAME"):
        raise Refused("TS_EXPERIMENTAL_DEST_DNS_NAME and TS_DEST_IP cannot both be set")
    if given("TS_TAILNET_TARGET_IP") and given("TS_TAILNET_TARGET_FQDN"):
        raise Refused("Both TS_TAILNET_TARGET_IP and TS_TAILNET_FQDN cannot be set")
    unset_only = ("TS_ROUTES", "TS_ACCEPT_DNS")  # these count when set, even to nothing
    clashes = [n for n in _CONFIG_DIR_EXCLUDES if given(n) or (n in unset_only and n in env)]
    if given("TS_EXPERIMENTAL_VERSIONED_CONFIG_DIR") and (clashes or given("TS_AUTH_KEY")):
        names = ", ".join(_CONFIG_DIR_EXCLUDES)
        raise Refused(f"TS_EXPERIMENTAL_VERSIONED_CONFIG_DIR cannot be set in combination with {names}.")


def _flag(env: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    value = env.get(name, "")
    return True if value in _TRUE else False if value in _FALSE else default


def _extra_args(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    words = iter(text.split())
    for word in words:
        name, equals, value = word.lstrip("-").partition("=")
        found[name] = (
            value if equals or name not in ("hostname", "advertise-tags", "login-server") else next(words, "")
        )
    return found


def _address(name: str, text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    try:
        return str(ipaddress.ip_address(host.strip("[]"))), int(port)
    except ValueError as error:
        raise Refused(f"error parsing {name} value {json.dumps(text)}: {error}") from error


_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def _duration(text: str) -> float:
    if not text:
        return 60.0
    parts = _DURATION.findall(text)
    if "".join(number + unit for number, unit in parts) != text:
        raise Refused(f"error parsing TS_BOOT_TIMEOUT value {json.dumps(text)}: time: invalid duration")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


_CAP_FILE = re.compile(r"^cap-(\d+)\.hujson$")


def config_path(directory: str, files: Mapping[str, bytes]) -> str:
    """The file with the highest capability version that we are able to read."""
    root = directory.rstrip("/") + "/"
    names = (path[len(root) :] for path in files if path.startswith(root))
    versions = [int(found[1]) for name in names if (found := _CAP_FILE.match(name))]
    fitting = [version for version in versions if version <= CAPABILITY_VERSION]
    if not fitting:
        raise Refused(
            f"no tailscaled config file found in {json.dumps(directory)} for current capability version "
            f"{CAPABILITY_VERSION}"
        )
    return f"{root}cap-{max(fitting)}.hujson"


_BOOLEANS = (
    "Locked Enabled acceptDNS acceptRoutes allowLANWhileUsingExitNode AdvertiseExitNode DisableSNAT NoStatefulFiltering "
    "PostureChecking RunSSHServer RunWebClient ShieldsUp RemoteConfig"
)
_STRINGS = "Version ServerURL AuthKey OperatorUser Hostname exitNode NetfilterMode"
_OTHERS = (
    "AdvertiseRoutes AdvertiseServices AppConnector AutoUpdate ServeConfigTemp StaticEndpoints RelayServerPort "
    "RelayServerStaticEndpoints"
)
_FIELDS: Mapping[str, type | None] = (
    dict.fromkeys(_BOOLEANS.lower().split(), bool)
    | dict.fromkeys(_STRINGS.lower().split(), str)
    | dict.fromkeys(_OTHERS.lower().split())
)


def parse_config(data: bytes) -> Config:
    """tailscaled's configuration file: HuJSON, version alpha0, unknown fields refused, booleans bare."""
    prefix = "error validating tailscaled configfile contents: "
    try:
        document = hujson.decode(data.decode())
    except ValueError as error:
        raise Refused(f"{prefix}error parsing config file: {error}") from error
    if not isinstance(document, dict):
        raise Refused(f"{prefix}error parsing config file: not an object")
    fields: dict[str, Any] = {}
    for name, value in document.items():
        key = name.lower()
        if key not in _FIELDS:
            raise Refused(f"{prefix}json: unknown field {json.dumps(name)}")
        kind = _FIELDS[key]
        if value is not None and kind is not None and not isinstance(value, kind):
            raise Refused(f"{prefix}json: cannot unmarshal {type(value).__name__} into field {name}")
        fields[key] = value
    if fields.get("version") != "alpha0":
        raise Refused(
            f'{prefix}unsupported "version" value {json.dumps(fields.get("version"))}; want "alpha0"'
        )
    return Config(
        auth_key=fields.get("authkey") or None,
        hostname=fields.get("hostname") or None,
        server=(fields.get("serverurl") or DEFAULT_SERVER).rstrip("/"),
        locked=fields.get("locked") is not False,
        enabled=fields.get("enabled") is not False,
        routes=_routes(fields, prefix),
        accept_routes=fields.get("acceptroutes") is True,
        exit_node=fields.get("exitnode") or "",
        app_connector=_app_connector(fields.get("appconnector"), prefix),
    )


_EXIT_ROUTES = ("0.0.0.0/0", "::/0")


def _routes(fields: Mapping[str, Any], prefix: str) -> tuple[str, ...]:
    """An exit node is whoever advertises both default routes."""
    routes = [_route(text, prefix) for text in fields.get("advertiseroutes") or ()]
    return tuple(dict.fromkeys((*routes, *(_EXIT_ROUTES if fields.get("advertiseexitnode") else ()))))


def _app_connector(value: Any, prefix: str) -> bool:
    if value is None:
        return False
    if not isinstance(value, dict):
        raise Refused(f"{prefix}json: cannot unmarshal {type(value).__name__} into field AppConnector")
    for name, given in value.items():
        if name.lower() != "advertise":
            raise Refused(f"{prefix}json: unknown field {json.dumps(name)}")
        if not isinstance(given, bool):
            raise Refused(f"{prefix}json: cannot unmarshal {type(given).__name__} into field Advertise")
    return any(value.values())


def _route(text: str, prefix: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise Refused(f"{prefix}{error}") from error


def parse_serve(data: bytes | None, certificate_domain: str = NO_HTTPS) -> Serve | None:
    """The serve file; None when it is missing or empty, which leaves things as they are."""
    if not data:
        return None
    text = data.replace(b"${TS_CERT_DOMAIN}", certificate_domain.encode())
    try:
        document = json.loads(text)
        handlers = document.get("TCP") or {}
        return Serve(
            tcp={
                int(port): _forward(h["TCPForward"], h) for port, h in handlers.items() if h.get("TCPForward")
            },
            https=any(handler.get("HTTPS") for handler in handlers.values()),
        )
    except (ValueError, AttributeError, TypeError) as error:
        raise Refused(f"serve proxy: failed to read serve config: {error}") from error


def _forward(target: str, handler: Mapping[str, Any]) -> Forward:
    host, _, port = target.rpartition(":")
    version = handler.get("ProxyProtocol") or 0
    if version not in (0, 1, 2):
        raise ValueError(f"invalid PROXY protocol version {version}")
    return Forward(host=host.strip("[]") or "127.0.0.1", port=int(port), proxy_protocol=version)
