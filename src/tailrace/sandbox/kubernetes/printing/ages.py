"""How Kubernetes writes how long ago something was: shared by `tables` and `printers`.

Source: `k8s.io/apimachinery/pkg/util/duration.HumanDuration`.
"""

from __future__ import annotations

from datetime import datetime

_MINUTE, _HOUR, _DAY, _YEAR = 60, 3600, 86400, 86400 * 365


def humanize(seconds: float) -> str:
    """Two units at most, and fewer the longer it is: `90s`, `2m3s`, `45m`, `5h12m`, `3d4h`, `2y9d`.

    A moment in the future is `<invalid>`, but for a second that clocks may differ by.
    """
    whole = int(seconds)
    if whole < 0:
        return "0s" if whole == -1 else "<invalid>"
    if whole < 2 * _MINUTE:
        return f"{whole}s"
    if whole < 10 * _MINUTE:
        return _pair(whole, _MINUTE, "m", 1, "s")
    if whole < 3 * _HOUR:
        return f"{whole // _MINUTE}m"
    if whole < 8 * _HOUR:
        return _pair(whole, _HOUR, "h", _MINUTE, "m")
    if whole < 2 * _DAY:
        return f"{whole // _HOUR}h"
    if whole < 8 * _DAY:
        return _pair(whole, _DAY, "d", _HOUR, "h")
    if whole < 2 * _YEAR:
        return f"{whole // _DAY}d"
    if whole < 8 * _YEAR:
        return _pair(whole, _YEAR, "y", _DAY, "d")
    return f"{whole // _YEAR}y"


def _pair(whole: int, big: int, big_name: str, small: int, small_name: str) -> str:
    rest = whole % big // small
    return f"{whole // big}{big_name}" + (f"{rest}{small_name}" if rest else "")


def parse_time(text: str) -> datetime:
    """RFC 3339 with or without fractions. Raises `ValueError` for anything else, a day without an hour too."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"no time zone in {text!r}")
    return moment


def since(text: str | None, now: datetime) -> str:
    """The age of a time field's value, `<unknown>` when it is not set."""
    return humanize((now - parse_time(text)).total_seconds()) if text else "<unknown>"
