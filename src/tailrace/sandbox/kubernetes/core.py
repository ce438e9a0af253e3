"""What every verb shares: the store, the registry, time and ids, schemas, admission, and work for after the answer."""

from __future__ import annotations

import asyncio
import base64
import os
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from tailrace.sandbox.kubernetes import status
from tailrace.sandbox.kubernetes.admission import ADMIN, AdmissionRequest, Plugin, User
from tailrace.sandbox.kubernetes.documents import schema as schemas
from tailrace.sandbox.kubernetes.documents.schema import Schema
from tailrace.sandbox.kubernetes.resources import Registry, Resource
from tailrace.sandbox.kubernetes.storage import Doc, Key, Store, Stored

_NAME_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """Who asks, and how a write is to be done. `warnings` collects what goes out as `Warning:` headers.

    `duplicates`: what the body says twice, in the words of `documents.duplicates`.
    """

    user: User = ADMIN
    manager: str = "unknown"
    dry_run: bool = False
    field_validation: Literal["Strict", "Warn", "Ignore"] = "Warn"
    force: bool = False
    duplicates: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def timestamp(moment: datetime) -> str:
    """Kubernetes' `metav1.Time`: whole seconds, UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def wall_clock() -> datetime:
    return datetime.now(UTC)


def random_uid() -> str:
    return str(uuid.uuid4())


class Core:
    """One event loop, no threads. Writes are synchronous; what follows from them is deferred and settled after."""

    def __init__(self, clock: Callable[[], datetime], uids: Callable[[], str], history: int) -> None:
        self.clock = clock
        self.new_uid = uids
        self.store = Store(history)
        self.registry = Registry()
        self.admission: list[Plugin] = []
        self._custom: dict[tuple[str, str, str], Any] = {}
        self._work: deque[Callable[[], None]] = deque()
        self._scheduled = False

    def now(self) -> str:
        return timestamp(self.clock())

    def schema(self, resource: Resource) -> Schema:
        """What documents of `resource` may hold."""
        if resource.crd is not None:
            return self.of_crd("schema", resource, schemas.crd_schema)
        return schemas.builtin_schema(resource.group, resource.version, resource.kind) or schemas.ANY

    def of_crd[T](self, what: str, resource: Resource, build: Callable[[Doc], T]) -> T:
        """What `build` makes of a custom resource's OpenAPI schema; built once for each version of the definition."""
        assert resource.crd is not None
        assert resource.crd_version is not None
        key = (
            what,
            f"{resource.crd['metadata']['uid']}/{resource.crd['metadata']['generation']}",
            resource.version,
        )
        if key not in self._custom:
            openapi = (resource.crd_version.get("schema") or {}).get("openAPIV3Schema") or {}
            self._custom[key] = build(openapi)
        found: T = self._custom[key]
        return found

    def find(self, resource: Resource, namespace: str, name: str) -> Stored:
        """The stored object. Raises 404."""
        found = self.store.get(resource.storage, key_of(resource, namespace, name))
        if found is None:
            raise status.not_found(resource.group, resource.resource, name)
        return self.read(resource, found)

    def read(self, resource: Resource, stored: Stored) -> Stored:
        """What is stored as its definition sees it now: of an older schema's object the fields may differ."""
        if resource.crd is None:
            return stored
        schema = self.schema(resource)
        if stored.schema is not schema:
            doc = schemas.default(schemas.prune(stored.doc, schema)[0], schema)
            if doc is not stored.doc:
                stored = Stored(doc, stored.version)
            stored.schema = schema
        return stored

    def namespace(self, name: str) -> Doc | None:
        found = self.store.get(("", "namespaces"), ("", name))
        return found.doc if found else None

    def admit(self, request: AdmissionRequest, warnings: list[str]) -> None:
        """Ask every plug-in. Raises 403 at the first refusal."""
        for plugin in self.admission:
            reply = plugin(request)
            if reply is None:
                continue
            warnings.extend(reply.warnings)
            if reply.refusal:
                resource = request.resource
                raise status.forbidden(resource.group, resource.resource, request.name, reply.refusal)

    def defer(self, work: Callable[[], None]) -> None:
        """Background work (garbage collection, namespaces): after the write that caused it was answered."""
        self._work.append(work)
        if self._scheduled:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # `settle` does it at the end of the verb
        self._scheduled = True
        loop.call_soon(self._drain)

    def settle(self) -> None:
        """Run what was deferred when there is no event loop that will."""
        if not self._scheduled:
            self._scheduled = True
            self._drain()

    def _drain(self) -> None:
        try:
            while self._work:
                self._work.popleft()()
        finally:
            self._scheduled = False


def key_of(resource: Resource, namespace: str, name: str) -> Key:
    """Where an object of `resource` is kept. Namespaced resources without a namespace mean `default`."""
    return (namespace or "default", name) if resource.namespaced else ("", name)


def random_suffix() -> str:
    """Five letters as `generateName` appends them."""
    return "".join(_NAME_LETTERS[byte % len(_NAME_LETTERS)] for byte in os.urandom(5))


def random_token() -> str:
    return base64.urlsafe_b64encode(os.urandom(30)).decode()
