"""What is wrong at one path of a document, and the rules that many fields share, in the server's words.

Place: the ground of `validation` and of the rules for each kind. A rule is a generator of `FieldError`; a name rule
takes a string and gives the complaints about it, so that the caller chooses the path.

Source: `k8s.io/apimachinery/pkg/util/validation` and its `field` package.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

Doc = dict[str, Any]
NameRule = Callable[[str], list[str]]

_REASONS: Final = {
    "Required value": "FieldValueRequired",
    "Invalid value": "FieldValueInvalid",
    "Unsupported value": "FieldValueNotSupported",
    "Forbidden": "FieldValueForbidden",
    "Duplicate value": "FieldValueDuplicate",
    "Too long": "FieldValueTooLong",
    "Too many": "FieldValueTooMany",
    "Not found": "FieldValueNotFound",
}
_WITHOUT_VALUE: Final = frozenset({"Required value", "Forbidden", "Too long"})


@dataclass(frozen=True, slots=True)
class FieldError:
    """`str(error)` is Go's `field.Error.Error()`: `spec.x: Invalid value: 3: must be 1`."""

    path: str
    kind: str
    value: Any = None
    detail: str = ""
    of_type: bool = False
    """A value of the wrong JSON type: the same words, with a reason of its own."""

    @property
    def body(self) -> str:
        """The message without the path."""
        value = [] if self.kind in _WITHOUT_VALUE else [as_go(self.value)]
        return ": ".join([self.kind, *value, *filter(None, [self.detail])])

    def __str__(self) -> str:
        return f"{self.path}: {self.body}"

    def cause(self) -> dict[str, str]:
        """The entry for `details.causes` of the server's answer."""
        reason = "FieldValueTypeInvalid" if self.of_type else _REASONS[self.kind]
        return {"reason": reason, "message": self.body, "field": self.path}


def as_go(value: Any) -> str:
    """A value as the server prints it: strings quoted, the rest as dense JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def required(path: str, detail: str = "") -> FieldError:
    return FieldError(path, "Required value", "", detail)


def invalid_value(path: str, value: Any, detail: str) -> FieldError:
    return FieldError(path, "Invalid value", value, detail)


def unsupported(path: str, value: Any, allowed: Iterable[Any]) -> FieldError:
    """`allowed` in the order in which the server lists it."""
    listed = ", ".join(as_go(word if isinstance(word, str) else as_go(word)) for word in allowed)
    return FieldError(path, "Unsupported value", value, f"supported values: {listed}")


def forbidden(path: str, detail: str) -> FieldError:
    return FieldError(path, "Forbidden", "", detail)


def duplicate(path: str, value: Any) -> FieldError:
    return FieldError(path, "Duplicate value", value)


def not_found(path: str, value: Any) -> FieldError:
    return FieldError(path, "Not found", value)


def too_long(path: str, limit: int) -> FieldError:
    return FieldError(path, "Too long", "", f"may not be more than {limit} bytes")


def too_many(path: str, count: int, limit: int) -> FieldError:
    return FieldError(path, "Too many", count, f"must have at most {limit} items")


# Name rules: the complaints about a string -------------------------------------------------------------------------

_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN: Final = rf"{_LABEL}(\.{_LABEL})*"
_RFC1035: Final = "[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED: Final = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_CONFIG_KEY: Final = "[-._a-zA-Z0-9]+"


def _words(text: str, pattern: str, *examples: str) -> str:
    shown = ",  or ".join(f"'{example}'" for example in examples)
    return f"{text} (e.g. {shown}, regex used for validation is '{pattern}')"


_SUBDOMAIN_WORDS: Final = _words(
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character",
    _SUBDOMAIN,
    "example.com",
)
_QUALIFIED_TEXT: Final = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
_QUALIFIED_WORDS: Final = _words(_QUALIFIED_TEXT, _QUALIFIED, "MyName", "my.name", "123-abc")
POSITIVE_OR_ZERO: Final = "must be greater than or equal to 0"
IMMUTABLE: Final = "field is immutable"
BAD_PORT: Final = "must be between 1 and 65535, inclusive"
_BAD_IP: Final = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
BAD_CIDR: Final = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"


def subdomain(name: str) -> list[str]:
    """RFC 1123 subdomain."""
    found = ["must be no more than 253 characters"] if len(name) > 253 else []
    return found if re.fullmatch(_SUBDOMAIN, name) else [*found, _SUBDOMAIN_WORDS]


def label(name: str) -> list[str]:
    """RFC 1123 label."""
    found = ["must be no more than 63 characters"] if len(name) > 63 else []
    if re.fullmatch(_LABEL, name):
        return found
    if re.fullmatch(_SUBDOMAIN, name):
        return [*found, "must not contain dots"]
    text = (
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
        "and must start and end with an alphanumeric character"
    )
    return [*found, _words(text, _LABEL, "my-name", "123-abc")]


def rfc1035_label(name: str) -> list[str]:
    """A label that starts with a letter: the parts of a CustomResourceDefinition's names."""
    found = ["must be no more than 63 characters"] if len(name) > 63 else []
    if re.fullmatch(_RFC1035, name):
        return found
    text = (
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', "
        "start with an alphabetic character, and end with an alphanumeric character"
    )
    return [*found, _words(text, _RFC1035, "my-name", "abc-123")]


def path_segment(name: str) -> list[str]:
    """What may stand between two slashes of a URL: names of roles and bindings."""
    if name in (".", ".."):
        return [f"may not be '{name}'"]
    return [f"may not contain '{char}'" for char in "/%" if char in name]


def qualified_name(name: str) -> list[str]:
    """A label's key: `name` or `prefix/name`."""
    prefix, slash, last = name.rpartition("/")
    if "/" in prefix:
        text = "a valid label key " + _QUALIFIED_WORDS
        return [text + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"]
    found = []
    if slash:
        found = ["must be non-empty"] if not prefix else subdomain(prefix)
        found = [f"prefix part {words}" for words in found]
    if not last:
        found.append("name part must be non-empty")
    elif len(last) > 63:
        found.append("name part must be no more than 63 bytes")
    return found if re.fullmatch(_QUALIFIED, last) else [*found, f"name part {_QUALIFIED_WORDS}"]


def label_value(value: str) -> list[str]:
    found = ["must be no more than 63 bytes"] if len(value.encode()) > 63 else []
    if re.fullmatch(f"({_QUALIFIED})?", value):
        return found
    text = _QUALIFIED_TEXT.replace("must", "a valid label must be an empty string or", 1)
    return [*found, _words(text, f"({_QUALIFIED})?", "MyValue", "my_value", "12345")]


def config_key(key: str) -> list[str]:
    """A key of a Secret or ConfigMap: it becomes a file's name."""
    found = ["must be no more than 253 characters"] if len(key) > 253 else []
    if not re.fullmatch(_CONFIG_KEY, key):
        text = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
        return [*found, _words(text, _CONFIG_KEY, "key.name", "KEY_NAME", "key-name")]
    if key in (".", ".."):
        return [*found, f"must not be '{key}'"]
    return [*found, "must not start with '..'"] if key.startswith("..") else found


def port_name(name: str) -> list[str]:
    """IANA_SVC_NAME: the name of a port, at most 15 characters."""
    found = ["must be no more than 15 characters"] if len(name) > 15 else []
    if not re.fullmatch("[-a-z0-9]+", name):
        found.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", name):
        found.append("must contain at least one letter (a-z)")
    if "--" in name:
        found.append("must not contain consecutive hyphens")
    if name.startswith("-") or name.endswith("-"):
        found.append("must not begin or end with a hyphen")
    return found


def ip_address(text: str) -> list[str]:
    """Leading zeros have words of their own, because older releases read them as octal."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        zeros = re.fullmatch(r"\d{1,3}(\.\d{1,3}){3}", text) and re.search(r"(^|\.)0\d", text)
        return ["must not have leading 0s"] if zeros else [_BAD_IP]
    return []


def cidr(text: str) -> list[str]:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return [BAD_CIDR]
    return [] if "/" in text else [BAD_CIDR]


# Shared checks ----------------------------------------------------------------------------------------------------


def check(path: str, value: str, rule: NameRule) -> Iterator[FieldError]:
    """The complaints of a name rule as errors at `path`."""
    for words in rule(value):
        yield invalid_value(path, value, words)


def check_named(path: str, value: str | None, rule: NameRule) -> Iterator[FieldError]:
    """As `check`, and the value has to be there."""
    if not value:
        yield required(path)
    else:
        yield from check(path, value, rule)


def check_one_of(path: str, value: Any, allowed: Iterable[Any]) -> Iterator[FieldError]:
    """An absent value is an error as well, in the words for a wrong one."""
    listed = list(allowed)
    if value not in listed:
        yield unsupported(path, value if value is not None else "", listed)


def check_not_negative(doc: Mapping[str, Any], path: str, *fields: str) -> Iterator[FieldError]:
    for field in fields:
        value = doc.get(field)
        if value is not None and value < 0:
            yield invalid_value(f"{path}.{field}", value, POSITIVE_OR_ZERO)


def check_port(path: str, value: Any) -> Iterator[FieldError]:
    """A port's number, or its name."""
    if isinstance(value, str):
        yield from check(path, value, port_name)
    elif not 1 <= (value or 0) <= 65535:
        yield invalid_value(path, value or 0, BAD_PORT)


def check_percent(path: str, value: Any) -> Iterator[FieldError]:
    """An int-or-string that is a count or a percentage up to 100%."""
    if isinstance(value, int):
        if value < 0:
            yield invalid_value(path, value, POSITIVE_OR_ZERO)
    elif not re.fullmatch("[0-9]+%", value):
        text = "a valid percent string must be a numeric string followed by an ending '%'"
        yield invalid_value(path, value, _words(text, "[0-9]+%", "1%", "93%"))
    elif int(value[:-1]) > 100:
        yield invalid_value(path, value, "must not be greater than 100%")


def check_labels(path: str, labels: Mapping[str, str] | None) -> Iterator[FieldError]:
    for key, value in (labels or {}).items():
        yield from check(path, key, qualified_name)
        yield from check(path, value or "", label_value)


def check_selector(path: str, selector: Mapping[str, Any] | None) -> Iterator[FieldError]:
    """A `LabelSelector`."""
    chosen = selector or {}
    yield from check_labels(f"{path}.matchLabels", chosen.get("matchLabels"))
    for at, rule in enumerate(chosen.get("matchExpressions") or ()):
        here = f"{path}.matchExpressions[{at}]"
        operator, values = rule.get("operator", ""), rule.get("values")
        if operator in ("In", "NotIn"):
            if not values:
                yield required(f"{here}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                yield forbidden(f"{here}.values", text)
        else:
            yield invalid_value(f"{here}.operator", operator, "not a valid selector operator")
        yield from check(f"{here}.key", rule.get("key", ""), qualified_name)
        for position, value in enumerate(values or ()):
            yield from check(f"{here}.values[{position}]", value, label_value)


def check_immutable(path: str, new: Any, old: Any) -> Iterator[FieldError]:
    if new != old:
        yield invalid_value(path, new, IMMUTABLE)


# Quantities -------------------------------------------------------------------------------------------------------

_QUANTITY: Final = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(n|u|m|k|M|G|T|P|E|[KMGTPE]i|[eE][+-]?\d+)?")
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


def quantity(text: str | float) -> Fraction | None:
    """The exact value of `100m`, `1Gi`, `1e3`; None when it is no quantity."""
    match = _QUANTITY.fullmatch(str(text))
    if match is None:
        return None
    number, suffix = Fraction(match[1]), match[2] or ""
    if suffix.endswith("i"):
        return number * Fraction(1024 ** ("KMGTPE".index(suffix[0]) + 1))
    power = _DECIMAL[suffix] if suffix in _DECIMAL else int(suffix[1:] or 0)
    return number * (Fraction(10**power) if power >= 0 else Fraction(1, 10**-power))
