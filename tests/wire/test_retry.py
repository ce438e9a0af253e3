"""When a call may be sent again, and when not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.wire import retry
from tailrace.wire.retry import Failure

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "failure, status, repeatable, again",
    [
        (Failure.UNSENT, None, False, True),
        (Failure.LOST, None, False, False),
        (Failure.LOST, None, True, True),
        (Failure.STATUS, 429, False, True),
        (Failure.STATUS, 503, False, False),
        (Failure.STATUS, 503, True, True),
        (Failure.STATUS, 500, True, False),
        (Failure.STATUS, 404, True, False),
    ],
)
def test_the_table(failure: Failure, status: int | None, repeatable: bool, again: bool) -> None:
    """The module's table, row by row."""
    assert retry.may_repeat(failure, status, repeatable=repeatable) is again


@pytest.mark.parametrize(
    "value, seconds",
    [
        ("7", 7.0),
        (" 1.5 ", 1.5),
        ("-3", 0.0),
        ("Thu, 01 Jan 2026 12:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("Thursday, 01-Jan-26 12:00:30 GMT", 30.0),
        ("soon", None),
        ("nan", None),
        ("", None),
        (None, None),
        ("99999999", retry.MAX_RETRY_AFTER),
    ],
)
def test_reads_retry_after(value: str | None, seconds: float | None) -> None:
    """Seconds and dates; nonsense is nothing, and nobody is obeyed for ever."""
    assert retry.parse_retry_after(value, NOW) == seconds


@given(st.text(max_size=60))
def test_any_header_is_survived(value: str) -> None:
    """A server may send what it likes."""
    seconds = retry.parse_retry_after(value, NOW)
    assert seconds is None or 0 <= seconds <= retry.MAX_RETRY_AFTER


@given(st.integers(0, 3600))
def test_seconds_and_dates_agree(seconds: int) -> None:
    """Both forms of the header say the same."""
    date = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert retry.parse_retry_after(date, NOW) == retry.parse_retry_after(str(seconds), NOW)


@given(
    st.integers(1, 100), st.floats(0, 1, exclude_max=True), st.floats(0, 10), st.none() | st.floats(0, 100)
)
def test_a_call_never_outlives_its_budget(
    attempt: int, chance: float, spent: float, after: float | None
) -> None:
    """A wait fits the budget, is not shorter than the server asked, or is not made."""
    policy = retry.Policy()
    delay = retry.next_delay(attempt, chance=chance, spent=spent, retry_after=after, policy=policy)
    assert delay is None or (
        spent + delay <= policy.budget and delay >= (after or 0) and attempt < policy.attempts
    )
