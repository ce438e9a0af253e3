"""Users and keys as Headscale's own API writes them. Every field is there, also when it is empty."""

from __future__ import annotations

from typing import Any

from tailrace.sandbox.controlplane.records import ApiKey, AuthKey, User
from tailrace.sandbox.controlplane.web import stamp

TAGGED_DEVICES = {
    "id": "2147455555",
    "name": "tagged-devices",
    "createdAt": "0001-01-01T00:00:00Z",
    "displayName": "Tagged Devices",
    "email": "",
    "providerId": "",
    "provider": "",
    "profilePicUrl": "",
}
"""The owner of tagged nodes, who is nobody."""


def show_user(user: User) -> dict[str, Any]:
    return {
        "id": str(user.number),
        "name": user.name,
        "createdAt": stamp(user.created),
        "displayName": user.display_name,
        "email": user.email,
        "providerId": "",
        "provider": "",
        "profilePicUrl": user.picture,
    }


def show_key(key: AuthKey) -> dict[str, Any]:
    """Masked; only the reply to its creation holds the secret."""
    return {
        "user": show_user(key.user) if key.user else None,
        "id": str(key.number),
        "key": f"hskey-auth-{key.prefix}-***",
        "reusable": key.reusable,
        "ephemeral": key.ephemeral,
        "used": key.used,
        "expiration": stamp(key.expires),
        "createdAt": stamp(key.created),
        "aclTags": list(key.tags),
    }


def show_api_key(key: ApiKey) -> dict[str, Any]:
    return {
        "id": str(key.number),
        "prefix": f"hskey-api-{key.prefix}-***",
        "expiration": stamp(key.expires),
        "createdAt": stamp(key.created),
        "lastSeen": None,
    }
