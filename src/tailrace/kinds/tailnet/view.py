"""A Tailnet as one row for people and programs. Pure."""

from __future__ import annotations

from datetime import datetime

from tailrace.api import kube
from tailrace.api.conditions import ConditionType
from tailrace.api.tailnet import Tailnet
from tailrace.tailnet.port import Device

OWN_SERVER = "Tailscale"


class Row(kube.Base, frozen=True, kw_only=True):
    """One Tailnet. Field names are those of `-o json`; `online` and `total` are None where nobody has listed devices."""

    object: str  # tailnet/<name>
    server: str
    secret: str  # its name, nothing of what is in it
    online: int | None
    total: int | None
    ready: str  # True, False, Unknown, or empty while nobody has looked
    reason: str
    message: str
    created: datetime | None


def build_row(tailnet: Tailnet, devices: tuple[Device, ...] | None = None) -> Row:
    """The row of a Tailnet, with its devices where they are known."""
    ready = kube.find_condition(tailnet.status.conditions, ConditionType.TAILNET_READY)
    return Row(
        object=f"tailnet/{tailnet.metadata.name}",
        server=tailnet.spec.loginUrl or OWN_SERVER,
        secret=tailnet.spec.credentials.secretName,
        online=None if devices is None else sum(device.online for device in devices),
        total=None if devices is None else len(devices),
        ready=ready.status if ready else "",
        reason=ready.reason if ready else "Pending",
        message=ready.message if ready else "no operator has looked at it yet",
        created=tailnet.metadata.creationTimestamp,
    )
