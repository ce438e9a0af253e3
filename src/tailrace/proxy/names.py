"""Names and labels of children: deterministic, so that a crash or a rebuilt cluster finds the same ones again."""

from __future__ import annotations

import base64
import hashlib
import re

from tailrace.api import names

STATEFULSET_LIMIT = (
    52  # the pod label controller-revision-hash is the name, a hyphen and 10 characters, at most 63
)
LABEL_LIMIT = 63


def build_child_name(kind: str, namespace: str, name: str) -> str:
    """`ts-<name, cut>-<6 of base32>`: unique by kind, namespace and name; at most 52 characters, a DNS label."""
    digest = hashlib.sha256(f"{kind}/{namespace}/{name}".encode()).digest()
    suffix = base64.b32encode(digest).decode()[:6].lower()
    base = name[: STATEFULSET_LIMIT - len("ts--") - len(suffix)].strip("-.").replace(".", "-")
    return f"ts-{base}-{suffix}"


def truncate_label(value: str) -> str:
    """A label value: over 63 characters, the first 54, `-` and 8 hex digits of the SHA-256."""
    if len(value) <= LABEL_LIMIT:
        return value
    return f"{value[:54]}-{hashlib.sha256(value.encode()).hexdigest()[:8]}"


def build_labels(kind: str, namespace: str, name: str) -> dict[str, str]:
    """The labels that say whose child it is; `kind` as the official operator writes it (`svc`)."""
    return {
        names.MANAGED: "true",
        names.PARENT_TYPE: kind,
        names.PARENT_NAME: truncate_label(name),
        names.PARENT_NAMESPACE: namespace,
    }


def build_default_hostname(namespace: str, name: str) -> str:
    """`<namespace>-<name>`; where that is no DNS label (over 63 characters) cut, with a hash that keeps it unique."""
    return truncate_label(f"{namespace}-{name}".replace(".", "-"))


def build_key_description(cluster: str, namespace: str, name: str) -> str:
    """Which cluster and object a key is for: at most 50 of letters, digits, hyphen, blank (Tailscale's rule)."""
    text = " ".join(part for part in ("tailrace", cluster, namespace, name) if part)
    clean = re.sub(r"[^A-Za-z0-9 -]", "-", text)
    if len(clean) <= 50:
        return clean
    return f"{clean[:43]}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
