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


def is_made_for_us(w: World, device: port.Device) -> bool:
    """A device that was made for the same tags as ours and is no other proxy's."""
    mine = device.id not in w.tailnet.claimed and bool(device.tags)
    return mine and set(device.tags) <= {*list_own_tags(w)}


def is_replaceable(w: World, device: port.Device) -> bool:
    """Of these a dead one: nobody's live machine."""
    return not device.online and is_made_for_us(w, device)


def find_conflict(w: World) -> port.Device | None:
    """The device that keeps us from the hostname, by the root's own rule; None when the way is free."""
    if must_stop(w):
        return None
    for device in w.tailnet.namesakes:
        match w.wish.on_conflict:
            case OnConflict.FAIL:
                return device
            case OnConflict.REPLACE_OFFLINE if not is_replaceable(w, device):
                return device
            case _:
                pass
    return None


def must_stop(w: World) -> bool:
    """The Secret was deleted under a running proxy, so nothing tells its device; but one that can only be its has the
    name, and keeps it for as long as the proxy runs."""
    if not w.lost_secret or w.wish.on_conflict is not OnConflict.REPLACE_OFFLINE:
        return False
    live = [device for device in w.tailnet.namesakes if device.online]
    return bool(live) and all(is_made_for_us(w, device) for device in live)


def decide_dead_devices(w: World) -> list[ops.Op]:
    """Devices that must go before a key is minted, so that the new one gets the clean name."""
    if not w.needs_key or must_stop(w):
        return []
    found: list[ops.Op] = []
    if w.state is not None and w.device is not None and (w.must_recreate or w.asks):
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
