"""Documents on their way out: the JSON of objects, lists, tables and watch events.

Every stored object is encoded once (`Stored.encoded`); lists and watches join those bytes.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from tailrace.sandbox.kubernetes import events, status
from tailrace.sandbox.kubernetes.printing import tables
from tailrace.sandbox.kubernetes.printing.tables import Include
from tailrace.sandbox.kubernetes.requests import Form
from tailrace.sandbox.kubernetes.resources import Resource
from tailrace.sandbox.kubernetes.storage import Doc, Stored
from tailrace.sandbox.kubernetes.watching import Event, Page

encode = msgspec.json.Encoder().encode


class Presenter:
    """How one request wants objects of one resource to look. Raises 400, and 406 for one form where it is the other's."""

    def __init__(self, resource: Resource, form: Form, include: str, clock: datetime) -> None:
        self._resource = resource
        self._form = form
        if form == "table" and include not in ("", "None", "Metadata", "Object"):
            why = f"Invalid value: {encode(include).decode()}: must be 'Metadata', 'Object', 'None', or empty"
            raise status.bad_request(f"Unable to convert to Table as requested: includeObject: {why}")
        self._include: Include = include or "Metadata"  # type: ignore[assignment]
        self._now = clock
        self._headers = True  # a watch tells its columns once
        prefix = {"apiVersion": resource.api_version, "kind": resource.kind}
        self._prefix = encode(prefix)[:-1] + b","

    def convert(self, doc: Doc) -> Doc:
        """The stored document in the version that was asked for."""
        if doc["apiVersion"] == self._resource.api_version:
            return doc
        if self._resource.resource == "events":
            return events.convert(doc, self._resource)
        return {"apiVersion": self._resource.api_version} | {
            k: v for k, v in doc.items() if k != "apiVersion"
        }

    def object(self, doc: Doc) -> bytes:
        doc = self.convert(doc)
        if self._form == "metadata list":
            raise self._wrong_form("PartialObjectMetadataList", "not a list", "")
        if self._form == "table":
            version = {"resourceVersion": doc["metadata"].get("resourceVersion", "")}
            return encode(self._table([doc], version))
        return encode(_metadata_only(doc) if self._form == "metadata" else doc)

    def collection(self, page: Page) -> bytes:
        metadata: Doc = {"resourceVersion": str(page.version)}
        if page.token:
            metadata["continue"] = page.token
            if page.remaining is not None:
                metadata["remainingItemCount"] = page.remaining
        if self._form == "table":
            return encode(self._table([self.convert(stored.doc) for stored in page.items], metadata))
        kind, version = self._resource.list_kind, self._resource.api_version
        if self._form == "metadata":
            raise self._wrong_form("PartialObjectMetadata", "a list", "List")
        if self._form == "metadata list":
            kind, version = "PartialObjectMetadataList", "meta.k8s.io/v1"
        head = encode({"kind": kind, "apiVersion": version, "metadata": metadata})
        return head[:-1] + b',"items":[' + b",".join(self._item(stored) for stored in page.items) + b"]}"

    def _wrong_form(self, asked: str, what: str, suffix: str) -> status.ApiError:
        group = (self._resource.group or "core").partition(".")[0]
        kind = "unstructured.Unstructured" if self._resource.crd else f"{group}.{self._resource.kind}"
        text = f"you requested {asked}, but the requested object is {what} (*{kind}{suffix})"
        return status.ApiError(406, "NotAcceptable", text)

    def _item(self, stored: Stored) -> bytes:
        if self._form == "metadata list":
            return encode(_metadata_only(stored.doc))
        encoded = self._encoded(stored)
        if self._resource.crd is None and encoded.startswith(self._prefix):
            return (
                b"{" + encoded[len(self._prefix) :]
            )  # in a list of a built-in kind items do not say what they are
        return encoded

    def _encoded(self, stored: Stored) -> bytes:
        if stored.doc["apiVersion"] == self._resource.api_version:
            return stored.encoded
        return encode(self.convert(stored.doc))

    def event(self, event: Event) -> bytes:
        """One line of a watch."""
        return b'{"type":"' + event.type.encode() + b'","object":' + self._event_object(event) + b"}\n"

    def _event_object(self, event: Event) -> bytes:
        if event.type == "ERROR" and isinstance(event.object, dict):
            return encode(event.object)
        if isinstance(event.object, dict):
            if self._form == "table":
                return encode(self._table([], event.object["metadata"]))
            return encode(event.object if self._form == "full" else _metadata_only(event.object))
        if self._form == "full":
            return self._encoded(event.object)
        if self._form == "table":
            return self.object(event.object.doc)
        return encode(_metadata_only(event.object.doc))

    def _table(self, docs: list[Doc], metadata: Doc) -> Doc:
        table = tables.table(
            self._resource,
            docs,
            metadata=metadata,
            now=self._now,
            include=self._include,
            headers=self._headers,
        )
        self._headers = False
        return table


def _metadata_only(doc: Doc) -> dict[str, Any]:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": doc["metadata"]}
