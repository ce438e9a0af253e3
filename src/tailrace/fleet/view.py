"""Whatever a user asked for as one row for people and programs: what `tailrace status` shows. Pure.

Each room builds the rows of its kind, with `build_row` for what all kinds say alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from tailrace.api import kube
from tailrace.api.conditions import ConditionType
from tailrace.fleet.world import Root


class Row(kube.Base, frozen=True, kw_only=True, omit_defaults=False):
    """One object. Field names are those of `-o json`; what its kind does not have is empty."""

    object: str  # <kind>/[<namespace>/]<name>
    mode: str = ""  # kernel, userspace
    device: str = ""  # the name that the device really has; of several the first
    devices: tuple[str, ...] = ()  # the names of all of them
    addresses: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()  # that it advertises
    ready: str  # True, False, Unknown, or empty while nobody has looked
    reason: str
    message: str
    created: datetime | None


def build_row(
    root: Root,
    ready: ConditionType = ConditionType.READY,
    *,
    mode: str = "",
    devices: Iterable[str] = (),
    addresses: Iterable[str] = (),
    urls: Iterable[str] = (),
    routes: Iterable[str] = (),
) -> Row:
    """The row of an object, with its condition `ready`."""
    named = tuple(name for name in devices if name)
    found = kube.find_condition(root.conditions, ready)
    ref = root.ref
    return Row(
        object="/".join(part for part in (ref.kind.lower(), ref.namespace, ref.name) if part),
        mode=mode,
        device=named[0] if named else "",
        devices=named,
        addresses=tuple(addresses),
        urls=tuple(urls),
        routes=tuple(routes),
        ready=found.status if found else "",
        reason=found.reason if found else "Pending",
        message=found.message if found else "no operator has looked at it yet",
        created=root.meta.creationTimestamp,
    )
