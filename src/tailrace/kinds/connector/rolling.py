"""Whose turn it is when replicas must restart: one that serves at a time, and only while all others do. Pure.

What changes the pod (class, image, role) restarts it; a replica that serves nothing now loses nothing by that, and may be
the one that the change mends, so it never waits. Making a device anew counts as a restart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tailrace.api import names
from tailrace.fleet import provision
from tailrace.fleet.world import World
from tailrace.proxy import spec


def find_held(worlds: Sequence[World], proxies: Sequence[spec.ProxySpec]) -> frozenset[int]:
    """The replicas that stay as they are for now."""
    running = [i for i, w in enumerate(worlds) if w.children.statefulset is not None]
    if len(running) < 2:
        return frozenset()
    held: set[int] = set()
    taken = False
    for i in running:
        if is_down(worlds[i]) or not changes(worlds[i], proxies[i]):
            continue
        if not taken and all(is_steady(worlds[k]) for k in running if k != i):
            taken = True
        else:
            held.add(i)
    return frozenset(held)


def changes(w: World, proxy: spec.ProxySpec) -> bool:
    """Whether the pod would be restarted."""
    return w.must_recreate or provision.decide_statefulset(w, proxy) is not None


def is_down(w: World) -> bool:
    """It serves nothing for certain; of one that is not known it is not certain."""
    if not w.joined or w.tailnet.gone or w.asks:
        return True
    return w.tailnet.fresh and w.device is not None and not w.device.online


def is_steady(w: World) -> bool:
    """Connected, and its pod is of the newest template and ready: the control plane sees a restart late."""
    live = w.children.statefulset
    if live is None or live.metadata.deletionTimestamp is not None or not (w.online and w.tailnet.fresh):
        return False
    status = live.status
    observed = status.observedGeneration >= (live.metadata.generation or 0)
    return observed and status.updatedReplicas > 0 and status.readyReplicas > 0


def hold(w: World) -> World:
    """The world of a replica that is not to be made anew for now."""
    obeyed = w.state.note(names.RECREATED) if w.state is not None else w.wish.recreate
    return dataclasses.replace(w, wish=dataclasses.replace(w.wish, recreate=obeyed))
