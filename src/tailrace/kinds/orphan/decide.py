"""What to do about the orphan record. Pure.

An entry is a key and a note. The note is JSON: `name`, `object` and `since` are for people; `tailnet` names the Tailnet,
absent for the operator's own; `device` is the device's id where the key is not. (Two Headscales count their devices alike,
so on other tailnets than our own the key is not enough.) A note that cannot be read is one of our own tailnet.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from tailrace.api import kube
from tailrace.plan import ops


class Note(kube.Base, frozen=True, kw_only=True):
    """What is remembered of a device, as far as it decides."""

    tailnet: str = ""
    device: str = ""
    name: str = ""
    object: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A device of the record."""

    key: str
    note: Note

    @property
    def device(self) -> str:
        return self.note.device or self.key


def list_entries(record: kube.ConfigMap | None) -> tuple[Entry, ...]:
    """In the order of their keys."""
    data = record.data if record is not None else {}
    return tuple(Entry(key=key, note=read_note(data[key])) for key in sorted(data))


def read_note(text: str) -> Note:
    try:
        return msgspec.json.decode(text, type=Note)
    except msgspec.MsgspecError:
        return Note(name=text)


def list_tailnets(record: kube.ConfigMap | None) -> tuple[str, ...]:
    """The tailnets on which something is left to do, the operator's own ("") first."""
    return tuple(sorted({entry.note.tailnet for entry in list_entries(record)}))


def list_users(record: kube.ConfigMap | None, tailnet: str) -> tuple[str, ...]:
    """What is left on a tailnet, for people: why its Tailnet must not go yet."""
    found: Iterable[Entry] = (e for e in list_entries(record) if e.note.tailnet == tailnet)
    return tuple(f"the orphaned device {entry.note.name or entry.device}" for entry in found)


def decide(record: kube.ConfigMap | None, tailnet: str) -> ops.Plan:
    """Delete every device that the record has of one tailnet, then strike it off; one after the other, so that a control
    plane that has just come back is not overrun."""
    stages = [
        stage
        for entry in list_entries(record)
        if entry.note.tailnet == tailnet
        for stage in (
            [
                ops.DeleteDevice(
                    device=entry.device, name=entry.note.name or entry.key, claim=ops.Claim.ORPHAN
                )
            ],
            [ops.ForgetOrphan(device=entry.key)],
        )
    ]
    return ops.Plan(stages=ops.stages(*stages), tailnet=tailnet)
