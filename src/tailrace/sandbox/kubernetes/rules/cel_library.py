"""The functions that Kubernetes adds to CEL, as an extension of the CEL library.

Place: what `cel` hands to the environment of every rule; imported with the first rule that is compiled. Kubernetes'
own value types (URL, IP, CIDR, quantity) are maps of one key, its kind, to the canonical text, since the library lets
no Python object through: equality is then that of the canonical texts.

Source of names and signatures: "Common Expression Language in Kubernetes".
"""

from __future__ import annotations

import ipaddress
import itertools
import math
import re
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib import parse

from cel_expr_python import cel  # type: ignore[import-untyped]
from cel_expr_python.ext import (  # type: ignore[import-untyped]
    ext_bindings,
    ext_optional,
    ext_strings,
)

Marked = dict[str, str]
"""A value of one of Kubernetes' types: `{"ip": "10.0.0.1"}`."""

DYN, BOOL, INT, TEXT = cel.Type.DYN, cel.Type.BOOL, cel.Type.INT, cel.Type.STRING
LIST = cel.Type.List(DYN)
MARKED = cel.Type.Map(TEXT, TEXT)
SUFFIXES = {
    "": Decimal(1),
    **{unit: Decimal(10) ** power for unit, power in (("n", -9), ("u", -6), ("m", -3), ("k", 3))},
    **{unit: Decimal(1000) ** power for power, unit in enumerate("MGTPE", 2)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)},
}
BAD_URL = 'URL parse error during conversion from string: parse "{}": invalid URI for request'
WRONG = "network address parse error during conversion from string"
BAD_CIDR = f'{WRONG}: {WRONG}: netip.ParsePrefix("{{}}"): {{}}'
QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|([KMGTPE]i|[numkMGTPE])?)\Z")


def extensions(*, binding: bool) -> Sequence[Any]:
    """The extensions of a rule's environment; `binding` adds `cel.bind`, which Kubernetes does not have.

    Kubernetes' own comes last, since it adds to functions of the others.
    """
    return (
        ext_strings.ExtStrings(2),
        ext_optional.ExtOptional(),
        *([ext_bindings.ExtBindings()] if binding else ()),
        cel.CelExtension("kubernetes", [_declare(name, *rows) for name, rows in _functions().items()]),
    )


Row = tuple[Any, Sequence[Any], Callable[..., Any], bool]


def _declare(name: str, *rows: Row) -> Any:
    overloads = [
        cel.Overload(f"kubernetes_{name}_{i}", returns, list(takes), member, call)
        for i, (returns, takes, call, member) in enumerate(rows)
    ]
    return cel.FunctionDecl(name, overloads)


def _method(returns: Any, *takes: Any) -> Callable[[Callable[..., Any]], Row]:
    return lambda call: (returns, takes, call, True)


def _plain(returns: Any, *takes: Any) -> Callable[[Callable[..., Any]], Row]:
    return lambda call: (returns, takes, call, False)


def _functions() -> dict[str, tuple[Row, ...]]:
    return {
        **_lists(),
        **_texts(),
        **_urls(),
        **_addresses(),
        **_quantities(),
        "string": (_plain(TEXT, MARKED)(lambda value: next(iter(value.values()))),),
    }


def _lists() -> dict[str, tuple[Row, ...]]:
    return {
        "isSorted": (_method(BOOL, LIST)(lambda items: all(a <= b for a, b in itertools.pairwise(items))),),
        "sum": (_method(DYN, LIST)(sum),),
        "min": (_method(DYN, LIST)(lambda items: min(_filled(items, "min"))),),
        "max": (_method(DYN, LIST)(lambda items: max(_filled(items, "max"))),),
        "indexOf": (_method(INT, LIST, DYN)(lambda items, x: items.index(x) if x in items else -1),),
        "lastIndexOf": (_method(INT, LIST, DYN)(_last_index),),
        "sets.contains": (_plain(BOOL, LIST, LIST)(_contains),),
        "sets.equivalent": (_plain(BOOL, LIST, LIST)(lambda a, b: _contains(a, b) and _contains(b, a)),),
        "sets.intersects": (_plain(BOOL, LIST, LIST)(lambda a, b: any(x in a for x in b)),),
    }


def _filled(items: list[Any], name: str) -> list[Any]:
    if not items:
        raise ValueError(f"{name} called on empty list")
    return items


def _last_index(items: list[Any], wanted: Any) -> int:
    return max((i for i, item in enumerate(items) if item == wanted), default=-1)


def _contains(whole: list[Any], part: list[Any]) -> bool:
    return all(item in whole for item in part)


def _texts() -> dict[str, tuple[Row, ...]]:
    return {
        "find": (_method(TEXT, TEXT, TEXT)(lambda text, regex: next(_find(text, regex), "")),),
        "findAll": (
            _method(cel.Type.List(TEXT), TEXT, TEXT)(lambda text, regex: list(_find(text, regex))),
            _method(cel.Type.List(TEXT), TEXT, TEXT, INT)(_find_some),
        ),
    }


def _find(text: str, regex: str) -> Any:
    return (found.group() for found in re.finditer(regex, text, re.ASCII))


def _find_some(text: str, regex: str, limit: int) -> list[str]:
    found = list(_find(text, regex))
    return found if limit < 0 else found[:limit]


def _urls() -> dict[str, tuple[Row, ...]]:
    def part(read: Callable[[parse.SplitResult], str]) -> tuple[Row, ...]:
        return (_method(TEXT, MARKED)(lambda marked: read(parse.urlsplit(marked["url"]))),)

    return {
        "url": (_plain(MARKED, TEXT)(to_url),),
        "isURL": (_plain(BOOL, TEXT)(_is(to_url)),),
        "getScheme": part(lambda url: url.scheme),
        "getHost": part(lambda url: url.netloc.rpartition("@")[2]),
        "getHostname": part(lambda url: _hostname(url.netloc)[0]),
        "getPort": part(lambda url: _hostname(url.netloc)[1]),
        "getEscapedPath": part(lambda url: parse.quote(url.path, safe="/%:@!$&'()*+,;=~-._")),
        "getQuery": (
            _method(cel.Type.Map(TEXT, cel.Type.List(TEXT)), MARKED)(
                lambda marked: parse.parse_qs(parse.urlsplit(marked["url"]).query, keep_blank_values=True)
            ),
        ),
    }


def to_url(text: str) -> Marked:
    """An absolute URI or an absolute path, as Go's `url.ParseRequestURI` takes it."""
    absolute = re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text) or text.startswith("/")
    if not absolute or re.search(r"[\x00-\x20\x7f]", text) or re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise ValueError(BAD_URL.format(text))
    parts = parse.urlsplit(text)
    if not re.fullmatch(r"|\d+", _hostname(parts.netloc)[1]):
        raise ValueError(BAD_URL.format(text))
    return {"url": text}


def _hostname(netloc: str) -> tuple[str, str]:
    """Host without brackets, and port, both as written."""
    host = netloc.rpartition("@")[2]
    if host.startswith("["):
        name, _, port = host[1:].partition("]")
        return name, port.removeprefix(":")
    name, _, port = host.partition(":")
    return name, port


def _is(make: Callable[[str], Marked]) -> Callable[[str], bool]:
    def judge(text: str) -> bool:
        try:
            make(text)
        except ValueError:
            return False
        return True

    return judge


def _addresses() -> dict[str, tuple[Row, ...]]:
    def about(read: Callable[[Any], Any]) -> tuple[Row, ...]:
        return (_method(BOOL, MARKED)(lambda marked: read(ipaddress.ip_address(marked["ip"]))),)

    return {
        "ip": (
            _plain(MARKED, TEXT)(to_ip),
            _method(MARKED, MARKED)(lambda cidr: {"ip": str(_network(cidr).ip)}),
        ),
        "isIP": (_plain(BOOL, TEXT)(_is(to_ip)),),
        "ip.isCanonical": (_plain(BOOL, TEXT)(lambda text: to_ip(text)["ip"] == text),),
        "family": (_method(INT, MARKED)(lambda ip: ipaddress.ip_address(ip["ip"]).version),),
        "isUnspecified": about(lambda ip: ip.is_unspecified),
        "isLoopback": about(lambda ip: ip.is_loopback),
        "isLinkLocalMulticast": about(_link_local_multicast),
        "isLinkLocalUnicast": about(lambda ip: ip.is_link_local),
        # Go's meaning: private addresses count as global unicast, unlike Python's `is_global`.
        "isGlobalUnicast": about(
            lambda ip: (
                not (ip.is_unspecified or ip.is_loopback or ip.is_multicast or ip.is_link_local)
                and str(ip) != "255.255.255.255"
            )
        ),
        "cidr": (_plain(MARKED, TEXT)(to_cidr),),
        "isCIDR": (_plain(BOOL, TEXT)(_is(to_cidr)),),
        "prefixLength": (_method(INT, MARKED)(lambda cidr: _network(cidr).network.prefixlen),),
        "masked": (_method(MARKED, MARKED)(lambda cidr: {"cidr": str(_network(cidr).network)}),),
        "containsIP": (
            _method(BOOL, MARKED, TEXT)(lambda cidr, text: _contains_ip(cidr, to_ip(text))),
            _method(BOOL, MARKED, MARKED)(_contains_ip),
        ),
        "containsCIDR": (
            _method(BOOL, MARKED, TEXT)(lambda cidr, text: _contains_cidr(cidr, to_cidr(text))),
            _method(BOOL, MARKED, MARKED)(_contains_cidr),
        ),
    }


def to_ip(text: str) -> Marked:
    """An address without a zone, and not an IPv4 one written in IPv6's form."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        said = f'IP Address "{text}" parse error during conversion from string: ParseAddr("{text}"): unable to parse IP'
        raise ValueError(said) from None
    if "%" in text:
        raise ValueError(f'IP address "{text}" with zone value is not allowed')
    if found.version == 6 and found.ipv4_mapped:
        raise ValueError(f'IPv4-mapped IPv6 address "{text}" is not allowed')
    return {"ip": str(found)}


def to_cidr(text: str) -> Marked:
    address, slash, length = text.partition("/")
    if not slash:
        raise ValueError(BAD_CIDR.format(text, "no '/'"))
    if not re.fullmatch(r"0|[1-9]\d{0,2}", length):
        raise ValueError(BAD_CIDR.format(text, f'bad bits after slash: "{length}"'))
    ip = to_ip(address)["ip"]
    if int(length) > ipaddress.ip_address(ip).max_prefixlen:
        raise ValueError(BAD_CIDR.format(text, "prefix length out of range"))
    return {"cidr": str(ipaddress.ip_interface(f"{ip}/{length}"))}


def _network(cidr: Marked) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    return ipaddress.ip_interface(cidr["cidr"])


def _link_local_multicast(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if ip.version == 4:
        return ip in ipaddress.ip_network("224.0.0.0/24")
    return ip.packed[0] == 0xFF and ip.packed[1] & 0x0F == 0x02


def _contains_ip(cidr: Marked, ip: Marked) -> bool:
    return ipaddress.ip_address(ip["ip"]) in _network(cidr).network


def _contains_cidr(cidr: Marked, other: Marked) -> bool:
    outer, inner = _network(cidr).network, _network(other).network
    return (
        outer.version == inner.version
        and outer.prefixlen <= inner.prefixlen
        and inner.network_address in outer
    )


def _quantities() -> dict[str, tuple[Row, ...]]:
    def compare(a: Marked, b: Marked) -> int:
        return (_amount(a) > _amount(b)) - (_amount(a) < _amount(b))

    return {
        "quantity": (_plain(MARKED, TEXT)(to_quantity),),
        "isQuantity": (_plain(BOOL, TEXT)(_is(to_quantity)),),
        "sign": (_plain(INT, MARKED)(lambda a: (_amount(a) > 0) - (_amount(a) < 0)),),
        "isGreaterThan": (_method(BOOL, MARKED, MARKED)(lambda a, b: compare(a, b) > 0),),
        "isLessThan": (_method(BOOL, MARKED, MARKED)(lambda a, b: compare(a, b) < 0),),
        "compareTo": (_method(INT, MARKED, MARKED)(compare),),
        "isInteger": (_method(BOOL, MARKED)(lambda a: _is_integer(_amount(a))),),
        "asInteger": (_method(INT, MARKED)(_integer),),
        "asApproximateFloat": (_method(cel.Type.DOUBLE, MARKED)(lambda a: float(_amount(a))),),
        "add": (
            _method(MARKED, MARKED, MARKED)(lambda a, b: _quantity(_amount(a) + _amount(b))),
            _method(MARKED, MARKED, INT)(lambda a, b: _quantity(_amount(a) + b)),
        ),
        "sub": (
            _method(MARKED, MARKED, MARKED)(lambda a, b: _quantity(_amount(a) - _amount(b))),
            _method(MARKED, MARKED, INT)(lambda a, b: _quantity(_amount(a) - b)),
        ),
    }


def to_quantity(text: str) -> Marked:
    """The canonical decimal number of a quantity such as `1.5Gi`, `500m` or `2e3`."""
    found = QUANTITY.match(text)
    if found is None:
        raise ValueError(
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        )
    number, exponent, suffix = found.groups()
    try:
        amount = Decimal(number + (exponent or "")) * SUFFIXES[suffix or ""]
    except InvalidOperation as broken:
        raise ValueError(f"unable to parse quantity {text!r}") from broken
    return _quantity(amount)


def _quantity(amount: Decimal) -> Marked:
    return {"quantity": format(amount.normalize(), "f") if amount else "0"}


def _amount(marked: Marked) -> Decimal:
    return Decimal(marked["quantity"])


def _is_integer(amount: Decimal) -> bool:
    return amount == math.floor(amount) and -(2**63) <= amount < 2**63


def _integer(marked: Marked) -> int:
    amount = _amount(marked)
    if not _is_integer(amount):
        raise ValueError("cannot convert value to integer")
    return int(amount)
