"""Drive a reflector over HTTP, for ever: every byte goes to the machine, every change to the store."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Protocol

import structlog

from tailrace import errors
from tailrace.api.kube import Object
from tailrace.kube.client import Kube
from tailrace.kube.reflector import Advanced, Change, Reflector, Replaced, Request, Undecodable
from tailrace.kube.store import Store

log = structlog.get_logger(__name__)


class Heard(Protocol):
    """Told of every sign of life of a watch (`problem` empty) and of every failure."""

    def __call__(self, resource: str, problem: str) -> None: ...


def ignore(resource: str, problem: str) -> None:
    """Nobody listens."""


class Watch[T: Object]:
    """Keeps one store up to date: a resource, a namespace ("" for all), and selectors."""

    def __init__(
        self,
        cluster: Kube,
        store: Store[T],
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        heard: Heard = ignore,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.store = store
        self.synced = asyncio.Event()
        self._cluster = cluster
        self._namespace = namespace
        self._heard = heard
        self._machine = Reflector(store.resource, random=chance, labels=labels, fields=fields)

    @property
    def name(self) -> str:
        return self.store.resource.plural

    async def run(self) -> None:
        """List and watch until cancelled. Failures are told and tried again; none ends the loop."""
        while True:
            request = self._machine.request()
            if request.pause:
                await asyncio.sleep(request.pause)
            try:
                await self._ask(request)
            except errors.TailraceError as error:
                self._machine.failed(error)
                if not isinstance(error, errors.Expired):
                    self._heard(self.name, str(error))
                    log.info("watch.broken", resource=self.name, error=str(error))
            else:
                self._machine.ended()

    async def _ask(self, request: Request) -> None:
        resource = self.store.resource
        if not request.watch:
            body = await self._cluster.list_bytes(resource, self._namespace, request.params)
            for change in self._machine.receive_page(body):
                self._take(change)
            return
        async with self._cluster.stream(
            resource, self._namespace, request.params, silence=request.silence
        ) as chunks:
            async for chunk in chunks:
                for change in self._machine.receive(chunk):
                    self._take(change)

    def _take(self, change: Change[T]) -> None:
        match change:
            case Undecodable(key=key, problem=problem):
                log.warning("watch.undecodable", resource=self.name, object=str(key), error=problem)
            case Replaced() | Advanced():
                self._heard(self.name, "")
            case _:
                pass
        self.store.receive(change)
        if isinstance(change, Replaced):
            self.synced.set()
