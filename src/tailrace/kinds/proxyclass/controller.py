"""Judge each ProxyClass when it changes, or when something does that its validity hangs on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tailrace import errors
from tailrace.api.proxyclass import PortRange, ProxyClass
from tailrace.fleet.gather import Fleet
from tailrace.kinds.proxyclass import decide
from tailrace.kinds.proxyclass.inputs import Inputs
from tailrace.kube import resources
from tailrace.kube.client import Kube
from tailrace.kube.resource import Key
from tailrace.kube.store import Event
from tailrace.observe import metrics
from tailrace.plan import ops
from tailrace.proxy import spec
from tailrace.runtime.controller import Controller
from tailrace.settings import Mode

ENFORCE = "pod-security.kubernetes.io/enforce"
PROBE = "tailrace-node-port-probe"
RANGE = re.compile(r"\b(\d{1,5})-(\d{1,5})\b")


@dataclass(slots=True)
class ProxyClasses:
    """The room: its classes are in the shared stores."""

    fleet: Fleet
    cluster: Kube
    controller: Controller = field(init=False)
    _node_ports: PortRange | None = None

    def __post_init__(self) -> None:
        stores = self.fleet.stores
        self.controller = Controller("proxyclass", self.reconcile, workers=2)
        self.controller.watch(stores.classes, self.map_class)
        self.controller.watch(stores.namespaces, lambda event: self.list_keys())
        metrics.PROXY_CLASSES.set(0)

    def list_keys(self) -> list[Key]:
        return [Key("", found.metadata.name) for found in self.fleet.stores.classes.list()]

    def map_class(self, event: Event[ProxyClass]) -> Iterable[Key]:
        """The class itself; when node ports come or go, all: one that was in the way may be so no longer."""
        metrics.PROXY_CLASSES.set(len(self.fleet.stores.classes))
        yield event.key
        ranges = {found.port_ranges for found in (event.old, event.new) if found is not None}
        if any(ranges):
            yield from self.list_keys()

    async def reconcile(self, key: Key) -> ops.Result:
        return await self.fleet.executor.run(decide.decide(await self.gather(key)))

    async def gather(self, key: Key) -> Inputs:
        stores, install = self.fleet.stores, self.fleet.install
        given = stores.classes.get("", key.name)
        namespace = stores.namespaces.get("", install.namespace)
        return Inputs(
            given=given,
            others=tuple(c for c in stores.classes.list() if c.metadata.name != key.name),
            node_ports=await self.ask_node_ports() if given is not None and given.port_ranges else None,
            has_monitors=stores.has_monitors(),
            mode=spec.Mode.USERSPACE if install.defaults.mode is Mode.USERSPACE else None,
            pod_security=namespace.metadata.labels.get(ENFORCE, "") if namespace else "",
            now=datetime.now(UTC),
        )

    async def ask_node_ports(self) -> PortRange | None:
        """The cluster's range of node ports, which it tells nowhere but in a refusal: a dry run that must fail."""
        if self._node_ports is None:
            try:
                await self.cluster.create(
                    resources.SERVICES, build_probe(self.fleet.install.namespace), dry_run=True
                )
            except errors.Terminal as refused:
                self._node_ports = read_range(str(refused))
            except errors.TailraceError:
                return None
        return self._node_ports


def build_probe(namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": PROBE, "namespace": namespace},
        "spec": {"type": "NodePort", "ports": [{"name": "http", "port": 8080, "nodePort": 777777}]},
    }


def read_range(refusal: str) -> PortRange | None:
    found = RANGE.findall(refusal)
    return PortRange(port=int(found[0][0]), endPort=int(found[0][1])) if len(found) == 1 else None
