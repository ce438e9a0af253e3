"""The PROXY protocol: the header that tells a backend who the client was.

Proxies write it in front of a forwarded stream (`dataplane`), demo backends read it (`backends`). Format:
https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, versions 1 (text) and 2 (binary), TCP only.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_V1_PREFIX = b"PROXY "
_V1_MAX = 107  # longest legal version 1 line, its CRLF included
_V2_FIXED = 16  # signature, version and command, family, length
_V2_PROXY_TCP = {4: b"\x21\x11", 6: b"\x21\x21"}
_V2_ADDRESS = {0x11: 4, 0x21: 16}  # bytes of one address by family and transport

Address = tuple[str, int]


class BadHeader(ValueError):
    """The stream opens with something that is no PROXY header."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    version: int
    source: Address
    destination: Address


def encode(version: int, source: Address, destination: Address) -> bytes:
    """The header for a TCP stream from `source` to `destination`; both addresses of one family."""
    src, dst = ipaddress.ip_address(source[0]), ipaddress.ip_address(destination[0])
    if src.version != dst.version:
        raise ValueError(f"{src} and {dst} are of different families")
    if version == 1:
        return f"PROXY TCP{src.version} {src} {dst} {source[1]} {destination[1]}\r\n".encode()
    if version != 2:
        raise ValueError(f"there is no PROXY protocol version {version}")
    body = src.packed + dst.packed + struct.pack("!HH", source[1], destination[1])
    return SIGNATURE + _V2_PROXY_TCP[src.version] + struct.pack("!H", len(body)) + body


def parse(data: bytes) -> tuple[Header | None, int]:
    """The header at the start of `data` and how many bytes it takes.

    (None, 0): more bytes are needed. Raises BadHeader when no header can come of it.
    """
    if data.startswith(SIGNATURE[: len(data)]):
        return _parse_v2(data)
    if data.startswith(_V1_PREFIX[: len(data)]):
        return _parse_v1(data)
    raise BadHeader("the stream does not open with a PROXY header")


def _parse_v1(data: bytes) -> tuple[Header | None, int]:
    line, end, _ = data.partition(b"\r\n")
    if not end:
        if len(data) >= _V1_MAX:
            raise BadHeader("PROXY line too long")
        return None, 0
    words = line.decode("ascii", "replace").split(" ")
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        raise BadHeader("PROXY line is malformed")
    try:
        source, destination = (words[2], int(words[4])), (words[3], int(words[5]))
    except ValueError as error:
        raise BadHeader("PROXY line is malformed") from error
    return Header(version=1, source=source, destination=destination), len(line) + 2


def _parse_v2(data: bytes) -> tuple[Header | None, int]:
    if len(data) < _V2_FIXED:
        return None, 0
    (length,) = struct.unpack_from("!H", data, 14)
    total = _V2_FIXED + length
    size = _V2_ADDRESS.get(data[13])
    if data[12] != 0x21 or size is None or length < 2 * size + 4:
        raise BadHeader("PROXY header of an unknown kind")
    if len(data) < total:
        return None, 0
    body = data[_V2_FIXED:total]
    source, destination = (str(ipaddress.ip_address(body[at : at + size])) for at in (0, size))
    source_port, destination_port = struct.unpack_from("!HH", body, 2 * size)
    return Header(version=2, source=(source, source_port), destination=(destination, destination_port)), total
