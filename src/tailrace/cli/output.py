"""Printing: tables for people, JSON and YAML for programs, errors with a hint."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
import yaml
from rich.console import Console
from rich.table import Table

type Format = Literal["table", "json", "yaml"]


def tell(text: str) -> None:
    """Talk: to standard error, so that standard output stays data."""
    print(text, file=sys.stderr, flush=True)


def tell_error(message: str, hint: str = "") -> None:
    tell(f"error: {message}")
    if hint:
        tell(f"hint: {hint}")


def print_data(value: object, form: Format) -> None:
    """A value as JSON or YAML."""
    plain: Any = msgspec.to_builtins(value)
    if form == "yaml":
        print(yaml.safe_dump(plain, sort_keys=False, width=110), end="")
    else:
        print(msgspec.json.format(msgspec.json.encode(plain), indent=2).decode())


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> None:
    """A table without lines, as kubectl prints them; colour only on a terminal."""
    found = list(rows)
    if not found:
        tell(empty)
        return
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for title in head:
        table.add_column(title, no_wrap=True)
    for row in found:
        table.add_row(*row)
    if console.is_terminal:
        console.print(table)
        return
    widths = [max(len(str(cell)) for cell in column) for column in zip(head, *found, strict=True)]
    for row in (head, *found):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def describe_age(since: datetime | None) -> str:
    """`5s`, `12m`, `3h`, `8d`."""
    if since is None:
        return ""
    seconds = max(0, int((datetime.now(UTC) - since).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= 2 * size or (unit != "m" and seconds >= size):
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
