"""Watch the orphan record and carry its plans out, one for each tailnet; failures back off as everywhere."""

from __future__ import annotations

from dataclasses import dataclass, field

from tailrace import errors
from tailrace.api import kube, names
from tailrace.kinds.orphan import decide
from tailrace.kube import resources
from tailrace.kube.client import Kube
from tailrace.kube.resource import Key
from tailrace.kube.store import Store
from tailrace.kube.watch import Watch
from tailrace.observe import metrics
from tailrace.plan import ops
from tailrace.plan.executor import Executor
from tailrace.runtime.controller import Controller


@dataclass(slots=True)
class Orphans:
    """The room: one store, one key."""

    executor: Executor
    store: Store[kube.ConfigMap] = field(default_factory=lambda: Store("orphans"))
    controller: Controller = field(init=False)

    def __post_init__(self) -> None:
        self.controller = Controller("orphan", self.reconcile, workers=1)
        self.controller.watch(
            self.store, lambda event: [Key(event.obj.metadata.namespace, event.obj.metadata.name)]
        )

    def build_watch(self, cluster: Kube, namespace: str) -> Watch[kube.ConfigMap]:
        fields = f"metadata.name={names.ORPHANS}"
        return Watch(cluster, resources.CONFIG_MAPS, self.store, namespace=namespace, fields=fields)

    def list_users(self, tailnet: str) -> tuple[str, ...]:
        """The orphans that wait for a tailnet."""
        return tuple(u for record in self.store.list() for u in decide.list_users(record, tailnet))

    async def reconcile(self, key: Key) -> ops.Result:
        """A tailnet that cannot be used does not hold up the others; what it makes wait is tried again."""
        record = self.store.get(*key)
        failed: errors.TailraceError | None = None
        for tailnet in decide.list_tailnets(record):
            try:
                plan = decide.decide(record, tailnet)
                await self.executor.run(plan)
                metrics.SWEPT.labels("orphan").inc(sum(isinstance(op, ops.ForgetOrphan) for op in plan.ops))
            except errors.TailraceError as error:
                failed = failed or error
        if failed is not None:
            raise failed
        return ops.SETTLED
