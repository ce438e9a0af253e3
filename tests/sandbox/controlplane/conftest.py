from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx2
import pytest

from tailrace.sandbox.controlplane.control import ControlPlane, Options
from tailrace.sandbox.controlplane.records import Dialect
from tests.sandbox.controlplane.talk import Starter, Talk


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def start() -> AsyncIterator[Starter]:
    """Start control planes; they end with the test."""
    async with AsyncExitStack() as stack:

        async def starter(dialect: Dialect, options: Options | None = None) -> Talk:
            plane = await stack.enter_async_context(await ControlPlane.start(dialect, options))
            http = await stack.enter_async_context(httpx2.AsyncClient(base_url=plane.url, trust_env=False))
            return Talk(plane, http)

        yield starter
