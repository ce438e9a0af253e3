"""What can go wrong with an HTTP server on purpose, and how often it was called."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

_LOWEST = {"status": 200, "retry_after": 0.0, "delay": 0.0, "rate": 0.001, "burst": 1}
_BURST = 10
_HIGHEST = {"status": 599}
SWITCHES = frozenset(_LOWEST)


@dataclass(slots=True, kw_only=True)
class Faults:
    """Switches, all off."""

    status: int | None = None  # every call answers this: 503 is an outage, 500 a broken server
    retry_after: float | None = None  # beside `status`
    delay: float = 0.0  # seconds that every call takes longer
    latency: Mapping[tuple[str, str], float] = field(default_factory=dict)  # by method and route template
    rate: float | None = None  # calls a second that are let through; more get 429 with Retry-After
    burst: int = _BURST
    clock: Callable[[], float] = monotonic
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)  # answered, by method and route template
    turned_away: int = 0  # by `status`, `fail_next` and `rate`
    _fails: list[tuple[int, float | None]] = field(default_factory=list)
    _tokens: float | None = None
    _filled: float = 0.0

    def fail_next(self, status: int, *, times: int = 1, retry_after: float | None = None) -> None:
        """The next calls answer this status, whatever they ask."""
        self._fails += [(status, retry_after)] * times

    def set(self, switches: Mapping[str, Any]) -> None:
        """Switch on what is named, all else off. ValueError for a fault that there is not, or a value that makes none."""
        if unknown := sorted(switches.keys() - SWITCHES):
            raise ValueError(f"no such fault: {', '.join(unknown)}; there are {', '.join(sorted(SWITCHES))}")
        for name, value in switches.items():
            _check(name, value)
        self.clear()
        for name, value in switches.items():
            setattr(self, name, value)

    def clear(self) -> None:
        """All switches off; the counters stay."""
        self.status = self.retry_after = self.rate = self._tokens = None
        self.delay, self.latency, self.burst = 0.0, {}, _BURST
        self._fails.clear()

    def count(self, method: str, template: str) -> None:
        self.calls[method, template] += 1

    async def linger(self, method: str, template: str) -> None:
        """Take the time that this call takes."""
        seconds = self.delay + self.latency.get((method, template), 0.0)
        if seconds:
            await asyncio.sleep(seconds)

    def verdict(self) -> tuple[int, float | None] | None:
        """Status and Retry-After for the call that comes now; None lets it through."""
        found: tuple[int, float | None] | None = None
        if self._fails:
            found = self._fails.pop(0)
        elif self.status is not None:
            found = self.status, self.retry_after
        elif self.rate is not None:
            found = self._limit(self.rate)
        self.turned_away += found is not None
        return found

    def _limit(self, rate: float) -> tuple[int, float | None] | None:
        now = self.clock()
        stock = float(self.burst) if self._tokens is None else self._tokens + (now - self._filled) * rate
        self._filled, self._tokens = now, min(stock, float(self.burst))
        if self._tokens >= 1:
            self._tokens -= 1
            return None
        return 429, math.ceil((1 - self._tokens) / rate)


def _check(name: str, value: Any) -> None:
    lowest, highest = _LOWEST[name], _HIGHEST.get(name, math.inf)
    whole = isinstance(lowest, int)
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        raise ValueError(f"{name} is a {'whole ' if whole else ''}number, not {value!r}")
    if not lowest <= value <= highest:
        raise ValueError(f"{name} is {value}, which is no value for it")
