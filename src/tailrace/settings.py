"""The operator's settings: every environment variable, its default and meaning, in one table.

Names of the official operator mean the same here. `load` turns an environment into a `Settings` value; a wrong value
is a `Usage` error with a hint, never a silent default. The reference page is generated from the fields.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from tailrace.errors import Usage

NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
TAG = re.compile(r"tag:[a-zA-Z][a-zA-Z0-9-]*")
LOCAL = frozenset(
    {
        "CLIENT_ID",
        "CLIENT_ID_FILE",
        "CLIENT_SECRET_FILE",
        "TAILRACE_API_KEY_FILE",
        "TAILRACE_CA_BUNDLE",
        "POD_NAME",
        "TAILRACE_SERVICE_ACCOUNT",
    }
)
"""Variables that mean something to one process alone: its files, its credentials, its pod."""


class Mode(enum.StrEnum):
    """How proxies forward; `AUTO` lets the operator choose for each Service."""

    AUTO = "auto"
    KERNEL = "kernel"
    USERSPACE = "userspace"


def parse_flag(text: str) -> bool:
    """Exactly `true` or `false`, as the official operator; anything else is refused rather than read as false."""
    if text not in {"true", "false"}:
        raise ValueError("is neither true nor false")
    return text == "true"


def parse_tags(text: str) -> tuple[str, ...]:
    tags = tuple(part.strip() for part in text.split(","))
    for tag in tags:
        if not TAG.fullmatch(tag):
            raise ValueError(
                f'has "{tag}", which is not `tag:` followed by a letter, then letters, digits or hyphens'
            )
    return tuple(sorted(set(tags)))


def parse_seconds(text: str) -> timedelta:
    match = re.fullmatch(r"(\d+)(s|m|h)?", text)
    if match is None:
        raise ValueError("is not a duration such as 90s, 5m or 1h")
    seconds = int(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2] or "s"]
    if seconds > 365 * 86_400:
        raise ValueError("is longer than a year")
    return timedelta(seconds=seconds)


def parse_pause(text: str) -> timedelta:
    pause = parse_seconds(text)
    if pause < timedelta(seconds=1):
        raise ValueError("is less than a second")
    return pause


def parse_address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ValueError("is not host:port, such as :8080 or 127.0.0.1:8080")
    return host.strip("[]") or "0.0.0.0", int(port)


def parse_server(text: str) -> str:
    if text and not re.match(r"https?://[^/\s]+", text):
        raise ValueError("is not a URL such as https://headscale.example.com")
    return text.rstrip("/")


def parse_choice(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"is not one of {', '.join(repr(c) if c == '' else c for c in choices)}")
        return text

    return parse


def parse_count(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise ValueError("is not a positive whole number")
    return int(text)


def parse_path(text: str) -> Path | None:
    return Path(text) if text else None


def setting(env: str, default: str, parse: Callable[[str], Any], doc: str) -> Any:
    """One row of the table: variable, default as text, parser (ValueError says what is wrong), meaning."""
    return dataclasses.field(metadata={"env": env, "default": default, "parse": parse, "doc": doc})


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Everything that the environment may say, parsed."""

    namespace: str = setting(
        "OPERATOR_NAMESPACE",
        "",
        str,
        "Namespace of the proxies. Default: the namespace of the operator's own pod.",
    )
    logging: str = setting(
        "OPERATOR_LOGGING",
        "info",
        parse_choice("info", "debug", "dev"),
        "`info`, `debug` or `dev` (debug, for people).",
    )
    proxy_image: str = setting(
        "PROXY_IMAGE",
        "tailscale/tailscale:v1.102.5",
        str,
        "Image of the proxies; the official one, unchanged.",
    )
    proxy_priority_class: str = setting(
        "PROXY_PRIORITY_CLASS_NAME", "", str, "PriorityClass of the proxy pods."
    )
    proxy_tags: tuple[str, ...] = setting(
        "PROXY_TAGS", "tag:k8s", parse_tags, "Comma-separated default tags of the devices."
    )
    proxy_firewall_mode: str = setting(
        "PROXY_FIREWALL_MODE",
        "",
        parse_choice("", "auto", "nftables", "iptables"),
        "Firewall of kernel proxies: empty, `auto`, `nftables` or `iptables`.",
    )
    proxy_default_class: str = setting(
        "PROXY_DEFAULT_CLASS",
        "",
        str.strip,
        "ProxyClass of the proxies of Services that name none. Connectors do not take it.",
    )
    default_load_balancer: bool = setting(
        "OPERATOR_DEFAULT_LOAD_BALANCER",
        "false",
        parse_flag,
        "`true`: LoadBalancer Services without a class are ours too.",
    )
    login_server: str = setting(
        "OPERATOR_LOGIN_SERVER",
        "",
        parse_server,
        "URL of the control plane (Headscale, for example). Default: Tailscale.",
    )
    client_id: str = setting(
        "CLIENT_ID",
        "",
        str.strip,
        "Client id for workload identity; the token is read from the projected volume.",
    )
    client_id_file: Path | None = setting(
        "CLIENT_ID_FILE", "", parse_path, "File with the OAuth client's id."
    )
    client_secret_file: Path | None = setting(
        "CLIENT_SECRET_FILE", "", parse_path, "File with the OAuth client's secret."
    )
    api_key_file: Path | None = setting(
        "TAILRACE_API_KEY_FILE", "", parse_path, "File with a Headscale API key or a Tailscale API token."
    )
    ca_bundle: Path | None = setting(
        "TAILRACE_CA_BUNDLE",
        "",
        parse_path,
        "PEM file with a private CA of the control plane, beside the public ones.",
    )
    proxy_mode: Mode = setting(
        "TAILRACE_PROXY_MODE",
        "auto",
        lambda text: Mode(parse_choice(*Mode)(text)),
        "`auto`, `kernel` or `userspace`: mode of the proxies unless a Service says otherwise.",
    )
    key_ttl: timedelta = setting(
        "TAILRACE_KEY_TTL", "1h", parse_seconds, "How long an auth key may wait for its login."
    )
    delete_deadline: timedelta = setting(
        "TAILRACE_DELETE_DEADLINE",
        "5m",
        parse_seconds,
        "How long a deletion may wait for the control plane before the device is remembered as an orphan.",
    )
    cluster_name: str = setting(
        "TAILRACE_CLUSTER_NAME",
        "",
        str,
        "Name of this cluster in the descriptions of auth keys. Default: empty.",
    )
    cluster_domain: str = setting(
        "TAILRACE_CLUSTER_DOMAIN",
        "",
        str,
        "DNS domain of the cluster. Default: read from /etc/resolv.conf, else `cluster.local`.",
    )
    device_refresh: timedelta = setting(
        "TAILRACE_DEVICE_REFRESH",
        "60s",
        parse_pause,
        "How often devices are listed while nothing is expected: what happens behind our back is noticed then.",
    )
    workers: int = setting(
        "TAILRACE_WORKERS",
        "16",
        parse_count,
        "How many Services are worked on at once, exposed ones and egresses each.",
    )
    control_plane_calls: int = setting(
        "TAILRACE_CONTROL_PLANE_CALLS",
        "8",
        parse_count,
        "How many calls to a control plane may be under way at once.",
    )
    metrics_address: tuple[str, int] = setting(
        "TAILRACE_METRICS_ADDRESS", ":8080", parse_address, "Where /metrics, /healthz and /readyz are served."
    )
    leader_election: bool = setting(
        "TAILRACE_LEADER_ELECTION", "true", parse_flag, "`false`: act without a lease (one replica only)."
    )
    service_account: str = setting(
        "TAILRACE_SERVICE_ACCOUNT",
        "operator",
        str.strip,
        "Name of the operator's own ServiceAccount: workload identity of a Tailnet asks the cluster for its tokens.",
    )
    pod_name: str = setting("POD_NAME", "", str, "Name of the operator's pod; its identity in the lease.")


def load(environ: Mapping[str, str]) -> Settings:
    """Parse an environment.

    Raises:
        Usage: a variable has a value that it cannot have; the sentence names the variable.
    """
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Settings):
        env, text = field.metadata["env"], environ.get(field.metadata["env"], field.metadata["default"])
        try:
            values[field.name] = field.metadata["parse"](text)
        except ValueError as error:
            raise Usage(f'{env}="{text}" {error}.', hint=f"{env}: {field.metadata['doc']}") from None
    return Settings(**values)


def dump(settings: Settings) -> dict[str, str]:
    """The environment that `load` would read these settings from, without what is local to a process."""
    fields = (f for f in dataclasses.fields(Settings) if f.metadata["env"] not in LOCAL)
    return {f.metadata["env"]: format_value(getattr(settings, f.name)) for f in fields}


def format_value(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case timedelta():
            return f"{int(value.total_seconds())}s"
        case (str(host), int(port)):
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        case tuple():
            return ",".join(value)
        case _:
            return str(value)


def replace_namespace(settings: Settings, namespace: str) -> Settings:
    """The same settings for another namespace."""
    return dataclasses.replace(settings, namespace=namespace)


def find_namespace(settings: Settings) -> str:
    """The operator's namespace: the setting, else that of the own pod.

    Raises:
        Usage: neither is known.
    """
    if settings.namespace:
        return settings.namespace
    try:
        return NAMESPACE_FILE.read_text().strip()
    except OSError:
        raise Usage(
            "The operator's namespace is not known.",
            hint="set OPERATOR_NAMESPACE, for example OPERATOR_NAMESPACE=tailscale",
        ) from None


def find_cluster_domain(resolv_conf: str, namespace: str) -> str:
    """The cluster's DNS domain from the text of /etc/resolv.conf, by the rule of the official operator.

    The search list has at least three entries `<namespace>.svc.<domain>`, `svc.<domain>`, `<domain>`; anything else
    means `cluster.local`.
    """
    lines = [line.split() for line in resolv_conf.splitlines() if line.startswith("search")]
    search = [entry.rstrip(".").lower() for entry in lines[-1][1:]] if lines else []
    usual = len(search) >= 3 and search[0].startswith(f"{namespace}.svc") and search[1].startswith("svc")
    return search[2] if usual and search[1] == f"svc.{search[2]}" else "cluster.local"
