"""One address for everything that an operator asks of its control plane, as the official one wants it.

`/api/` is the emulation of Tailscale's API, in this process, and counted. All else is what only a real control server
speaks (keys, Noise, DERP): those connections go byte for byte to a Headscale, which the official operator's own node
joins. The key for that node is the one thing that the API takes from Headscale.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from tailrace.sandbox.controlplane.control import OPERATOR_TAG, ControlPlane, build_app
from tailrace.sandbox.serve import Listener

_ID = re.compile(r"/(device|keys)/[^/]+")
_CHUNK = 1 << 16


class Api:
    """ASGI: counts the calls and hands out Headscale's key for the operator's own node."""

    def __init__(self, app: ASGIApp, node_key: str) -> None:
        self._app, self._node_key = app, node_key
        self.calls: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self.calls[f"{scope['method']} {_ID.sub(r'/\1/{id}', scope['path'])}"] += 1
        if scope["method"] == "POST" and scope["path"].endswith("/keys"):
            body = await read_body(receive)
            if OPERATOR_TAG in json.loads(body)["capabilities"]["devices"]["create"].get("tags", ()):
                await answer(send, {"id": "operator", "key": self._node_key})
                return
            receive = replay(body, receive)
        await self._app(scope, receive, send)


async def read_body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def replay(body: bytes, receive: Receive) -> Receive:
    """Give a body that was read once more; then what comes next."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Any:
        return waiting.pop() if waiting else await receive()

    return again


async def answer(send: Send, document: dict[str, str]) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(document).encode()})


class Front:
    """Sends each connection by its first request: an HTTP client keeps API and control protocol apart."""

    def __init__(self, plane: ControlPlane, headscale_port: int, node_key: str) -> None:
        self.api = Api(build_app(plane), node_key)
        self._listener = Listener(self.api)
        self._headscale = headscale_port
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[Front]:
        await self._listener.start()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        try:
            yield self
        finally:
            self._server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._listener.stop()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
            line = await reader.readuntil(b"\r\n")
            port = self._listener.port if line.split(b" ")[1].startswith(b"/api/") else self._headscale
            there, back = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.closing(back):
                back.write(line)
                try:
                    async with asyncio.TaskGroup() as both:
                        both.create_task(copy(reader, back))
                        both.create_task(copy(there, writer))
                except asyncio.CancelledError:  # the end of all: what is still to be sent has no reader
                    back.transport.abort()
                    writer.transport.abort()
                    raise


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until one side ends; then the other side is told."""
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
    writer.close()
