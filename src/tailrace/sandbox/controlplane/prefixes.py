"""What is wrong with a route, in the words of Go's `netip.ParsePrefix`."""

from __future__ import annotations

import ipaddress


def fault(route: str) -> str | None:
    """None when it is right. Bits behind the prefix are no fault."""
    head = f'netip.ParsePrefix("{route}"): '
    address, slash, bits = route.rpartition("/")
    if not slash:
        return head + "no '/'"
    try:
        family = ipaddress.ip_address(address)
    except ValueError:
        return f'{head}ParseAddr("{address}"): {_address_fault(address)}'
    if not bits.isdecimal() or (len(bits) > 1 and bits.startswith("0")):
        return f'{head}bad bits after slash: "{bits}"'
    return head + "prefix length out of range" if int(bits) > family.max_prefixlen else None


def _address_fault(address: str) -> str:
    short = "." in address and address.replace(".", "").isdecimal() and address.count(".") < 3
    return "IPv4 address too short" if short else "unable to parse IP"
