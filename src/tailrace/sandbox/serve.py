"""An ASGI application on a loopback port, with or without TLS, that can be taken away and brought back."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Generator
from pathlib import Path
from typing import cast, override

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

_GRACE = 1.0  # seconds for calls under way
_IDLE = 90  # seconds until a silent connection is closed, as in Go's servers: a client that reuses it sooner is safe


class _Server(uvicorn.Server):
    """Leaves signals to whoever owns the process, and says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()
        self.ending = asyncio.Event()

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @override
    async def main_loop(self) -> None:
        """No ticking: it is for a date header, which nobody reads here, and for signals."""
        await self.ending.wait()

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's own, without its fixed pause: tests and outages start and stop these by the hundred."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        try:
            async with asyncio.timeout(_GRACE):
                while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110
                    await asyncio.sleep(0.002)  # uvicorn has no event for it
        except TimeoutError:
            for connection in list(self.server_state.connections):
                _transport(connection).abort()
            await asyncio.sleep(0)  # the connections learn that they are closed before their calls end
            cut = list(self.server_state.tasks)
            for task in cut:
                task.cancel()
            await asyncio.gather(*cut, return_exceptions=True)


def _transport(connection: object) -> asyncio.Transport:
    """uvicorn's protocols have one each; its union of them does not say so."""
    return cast(asyncio.Transport, connection.transport)  # type: ignore[attr-defined]


class Listener:
    """One application on one port of 127.0.0.1. Stopped, connections are refused; started again, it is the same port."""

    def __init__(
        self, app: ASGIApp, *, port: int = 0, cert: Path | None = None, key: Path | None = None
    ) -> None:
        self._app = app
        self._cert, self._key = cert, key
        self.port = port
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self._cert else 'http'}://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Returns when connections are taken. Raises OSError when the port is somebody else's."""
        # The protocol by name: asyncio sets TCP_NODELAY only where it reads TCP, else each reply waits 40 ms for an ACK.
        taken = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(("127.0.0.1", self.port))
        except OSError:
            taken.close()
            raise
        self.port = taken.getsockname()[1]
        config = uvicorn.Config(
            self._answer,
            interface="asgi3",
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            date_header=False,
            timeout_keep_alive=_IDLE,
            ssl_certfile=self._cert,
            ssl_keyfile=self._key,
        )
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve([taken]), name="listener")
        up = asyncio.create_task(self._server.listening.wait())
        await asyncio.wait([up, self._task], return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        if self._task.done():
            self._task.result()

    async def stop(self) -> None:
        """Connections are refused from now on. Calls under way get a second."""
        if self._server is None or self._task is None:
            return
        self._server.ending.set()
        await self._task
        self._server = self._task = None

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Only a listener that stops cancels a call, and then the connection is closed already: nothing to report.
        with contextlib.suppress(asyncio.CancelledError):
            await self._app(scope, receive, send)
