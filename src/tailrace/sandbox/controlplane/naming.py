"""How a tailnet turns hostnames into DNS labels: what is dropped, what collides, what a rename may ask for."""

from __future__ import annotations

import re
from collections.abc import Collection

_LONGEST = 63
_SUFFIXES = (".local", ".localdomain", ".lan")
_FALLBACK = "node"


def sanitize(hostname: str) -> str:
    """The label of a hostname: `service.example.com` is `service-example-com`, `My_App` is `my-app`, `-` is ``."""
    for suffix in _SUFFIXES:
        hostname = hostname.removesuffix(suffix)
    label = re.sub(r"^[^A-Za-z0-9]+|[^A-Za-z0-9]+$", "", hostname[:_LONGEST])
    return re.sub(r"[^a-z0-9-]", "", re.sub(r"[ .@_]", "-", label).lower())


def free_name(base: str, taken: Collection[str]) -> str:
    """`base`, or `base-1`, `base-2`, ... whichever nobody has."""
    base = base or _FALLBACK
    if base not in taken:
        return base
    number = 1
    while f"{base}-{number}" in taken:
        number += 1
    return f"{base}-{number}"


def is_derived(name: str, hostname: str) -> bool:
    """Whether a device's name still follows its hostname (nobody renamed it)."""
    base = re.escape(sanitize(hostname) or _FALLBACK)
    return re.fullmatch(rf"{base}(-\d+)?", name) is not None


def label_fault(label: str) -> str | None:
    """What is wrong with a label, in the words of Tailscale's own library; None when it is right.

    Upper case is no fault: Headscale accepts and keeps it.
    """
    if not label:
        return "empty DNS label"
    if len(label) > _LONGEST:
        return f'"{label}" is too long, max length is {_LONGEST} bytes'
    head = f'"{label}" is not a valid DNS label: '
    if not re.match(r"[A-Za-z0-9]", label[0]):
        return head + "must start with a letter or number"
    if not re.match(r"[A-Za-z0-9]", label[-1]):
        return head + "must end with a letter or number"
    bad = re.search(r"[^A-Za-z0-9-]", label)
    return head + f"contains invalid character '{bad[0]}'" if bad else None


def tag_fault(tag: str) -> str | None:
    """What is wrong with a tag's shape, in Headscale's words. Whether the policy knows it is another question."""
    if not tag.startswith("tag:"):
        return "tag must start with the string 'tag:'"
    if tag != tag.lower():
        return "tag should be lowercase"
    return "tags must not contain spaces" if len(tag.split()) > 1 else None
