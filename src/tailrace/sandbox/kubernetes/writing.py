"""How a document becomes a stored object: the order in which a real server reads, fills, judges and keeps it.

Place: `cluster` asks who may do it and what the verb means; here the document goes its way. Order of a write, as in
`k8s.io/apiserver/pkg/registry/generic/registry/store.go`: decode, defaults, system metadata, field ownership,
addresses, admission, validation, and a new version only when something differs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from tailrace.sandbox.kubernetes import deletion, services, status, strategies
from tailrace.sandbox.kubernetes.admission import AdmissionRequest
from tailrace.sandbox.kubernetes.core import Call, Core, key_of, random_suffix
from tailrace.sandbox.kubernetes.deletion import Removal
from tailrace.sandbox.kubernetes.documents import defaults, fieldmanager, typed
from tailrace.sandbox.kubernetes.documents import schema as schemas
from tailrace.sandbox.kubernetes.resources import Resource
from tailrace.sandbox.kubernetes.rules import cel, validation
from tailrace.sandbox.kubernetes.services import Services
from tailrace.sandbox.kubernetes.storage import Doc, Stored

_NAME_ATTEMPTS = 8

_PERMANENT = ("default", "kube-public", "kube-system")
_AGGREGATED = ("apiextensions.k8s.io", "apiregistration.k8s.io")
_CHECKS = 2  # the generic store and each kind's strategy both judge a change of metadata, and both report it

_UPDATE_NEEDS_VERSION = frozenset({strategies.DEFINITIONS})


class Writer:
    def __init__(self, core: Core, addresses: Services) -> None:
        self._core = core
        self._services = addresses

    # Reading what came in ----------------------------------------------------------------------------------------

    def read(self, resource: Resource, doc: Doc, call: Call, known: Doc | None = None) -> Doc:
        """The body as the server understands it: kind checked, unknown fields reported and dropped.

        What is the same in `known`, a stored document, was read before: it is taken from there as it is.
        """
        self._check_kind(resource, doc)
        schema = self._core.schema(resource)
        cannot = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
        shared = _share(doc, known) if known else doc
        fresh = {key: value for key, value in shared.items() if not known or value is not known.get(key)}
        clean, unknown = schemas.prune(fresh, schema)
        if resource.crd is not None:
            unknown = sorted(unknown)
        if (unknown or call.duplicates) and call.field_validation != "Ignore":
            texts = [*call.duplicates, *(f'unknown field "{path}"' for path in unknown)]
            if call.field_validation == "Strict":
                raise status.bad_request(f"{cannot}strict decoding error: {_strictly(texts)}")
            call.warnings.extend(texts)
        if wrong := validation.check_types(clean, schema, resource.kind, resource.api_version):
            raise status.bad_request(wrong)
        if resource.crd is None:
            clean = validation.decode_nulls(clean, schema)
        if known:
            clean = {
                key: clean.get(key, value)
                for key, value in shared.items()
                if key in clean or key not in fresh
            }
        if resource.storage == ("", "secrets") and "stringData" in clean:
            clean = strategies.fold_strings(clean)
        metadata = clean.get("metadata") or {}
        if not known or None in metadata.values():
            metadata = {key: value for key, value in metadata.items() if value is not None}
        return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata} | {
            key: value for key, value in clean.items() if key not in ("apiVersion", "kind", "metadata")
        }

    def _check_kind(self, resource: Resource, doc: Doc) -> None:
        if resource.crd is not None and not doc.get("kind"):
            raise status.bad_request(
                f"the object provided is unrecognized (must be of type {resource.kind}): Object 'Kind' is missing in "
                f"'{json.dumps(doc)}'"
            )
        version = doc.get("apiVersion") or resource.api_version
        kind = doc.get("kind") or resource.kind
        if (kind, version) == (resource.kind, resource.api_version):
            return
        if resource.crd is not None and version == resource.api_version:
            wrong = validation.invalid_value("kind", kind, f"must be {resource.kind}")
            raise status.invalid(resource.group, kind, (doc.get("metadata") or {}).get("name", ""), [wrong])
        if resource.crd is not None and version != resource.api_version:
            raise status.bad_request(
                f"the API version in the data ({version}) does not match the expected API version "
                f"({resource.api_version})"
            )
        why = unregistered(kind, version)
        if self._core.registry.of_kind(version, kind) is not None:
            known = (resource.group or "core").partition(".")[0]
            why = f"converting ({resource.version}.{kind}) to ({known}.{resource.kind}): unknown conversion"
        short = version.rpartition("/")[2]
        raise status.bad_request(f'{kind} in version "{short}" cannot be handled as a {resource.kind}: {why}')

    def read_applied(self, resource: Resource, doc: Doc, call: Call) -> Doc:
        """The body of an apply, which has to say what it is, and may hold nothing that its kind does not know."""
        group, _, version = str(doc.get("apiVersion") or "").rpartition("/")
        if (doc.get("apiVersion"), doc.get("kind")) != (resource.api_version, resource.kind):
            raise status.bad_request(f"invalid object type: {group}/{version}, Kind={doc.get('kind') or ''}")
        schema, metadata = self._core.schema(resource), doc.get("metadata")
        place = metadata if isinstance(metadata, dict) else {}
        kind = f"{group}/{version}, Kind={resource.kind}"
        what = f"({place.get('namespace', '')}/{place.get('name', '')}; {kind})"
        if wrong := typed.complain(doc, schema, closed=True):
            raise status.ApiError(500, "", f"failed to create typed patch object {what}: {wrong}")
        if wrong := validation.check_conversion(doc, schema):
            why = f"unable to convert unstructured object to {kind}: {wrong}"
            raise status.ApiError(500, "", f"failed to convert new object {what} to proper version: {why}")
        return self.read(resource, doc, call)

    def fill(self, resource: Resource, doc: Doc, *filled: Doc) -> Doc:
        """With the defaults of its kind, which the documents in `filled` have."""
        schema = self._core.schema(resource)
        return schemas.default(doc, schema) if resource.crd else defaults.fill(doc, schema, *filled)

    # Create ------------------------------------------------------------------------------------------------------

    def create(
        self, resource: Resource, namespace: str, doc: Doc, call: Call, *, applied: bool = False
    ) -> Doc:
        """Store a new object from a body that was `read`. `applied`: its managedFields are right already."""
        core = self._core
        if doc["metadata"].get("resourceVersion") and not applied:
            raise status.ApiError(500, "", "resourceVersion should not be set on objects to be created")
        self._check_namespace(resource, namespace)
        doc = self.fill(resource, self._with_first_metadata(resource, namespace, doc))
        if "status" in resource.subresources:
            doc = strategies.without(doc, "status")
            if first := strategies.FIRST_STATUS.get((resource.group, resource.resource)):
                doc = doc | {"status": schemas.copy_of(first)}
        if not applied:
            doc = self._own(resource, None, doc, call)
        name = doc["metadata"].get("name", "")
        doc = self._prepare(resource, doc, None)
        self._admit("CREATE", resource, namespace, name, doc, None, call)
        self._validate(resource, doc, None)
        key = key_of(resource, namespace, name)
        if existing := core.store.get(resource.storage, key):
            going = bool(existing.doc["metadata"].get("deletionTimestamp"))
            raise status.already_exists(resource.group, resource.resource, name, going=going)
        if call.dry_run:
            return doc
        return core.store.put(resource.storage, key, doc).doc

    def _check_namespace(self, resource: Resource, namespace: str) -> None:
        if not resource.namespaced:
            return
        found = self._core.namespace(namespace)
        if found is None:
            raise status.not_found("", "namespaces", namespace)

    def _refuse_in_terminating(self, resource: Resource, namespace: str, name: str) -> None:
        found = self._core.namespace(namespace) if resource.namespaced else None
        if found is not None and found["metadata"].get("deletionTimestamp"):
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {namespace} is being terminated",
                "field": "metadata.namespace",
            }
            raise status.forbidden(resource.group, resource.resource, name, why, [cause])

    def _with_first_metadata(self, resource: Resource, namespace: str, doc: Doc) -> Doc:
        given = doc["metadata"]
        if resource.namespaced and given.get("namespace", namespace) != namespace:
            raise status.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        metadata: Doc = {}
        name = given.get("name") or ""
        if not name and (prefix := given.get("generateName")):
            name = self._generate(resource, namespace, prefix)
        if name:
            metadata["name"] = name
        if "generateName" in given:
            metadata["generateName"] = given["generateName"]
        if resource.namespaced:
            metadata["namespace"] = namespace
        metadata["uid"] = self._core.new_uid()
        metadata["creationTimestamp"] = self._core.now()
        if strategies.counts_generations(resource):
            metadata["generation"] = 1
        for key in ("labels", "annotations", "ownerReferences", "finalizers", "managedFields"):
            if given.get(key):
                metadata[key] = given[key]
        if resource.storage == ("", "namespaces"):
            metadata["labels"] = {**(metadata.get("labels") or {}), "kubernetes.io/metadata.name": name}
        return doc | {"metadata": metadata}

    def _generate(self, resource: Resource, namespace: str, prefix: str) -> str:
        for _ in range(_NAME_ATTEMPTS):
            name = prefix[:58] + random_suffix()
            if not self._core.store.get(resource.storage, key_of(resource, namespace, name)):
                return name
        return name

    # Update ------------------------------------------------------------------------------------------------------

    def update(
        self,
        resource: Resource,
        old: Stored,
        doc: Doc,
        call: Call,
        *,
        subresource: str = "",
        applied: bool = False,
        patched: bool = False,
    ) -> Doc:
        """Put a whole document in the place of `old`. Returns the stored object; it is `old` when nothing differs.

        `patched`: the document was made from `old`, so that another uid in it is a change, not a precondition.
        """
        core, metadata = self._core, old.doc["metadata"]
        namespace, name = metadata.get("namespace", ""), metadata["name"]
        self._check_preconditions(resource, old, doc["metadata"], patched or applied)
        before = self.in_version(resource, old.doc)
        written = doc
        disowned = applied and not doc["metadata"].get("managedFields")
        doc = strategies.carry_over(resource, before, doc, subresource)
        if disowned:
            doc = doc | {"metadata": strategies.without(doc["metadata"], "managedFields")}
        doc = self.fill(resource, doc, before, *([written] if applied else ()))
        if not applied:
            doc = self._own(resource, before, doc, call, subresource)
        doc = self._prepare(resource, doc, before)
        bound = subresource == "binding"  # nothing that anybody wished for
        if (
            strategies.counts_generations(resource)
            and not bound
            and strategies.content(doc) != strategies.content(before)
        ):
            doc = doc | {"metadata": doc["metadata"] | {"generation": metadata.get("generation", 0) + 1}}
        self._admit("UPDATE", resource, namespace, name, doc, before, call, subresource)
        self._validate(resource, doc, before, subresource)
        if doc == before or fieldmanager.settle(before, doc) is before:
            return before
        if call.dry_run:
            return doc
        key = key_of(resource, namespace, name)
        if deletion.is_gone(resource, doc):
            return core.store.remove(resource.storage, key, doc).doc
        return core.store.put(resource.storage, key, doc).doc

    def in_version(self, resource: Resource, doc: Doc) -> Doc:
        """The stored document under the version that was asked for: only the name of the version differs."""
        if doc["apiVersion"] == resource.api_version or resource.crd is None:
            return doc
        return {"apiVersion": resource.api_version} | {k: v for k, v in doc.items() if k != "apiVersion"}

    def _check_preconditions(self, resource: Resource, old: Stored, given: Doc, patched: bool) -> None:
        metadata = old.doc["metadata"]
        name = metadata["name"]
        check_name(given, name)
        if resource.namespaced and given.get("namespace", metadata["namespace"]) != metadata["namespace"]:
            raise status.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        if (uid := given.get("uid")) and uid != metadata["uid"]:
            if patched:
                wrong = validation.invalid_value("metadata.uid", uid, "field is immutable")
                raise status.invalid(resource.group, resource.kind, name, [wrong] * _CHECKS)
            why = (
                f"StorageError: invalid object, Code: 4, Key: {_storage_key(resource, metadata)}, "
                "ResourceVersion: 0, AdditionalErrorMsg: "
                f"Precondition failed: UID in precondition: {uid}, UID in object meta: {metadata['uid']}"
            )
            raise status.conflict(resource.group, resource.resource, name, why)
        version = given.get("resourceVersion")
        if version and not version.isdigit():
            raise status.ApiError(500, "", f'strconv.ParseUint: parsing "{version}": invalid syntax')
        version = "" if version == "0" else version
        if version and version != metadata["resourceVersion"]:
            raise status.conflict(resource.group, resource.resource, name)
        if not version and (resource.crd is not None or resource.storage in _UPDATE_NEEDS_VERSION):
            wrong = validation.invalid_value("metadata.resourceVersion", 0, "must be specified for an update")
            raise status.invalid(resource.group, resource.resource, name, [wrong])

    # Delete ------------------------------------------------------------------------------------------------------

    def delete(self, resource: Resource, old: Stored, removal: Removal, call: Call) -> tuple[Doc, bool]:
        """The object as it was or is now, and whether it is gone (or would be, when nothing is kept)."""
        metadata = old.doc["metadata"]
        namespace, name = metadata.get("namespace", ""), metadata["name"]
        for what, wanted, found, since in (
            ("UID", removal.uid, metadata["uid"], "deleted and then recreated"),
            ("ResourceVersion", removal.version, metadata["resourceVersion"], "modified"),
        ):
            if wanted and wanted != found:
                why = (
                    f"the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). "
                    f"The object might have been {since}"
                )
                raise status.conflict(resource.group, resource.kind, name, why)
        if resource.storage == ("", "namespaces") and name in _PERMANENT:
            raise status.forbidden("", "namespaces", name, "this namespace may not be deleted")
        self._admit("DELETE", resource, namespace, name, None, old.doc, call)
        doc = deletion.mark(resource, old.doc, removal, self._core.now())
        gone = deletion.is_gone(resource, doc)
        if call.dry_run:
            return doc, gone
        key = key_of(resource, namespace, name)
        if gone:
            self._core.store.remove(resource.storage, key)
            return doc if resource.storage in deletion.GRACEFUL else old.doc, True
        if doc != old.doc:
            doc = self._core.store.put(resource.storage, key, doc).doc
        return doc, False

    # What both ways share ----------------------------------------------------------------------------------------

    def _own(self, resource: Resource, old: Doc | None, doc: Doc, call: Call, subresource: str = "") -> Doc:
        return fieldmanager.update_managed(
            old,
            doc,
            manager=call.manager,
            schema=self._core.schema(resource),
            api_version=resource.api_version,
            subresource=subresource,
            now=self._core.now(),
        )

    def _prepare(self, resource: Resource, doc: Doc, old: Doc | None) -> Doc:
        """What a kind's own strategy writes."""
        if resource.storage == ("", "services") and isinstance(doc.get("spec"), dict):

            def refuse(path: str, value: Any, detail: str) -> Exception:
                wrong = validation.invalid_value(path, value, detail)
                return status.invalid(resource.group, resource.kind, doc["metadata"].get("name", ""), [wrong])

            return self._services.prepare(doc, old, refuse)
        if resource.storage == ("", "namespaces") and old is None:
            return doc | {"spec": {"finalizers": ["kubernetes"]}}
        if resource.storage == ("", "nodes"):
            return strategies.complete_node(doc)
        if resource.kind == "CustomResourceDefinition":
            return strategies.complete_crd(doc)
        return doc

    def _admit(
        self,
        operation: Literal["CREATE", "UPDATE", "DELETE"],
        resource: Resource,
        namespace: str,
        name: str,
        new: Doc | None,
        old: Doc | None,
        call: Call,
        subresource: str = "",
    ) -> None:
        if resource.storage == ("", "services") and new is not None:
            call.warnings.extend(services.warnings(new))
        if operation == "CREATE":
            self._refuse_in_terminating(resource, namespace, name)
        request = AdmissionRequest(
            operation=operation,
            resource=resource,
            namespace=namespace,
            name=name,
            object=new,
            old=old,
            user=call.user,
            subresource=subresource,
            dry_run=call.dry_run,
        )
        self._core.admit(request, call.warnings)

    def _validate(self, resource: Resource, new: Doc, old: Doc | None, subresource: str = "") -> None:
        wrong: list[Any] = list(
            validation.validate_metadata(
                new["metadata"],
                namespaced=resource.namespaced,
                generated=False,
                name=validation.name_rule(resource.group, resource.kind),
                core=resource.crd is None and resource.group not in _AGGREGATED,
            )
        )
        if old is not None:
            wrong += validation.validate_metadata_update(new["metadata"], old["metadata"]) * _CHECKS
        if resource.crd is None:
            if not subresource:
                wrong += validation.validate((resource.group, resource.kind), new, old)
            if resource.kind == "CustomResourceDefinition" and not wrong:
                wrong += _uncompiled(new)
        else:
            wrong += validation.validate_custom(new, self._core.schema(resource), subresource)
            rules = self._core.of_crd("rules", resource, cel.Rules)
            if rules and (skipped := validation.skip_rules(wrong)):
                wrong.append(skipped)
            else:
                wrong += rules.check(new, old)
        if wrong:
            raise status.invalid(resource.group, resource.kind, new["metadata"].get("name", ""), wrong)


@dataclass(frozen=True, slots=True)
class _Uncompiled:
    """A rule in a definition that is no CEL; the message is the server's whole one."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"

    def cause(self) -> dict[str, str]:
        return {"reason": "FieldValueInvalid", "message": self.message, "field": self.path}


def _uncompiled(crd: Doc) -> Iterable[_Uncompiled]:
    schemas_of = ((v.get("schema") or {}).get("openAPIV3Schema") or {} for v in crd["spec"]["versions"])
    return [_Uncompiled(path, text) for openapi in schemas_of for path, text in cel.compile_errors(openapi)]


def _strictly(texts: list[str]) -> str:
    """What a YAML text says twice is one error."""
    lines = [text for text in texts if text.startswith("line ")]
    one = ["\n  ".join(["yaml: unmarshal errors:", *lines])] if lines else []
    return ", ".join([*one, *(text for text in texts if text not in lines)])


def _share(doc: Doc, known: Doc) -> Doc:
    """The document with what is the same in `known`; of metadata, which nearly always differs, each field."""
    shared = schemas.share(doc, known)
    if isinstance(metadata := shared.get("metadata"), dict) and metadata is not known.get("metadata"):
        shared["metadata"] = schemas.share(metadata, known["metadata"])
    return shared


def unregistered(kind: str, version: str) -> str:
    """The complaint about a kind that is unknown."""
    return f'no kind "{kind}" is registered for version "{version}" in scheme "pkg/runtime/scheme.go:111"'


def check_name(metadata: Doc, name: str) -> None:
    """A document that is put somewhere has that name. Raises 400."""
    if not (given := metadata.get("name")):
        raise status.bad_request(
            f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )
    if given != name:
        raise status.bad_request(
            f"the name of the object ({given}) does not match the name on the URL ({name})"
        )


def _storage_key(resource: Resource, metadata: Doc) -> str:
    """Where a server keeps an object in etcd; its errors show that."""
    place = {"services": "services/specs", "nodes": "minions"}.get(resource.resource, resource.resource)
    group = [resource.group] if resource.crd else []
    return "/".join(
        ["/registry", *group, place, *filter(None, [metadata.get("namespace")]), metadata["name"]]
    )
