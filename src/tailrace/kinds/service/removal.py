"""Taking an exposure away again. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tailrace.api import kube
from tailrace.fleet import claims, removal
from tailrace.fleet.world import Children, root_of_service
from tailrace.kinds.service.inputs import Inputs
from tailrace.plan import ops
from tailrace.proxy import names as proxy_names


def decide_removal(i: Inputs, service: kube.Service) -> ops.Plan:
    """The Service is being deleted, or no longer wants to be exposed."""
    root, deleting = root_of_service(service), service.metadata.deletionTimestamp
    clear = None if deleting else claims.decide_clear(root)
    leaving = build_leaving(i, tuple(i.proxies.values()), deleting)
    return removal.decide_removal(leaving, last=[clear], final=removal.decide_unfinalize(root))


def decide_leftovers(i: Inputs, proxies: Sequence[Children]) -> ops.Plan:
    """Proxies without a Service that wants them: it went without us, or has another one."""
    return removal.decide_removal(build_leaving(i, proxies, None))


def build_leaving(i: Inputs, proxies: Sequence[Children], since: datetime | None) -> removal.Leaving:
    return removal.Leaving(
        install=i.install,
        label=f"Service {i.namespace}/{i.name}",
        owner=proxy_names.build_labels("svc", i.namespace, i.name),
        proxies=proxies,
        tailnet=removal.find_tailnet(proxies),
        since=since,
        now=i.now,
    )
