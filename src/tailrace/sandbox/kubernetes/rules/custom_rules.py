"""Custom resources against their own OpenAPI schema, with the server's words.

Place: `validation.validate_custom`. It walks the CRD's OpenAPI nodes (`Schema.facts`), because the branches of
`allOf` and `anyOf` have no node of their own in a `Schema` tree. CEL rules are judged elsewhere.

Source: `kube-openapi/pkg/validation`, `apiextensions-apiserver/pkg/apiserver/schema/{listtype,objectmeta}`.
"""

from __future__ import annotations

import base64
import datetime
import functools
import ipaddress
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from tailrace.sandbox.kubernetes.rules import field_errors as fe
from tailrace.sandbox.kubernetes.rules.field_errors import FieldError

Node = Mapping[str, Any]

_INT_OR_STRING: Final = "x-kubernetes-int-or-string"
_GO_FORMATS: Final = {"integer": "int64", "number": "float64"}


def check_value(value: Any, node: Node, path: str = "") -> Iterator[FieldError]:
    """What `node` has against `value`; errors of the parts come with those of the whole."""
    if value is None and node.get("nullable"):
        return
    yield from _check_type(value, node, path)
    yield from _check_combinations(value, node, path)
    if "enum" in node and not any(_same(value, allowed) for allowed in node["enum"]):
        yield fe.unsupported(path, value, node["enum"])
    match value:
        case str():
            yield from _check_string(value, node, path)
        case bool() | None:
            return
        case int() | float():
            yield from _check_number(value, node, path)
        case list():
            yield from _check_array(value, node, path)
        case dict():
            yield from _check_object(value, node, path)


def kind_of(value: Any) -> str:
    """The JSON type's name; `1.0` counts as an integer, as in Go."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "integer" if value.is_integer() else "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _same(left: Any, right: Any) -> bool:
    """Equality of JSON: true is not 1."""
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def _nameless(text: str) -> FieldError:
    """Some complaints come without a field: the server prints `<nil>`."""
    return fe.invalid_value("<nil>", "", text)


def _check_type(value: Any, node: Node, path: str) -> Iterator[FieldError]:
    wanted = ["integer", "string"] if node.get(_INT_OR_STRING) else [node["type"]] if node.get("type") else []
    got, form = kind_of(value), node.get("format", "")
    if not wanted or got in wanted or (got == "integer" and "number" in wanted):
        return
    if form and value is not None:
        if isinstance(value, str | list) and not {"integer", "number"} & set(wanted):
            return  # the format's rule has to find it, and has none for lists
        if not isinstance(value, str | list):
            wanted, got = [form], _GO_FORMATS.get(got, "")
    text = f'{path} in body must be of type {",".join(wanted)}: "{got}"'
    yield FieldError(path, "Invalid value", got, text, of_type=True)


def _check_combinations(value: Any, node: Node, path: str) -> Iterator[FieldError]:
    if branches := node.get("anyOf"):
        tried = [list(check_value(value, branch, path)) for branch in branches]
        if all(tried):
            yield _nameless(f'"{path}" must validate at least one schema (anyOf)')
            yield from min(tried, key=len)
    if branches := node.get("oneOf"):
        tried = [list(check_value(value, branch, path)) for branch in branches]
        valid = sum(not errors for errors in tried)
        if valid != 1:
            found = f"Found {valid} valid alternatives" if valid else "Found none valid"
            yield _nameless(f'"{path}" must validate one and only one schema (oneOf). {found}')
        if not valid:
            yield from min(tried, key=len)
    if branches := node.get("allOf"):
        tried = [list(check_value(value, branch, path)) for branch in branches]
        for errors in tried:
            yield from errors
        if any(tried):
            suffix = ". None validated" if all(tried) else ""
            yield _nameless(f'"{path}" must validate all the schemas (allOf){suffix}')
    if "not" in node and not list(check_value(value, node["not"], path)):
        yield _nameless(f'"{path}" must not validate the schema (not)')


# Strings ----------------------------------------------------------------------------------------------------------


def _check_string(value: str, node: Node, path: str) -> Iterator[FieldError]:
    if (limit := node.get("maxLength")) is not None and len(value) > limit:
        yield fe.too_long(path, limit)
    elif (limit := node.get("minLength")) is not None and len(value) < limit:
        yield fe.invalid_value(path, value, f"{path} in body should be at least {limit} chars long")
    elif (pattern := node.get("pattern")) and not go_pattern(pattern).search(value):
        yield fe.invalid_value(path, value, f"{path} in body should match '{pattern}'")
    form = node.get("format", "")
    if (rule := _FORMATS.get(form)) and not rule(value):
        text = f"{path} in body must be of type {form}: {fe.as_go(value)}"
        yield FieldError(path, "Invalid value", value, text, of_type=True)


_POSIX: Final = {
    "[:alnum:]": "0-9A-Za-z",
    "[:alpha:]": "A-Za-z",
    "[:digit:]": "0-9",
    "[:lower:]": "a-z",
    "[:space:]": r"\s",
    "[:upper:]": "A-Z",
    "[:word:]": r"\w",
    "[:xdigit:]": "0-9A-Fa-f",
}
_GO_TOKEN: Final = re.compile(r"\\.|\[:\w+:\]|\[\^?\]?|\]|\$", re.DOTALL)


@functools.cache
def go_pattern(pattern: str) -> re.Pattern[str]:
    """A Go (RE2) pattern in Python's words: `$` and `\\z` mean the very end, classes are ASCII.

    Raises:
        re.error: it is not a pattern.
    """
    inside = False

    def translate(match: re.Match[str]) -> str:
        nonlocal inside
        token = match[0]
        if token == r"\z":
            return r"\Z"
        if token in _POSIX:
            return _POSIX[token]
        if token == "$" and not inside:
            return r"\Z"
        if token[0] == "[" and not inside:
            inside = True
        elif token[0] == "[":
            return re.sub(r"\[", r"\\[", token)
        elif token == "]":
            inside = False
        return token

    return re.compile(_GO_TOKEN.sub(translate, pattern), re.ASCII)


def _parses(read: Callable[[str], Any]) -> Callable[[str], bool]:
    def rule(text: str) -> bool:
        try:
            read(text)
        except ValueError:
            return False
        return True

    return rule


_DURATION_UNITS: Final = "ns|us|µs|μs|ms|s|m|h|d|w|nanos?|micros?|millis?|secs?|seconds?|mins?|minutes?|hrs?|hours?|days?|weeks?|wks?"


def _is_duration(text: str) -> bool:
    """Go's own durations, and the human ones of go-openapi's `strfmt` (`1 day`)."""
    if text == "0":
        return True
    number = r"\d+(\.\d*)?|\.\d+"
    return bool(re.fullmatch(rf"[-+]?(({number})\s*({_DURATION_UNITS})\s*)+", text))


def _is_datetime(text: str) -> bool:
    shape = r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:?\d\d)"
    return bool(re.fullmatch(shape, text)) and _parses(datetime.datetime.fromisoformat)(text.upper())


def _is_uri(text: str) -> bool:
    """Absolute, or a path from the root: Go's `url.ParseRequestURI`."""
    if not text or re.search(r"[\s\x00-\x1f\x7f]", text):
        return False
    return text.startswith("/") or bool(_parses(urlsplit)(text) and urlsplit(text).scheme)


def _is_hostname(text: str) -> bool:
    """`strfmt` wants a top-level domain of at least two letters when there are dots."""
    *parts, last = text.split(".")
    names = all(re.fullmatch(r"[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?", part) for part in [*parts, last])
    return names and len(text) <= 255 and (not parts or bool(re.fullmatch(r"[a-zA-Z][-a-zA-Z0-9]+", last)))


def _is_cidr(text: str) -> bool:
    """As old releases of Go read it: leading zeros count for nothing, and host bits may be set."""
    address, _, bits = text.partition("/")
    plain = re.sub(r"(?<![0-9a-fA-F:.])0+(?=[0-9])|(?<=\.)0+(?=[0-9])", "", address)
    if "%" in address or not (bits.isascii() and bits.isdigit()):
        return False
    return _parses(lambda read: ipaddress.ip_network(read, strict=False))(f"{plain}/{int(bits)}")


def _is_byte(text: str) -> bool:
    return _parses(lambda t: base64.b64decode(t, validate=True))(text)


_HEX: Final = "[0-9a-f]"


def _is_uuid(version: str) -> Callable[[str], bool]:
    shape = re.compile(
        rf"{_HEX}{{8}}-?{_HEX}{{4}}-?{version}{_HEX}{{3}}-?{_HEX}{{4}}-?{_HEX}{{12}}", re.IGNORECASE
    )
    return lambda text: bool(shape.fullmatch(text))


_FORMATS: Final[Mapping[str, Callable[[str], bool]]] = {
    "byte": _is_byte,
    "cidr": _is_cidr,
    "date": _parses(lambda text: datetime.datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=datetime.UTC)),
    "date-time": _is_datetime,
    "datetime": _is_datetime,
    "duration": _is_duration,
    "email": lambda text: bool(re.fullmatch(r"[^@\s<>]+@[^@\s<>]+", text)),
    "hostname": _is_hostname,
    "ipv4": _parses(ipaddress.IPv4Address),
    "ipv6": _parses(ipaddress.IPv6Address),
    "mac": lambda text: bool(
        re.fullmatch(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}([:-][0-9a-fA-F]{2}){0,2}", text)
    ),
    "uri": _is_uri,
    "uuid": _is_uuid(_HEX),
    "uuid3": _is_uuid("3"),
    "uuid4": _is_uuid("4"),
    "uuid5": _is_uuid("5"),
}


# Numbers, arrays, objects -----------------------------------------------------------------------------------------

_INT_RANGES: Final = {"int32": 2**31, "int64": 2**63}


def _check_number(value: float, node: Node, path: str) -> Iterator[FieldError]:
    whole = float(value).is_integer()
    if node.get("type") == "integer":
        form = node.get("format", "")
        size = _INT_RANGES.get(form)
        if not whole:
            shown = f"with format {form}" if size else "(default format)"
            yield _nameless(f"Checked value must be of type integer {shown} in {path}")
        elif size and not -size <= value < size:
            yield _nameless(f"Checked value must be of type integer with format {form} in {path}")

    def bound(limit: float) -> float:
        """The server compares integers with the bound cut to an integer."""
        return math.trunc(limit) if whole else limit

    if (given := node.get("maximum")) is not None:
        limit, strict = bound(given), node.get("exclusiveMaximum", False)
        if value > limit or (strict and value == limit):
            words = "less than" if strict else "less than or equal to"
            yield fe.invalid_value(path, value, f"{path} in body should be {words} {limit}")
    if (given := node.get("minimum")) is not None:
        limit, strict = bound(given), node.get("exclusiveMinimum", False)
        if value < limit or (strict and value == limit):
            words = "greater than" if strict else "greater than or equal to"
            yield fe.invalid_value(path, value, f"{path} in body should be {words} {limit}")
    if (factor := node.get("multipleOf")) and not (value / factor).is_integer():
        yield fe.invalid_value(path, value, f"{path} in body should be a multiple of {factor}")


def _check_array(value: list[Any], node: Node, path: str) -> Iterator[FieldError]:
    if (limit := node.get("minItems")) is not None and len(value) < limit:
        yield fe.invalid_value(path, len(value), f"{path} in body should have at least {limit} items")
    if (limit := node.get("maxItems")) is not None and len(value) > limit:
        yield fe.too_many(path, len(value), limit)
    if node.get("uniqueItems") and len({fe.as_go(item) for item in value}) < len(value):
        yield fe.invalid_value(path, value, f"{path} in body shouldn't contain duplicates")
    if isinstance(items := node.get("items"), Mapping):
        for at, item in enumerate(value):
            yield from check_value(item, items, f"{path}[{at}]")
    match node.get("x-kubernetes-list-type"):
        case "set":
            yield from _check_set(list(enumerate(value)), path)
        case "map":
            yield from _check_map(value, node, path)


def _check_set(items: list[tuple[int, Any]], path: str) -> Iterator[FieldError]:
    """A value that is there three times is reported once, at its second place."""
    seen: dict[str, int] = {}
    for at, item in items:
        text = fe.as_go(item)
        seen[text] = seen.get(text, 0) + 1
        if seen[text] == 2:
            yield fe.duplicate(f"{path}[{at}]", item)


def _check_map(value: list[Any], node: Node, path: str) -> Iterator[FieldError]:
    keys: list[tuple[int, Any]] = []
    for at, item in enumerate(value):
        if isinstance(item, dict):
            names = node.get("x-kubernetes-list-map-keys") or ()
            keys.append((at, {name: item[name] for name in names if name in item}))
        else:
            yield fe.invalid_value(f"{path}[{at}]", item, "must be an object for an array of list-type map")
    yield from _check_set(keys, path)


def _check_object(value: dict[str, Any], node: Node, path: str) -> Iterator[FieldError]:
    if (limit := node.get("minProperties")) is not None and len(value) < limit:
        yield fe.invalid_value(path, len(value), f"{path} in body should have at least {limit} properties")
    if (limit := node.get("maxProperties")) is not None and len(value) > limit:
        yield fe.too_many(path, len(value), limit)
    prefix = f"{path}." if path else ""
    for name in node.get("required") or ():
        if name not in value:
            yield fe.required(prefix + name)
    properties, additional = node.get("properties") or {}, node.get("additionalProperties")
    for name, inner in value.items():
        below = properties.get(name, additional)
        if isinstance(below, Mapping):
            yield from check_value(inner, below, prefix + name)
    if node.get("x-kubernetes-embedded-resource"):
        yield from _check_embedded(value, prefix)


def _check_embedded(value: dict[str, Any], prefix: str) -> Iterator[FieldError]:
    for name in ("apiVersion", "kind"):
        if name not in value:
            yield fe.required(prefix + name)
    version = value.get("apiVersion")
    if isinstance(version, str) and version.count("/") > 1:
        yield fe.invalid_value(f"{prefix}apiVersion", version, f"unexpected GroupVersion string: {version}")
    if value.get("kind") == "":
        yield fe.invalid_value(f"{prefix}kind", "", "must not be empty")
