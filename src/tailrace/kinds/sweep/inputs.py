"""What the judgement may know of one tailnet and of what is in the cluster, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tailrace.api import kube, names
from tailrace.proxy import secret
from tailrace.tailnet import port

AGE = timedelta(minutes=10)
"""For how long a device must not have been seen."""

type Owner = tuple[str, str, str]
"""Whose child an object is, as its labels say it: type of the parent, its namespace, its name (cut when it is long)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Remembered:
    """An entry of the orphan record."""

    key: str
    device: str
    name: str
    object: str
    tailnet: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """One tailnet, and what the cluster has of it. `keys` None: they could not be listed."""

    cluster: str  # its name in descriptions of keys, may be empty
    tags: tuple[str, ...]  # the default ones
    tailnet: str  # "" is the operator's own
    states: tuple[secret.State, ...] = ()  # of all tailnets
    workloads: tuple[kube.StatefulSet, ...] = ()
    roots: Mapping[str, frozenset[tuple[str, str]]] = field(default_factory=dict)  # by type, those that exist
    claimed: frozenset[str] = frozenset()  # devices that further Secrets name, whoever made them
    remembered: tuple[Remembered, ...] = ()
    devices: tuple[port.Device, ...] = ()
    keys: tuple[port.KeyInfo, ...] | None = None
    age: timedelta = AGE
    now: datetime

    @property
    def here(self) -> tuple[secret.State, ...]:
        """The proxies of this tailnet."""
        return tuple(s for s in self.states if s.note(names.TAILNET) == self.tailnet)


def read_owner(found: kube.Object) -> Owner | None:
    """None where the labels name nobody."""
    labels = found.metadata.labels
    parent, name = labels.get(names.PARENT_TYPE, ""), labels.get(names.PARENT_NAME, "")
    return (parent, labels.get(names.PARENT_NAMESPACE, ""), name) if parent and name else None
