"""Taking a Connector's proxies away again: all of them, or those of replicas that are too many. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tailrace.api.connector import Connector
from tailrace.fleet import removal
from tailrace.fleet.world import Children
from tailrace.kinds.connector import place, truth
from tailrace.kinds.connector.inputs import Inputs
from tailrace.plan import ops
from tailrace.proxy import names as proxy_names


def decide_removal(i: Inputs, connector: Connector) -> ops.Plan:
    """The Connector is being deleted."""
    leaving = build_leaving(i, list_all(i), connector.metadata.deletionTimestamp)
    return removal.decide_removal(leaving, final=removal.decide_unfinalize(truth.build_root(connector)))


def decide_leftovers(i: Inputs, proxies: Sequence[Children]) -> ops.Plan:
    """Proxies that no replica of a Connector wants."""
    return removal.decide_removal(build_leaving(i, proxies, None))


def list_all(i: Inputs) -> tuple[Children, ...]:
    return place.find_places(i.proxies, i.name, 0).all


def build_leaving(i: Inputs, proxies: Sequence[Children], since: datetime | None) -> removal.Leaving:
    return removal.Leaving(
        install=i.install,
        label=f"Connector {i.name}",
        owner=proxy_names.build_labels("connector", "", i.name),
        proxies=proxies,
        tailnet=removal.find_tailnet(proxies),
        since=since,
        now=i.now,
    )
