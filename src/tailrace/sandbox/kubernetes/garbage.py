"""Garbage collection: what belongs to an owner goes with it, in the background, in the foreground, or not at all.

The rules are those of `pkg/controller/garbagecollector`; owners are found by their uid alone. Also here: a namespace
that was deleted is emptied, and goes when it is empty.
"""

from __future__ import annotations

import contextlib

from tailrace.sandbox.kubernetes.core import Call, Core
from tailrace.sandbox.kubernetes.deletion import FOREGROUND, ORPHAN, Removal
from tailrace.sandbox.kubernetes.resources import Resource
from tailrace.sandbox.kubernetes.status import ApiError
from tailrace.sandbox.kubernetes.storage import Change, Doc, Key, Kind, Stored
from tailrace.sandbox.kubernetes.writing import Writer

_Place = tuple[Kind, Key]
_NAMESPACES = ("", "namespaces")


class GarbageCollector:
    """Learns owners and dependents from every write; acts after the write was answered."""

    def __init__(self, core: Core, writer: Writer) -> None:
        self._core = core
        self._writer = writer
        self._alive: dict[str, _Place] = {}
        self._dependents: dict[str, set[_Place]] = {}
        core.store.listen(None, self._learn)

    def _learn(self, change: Change) -> None:
        place = (change.kind, change.key)
        for uid in _owner_uids(change.old):
            self._forget(uid, place)
        doc = change.new.doc
        uid = doc["metadata"]["uid"]
        if change.type == "DELETED":
            self._alive.pop(uid, None)
            if self._dependents.get(uid):
                self._core.defer(lambda: self._orphaned_by(uid))
            for owner in _owner_uids(change.new):
                self._core.defer(lambda owner=owner: self._go_on(owner))  # type: ignore[misc]
            return
        self._alive[uid] = place
        owners = _owner_uids(change.new)
        for owner in owners:
            self._dependents.setdefault(owner, set()).add(place)
        if owners != _owner_uids(change.old):
            self._core.defer(lambda: self._check(place))
            for owner in _owner_uids(change.old):
                self._core.defer(lambda owner=owner: self._go_on(owner))  # type: ignore[misc]
        if doc["metadata"].get("deletionTimestamp"):
            self._core.defer(lambda: self._go_on(uid))

    def _forget(self, owner: str, place: _Place) -> None:
        """An owner that has no dependent left is not kept."""
        places = self._dependents.get(owner, set())
        places.discard(place)
        if not places:
            self._dependents.pop(owner, None)

    def _orphaned_by(self, uid: str) -> None:
        for place in sorted(self._dependents.pop(uid, ())):
            self._check(place)

    def _check(self, place: _Place) -> None:
        """Delete a dependent whose owners are all gone; else forget those that are."""
        found = self._find(place)
        if found is None:
            return
        resource, stored = found
        owners = stored.doc["metadata"].get("ownerReferences") or []
        living = [owner for owner in owners if owner["uid"] in self._alive]
        if not owners or len(living) == len(owners):
            return
        if not living:
            self._delete(resource, stored, "Background")
        else:
            self._write(resource, stored, {"ownerReferences": living})

    def _go_on(self, uid: str) -> None:
        """One step in the deletion of an object that waits for its dependents."""
        place = self._alive.get(uid)
        found = self._find(place) if place else None
        if found is None:
            return
        resource, stored = found
        finalizers = stored.doc["metadata"].get("finalizers") or []
        if not stored.doc["metadata"].get("deletionTimestamp"):
            return
        if ORPHAN in finalizers:
            for dependent in sorted(self._dependents.get(uid, ())):
                self._let_go(dependent, uid)
            self._write(resource, stored, {"finalizers": [f for f in finalizers if f != ORPHAN]})
        elif FOREGROUND in finalizers and not self._delete_dependents(uid):
            self._write(resource, stored, {"finalizers": [f for f in finalizers if f != FOREGROUND]})

    def _delete_dependents(self, uid: str) -> bool:
        """Whether one is left that blocks its owner."""
        blocked = False
        for place in sorted(self._dependents.get(uid, ())):
            found = self._find(place)
            if found is None:
                continue
            resource, stored = found
            if not stored.doc["metadata"].get("deletionTimestamp"):
                self._delete(
                    resource, stored, "Foreground" if self._dependents.get(_uid(stored)) else "Background"
                )
            references = stored.doc["metadata"].get("ownerReferences") or ()
            blocks = any(r["uid"] == uid and r.get("blockOwnerDeletion") for r in references)
            blocked = blocked or (blocks and self._find(place) is not None)
        return blocked

    def _let_go(self, place: _Place, uid: str) -> None:
        found = self._find(place)
        if found:
            resource, stored = found
            owners = stored.doc["metadata"].get("ownerReferences") or ()
            self._write(resource, stored, {"ownerReferences": [o for o in owners if o["uid"] != uid]})

    def _find(self, place: _Place) -> tuple[Resource, Stored] | None:
        kind, key = place
        resource = self._core.registry.of_storage(*kind)
        stored = self._core.store.get(kind, key)
        return (resource, stored) if resource and stored else None

    def _delete(self, resource: Resource, stored: Stored, how: str) -> None:
        removal = Removal(propagation="Foreground" if how == "Foreground" else "Background", uid=_uid(stored))
        with contextlib.suppress(ApiError):  # an admission plug-in keeps it: as on a server, it stays
            self._writer.delete(resource, stored, removal, Call(manager="garbage-collector"))

    def _write(self, resource: Resource, stored: Stored, metadata: Doc) -> None:
        doc = stored.doc | {"metadata": stored.doc["metadata"] | metadata}
        with contextlib.suppress(ApiError):
            self._writer.update(resource, stored, doc, Call(manager="garbage-collector"))


class NamespaceController:
    """Empties a namespace that was deleted, and lets it go when nothing is left in it."""

    def __init__(self, core: Core, writer: Writer) -> None:
        self._core = core
        self._writer = writer
        self._ending: set[str] = set()
        core.store.listen(None, self._learn)

    def _learn(self, change: Change) -> None:
        if change.kind == _NAMESPACES:
            name = change.key[1]
            if change.type == "DELETED":
                self._ending.discard(name)
            elif change.new.doc["metadata"].get("deletionTimestamp") and name not in self._ending:
                self._ending.add(name)
                self._core.defer(lambda: self._empty(name))
        elif change.type == "DELETED" and change.key[0] in self._ending:
            self._core.defer(lambda: self._empty(change.key[0]))

    def _empty(self, name: str) -> None:
        left: dict[str, int] = {}
        held: dict[str, int] = {}
        for kind in self._core.store.kinds():
            resource = self._core.registry.of_storage(*kind)
            if resource is None or not resource.namespaced:
                continue
            for key, stored in list(self._core.store.all(kind).items()):
                if key[0] != name:
                    continue
                if not stored.doc["metadata"].get("deletionTimestamp"):
                    with contextlib.suppress(ApiError):
                        self._writer.delete(
                            resource,
                            stored,
                            Removal(propagation="Background"),
                            Call(manager="namespace-controller"),
                        )
                if after := self._core.store.get(kind, key):
                    qualified = f"{resource.resource}.{resource.group}"
                    left[qualified] = left.get(qualified, 0) + 1
                    for finalizer in after.doc["metadata"].get("finalizers") or ():
                        held[finalizer] = held.get(finalizer, 0) + 1
        self._report(name, left, held)

    def _report(self, name: str, left: dict[str, int], held: dict[str, int]) -> None:
        stored = self._core.store.get(_NAMESPACES, ("", name))
        resource = self._core.registry.of_storage(*_NAMESPACES)
        if stored is None or resource is None:
            return
        call = Call(manager="namespace-controller")
        status = {**stored.doc.get("status", {}), "conditions": _conditions(left, held, self._core.now())}
        before = stored.doc.get("status", {}).get("conditions") or []
        if [(c["type"], c["message"]) for c in before] != [
            (c["type"], c["message"]) for c in status["conditions"]
        ]:
            self._writer.update(resource, stored, stored.doc | {"status": status}, call, subresource="status")
        stored = self._core.store.get(_NAMESPACES, ("", name))
        if stored and not left:
            self._writer.update(resource, stored, stored.doc | {"spec": {}}, call, subresource="finalize")


def _conditions(left: dict[str, int], held: dict[str, int], now: str) -> list[Doc]:
    """What `kubectl describe namespace` shows of a namespace that does not end."""
    remaining = ", ".join(f"{name} has {count} resource instances" for name, count in sorted(left.items()))
    finalizers = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(held.items()))
    content = f"Some resources are remaining: {remaining}" if left else "All content successfully removed"
    final = (
        f"Some content in the namespace has finalizers remaining: {finalizers}"
        if held
        else "All content-preserving finalizers finished"
    )
    rows = [
        (
            "NamespaceDeletionDiscoveryFailure",
            False,
            "ResourcesDiscovered",
            "All resources successfully discovered",
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            False,
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        (
            "NamespaceDeletionContentFailure",
            False,
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        (
            "NamespaceContentRemaining",
            bool(left),
            "SomeResourcesRemain" if left else "ContentRemoved",
            content,
        ),
        (
            "NamespaceFinalizersRemaining",
            bool(held),
            "SomeFinalizersRemain" if held else "ContentHasNoFinalizers",
            final,
        ),
    ]
    return [
        {"type": kind, "status": str(on), "lastTransitionTime": now, "reason": reason, "message": message}
        for kind, on, reason, message in rows
    ]


def _uid(stored: Stored) -> str:
    return str(stored.doc["metadata"]["uid"])


def _owner_uids(stored: Stored | None) -> set[str]:
    if stored is None:
        return set()
    return {str(owner["uid"]) for owner in stored.doc["metadata"].get("ownerReferences") or ()}
