"""Bytes from one socket to another: the one loop under every proxy of the sandbox.

No threads, no transports: the event loop's socket calls, one bounded chunk in flight for each direction, so a slow
reader slows its writer and nothing piles up in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

CHUNK = 128 * 1024
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on with no time: close() sends a reset


async def relay(left: socket.socket, right: socket.socket, *, preface: bytes = b"") -> None:
    """Carry both directions until both have ended; a half-close on one side is passed on to the other.
    `preface` goes to `right` first.

    Owns both sockets. If either breaks, or the task is cancelled, both are reset, so that nobody takes a cut
    stream for a complete one.
    """
    whole = False
    try:
        if preface:
            await asyncio.get_running_loop().sock_sendall(right, preface)
        async with asyncio.TaskGroup() as directions:
            directions.create_task(_copy(right, left))
            directions.create_task(_copy(left, right))
        whole = True
    except* OSError:
        pass  # one side broke: that is what the other is told by the reset
    finally:
        for sock in (left, right):
            sock.close() if whole else reset(sock)


async def _copy(source: socket.socket, sink: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(source, CHUNK):
        await loop.sock_sendall(sink, data)
        await asyncio.sleep(0)  # both calls may finish without yielding: others get their turn
    with contextlib.suppress(OSError):  # the other side is gone already: its own direction tells
        sink.shutdown(socket.SHUT_WR)


def reset(sock: socket.socket) -> None:
    """Close so that the peer sees a broken connection."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    sock.close()
