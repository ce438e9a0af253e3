"""A Connector as one row for people and programs, and what they should know before they touch it. Pure."""

from __future__ import annotations

from datetime import datetime

from tailrace.api import kube
from tailrace.api.conditions import ConditionType
from tailrace.api.connector import Connector, ConnectorSpec
from tailrace.kinds.connector import request


class Row(kube.Base, frozen=True, kw_only=True):
    """One Connector. Field names are those of `-o json`."""

    object: str  # connector/<name>
    role: str  # subnet router, exit node, app connector; several with commas
    devices: tuple[str, ...]  # full names
    addresses: tuple[str, ...]  # of the first
    routes: tuple[str, ...]
    ready: str  # True, False, Unknown, or empty while nobody has looked
    reason: str
    message: str
    created: datetime | None


def build_row(connector: Connector) -> Row:
    """The row of a Connector, of which its status knows everything."""
    meta, status = connector.metadata, connector.status
    ready = kube.find_condition(status.conditions, ConditionType.READY)
    return Row(
        object=f"connector/{meta.name}",
        role=", ".join(list_roles(connector.spec)),
        devices=tuple(device.hostname for device in status.devices),
        addresses=status.tailnetIPs,
        routes=request.list_routes(connector.spec),
        ready=ready.status if ready else "",
        reason=ready.reason if ready else "Pending",
        message=ready.message if ready else "no operator has looked at it yet",
        created=meta.creationTimestamp,
    )


def list_roles(asked: ConnectorSpec) -> list[str]:
    roles = {
        "subnet router": asked.subnetRouter is not None,
        "exit node": asked.exitNode,
        "app connector": asked.appConnector is not None,
    }
    return [role for role, has in roles.items() if has]
