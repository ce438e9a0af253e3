"""Just enough HTTP/1.1 on a plain socket: for demo backends and the proxies' health page. The grammar is h11's."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import h11

from tailrace.sandbox.workloads import relay
from tailrace.sandbox.workloads.network import Address

_MAX_BODY = 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    client: Address


@dataclass(frozen=True, kw_only=True, slots=True)
class Response:
    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


Answer = Callable[[Request], Response]


async def serve(sock: socket.socket, client: Address, answer: Answer, *, received: bytes = b"") -> None:
    """Answer requests until the client is done. `received`: what was read from the socket already."""
    loop = asyncio.get_running_loop()
    machine = h11.Connection(h11.SERVER)
    if received:
        machine.receive_data(received)
    try:
        while (request := await _read_request(sock, machine, client)) is not None:
            response = answer(request)
            headers = {"content-type": "text/plain; charset=utf-8", **response.headers}
            headers["content-length"] = str(len(response.body))
            parts = [
                machine.send(h11.Response(status_code=response.status, headers=list(headers.items()))),
                machine.send(h11.Data(data=b"" if request.method == "HEAD" else response.body)),
                machine.send(h11.EndOfMessage()),
            ]
            await loop.sock_sendall(sock, b"".join(part for part in parts if part))
            if machine.our_state is not h11.DONE or machine.their_state is not h11.DONE:
                break
            machine.start_next_cycle()
    except (OSError, h11.ProtocolError):
        relay.reset(sock)
    finally:
        sock.close()


async def _read_request(sock: socket.socket, machine: h11.Connection, client: Address) -> Request | None:
    head: h11.Request | None = None
    body = bytearray()
    while True:
        event = machine.next_event()
        if event is h11.NEED_DATA:
            machine.receive_data(await asyncio.get_running_loop().sock_recv(sock, relay.CHUNK))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > _MAX_BODY:
                raise h11.RemoteProtocolError("body too large", error_status_hint=413)
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            return Request(
                method=head.method.decode(),
                path=head.target.decode(),
                headers={name.decode(): value.decode("latin-1") for name, value in head.headers},
                body=bytes(body),
                client=client,
            )
        else:  # the client closed
            return None


async def get(sock: socket.socket, host: str, path: str) -> tuple[int, bytes]:
    """Ask once on a fresh connection, which is closed afterwards. OSError when the answer breaks off."""
    loop = asyncio.get_running_loop()
    machine = h11.Connection(h11.CLIENT)
    asked = h11.Request(method="GET", target=path, headers=[("host", host), ("connection", "close")])
    try:
        await loop.sock_sendall(
            sock, (machine.send(asked) or b"") + (machine.send(h11.EndOfMessage()) or b"")
        )
        status, body = 0, bytearray()
        while True:
            event = machine.next_event()
            if event is h11.NEED_DATA:
                machine.receive_data(await loop.sock_recv(sock, relay.CHUNK))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return status, bytes(body)
            elif isinstance(event, h11.ConnectionClosed):
                raise ConnectionResetError("closed without an answer")
    except h11.RemoteProtocolError as error:
        raise ConnectionResetError(str(error)) from error
    finally:
        sock.close()
