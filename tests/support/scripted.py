"""An HTTP server on a loopback port that answers from a script, with the faults that only a socket can show.

No HTTP library on this side: an answer that ends in mid-body, or never comes, is nothing that one would send.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request as it came. Header names are in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole answer; with `cut_after` the connection breaks after that many bytes of the body."""

    status: int = 200
    body: bytes | Mapping[str, Any] = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A body in chunks of unknown number, then the end, a broken connection, or silence."""

    chunks: tuple[bytes, ...] = ()
    then: Literal["end", "cut", "silent"] = "end"


@dataclass(frozen=True, slots=True)
class Nothing:
    """The request is read, and nothing is said."""


type Act = Reply | Stream | Nothing


class ScriptedServer:
    """Takes the script from its front. Once it is over, requests are read and not answered, and `over` is set."""

    def __init__(self, script: Iterable[Act]) -> None:
        self.script = deque(script)
        self.asked: list[Asked] = []
        self.over = asyncio.Event()
        self.idle = asyncio.Event()
        """No connection is open."""
        self.idle.set()
        self.url = ""
        self._connections: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None

    @property
    def lines(self) -> list[str]:
        return [f"{asked.method} {asked.path}" for asked in self.asked]

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side has enough."""
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self.idle.clear()
        try:
            while await self._answer_next(reader, writer):
                pass
            writer.close()  # what was written still arrives
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            writer.transport.abort()  # the client, or the test, is done
        finally:
            self._connections.discard(task)
            if not self._connections:
                self.idle.set()

    async def start(self, tls: ssl.SSLContext | None) -> None:
        self._listener = await asyncio.start_server(self.take, "127.0.0.1", 0, ssl=tls)
        port = self._listener.sockets[0].getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"

    async def stop(self) -> None:
        """Nobody listens any more, and what is open breaks."""
        assert self._listener is not None
        self._listener.close()
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._listener.wait_closed()

    async def _answer_next(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection can be used again."""
        self.asked.append(await read_request(reader))
        if not self.script:
            self.over.set()
        act = self.script.popleft() if self.script else Nothing()
        match act:
            case Reply():
                return await _send_reply(writer, act)
            case Stream():
                return await _send_stream(reader, writer, act)
            case Nothing():
                await reader.read()
                return False


async def read_request(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *rest = head.strip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    parts = urlsplit(target)
    return Asked(
        method=method, path=parts.path, query=dict(parse_qsl(parts.query)), headers=headers, body=body
    )


async def _send_reply(writer: asyncio.StreamWriter, reply: Reply) -> bool:
    body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **reply.headers}
    writer.write(_head(reply.status, headers) + body[: reply.cut_after])
    await writer.drain()
    return reply.cut_after is None


async def _send_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stream: Stream) -> bool:
    writer.write(_head(200, {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}))
    for chunk in stream.chunks:
        writer.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        await writer.drain()
    match stream.then:
        case "end":
            writer.write(b"0\r\n\r\n")
            await writer.drain()
            return True
        case "cut":
            return False  # in good order for TCP, in the middle of a body for HTTP
        case "silent":
            await reader.read()
            return False


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@contextlib.asynccontextmanager
async def serve(*script: Act, tls: ssl.SSLContext | None = None) -> AsyncIterator[ScriptedServer]:
    """A server with this script, until the block ends."""
    scripted = ScriptedServer(script)
    await scripted.start(tls)
    try:
        yield scripted
    finally:
        await scripted.stop()
