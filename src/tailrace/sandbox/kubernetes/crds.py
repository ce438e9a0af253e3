"""CustomResourceDefinitions come to life: served once they are established, emptied before they go."""

from __future__ import annotations

import contextlib

from tailrace.sandbox.kubernetes.core import Call, Core
from tailrace.sandbox.kubernetes.deletion import CLEANUP, Removal
from tailrace.sandbox.kubernetes.resources import Resource
from tailrace.sandbox.kubernetes.status import ApiError
from tailrace.sandbox.kubernetes.storage import Change, Doc
from tailrace.sandbox.kubernetes.strategies import DEFINITIONS
from tailrace.sandbox.kubernetes.writing import Writer

STORAGE = DEFINITIONS
_CALL = Call(manager="kube-apiserver")


class CrdController:
    def __init__(self, core: Core, writer: Writer) -> None:
        self._core = core
        self._writer = writer
        core.store.listen(STORAGE, self._learn)
        core.store.listen(None, self._notice_end)

    def _learn(self, change: Change) -> None:
        if change.type == "DELETED":
            self._core.registry.drop_crd(change.new.doc)
        else:
            self._core.defer(lambda: self._establish(change.key[1]))

    def _notice_end(self, change: Change) -> None:
        """The last custom resource of a definition that is being deleted is gone."""
        if change.type == "DELETED" and change.kind != STORAGE:
            name = f"{change.kind[1]}.{change.kind[0]}"
            stored = self._core.store.get(STORAGE, ("", name))
            if stored and stored.doc["metadata"].get("deletionTimestamp"):
                self._core.defer(lambda: self._establish(name))

    def _establish(self, name: str) -> None:
        stored = self._core.store.get(STORAGE, ("", name))
        resource = self._core.registry.of_storage(*STORAGE)
        if stored is None or resource is None:
            return
        if stored.doc["metadata"].get("deletionTimestamp"):
            self._empty(resource, name)
            return
        doc = stored.doc
        status = _status(doc, self._core.now())
        if status != doc.get("status"):
            self._writer.update(resource, stored, doc | {"status": status}, _CALL, subresource="status")
            return  # which comes back here
        self._core.registry.serve_crd(doc)

    def _empty(self, resource: Resource, name: str) -> None:
        crd = self._core.store.get(STORAGE, ("", name))
        if crd is None:
            return
        spec = crd.doc["spec"]
        kind = (spec["group"], spec["names"]["plural"])
        served = self._core.registry.of_storage(*kind)
        if served is not None:
            for stored in list(self._core.store.all(kind).values()):
                if not stored.doc["metadata"].get("deletionTimestamp"):
                    with contextlib.suppress(ApiError):
                        self._writer.delete(served, stored, Removal(), _CALL)
        if not self._core.store.all(kind):
            left = [f for f in crd.doc["metadata"].get("finalizers") or () if f != CLEANUP]
            metadata = crd.doc["metadata"] | {"finalizers": left}
            self._writer.update(resource, crd, crd.doc | {"metadata": metadata}, _CALL)


def _status(crd: Doc, now: str) -> Doc:
    before = crd.get("status") or {}
    versions = [v["name"] for v in crd["spec"]["versions"] if v.get("storage")]
    since = {c["type"]: c["lastTransitionTime"] for c in before.get("conditions") or ()}
    return {
        "conditions": [
            {
                "lastTransitionTime": since.get(kind, now),
                "message": message,
                "reason": reason,
                "status": "True",
                "type": kind,
            }
            for kind, reason, message in (
                ("NamesAccepted", "NoConflicts", "no conflicts found"),
                ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
            )
        ],
        "acceptedNames": crd["spec"]["names"],
        "storedVersions": list(dict.fromkeys([*(before.get("storedVersions") or ()), *versions])),
    }
