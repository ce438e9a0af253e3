"""Figures as Markdown: one column for each run, and what the official operator's are divided by Tailrace's."""

from __future__ import annotations

import os
import platform
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.limit import Limit
from bench.services import print_table
from bench.trial import Trial


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One run as text, and as the numbers that ratios are made of."""

    name: str  # limit, official, Tailrace
    count: int
    rows: dict[str, str]
    numbers: dict[str, float] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)  # while exposing


def build_limit(count: int, limit: Limit, load: float) -> Column:
    return Column(
        name="limit",
        count=count,
        rows={
            "all ready after": f"{limit.seconds:.1f} s",
            "Kubernetes requests a Service": f"{limit.writes}",
            "all requests a second": f"{limit.requests_per_second:.0f}",
            "load of the machine before": f"{load:.1f}",
        },
        numbers={"all ready after": limit.seconds},
    )


def build_column(trial: Trial, load: float) -> Column:
    """Every figure of one operator's run."""
    exposed, deleted, count = trial.exposed, trial.deleted, trial.count
    assert exposed is not None
    assert deleted is not None
    numbers = {
        "all ready after": exposed.seconds,
        "last request after": exposed.settled,
        "Kubernetes requests a Service": exposed.asked.requests.total() / count,
        "control-plane calls a Service": exposed.calls.total() / count,
        "CPU": exposed.cpu,
        "peak memory": trial.peak,
        "all gone after": deleted.seconds,
        "requests a Service to delete": deleted.asked.requests.total() / count,
        "calls a Service to delete": deleted.calls.total() / count,
        "CPU to delete": deleted.cpu,
    }
    rows = {
        "all ready after": f"{exposed.seconds:.1f} s",
        "last request after": f"{exposed.settled:.1f} s",
        "Kubernetes requests a Service": f"{numbers['Kubernetes requests a Service']:.2f}",
        "control-plane calls a Service": f"{numbers['control-plane calls a Service']:.2f}",
        "CPU": f"{exposed.cpu:.1f} s",
        "peak memory": f"{trial.peak:.0f} MiB",
        "all gone after": f"{deleted.seconds:.1f} s",
        "requests a Service to delete": f"{numbers['requests a Service to delete']:.2f}",
        "calls a Service to delete": f"{numbers['calls a Service to delete']:.2f}",
        "CPU to delete": f"{deleted.cpu:.1f} s",
    }
    if trial.idle is not None:
        idle, label = trial.idle, f"settled {trial.idle.seconds:.0f} s"
        rows |= {
            f"{label}: requests": f"{idle.asked.requests.total()}",
            f"{label}: of the lease": f"{idle.asked.leases}",
            f"{label}: watches opened": f"{idle.asked.watches}",
            f"{label}: control-plane calls": f"{idle.calls.total()}",
            f"{label}: CPU": f"{idle.cpu:.2f} s",
        }
    for what, values in (
        ("one more: to its StatefulSet", [s.child for s in trial.singles]),
        ("one more: to ready", [s.ready for s in trial.singles]),
        ("one deleted: to gone", [s.gone for s in trial.singles]),
    ):
        if values:
            numbers[what] = statistics.median(values)
            rows[what] = f"{numbers[what] * 1000:.0f}, {max(values) * 1000:.0f} ms"
    if trial.restarted is not None:
        restarted = trial.restarted
        rows |= {
            "restart: requests": f"{restarted.asked.requests.total()}",
            "restart: writes": f"{restarted.asked.writes}",
            "restart: last request after": f"{restarted.settled:.1f} s",
            "restart: CPU": f"{restarted.cpu:.1f} s",
        }
        numbers["restart: last request after"] = restarted.settled
    rows["load of the machine before"] = f"{load:.1f}"
    return Column(
        name=trial.contender.name, count=count, rows=rows, numbers=numbers, asked=exposed.asked.requests
    )


def build_ratios(columns: Sequence[Column]) -> list[Column]:
    """Official by Tailrace, for each count that has both; and Tailrace's share of the limit."""
    found = []
    for count in dict.fromkeys(column.count for column in columns):
        by = {column.name: column for column in columns if column.count == count}
        if "Tailrace" not in by:
            continue
        ours, rows = by["Tailrace"].numbers, {}
        if "official" in by:
            theirs = by["official"].numbers
            rows = {k: f"{theirs[k] / ours[k]:.1f}" for k in ours if k in theirs and ours[k]}
        if "limit" in by:
            share = by["limit"].numbers["all ready after"] / ours["all ready after"]
            rows["share of the limit"] = f"{share:.0%}"
        found.append(Column(name="ratio", count=count, rows=rows))
    return found


def print_comparison(columns: Sequence[Column]) -> None:
    print(f"{len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}.\n")
    ratios = build_ratios(columns)
    ordered = sorted(
        [*columns, *ratios], key=lambda column: column.count
    )  # stable: limit, official, Tailrace, ratio
    print_table(["", *(f"{c.count} {c.name}" for c in ordered)], [c.rows for c in ordered])
    asked = [column for column in ordered if column.asked]
    head = ["requests while exposing, a Service", *(f"{c.count} {c.name}" for c in asked)]
    print_table(head, [{k: f"{v / c.count:.2f}" for k, v in c.asked.most_common()} for c in asked])
