"""Whose is the name? Devices that must go before a key is minted, and those that keep us from it. Pure."""

from __future__ import annotations

from tailrace.api import names
from tailrace.fleet.wish import OnConflict
from tailrace.fleet.world import World
from tailrace.plan import ops
from tailrace.tailnet import port


def list_own_tags(w: World) -> tuple[str, ...]:
    """Tags that no other than a device of ours should have."""
    return tuple(sorted({*w.wish.tags, *w.install.defaults.tags}))


def is_replaceable(w: World, device: port.Device) -> bool:
    """A dead device that was made for the same tags as ours: nobody's live machine."""
    dead = not device.online and device.id not in w.tailnet.claimed
    return dead and bool(device.tags) and set(device.tags) <= {*list_own_tags(w)}


def find_conflict(w: World) -> port.Device | None:
    """The device that keeps us from the hostname, by the root's own rule; None when the way is free."""
    for device in w.tailnet.namesakes:
        match w.wish.on_conflict:
            case OnConflict.FAIL:
                return device
            case OnConflict.REPLACE_OFFLINE if not is_replaceable(w, device):
                return device
            case _:
                pass
    return None


def decide_dead_devices(w: World) -> list[ops.Op]:
    """Devices that must go before a key is minted, so that the new one gets the clean name."""
    if not w.needs_key:
        return []
    found: list[ops.Op] = []
    if w.state is not None and w.device is not None and (w.must_recreate or w.state.wants_key):
        found.append(ops.DeleteDevice(device=w.device.id, name=w.device.name, claim=ops.Claim.IDENTITY))
    if w.wish.on_conflict is OnConflict.REPLACE_OFFLINE:
        ours = list_own_tags(w)
        found += [
            ops.DeleteDevice(device=d.id, name=d.name, claim=ops.Claim.DEAD_NAMESAKE, tags=ours)
            for d in w.tailnet.namesakes
        ]
    return found


def describe_conflict(w: World, device: port.Device) -> str:
    """Who has the name, and the three ways out."""
    owner = f"tags {', '.join(device.tags)}" if device.tags else f"user {device.user or 'unknown'}"
    state = "connected" if device.online else "not connected"
    return (
        f'the name "{w.wish.hostname}" is taken by device {device.id} ({owner}, {", ".join(device.addresses)}, {state}): '
        f"delete or rename that device, set another hostname, or set {names.NAME_CONFLICT} to suffix"
    )
