"""An ASGI application on a loopback port, with or without TLS, that can be taken away and brought back."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Generator
from pathlib import Path
from typing import override

import uvicorn
from starlette.types import ASGIApp


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
            self._app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            date_header=False,
            timeout_graceful_shutdown=1,
            ssl_certfile=self._cert,
            ssl_keyfile=self._key,
        )
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve([taken]), name="control plane listener")
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
