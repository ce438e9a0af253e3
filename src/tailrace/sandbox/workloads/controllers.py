"""The controller manager of the sandbox: workloads get pods, Services get EndpointSlices, namespaces their account.

Each class watches what its decision reads (`statefulsets`, `replicas`, `endpoints` decide) and writes the next step
through the same API as everybody.
"""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable
from typing import Any

from tailrace.sandbox.kubernetes.cluster import Cluster
from tailrace.sandbox.kubernetes.core import Call
from tailrace.sandbox.kubernetes.deletion import Removal
from tailrace.sandbox.kubernetes.resources import Ref
from tailrace.sandbox.kubernetes.status import ApiError
from tailrace.sandbox.kubernetes.storage import Change, Key
from tailrace.sandbox.workloads import endpoints, events, replicas, statefulsets
from tailrace.sandbox.workloads.loop import Doc, Loop, View, owner_uid

PODS, SERVICES = Ref("", "v1", "pods"), Ref("", "v1", "services")
STATEFULSETS, DEPLOYMENTS = Ref("apps", "v1", "statefulsets"), Ref("apps", "v1", "deployments")
REPLICASETS = Ref("apps", "v1", "replicasets")
SLICES = Ref("discovery.k8s.io", "v1", "endpointslices")
ACCOUNTS, CONFIGMAPS = Ref("", "v1", "serviceaccounts"), Ref("", "v1", "configmaps")
_REMOVAL = Removal(propagation="Background")


def kind_of(ref: Ref) -> tuple[str, str]:
    """Where objects of `ref` are stored."""
    return (ref.group, ref.resource)


class Workload(abc.ABC):
    """What controllers of things with pods share: views, a loop, and the writes of one step."""

    def __init__(self, cluster: Cluster, ref: Ref, kind: str, below: Ref, name: str) -> None:
        self.cluster = cluster
        self.ref = ref
        self.kind = kind
        self.below = below
        self.call = Call(manager=name)
        self.component = name
        self.objects = View(cluster.store, kind_of(ref))
        self.parts = View(cluster.store, kind_of(below))
        self.loop: Loop[Key] = Loop(name, self.sync)
        cluster.store.listen(kind_of(ref), lambda change: self.loop.add(change.key))
        cluster.store.listen(kind_of(below), self._part_changed)
        for doc in self.objects:
            self.loop.add((doc["metadata"]["namespace"], doc["metadata"]["name"]))

    @abc.abstractmethod
    def sync(self, key: Key) -> None:
        """Do the next step for one object, which may be gone."""

    def _part_changed(self, change: Change) -> None:
        for owner in change.new.doc["metadata"].get("ownerReferences") or ():
            if owner.get("controller") and owner["kind"] == self.kind:
                self.loop.add((change.key[0], owner["name"]))

    def create(self, owner: Doc, parts: tuple[Doc, ...]) -> None:
        """Create what the step asks for. A refusal is told on the owner, and tried again later."""
        for part in parts:
            try:
                self.cluster.create(
                    self.below, part, namespace=owner["metadata"]["namespace"], call=self.call
                )
            except ApiError as error:
                if error.reason == "AlreadyExists":
                    continue
                reason, message = self.tell_refusal(owner, part, error.message)
                events.record(self.cluster, owner, self.component, reason, message, warning=True)
                raise

    def tell_refusal(self, owner: Doc, part: Doc, why: str) -> tuple[str, str]:
        """Reason and message of the event for a part that cannot be created."""
        return "FailedCreate", f"Error creating: {why}"

    def delete(self, namespace: str, names: tuple[str, ...]) -> None:
        for name in names:
            with contextlib.suppress(ApiError):
                self.cluster.delete(self.below, name, namespace=namespace, removal=_REMOVAL, call=self.call)

    def show(self, doc: Doc, status: Any) -> None:
        """Write a status that differs."""
        if dict(status) != (doc.get("status") or {}):
            metadata = doc["metadata"]
            fresh = self.objects.get((metadata["namespace"], metadata["name"]))
            if fresh is not None:
                self.cluster.update(
                    self.ref,
                    metadata["name"],
                    fresh | {"status": dict(status)},
                    namespace=metadata["namespace"],
                    subresource="status",
                    call=self.call,
                )


class StatefulSets(Workload):
    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster, STATEFULSETS, "StatefulSet", PODS, "statefulset-controller")

    def sync(self, key: Key) -> None:
        doc = self.objects.get(key)
        if doc is None:
            return
        step = statefulsets.decide(doc, self.parts.owned_by(doc["metadata"]["uid"]))
        self.show(doc, step.status)
        self.delete(key[0], step.delete)
        self.create(doc, step.create)

    def tell_refusal(self, owner: Doc, part: Doc, why: str) -> tuple[str, str]:
        subject = f"Create Pod {part['metadata']['name']} in StatefulSet {owner['metadata']['name']}"
        return "FailedCreate", f"{subject} failed error: {why}"


class ReplicaSets(Workload):
    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster, REPLICASETS, "ReplicaSet", PODS, "replicaset-controller")

    def sync(self, key: Key) -> None:
        doc = self.objects.get(key)
        if doc is None:
            return
        step = replicas.decide_replicaset(doc, self.parts.owned_by(doc["metadata"]["uid"]))
        self.delete(key[0], step.delete)
        try:
            self.create(doc, step.create)
        except ApiError as error:
            now, before = self.cluster.core.now(), doc.get("status") or {}
            self.show(doc, replicas.add_failure(step.status, before, error.message, now))
            raise
        self.show(doc, step.status)


class Deployments(Workload):
    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster, DEPLOYMENTS, "Deployment", REPLICASETS, "deployment-controller")

    def sync(self, key: Key) -> None:
        doc = self.objects.get(key)
        if doc is None:
            return
        parts = self.parts.owned_by(doc["metadata"]["uid"])
        step = replicas.decide_deployment(doc, parts, self.cluster.core.now())
        for name, size in step.scale.items():
            self._change(key[0], name, lambda old, size=size: {"spec": old["spec"] | {"replicas": size}})  # type: ignore[misc]
        for name, revision in step.revise.items():
            self._change(key[0], name, lambda old, revision=revision: _revised(old, revision))  # type: ignore[misc]
        self.delete(key[0], step.delete)
        self.create(doc, step.create)
        self._show_revision(key, step.revision)
        self.show(doc, step.status)

    def _change(self, namespace: str, name: str, change: Callable[[Doc], Doc]) -> None:
        if (old := self.parts.get((namespace, name))) is not None:
            self.cluster.update(REPLICASETS, name, old | change(old), namespace=namespace, call=self.call)

    def _show_revision(self, key: Key, revision: int) -> None:
        """What `kubectl rollout history` counts, on the Deployment too."""
        doc = self.objects.get(key)
        if (
            revision
            and doc
            and (doc["metadata"].get("annotations") or {}).get(replicas.REVISION) != str(revision)
        ):
            self.cluster.update(
                DEPLOYMENTS, key[1], doc | _revised(doc, revision), namespace=key[0], call=self.call
            )

    def tell_refusal(self, owner: Doc, part: Doc, why: str) -> tuple[str, str]:
        return (
            "ReplicaSetCreateError",
            f'Failed to create new replica set "{part["metadata"]["name"]}": {why}',
        )


def _revised(doc: Doc, revision: int) -> Doc:
    metadata = doc["metadata"]
    annotations = (metadata.get("annotations") or {}) | {replicas.REVISION: str(revision)}
    return {"metadata": metadata | {"annotations": annotations}}


class EndpointSlices:
    """A slice for each Service with a selector, in step with its pods."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._call = Call(manager="endpointslice-controller")
        self._services = View(cluster.store, kind_of(SERVICES))
        self._pods = View(cluster.store, kind_of(PODS))
        self._slices = View(cluster.store, kind_of(SLICES))
        self.loop: Loop[Key] = Loop("endpointslice-controller", self._sync)
        cluster.store.listen(kind_of(SERVICES), lambda change: self.loop.add(change.key))
        cluster.store.listen(kind_of(PODS), self._pod_changed)
        cluster.store.listen(kind_of(SLICES), self._slice_changed)
        for doc in self._services:
            self.loop.add((doc["metadata"]["namespace"], doc["metadata"]["name"]))

    def _pod_changed(self, change: Change) -> None:
        if (
            change.old is not None
            and change.type == "MODIFIED"
            and _facts(change.old.doc) == _facts(change.new.doc)
        ):
            return
        docs = [stored.doc for stored in (change.old, change.new) if stored is not None]
        for service in self._services.within(change.key[0]):
            if any(endpoints.selects(service, doc) for doc in docs):
                self.loop.add((change.key[0], service["metadata"]["name"]))

    def _slice_changed(self, change: Change) -> None:
        labels = change.new.doc["metadata"].get("labels") or {}
        if name := labels.get(endpoints.SERVICE_NAME):
            self.loop.add((change.key[0], name))

    def _sync(self, key: Key) -> None:
        service = self._services.get(key)
        if service is None or service["metadata"].get("deletionTimestamp"):
            return
        wanted: dict[str, Doc] = {}
        if service["spec"].get("selector") and service["spec"].get("type") != "ExternalName":
            # Services are selected by labels: only the pods of the same namespace are looked at.
            wanted = {
                s["metadata"]["name"]: s for s in endpoints.build_slices(service, self._pods.within(key[0]))
            }
        present = {s["metadata"]["name"]: s for s in self._slices.owned_by(service["metadata"]["uid"])}
        for name in present.keys() - wanted.keys():
            self._cluster.delete(SLICES, name, namespace=key[0], call=self._call)
        for name, doc in wanted.items():
            if (old := present.get(name)) is None:
                self._cluster.create(SLICES, doc, namespace=key[0], call=self._call)
            elif any(old.get(part) != doc[part] for part in ("endpoints", "ports")):
                changed = old | {"endpoints": doc["endpoints"], "ports": doc["ports"]}
                self._cluster.update(SLICES, name, changed, namespace=key[0], call=self._call)


def _facts(pod: Doc) -> tuple[Any, ...]:
    """What an endpoint says about a pod."""
    status, metadata = pod.get("status") or {}, pod["metadata"]
    return (
        status.get("podIP"),
        status.get("phase"),
        endpoints.is_ready(pod),
        metadata.get("labels"),
        metadata.get("deletionTimestamp"),
        pod["spec"].get("nodeName"),
    )


class Accounts:
    """Each namespace has an account `default` and the certificate of the API server."""

    def __init__(self, cluster: Cluster, ca_pem: str) -> None:
        self._cluster = cluster
        self._ca_pem = ca_pem
        self.loop: Loop[str] = Loop("serviceaccount-controller", self._sync)
        cluster.store.listen(("", "namespaces"), lambda change: self.loop.add(change.key[1]))
        cluster.store.listen(("", "serviceaccounts"), lambda change: self.loop.add(change.key[0]))
        for _, name in cluster.store.all(("", "namespaces")):
            self._sync(name)

    def _sync(self, namespace: str) -> None:
        found = self._cluster.core.namespace(namespace)
        if found is None or found["metadata"].get("deletionTimestamp"):
            return
        call = Call(manager="kube-controller-manager")
        for ref, name, doc in (
            (ACCOUNTS, "default", {"metadata": {"name": "default"}}),
            (
                CONFIGMAPS,
                "kube-root-ca.crt",
                {"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": self._ca_pem}},
            ),
        ):
            if self._cluster.store.get(kind_of(ref), (namespace, name)) is None:
                self._cluster.create(ref, doc, namespace=namespace, call=call)


__all__ = ["Accounts", "Deployments", "EndpointSlices", "ReplicaSets", "StatefulSets", "owner_uid"]
