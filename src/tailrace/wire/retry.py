"""Whether a failed call may be sent again at once, and when. Pure: time and chance are arguments.

Retries here are small and short; they carry a call over a restart of the server or a dropped connection. What
takes longer belongs to the engine, which backs off for each object.

| what happened                                   | call that may repeat | call that must not (minting a key) |
| ----------------------------------------------- | -------------------- | ---------------------------------- |
| refused or timed out before anything was sent   | again                | again                              |
| 429                                             | again                | again: the server did nothing      |
| 502, 503, 504                                   | again                | no: a proxy may have passed it on  |
| connection lost or timed out after sending      | again                | no                                 |
| any other status, 500 included                  | no                   | no                                 |

500 is not repeated since Headscale's first dialect answers it to requests that can never succeed.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_RETRY_AFTER = 3600.0
"""No server is obeyed for longer than this, in seconds: a wrong clock must not stop us for a year."""


class Failure(enum.Enum):
    UNSENT = "unsent"  # the server cannot have seen the call
    LOST = "lost"  # it may have
    STATUS = "status"  # it answered


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """`budget` bounds the seconds that one call may spend waiting between its attempts."""

    attempts: int = 3
    first: float = 0.2
    cap: float = 2.0
    budget: float = 3.0


def may_repeat(failure: Failure, status: int | None, *, repeatable: bool) -> bool:
    """The table above."""
    match failure:
        case Failure.UNSENT:
            return True
        case Failure.LOST:
            return repeatable
        case Failure.STATUS:
            return status == 429 or (repeatable and status in (502, 503, 504))


def backoff(attempt: int, chance: float, policy: Policy) -> float:
    """Seconds before attempt `attempt + 1`, for `chance` in [0, 1): half of it fixed, half of it jitter."""
    full = min(policy.cap, policy.first * 2.0 ** min(attempt - 1, 30))
    return full * (0.5 + 0.5 * chance)


def next_delay(
    attempt: int, *, chance: float, spent: float, retry_after: float | None, policy: Policy
) -> float | None:
    """How long to wait after failed attempt number `attempt` (from 1), or None to give up.

    Retry-After is a lower bound: a server is never asked sooner, and when it asks for more than what is left of
    the budget, the caller is told rather than held.
    """
    if attempt >= policy.attempts:
        return None
    delay = max(backoff(attempt, chance, policy), retry_after or 0.0)
    return delay if spent + delay <= policy.budget else None


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds of a Retry-After header, which is a number of seconds or an HTTP date (RFC 9110, 10.2.3).

    None when absent or nonsense; never negative, never more than `MAX_RETRY_AFTER`.
    """
    if value is None or not (value := value.strip()):
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = parsedate_to_datetime(value)
            # "-0000" and a missing zone give a naive value; HTTP dates are always UTC.
            seconds = ((when if when.tzinfo else when.replace(tzinfo=UTC)) - now).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return None
    if not math.isfinite(seconds):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)
