"""`server`: the emulation and real Headscales, each in every setup that a talk may want; started when first wanted."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import httpx2
import pytest

from tailrace.sandbox.controlplane.control import ControlPlane, Options
from tests.contract.headscale import record
from tests.contract.headscale.talk import POLICY, Server, Setup
from tests.rig import needs, tailnet

type Find = Callable[[str, Setup], Server]
EMULATED = "emulation"


@pytest.fixture(scope="session")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A thread of its own for the emulation, so that talks are as plain as with a server elsewhere."""
    made = asyncio.new_event_loop()
    thread = threading.Thread(target=made.run_forever, name="emulated control plane")
    thread.start()
    yield made
    made.call_soon_threadsafe(made.stop)
    thread.join()
    made.close()


@contextmanager
def start_emulation(loop: asyncio.AbstractEventLoop, setup: Setup) -> Iterator[Server]:
    options = Options(
        policy_text={"database": POLICY, "empty": None, "file": json.dumps(tailnet.POLICY)}[setup],
        policy_in_file=setup == "file",
        base_domain="rig.internal",
    )
    starting = ControlPlane.start("headscale-0.29", options)
    plane = asyncio.run_coroutine_threadsafe(starting, loop).result()
    with httpx2.Client(base_url=plane.url, timeout=30) as http:
        yield Server(EMULATED, "0.29", setup, plane.credentials["api_key"], http)
    asyncio.run_coroutine_threadsafe(plane.stop(), loop).result()


@pytest.fixture(scope="session")
def find(loop: asyncio.AbstractEventLoop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Find]:
    """A running server: the emulation, or a real one of a release."""
    running: dict[tuple[str, Setup], Server] = {}
    with ExitStack() as stack:

        def start(which: str, setup: Setup) -> Server:
            if (which, setup) not in running:
                folder = tmp_path_factory.mktemp(f"headscale-{which}-{setup}")
                running[which, setup] = stack.enter_context(
                    start_emulation(loop, setup)
                    if which == EMULATED
                    else record.start_real(folder, which, setup)
                )
            return running[which, setup]

        yield start


@pytest.fixture(params=[EMULATED, *tailnet.RELEASES])
def which(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    if found != EMULATED and (lack := needs.explain([tailnet.RELEASES[found]])):
        pytest.skip(lack)
    return found
