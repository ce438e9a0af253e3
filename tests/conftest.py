"""For all tests: asyncio alone, and no test leaves a task behind."""

from __future__ import annotations

import asyncio
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
