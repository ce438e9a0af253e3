"""For all tests: asyncio alone, no test leaves a task behind, and with `TAILRACE_RIG=required` none is skipped."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest


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
    """A skip is a failure where all servers have to be there."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("TAILRACE_RIG") == "required" and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = len(terminalreporter.stats.get("skipped", ()))
    if skipped and os.environ.get("TAILRACE_RIG") == "required":
        terminalreporter.write_line(
            f"{skipped} skipped, but TAILRACE_RIG=required: that is a failure", red=True
        )
    elif skipped and os.environ.get("TAILRACE_RIG") == "off":
        terminalreporter.write_line(f"{skipped} skipped; `make test-all` runs them on real servers")
