"""Logs: one canonical line for each unit of work, pretty on a terminal, JSON otherwise, never a secret.

A unit of work opens with `unit_of_work`; whoever works inside it, in the same task or a child, adds what is worth
knowing with `annotate`, and one line tells it all when the unit ends.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import sys
from collections.abc import Iterator, MutableMapping
from typing import Any, TextIO

import structlog

from tailrace.observe.redact import redact_value

_unit: contextvars.ContextVar[dict[str, Any] | None] = contextvars.ContextVar("tailrace_unit", default=None)


def hide_secrets(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The structlog processor that redacts every field; it stands last before the renderer."""
    return {name: redact_value(name, value) for name, value in event.items()}


def configure(*, level: str = "info", pretty: bool | None = None, stream: TextIO | None = None) -> None:
    """Set up logging for the process.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        pretty: True for people, False for JSON lines; None looks whether the stream is a terminal.
        stream: where lines go, standard error by default.
    """
    out = stream if stream is not None else sys.stderr
    for_people = out.isatty() if pretty is None else pretty
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=for_people and out.isatty())
        if for_people
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            hide_secrets,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    # Libraries (uvicorn, httpx2) log through the standard library: warnings and worse only, in the same place.
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    handler.addFilter(_hide_in_record)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


@contextlib.contextmanager
def write_to(stream: TextIO) -> Iterator[None]:
    """JSON lines into `stream`, which may be closed afterwards: then it is as before."""
    root = logging.getLogger()
    before, handlers, level = structlog.get_config(), root.handlers[:], root.level
    configure(stream=stream, pretty=False)
    try:
        yield
    finally:
        structlog.configure(**before)
        root.handlers[:] = handlers
        root.setLevel(level)


def _hide_in_record(record: logging.LogRecord) -> bool:
    record.msg, record.args = redact_value("", record.getMessage()), ()
    return True


def get_logger(room: str) -> structlog.typing.FilteringBoundLogger:
    """The logger of a room; every line carries the room's name."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(room=room)
    return logger


@contextlib.contextmanager
def unit_of_work(**fields: Any) -> Iterator[dict[str, Any]]:
    """Open the canonical line of a unit of work; the caller logs the yielded fields when the unit has ended."""
    line = dict(fields)
    token = _unit.set(line)
    try:
        yield line
    finally:
        _unit.reset(token)


def annotate(**fields: Any) -> None:
    """Add fields to the canonical line of the current unit of work; outside of one it does nothing."""
    line = _unit.get()
    if line is not None:
        line.update(fields)
