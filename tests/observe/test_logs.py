"""One line tells a unit of work, and no line tells a secret."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from tailrace.observe import logs
from tailrace.observe.redact import MASK, redact_value

SECRET = "kAbC123-verysecretpart"
PEM = f"-----BEGIN EC PRIVATE KEY-----\n{SECRET}\n-----END EC PRIVATE KEY-----"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """JSON lines of all logging; what was set up before comes back."""
    root, out = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()  # `force` would close those of the test runner
    logs.configure(pretty=False, stream=out)
    yield out
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def read(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.anyio
async def test_whoever_works_inside_a_unit_adds_to_its_one_line(stream: io.StringIO) -> None:
    """Also in a child task; and nothing leaks into the unit beside it."""

    async def work(number: int) -> None:
        with logs.unit_of_work(key=f"demo/{number}") as line:
            await asyncio.gather(asyncio.sleep(0), note(number))
            logs.get_logger("test").info("done", **line)

    async def note(number: int) -> None:
        logs.annotate(operations=number)

    await asyncio.gather(work(1), work(2))
    assert [(line["room"], line["key"], line["operations"]) for line in read(stream)] == [
        ("test", "demo/1", 1),
        ("test", "demo/2", 2),
    ]


def test_outside_of_a_unit_a_note_is_no_fault() -> None:
    logs.annotate(anything=1)


@pytest.mark.parametrize(
    "fields",
    [
        {"auth_key": SECRET},
        {"why": f"the server said: tskey-auth-{SECRET}"},
        {"why": ValueError(f"hskey-auth-{SECRET}")},
        {"why": {"inner": [f"Bearer {SECRET}"], "client_secret": SECRET}},
        {"why": f"tskey-auth-{SECRET}".encode()},
        {"why": PEM},
        {"why": PEM[:-20]},
        {"url": f"https://user:{SECRET}@headscale.example.com/"},
        {"why": f"client_assertion={SECRET}"},
    ],
)
def test_no_field_of_a_line_tells_a_secret(stream: io.StringIO, fields: dict[str, Any]) -> None:
    logs.get_logger("test").warning("refused", **fields)
    assert "verysecret" not in stream.getvalue()
    assert MASK in stream.getvalue()


def test_no_traceback_tells_a_secret(stream: io.StringIO) -> None:
    try:
        raise RuntimeError(f"tskey-auth-{SECRET}")
    except RuntimeError:
        logs.get_logger("test").exception("a fault")
    (line,) = read(stream)
    assert "RuntimeError" in line["exception"]
    assert "verysecret" not in line["exception"]


def test_libraries_log_into_the_same_place_under_the_same_rule(stream: io.StringIO) -> None:
    logging.getLogger("httpx2").warning("sent %s", f"Authorization: Bearer {SECRET}")
    logging.getLogger("httpx2").info("chatter")
    assert stream.getvalue() == f"WARNING httpx2: sent Authorization: Bearer {MASK}\n"


def test_what_is_no_secret_stays_as_it_is() -> None:
    fields = {"secret_name": "ts-web-0", "key": "demo/web", "seconds": 1.5, "ops": ["apply Secret"]}
    assert {name: redact_value(name, value) for name, value in fields.items()} == fields


def test_a_stream_that_was_written_to_may_be_closed() -> None:
    """What is logged afterwards goes where it went before."""
    before, within = io.StringIO(), io.StringIO()
    with logs.write_to(before):
        with logs.write_to(within):
            logs.get_logger("x").info("inside")
        within.close()
        logs.get_logger("x").info("outside")
        assert json.loads(before.getvalue())["event"] == "outside"
