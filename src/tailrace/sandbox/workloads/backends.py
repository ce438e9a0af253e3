"""What answers behind a Service: pods that say in an annotation what they do, and a page for all others.

`sandbox.tailrace.dev/http: "3000"` answers HTTP with the pod's name and what it was asked, `…/tcp-echo` and
`…/udp-echo` send back what they get; each takes one port or a list with commas. A pod without any of them answers
HTTP on every declared TCP containerPort, so that a user's own manifests give an answer.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from tailrace.sandbox.workloads import proxyprotocol, relay, web
from tailrace.sandbox.workloads.network import Address, Network, TcpListener, UdpEcho

Doc = Mapping[str, Any]

HTTP = "sandbox.tailrace.dev/http"
TCP_ECHO = "sandbox.tailrace.dev/tcp-echo"
UDP_ECHO = "sandbox.tailrace.dev/udp-echo"
_HEADER_MAX = 1024


def read_ports(text: str) -> tuple[int, ...]:
    """`"80, 443"` → (80, 443). ValueError for what is no port."""
    ports = tuple(int(part) for part in text.split(",") if part.strip())
    if any(not 0 < port < 65536 for port in ports):
        raise ValueError(f"{text!r} names a port that does not exist")
    return ports


def find_services(pod: Doc) -> Iterator[tuple[str, int]]:
    """(kind, port) of all that this pod answers; kind is one of the annotations' names."""
    annotations = pod["metadata"].get("annotations") or {}
    said = [(kind, annotations[kind]) for kind in (HTTP, TCP_ECHO, UDP_ECHO) if kind in annotations]
    for kind, text in said:
        yield from ((kind, port) for port in read_ports(text))
    if said:
        return
    declared = [p for c in pod["spec"].get("containers") or () for p in c.get("ports") or ()]
    for port in dict.fromkeys(p["containerPort"] for p in declared if p.get("protocol", "TCP") == "TCP"):
        yield HTTP, port


def open_backend(network: Network, pod: Doc, ip: str) -> list[TcpListener | UdpEcho]:
    """Start to answer; the caller closes the listeners."""
    name = pod["metadata"]["name"]
    opened: list[TcpListener | UdpEcho] = []
    try:
        for kind, port in find_services(pod):
            if kind == UDP_ECHO:
                opened.append(network.echo_udp(ip, port))
            else:
                opened.append(
                    network.listen_tcp(ip, port, echo if kind == TCP_ECHO else partial(greet, name))
                )
    except BaseException:
        for listener in opened:
            listener.close(cut=True)
        raise
    return opened


async def echo(sock: socket.socket, client: Address) -> None:
    """Send back what comes, until the client has said everything."""
    loop = asyncio.get_running_loop()
    try:
        while data := await loop.sock_recv(sock, relay.CHUNK):
            await loop.sock_sendall(sock, data)
            await asyncio.sleep(0)
    except OSError:
        relay.reset(sock)
    finally:
        sock.close()


async def greet(name: str, sock: socket.socket, client: Address, *, kind: str = "pod") -> None:
    """HTTP that tells who answers and who asked; a PROXY header in front, of either version, is understood."""
    try:
        received, header = await _read_header(sock)
    except (OSError, proxyprotocol.BadHeader):
        relay.reset(sock)
        return

    def answer(request: web.Request) -> web.Response:
        lines = [f"{kind}: {name}", f"{request.method} {request.path}", f"from: {client[0]}"]
        if header is not None:
            lines.append(
                f"proxy-protocol: v{header.version} {header.source[0]} → port {header.destination[1]}"
            )
        return web.Response(body="\n".join((*lines, "")).encode(), headers={f"x-{kind}": name})

    await web.serve(sock, client, answer, received=received)


async def _read_header(sock: socket.socket) -> tuple[bytes, proxyprotocol.Header | None]:
    """What was read beyond the PROXY header, and the header if there was one."""
    loop = asyncio.get_running_loop()
    data = b""
    while True:
        more = await loop.sock_recv(sock, _HEADER_MAX)
        data += more
        try:
            header, taken = proxyprotocol.parse(data)
        except proxyprotocol.BadHeader:
            return data, None
        if header is not None:
            return data[taken:], header
        if not more or len(data) > _HEADER_MAX:
            raise proxyprotocol.BadHeader("the stream ended in its header")
