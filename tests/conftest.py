"""For all tests: asyncio alone, no test leaves a task behind, and with `TAILRACE_RIG=required` no server is lacking."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from tests.rig import needs


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def no_leaked_tasks(anyio_backend: str) -> AsyncIterator[None]:
    """Whatever a test starts ends with it: a task that nobody owns is a fault that shows somewhere else."""
    before = asyncio.all_tasks()
    yield
    await asyncio.sleep(0)
    mine = asyncio.all_tasks() - before
    left = [task for task in mine if not task.done() and "TestRunner" not in repr(task.get_coro())]
    assert not left, f"tasks are left behind: {left}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every async test is watched for leaked tasks."""
    for item in items:
        if item.get_closest_marker("anyio") and isinstance(item, pytest.Function):
            item.fixturenames.insert(0, "no_leaked_tasks")  # set up first, so looked at last


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A skip is a failure where all servers have to be there, but for what the machine forbids."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("TAILRACE_RIG") == "required" and reporter and count_skipped(reporter).get(False):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    mode = os.environ.get("TAILRACE_RIG")
    skipped = count_skipped(terminalreporter)
    if mode == "required" and skipped[False]:
        line = f"{skipped[False]} skipped, but TAILRACE_RIG=required: that is a failure"
        terminalreporter.write_line(line, red=True)
    if mode == "required" and skipped[True]:
        line = f"{skipped[True]} skipped for what this machine cannot give, which is no failure"
        terminalreporter.write_line(line, yellow=True)
    if mode == "off" and skipped:
        terminalreporter.write_line(f"{skipped.total()} skipped; `make test-all` runs them on real servers")


def count_skipped(reporter: pytest.TerminalReporter) -> Counter[bool]:
    """How many tests were skipped, by whether it is the machine's doing."""
    reasons = (report.longrepr[2] for report in reporter.stats.get("skipped", ()))
    return Counter(needs.is_of_machine(reason) for reason in reasons)
