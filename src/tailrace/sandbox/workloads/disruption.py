"""The disruption controller: each PodDisruptionBudget says how many pods it has, needs, and lets go."""

from __future__ import annotations

from tailrace.sandbox.kubernetes import budgets
from tailrace.sandbox.kubernetes.cluster import Cluster
from tailrace.sandbox.kubernetes.core import Call
from tailrace.sandbox.kubernetes.resources import Ref
from tailrace.sandbox.kubernetes.storage import Change, Key
from tailrace.sandbox.workloads.loop import Loop, View

_BUDGETS = Ref("policy", "v1", "poddisruptionbudgets")
_SCALED = (("apps", "statefulsets"), ("apps", "deployments"), ("apps", "replicasets"))


class Disruption:
    """Keeps the status of every budget."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._call = Call(manager="kube-controller-manager")
        self._budgets = View(cluster.store, budgets.BUDGETS)
        self._pods = View(cluster.store, budgets.PODS)
        self.loop: Loop[Key] = Loop("disruption-controller", self._sync)
        cluster.store.listen(budgets.BUDGETS, lambda change: self.loop.add(change.key))
        cluster.store.listen(budgets.PODS, self._pod_changed)
        for kind in _SCALED:
            cluster.store.listen(kind, self._scale_changed)
        for doc in self._budgets:
            self.loop.add((doc["metadata"]["namespace"], doc["metadata"]["name"]))

    def _pod_changed(self, change: Change) -> None:
        docs = [stored.doc for stored in (change.old, change.new) if stored is not None]
        for budget in self._budgets.within(change.key[0]):
            if any(budgets.guards(budget, doc) for doc in docs):
                self.loop.add((change.key[0], budget["metadata"]["name"]))

    def _scale_changed(self, change: Change) -> None:
        for budget in self._budgets.within(change.key[0]):
            self.loop.add((change.key[0], budget["metadata"]["name"]))

    def _sync(self, key: Key) -> None:
        budget = self._budgets.get(key)
        if budget is None:
            return
        pods = [pod for pod in self._pods.within(key[0]) if budgets.guards(budget, pod)]
        tally = budgets.count(budget, pods, self._cluster.store)
        status = budgets.build_status(budget, tally, self._cluster.core.now())
        if status != budget.get("status"):
            self._cluster.update(
                _BUDGETS,
                key[1],
                budget | {"status": status},
                namespace=key[0],
                subresource="status",
                call=self._call,
            )
