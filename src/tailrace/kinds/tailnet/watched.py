"""The Secrets that Tailnets name, each watched by its name alone.

A field selector takes one name, so this is one watch a Secret. A watch of all Secrets of the namespace would need a
single connection, and would bring every credential that lies there into this process; Tailnets are few.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tailrace.errors import Transient, Usage
from tailrace.kinds.tailnet.inputs import CA, CredentialSecret, Found, decode_keys
from tailrace.kube import resources
from tailrace.kube.client import Kube
from tailrace.kube.resource import Resource
from tailrace.kube.store import Store
from tailrace.kube.watch import Watch
from tailrace.tailnet import credentials
from tailrace.wire import tls

SECRETS = Resource(
    group=resources.SECRETS.group,
    version=resources.SECRETS.version,
    plural=resources.SECRETS.plural,
    kind=resources.SECRETS.kind,
    type=CredentialSecret,
)


READ_LIMIT = 10.0
"""Seconds that a call to a control plane waits for the Secret's first reading."""


class Source(Protocol):
    """What fills a store, for ever: a `kube.watch.Watch`."""

    @property
    def problem(self) -> str | None: ...
    async def run(self) -> None: ...


type OpenWatch = Callable[[str, Store[CredentialSecret]], Source]
"""A watch of the Secret of this name."""


def build_watch(cluster: Kube, namespace: str) -> OpenWatch:
    """Watches of Secrets in the operator's namespace."""
    return lambda name, store: Watch(
        cluster, SECRETS, store, namespace=namespace, fields=f"metadata.name={name}"
    )


@dataclass(slots=True)
class _Followed:
    store: Store[CredentialSecret]
    source: Source
    task: asyncio.Task[None] | None = None


class Secrets:
    """Secrets by name. `changed` is told a name when what `find` says of it has changed."""

    def __init__(self, namespace: str, open_watch: OpenWatch, changed: Callable[[str], None]) -> None:
        self._namespace = namespace
        self._open_watch = open_watch
        self._changed = changed
        self._followed: dict[str, _Followed] = {}
        self._group: asyncio.TaskGroup | None = None

    def follow(self, wanted: frozenset[str]) -> None:
        """Watch exactly these from now on."""
        for name in self._followed.keys() - wanted:
            if (task := self._followed.pop(name).task) is not None:
                task.cancel()
        for name in sorted(wanted - self._followed.keys()):
            store: Store[CredentialSecret] = Store("tailnet-secrets")
            store.on_event(lambda event: self._changed(event.key.name))
            followed = self._followed[name] = _Followed(store=store, source=self._open_watch(name, store))
            if self._group is not None:
                followed.task = self._group.create_task(self._watch(name, followed))

    def find(self, name: str) -> Found:
        """What is known of a Secret now."""
        followed = self._followed.get(name)
        if followed is None or not followed.store.synced:
            return Found(known=False, trouble=(followed.source.problem or "") if followed else "")
        keys = self.read(name)
        return Found(keys=keys, ca_problem=_check_ca(keys.get(CA, "") if keys else ""))

    def read(self, name: str) -> dict[str, str] | None:
        """The keys that a Secret has now."""
        followed = self._followed.get(name)
        return decode_keys(followed.store.get(self._namespace, name)) if followed else None

    async def wait_known(self, name: str) -> None:
        """Until it was looked for. Raises `Transient` when that takes long."""
        if (followed := self._followed.get(name)) is None:
            return
        try:
            async with asyncio.timeout(READ_LIMIT):
                await followed.store.wait_synced()
        except TimeoutError:
            raise Transient(f'Secret "{name}" has not been read yet.') from None

    async def run(self) -> None:
        """Keep all watches, for ever; also those that come later."""
        async with asyncio.TaskGroup() as group:
            for name, followed in self._followed.items():
                followed.task = group.create_task(self._watch(name, followed))
            self._group = group
            try:
                await asyncio.Event().wait()
            finally:
                self._group = None  # a group that ends takes no more

    async def _watch(self, name: str, followed: _Followed) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(followed.source.run())
            await followed.store.wait_synced()
            self._changed(name)  # one that does not exist makes no event


class SecretValues(credentials.Values):
    """The credential in a Secret that is followed. An operator that has just started waits for the Secret; it does not
    call it missing."""

    def __init__(self, secrets: Secrets, name: str, mint: credentials.Mint | None) -> None:
        super().__init__(lambda: secrets.read(name), where=f'Secret "{name}"', mint=mint)
        self._secrets, self._name = secrets, name

    async def prepare(self) -> None:
        await self._secrets.wait_known(self._name)
        await super().prepare()


def _check_ca(pem: str) -> str:
    try:
        if pem.strip():
            tls.check_pem(pem)
    except Usage as error:
        return str(error)
    return ""
