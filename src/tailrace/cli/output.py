"""Printing: tables for people, JSON and YAML for programs, progress, errors with a hint.

Data goes to standard output and stays clean of colours and talk when it is no terminal; talk goes to standard error.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, Self, TextIO

import msgspec
import yaml
from rich.console import Console
from rich.status import Status
from rich.text import Text

type Format = Literal["table", "json", "yaml"]

STYLES: Mapping[str, str] = {"True": "green", "False": "red", "Unknown": "yellow"}


def tell(text: str) -> None:
    """Talk: to standard error, so that standard output stays data."""
    print(text, file=sys.stderr, flush=True)


@functools.cache
def tell_once(text: str) -> None:
    """Talk that would be said again and again."""
    tell(text)


def tell_error(message: str, hint: str = "") -> None:
    tell(f"error: {message}")
    if hint:
        tell(f"hint: {hint}")


def print_data(value: object, form: Format) -> None:
    """A value as JSON or YAML, a document of its own each time."""
    plain: Any = msgspec.to_builtins(value)
    if form == "yaml":
        print(yaml.safe_dump(plain, sort_keys=False, width=110, explicit_start=True), end="")
    else:
        print(msgspec.json.format(msgspec.json.encode(plain), indent=2).decode())


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> None:
    """A table without lines, as kubectl prints them. It is never cut: a narrow terminal wraps its lines."""
    found = list(rows)
    if not found:
        tell(empty)
        return
    widths = [max(map(len, column)) for column in zip(head, *found, strict=True)]
    lines = [
        [cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in (list(head), *found)
    ]
    console = open_console(sys.stdout)
    if console is None:
        for line in lines:
            print("  ".join(line).rstrip())
        return
    for number, line in enumerate(lines):
        cells = (Text(cell, STYLES.get(cell.strip(), "") if number else "bold") for cell in line)
        console.print(Text("  ").join(cells), soft_wrap=True)


def open_console(stream: TextIO) -> Console | None:
    """For colours and movement; None where there shall be none: no terminal, a dumb one, NO_COLOR."""
    console = Console(file=stream, highlight=False)
    plain = not console.is_terminal or console.is_dumb_terminal or console.no_color
    return None if plain else console


def describe_age(since: datetime | None) -> str:
    """`5s`, `12m`, `3h`, `8d`."""
    if since is None:
        return ""
    seconds = max(0, int((datetime.now(UTC) - since).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= 2 * size or (unit != "m" and seconds >= size):
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


class Progress:
    """What is being waited for: a moving line on a terminal, a line for each change elsewhere."""

    def __init__(self) -> None:
        console = open_console(sys.stderr)
        self._status = None if console is None else Status("", console=console)
        self._said = ""

    def say(self, text: str) -> None:
        if text == self._said:
            return
        self._said = text
        if self._status is None:
            tell(text)
        else:
            self._status.update(Text(text))

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()
