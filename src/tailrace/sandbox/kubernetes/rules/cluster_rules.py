"""Rules of what a cluster is made of: nodes with their ranges of pod addresses, and the ranges of Services.

Place: `builtin_rules`. Source: `pkg/apis/core/validation` (ValidateNode) and `pkg/apis/networking/validation`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence

from tailrace.sandbox.kubernetes.rules import field_errors as fe
from tailrace.sandbox.kubernetes.rules.field_errors import Doc, FieldError, check

_ONE_EACH = "may specify no more than one CIDR for each IP family"
_ONE_RANGE = (
    "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"  # its words
)


def check_node(new: Doc, old: Doc | None) -> Iterator[FieldError]:
    ranges: Sequence[str] = (new.get("spec") or {}).get("podCIDRs") or ()
    wrong = [e for at, text in enumerate(ranges) for e in check(f"spec.podCIDRs[{at}]", text, fe.cidr)]
    yield from wrong
    if not wrong and not _one_of_each(ranges):
        yield fe.invalid_value("spec.podCIDRs", list(ranges), _ONE_EACH)
    before = ((old or {}).get("spec") or {}).get("podCIDRs")
    if before and list(before) != list(ranges):
        yield fe.forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid')


def check_service_cidr(new: Doc, old: Doc | None) -> Iterator[FieldError]:
    ranges: Sequence[str] = (new.get("spec") or {}).get("cidrs") or ()
    if old is not None:
        before = (old.get("spec") or {}).get("cidrs") or ()
        for at, text in enumerate(ranges):
            yield from fe.check_immutable(f"spec.cidrs[{at}]", text, before[at] if at < len(before) else text)
        return
    if not ranges:
        yield fe.required("spec.cidrs", "at least one CIDR required")
    elif len(ranges) > 1 and not _one_of_each(ranges):
        yield fe.invalid_value("spec.cidrs", list(ranges), _ONE_RANGE)
    for at, text in enumerate(ranges):
        path = f"spec.cidrs[{at}]"
        if fe.cidr(text):
            yield from check(path, text, fe.cidr)
        elif str(ipaddress.ip_interface(text).network) != text:
            yield fe.invalid_value(path, text, "must not have bits set beyond the prefix length")


def _one_of_each(ranges: Sequence[str]) -> bool:
    """Whether there is one range of each family at most. What cannot be read counts as none."""
    families = [ipaddress.ip_interface(text).version for text in ranges if not fe.cidr(text)]
    return len(families) == len(set(families))
