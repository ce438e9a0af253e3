"""Every verb of the API, without HTTP: who may, on what, and what it does.

`Cluster` is what the HTTP server, the simulated controllers and tests call. Documents that come out are the stored
ones: whoever wants to change one copies it first (`schema.copy_of`). All of it raises `ApiError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Literal

import msgspec

from tailrace.sandbox.kubernetes import budgets, crds, rbac, status, subresources
from tailrace.sandbox.kubernetes.access import Access
from tailrace.sandbox.kubernetes.core import Call, Core, key_of, random_uid, wall_clock
from tailrace.sandbox.kubernetes.deletion import Removal
from tailrace.sandbox.kubernetes.documents import fieldmanager
from tailrace.sandbox.kubernetes.documents import patch as patches
from tailrace.sandbox.kubernetes.documents import schema as schemas
from tailrace.sandbox.kubernetes.documents.schema import copy_of
from tailrace.sandbox.kubernetes.garbage import GarbageCollector, NamespaceController
from tailrace.sandbox.kubernetes.rbac import Attributes
from tailrace.sandbox.kubernetes.resources import Ref, Registry, Resource
from tailrace.sandbox.kubernetes.services import Services
from tailrace.sandbox.kubernetes.storage import Doc, Store, Stored
from tailrace.sandbox.kubernetes.subresources import Scale
from tailrace.sandbox.kubernetes.tokens import Tokens
from tailrace.sandbox.kubernetes.watching import Page, Reader, Selection, Watch
from tailrace.sandbox.kubernetes.writing import Writer, check_name

PatchKind = Literal["json", "merge", "strategic", "apply"]
_SYSTEM_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")


class Cluster:
    """One API server's state and rules. Needs no event loop, but work in the background then ends with each verb."""

    def __init__(
        self,
        *,
        clock: Callable[[], datetime] = wall_clock,
        uids: Callable[[], str] = random_uid,
        history: int = 20_000,
        service_cidr: str = "10.96.0.0/16",
    ) -> None:
        self.core = Core(clock, uids, history)
        self.tokens = Tokens(self.core)
        self.access = Access(self.core, self.tokens)
        self._writer = Writer(self.core, Services(self.core.store, service_cidr))
        self._reader = Reader(self.core)
        self._scale = Scale(self.core)
        GarbageCollector(self.core, self._writer)
        NamespaceController(self.core, self._writer)
        crds.CrdController(self.core, self._writer)
        self._begin(service_cidr)

    @property
    def registry(self) -> Registry:
        return self.core.registry

    @property
    def store(self) -> Store:
        return self.core.store

    def _begin(self, service_cidr: str) -> None:
        """What every cluster has from the start."""
        for name in _SYSTEM_NAMESPACES:
            self.create(Ref("", "v1", "namespaces"), {"metadata": {"name": name}})
        for doc in rbac.bootstrap():
            resource = self.registry.of_kind(doc["apiVersion"], doc["kind"])
            assert resource is not None
            self.create(resource.ref, doc)
        self._show_range(service_cidr)

    def _show_range(self, service_cidr: str) -> None:
        """The range that Services have from the start."""
        ref, name = Ref("networking.k8s.io", "v1", "servicecidrs"), "kubernetes"
        metadata = {"name": name, "finalizers": ["networking.k8s.io/service-cidr-finalizer"]}
        made = self.create(ref, {"metadata": metadata, "spec": {"cidrs": [service_cidr]}})
        condition = {
            "type": "Ready",
            "status": "True",
            "lastTransitionTime": self.core.now(),
            "reason": "",
            "message": "Kubernetes Service CIDR is ready",
        }
        status_ = {"conditions": [condition]}
        self.update(ref, name, made | {"status": status_}, subresource="status")

    # Reading -----------------------------------------------------------------------------------------------------

    def get(
        self,
        ref: Ref,
        name: str,
        *,
        namespace: str = "",
        subresource: str = "",
        version: str = "",
        call: Call | None = None,
    ) -> Doc:
        """`version`: the answer shall be no older."""
        resource = self._resource(ref, subresource)
        self._authorize(call, "get", resource, namespace, name, subresource)
        self._reader.check_version(version)
        stored = self.core.find(resource, namespace, name)
        if subresource == "scale":
            return self._scale.read(resource, stored.doc)
        return self._writer.in_version(resource, stored.doc)

    def list(
        self,
        wanted: Selection,
        *,
        limit: int = 0,
        token: str = "",
        version: str = "",
        match: str = "",
        call: Call | None = None,
    ) -> Page:
        self._authorize(call, "list", wanted.resource, wanted.namespace, _name_in(wanted))
        return self._reader.page(wanted, limit=limit, token=token, version=version, match=match)

    def watch(
        self,
        wanted: Selection,
        *,
        version: str = "",
        initial: bool = False,
        bookmarks: bool = False,
        call: Call | None = None,
    ) -> Watch:
        self._authorize(call, "watch", wanted.resource, wanted.namespace, _name_in(wanted))
        return self._reader.watch(wanted, version=version, initial=initial, bookmarks=bookmarks)

    # Writing -----------------------------------------------------------------------------------------------------

    def create(
        self,
        ref: Ref,
        doc: Doc,
        *,
        namespace: str = "",
        name: str = "",
        subresource: str = "",
        call: Call | None = None,
    ) -> Doc:
        """`name` is that of the URL: only for subresources."""
        resource = self._resource(ref, subresource)
        call = call or Call()
        self._authorize(call, "create", resource, namespace, name, subresource)
        with self._settled():
            if subresource:
                return self._create_below(resource, namespace, name, subresource, doc, call)
            doc = self._writer.read(resource, doc, call)
            if resource.virtual:
                return self.access.review(resource, namespace, doc, call.user)
            self.access.check_grant(call.user, resource, namespace, doc, None)
            return self._writer.create(resource, namespace, doc, call)

    def update(
        self,
        ref: Ref,
        name: str,
        doc: Doc,
        *,
        namespace: str = "",
        subresource: str = "",
        call: Call | None = None,
    ) -> Doc:
        resource = self._resource(ref, subresource)
        call = call or Call()
        self._authorize(call, "update", resource, namespace, name, subresource)
        with self._settled():
            old = self.core.find(resource, namespace, name)
            return self._replace(resource, old, doc, call, subresource)

    def patch(
        self,
        ref: Ref,
        name: str,
        body: Any,
        kind: PatchKind,
        *,
        namespace: str = "",
        subresource: str = "",
        call: Call | None = None,
    ) -> tuple[Doc, bool]:
        """The object, and whether an apply created it."""
        resource = self._resource(ref, subresource)
        call = call or Call()
        self._authorize(call, "patch", resource, namespace, name, subresource)
        with self._settled():
            if kind == "apply":
                return self._apply(resource, namespace, name, body, call, subresource)
            old = self.core.find(resource, namespace, name)
            before = self._writer.in_version(resource, old.doc)
            if subresource == "scale":
                before = self._scale.read(resource, old.doc)
            patched = self._patched(resource, before, body, kind)
            return self._replace(resource, old, patched, call, subresource, patched=True), False

    def delete(
        self,
        ref: Ref,
        name: str,
        *,
        namespace: str = "",
        removal: Removal | None = None,
        call: Call | None = None,
    ) -> tuple[Doc, bool]:
        """The object as it was or is now, and whether it is gone."""
        resource = self._resource(ref, "")
        call = call or Call()
        self._authorize(call, "delete", resource, namespace, name)
        with self._settled():
            return self._writer.delete(
                resource, self.core.find(resource, namespace, name), removal or Removal(), call
            )

    def delete_collection(
        self, wanted: Selection, *, removal: Removal | None = None, call: Call | None = None
    ) -> Sequence[Stored]:
        """What was selected, as it was before."""
        call = call or Call()
        self._authorize(call, "deletecollection", wanted.resource, wanted.namespace, "")
        with self._settled():
            items = self._reader.page(wanted).items
            for stored in items:
                self._writer.delete(wanted.resource, stored, removal or Removal(), call)
            return items

    # How ---------------------------------------------------------------------------------------------------------

    @contextmanager
    def _settled(self) -> Iterator[None]:
        yield
        self.core.settle()

    def _resource(self, ref: Ref, subresource: str) -> Resource:
        resource = self.registry.get(ref)
        if subresource and subresource not in resource.subresources:
            raise status.no_such_resource()
        return resource

    def _authorize(
        self,
        call: Call | None,
        verb: str,
        resource: Resource,
        namespace: str,
        name: str,
        subresource: str = "",
    ) -> None:
        if call is None or call.user.all_powerful:
            return
        if resource.storage == ("", "namespaces") and name:
            namespace = name
        asked = Attributes(
            verb=verb,
            group=resource.group,
            resource=resource.resource,
            subresource=subresource,
            namespace=namespace,
            name=name,
        )
        self.access.check(call.user, asked)

    def _create_below(
        self, resource: Resource, namespace: str, name: str, subresource: str, doc: Doc, call: Call
    ) -> Doc:
        if subresource == "token":
            return self.tokens.request(namespace, name, doc)
        if subresource == "eviction":
            subresources.check_kind(doc, "policy/v1", "Eviction")
            if ((doc.get("metadata") or {}).get("name") or name) != name:
                raise status.bad_request("name in URL does not match name in Eviction object")
            pod = self.core.find(resource, namespace, name)
            budgets.check_eviction(pod.doc, self.core.store)
            options = doc.get("deleteOptions") or {}
            removal = Removal(grace=options.get("gracePeriodSeconds"))
            self._writer.delete(resource, pod, removal, call)
            return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
        if subresource == "binding":
            old = self.core.find(resource, namespace, name)
            if node := old.doc["spec"].get("nodeName"):
                why = f'pod {name} is already assigned to node "{node}"'
                raise status.conflict("", "pods/binding", name, why)
            spec = old.doc["spec"] | {"nodeName": (doc.get("target") or {}).get("name", "")}
            self._writer.update(resource, old, old.doc | {"spec": spec}, call, subresource="binding")
            return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
        raise status.method_not_allowed()

    def _replace(
        self,
        resource: Resource,
        old: Stored,
        doc: Doc,
        call: Call,
        subresource: str,
        *,
        patched: bool = False,
    ) -> Doc:
        if subresource == "scale":
            with _patch_errors(doc, patched):
                subresources.check_types(doc)
            scaled = self._scale.write(resource, old.doc, doc)
            return self._scale.read(resource, self._writer.update(resource, old, scaled, call))
        with _patch_errors(doc, patched):
            doc = self._writer.read(resource, doc, call, self._writer.in_version(resource, old.doc))
        namespace = old.doc["metadata"].get("namespace", "")
        if not subresource:
            self.access.check_grant(call.user, resource, namespace, doc, old.doc)
        return self._writer.update(resource, old, doc, call, subresource=subresource, patched=patched)

    def _patched(self, resource: Resource, before: Doc, body: Any, kind: PatchKind) -> Doc:
        try:
            if kind == "json":
                if not isinstance(body, list) or not all(isinstance(op, dict) for op in body):
                    raise status.bad_request("error decoding patch: json: it is not a list of operations")
                return patches.json_patch(before, body)
            if not isinstance(body, Mapping):
                raise status.bad_request("error decoding patch: json: it is not an object")
            if kind == "strategic":
                return patches.strategic_merge_patch(before, body, self.core.schema(resource))
            return patches.merge_patch(before, body)
        except patches.PatchError as error:
            if error.code == 400:
                raise status.bad_request(error.message) from None
            message = "the server rejected our request due to an error in our request"
            raise status.ApiError(422, "Invalid", message, {}) from None

    def _apply(
        self, resource: Resource, namespace: str, name: str, body: Any, call: Call, subresource: str
    ) -> tuple[Doc, bool]:
        if not isinstance(body, dict):
            raise status.bad_request("error decoding YAML: it is not an object")
        applied = self._writer.read_applied(resource, body, call)
        metadata = applied["metadata"]
        if metadata.get("managedFields"):
            raise status.bad_request("metadata.managedFields must be nil")
        if "generateName" not in metadata:
            metadata.setdefault("name", name)
        check_name(metadata, name)
        if not subresource and "status" in resource.subresources:
            applied.pop("status", None)
        if subresource == "status":
            applied.pop("spec", None)
        stored = self.core.store.get(resource.storage, key_of(resource, namespace, name))
        stored = self.core.read(resource, stored) if stored else None
        if stored is None and subresource:
            raise status.not_found(resource.group, resource.resource, name)
        if stored is None and (uid := metadata.get("uid")):
            why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            raise status.conflict(resource.group, resource.resource, name, why)
        if stored is None:
            self._authorize(call, "create", resource, namespace, name)
        before = self._writer.in_version(resource, stored.doc) if stored else None
        version = metadata.pop("resourceVersion", None)
        if before is not None and version and version != before["metadata"]["resourceVersion"]:
            raise status.conflict(resource.group, resource.resource, name)
        try:
            merged = fieldmanager.apply(
                before,
                applied,
                manager=call.manager,
                force=call.force,
                schema=self.core.schema(resource),
                api_version=resource.api_version,
                subresource=subresource,
                now=self.core.now(),
                fill=lambda doc: (
                    self._writer.fill(resource, schemas.share(doc, before), before)
                    if before
                    else self._writer.fill(resource, doc)
                ),
            )
        except fieldmanager.ApplyConflict as refused:
            raise status.ApiError(409, "Conflict", refused.message, {"causes": refused.causes}) from None
        if stored is None or before is None:
            self.access.check_grant(call.user, resource, namespace, merged, None)
            return self._writer.create(resource, namespace, copy_of(merged), call, applied=True), True
        if merged is before:
            return before, False
        if not subresource:
            self.access.check_grant(call.user, resource, namespace, merged, before)
        return self._writer.update(
            resource, stored, merged, call, subresource=subresource, applied=True
        ), False


@contextmanager
def _patch_errors(doc: Doc, patched: bool) -> Iterator[None]:
    """What cannot be read is the patch's fault when a patch made it."""
    try:
        yield
    except status.ApiError as error:
        if not patched or error.code != 400:
            raise
        why = error.message.partition(" cannot be handled as a ")[2].partition(": ")[2] or error.message
        raise status.undecodable_patch(msgspec.json.encode(doc).decode(), why) from None


def _name_in(wanted: Selection) -> str:
    """A list of one object by name is judged by that name."""
    prefix = "metadata.name="
    exact = wanted.fields.removeprefix(prefix) if wanted.fields.startswith(prefix) else ""
    return wanted.name or (exact.lstrip("=") if "," not in exact else "")
