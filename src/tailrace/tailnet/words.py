"""Small texts that control planes are picky about. Pure."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterable
from datetime import UTC, datetime

DESCRIPTION_LIMIT = 50
"""Characters of a key's description (Tailscale and Headscale 0.30 refuse more)."""


def clean_description(text: str) -> str:
    """At most 50 of letters, digits, hyphen and blank, which is all that Tailscale allows.

    What is cut is replaced by a hash of the whole, so that two long names stay two descriptions.
    """
    clean = re.sub(r"[^A-Za-z0-9-]+", lambda m: " " if m[0].isspace() else "-", text).strip("- ")
    if len(clean) <= DESCRIPTION_LIMIT:
        return clean
    digest = hashlib.sha256(text.encode()).hexdigest()[:6]
    return f"{clean[: DESCRIPTION_LIMIT - 7].rstrip('- ')}-{digest}"


def describe_key(cluster: str, owner: str) -> str:
    """A key's description: who asked for it, e.g. `tailrace prod media-jellyfin`.

    The owner is what one looks for, so a long cluster name gives way first.
    """
    room = DESCRIPTION_LIMIT - len("tailrace  ") - len(clean_description(owner))
    return clean_description(f"tailrace {cluster[: max(room, 8)]} {owner}")


def parse_time(text: str | None) -> datetime | None:
    """RFC 3339; None for nothing and for Go's zero time, which Headscale sends for "never"."""
    if not text:
        return None
    try:
        # Go prints nanoseconds; Python reads six digits and takes the rest for noise.
        when = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
    except ValueError:
        return None
    if when.year <= 1:
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def sort_addresses(addresses: Iterable[str]) -> tuple[str, ...]:
    """IPv4 before IPv6, otherwise as the control plane has them; a prefix length is dropped."""
    plain = [address.partition("/")[0] for address in addresses]
    return tuple(sorted(plain, key=lambda address: ":" in address))


def drop_ports(endpoints: Iterable[str] | None) -> tuple[str, ...]:
    """The addresses of `192.168.1.5:41641` and `[fd00::5]:41641`, each once."""
    return tuple(dict.fromkeys(endpoint.rpartition(":")[0].strip("[]") for endpoint in endpoints or ()))


def sort_routes(routes: Iterable[str] | None) -> tuple[str, ...]:
    """In one order, whatever the control plane's; what is no prefix comes last as it is."""

    def order(route: str) -> tuple[int, int, int, str]:
        try:
            network = ipaddress.ip_network(route, strict=False)
        except ValueError:
            return 9, 0, 0, route
        return network.version, int(network.network_address), network.prefixlen, route

    return tuple(sorted(set(routes or ()), key=order))


def first_label(name: str) -> str:
    return name.rstrip(".").partition(".")[0]


def is_tag(text: str) -> bool:
    return re.fullmatch(r"tag:[a-zA-Z][a-zA-Z0-9-]*", text) is not None
