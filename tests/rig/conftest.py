"""One real API server for the session, with our namespace, our rights and the audit log on.

Every test finds it as on the first day: what a test leaves is put away after it, and a server that a failed test had,
or one that cannot be tidied, is ended, so that the next test gets a fresh one and no failure makes another.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import pytest
from bench.grounds import HOME

from tailrace.api import names
from tailrace.sandbox.controlplane.control import ControlPlane
from tests.rig import apiserver, needs
from tests.rig.node import Node
from tests.rig.operators import Operators

ROOT, RIGHTS = apiserver.ROOT, apiserver.RIGHTS
_FAILED = pytest.StashKey[bool]()
_CHILDREN = "statefulsets,pods,secrets,serviceaccounts,roles,rolebindings"
_NOTES = ("lease/tailrace", f"configmap/{names.ORPHANS}", f"configmap/{names.SETTINGS}")
"""What an operator writes down for the next one."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fixtures may ask whether their test failed."""
    report = yield
    item.stash[_FAILED] = report.failed or item.stash.get(_FAILED, False)
    return report


class Servers:
    """The one that runs, started when somebody first wants it."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory = factory
        self._stack = contextlib.ExitStack()
        self._running: apiserver.ApiServer | None = None

    def get(self) -> apiserver.ApiServer:
        if self._running is None:
            folder = self._factory.mktemp("rig")
            self._running = self._stack.enter_context(apiserver.start(folder, audit=True))
            apiserver.furnish(self._running.kubectl)
        return self._running

    def end(self) -> None:
        self._running = None
        self._stack.close()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    made = Servers(tmp_path_factory)
    try:
        yield made
    finally:
        made.end()


@pytest.fixture
def server(servers: Servers, request: pytest.FixtureRequest) -> Iterator[apiserver.ApiServer]:
    """Skips, by name, where the servers are missing. Ours is all that a test may leave, and it leaves nothing."""
    if lack := needs.explain(apiserver.BINARIES, tools=apiserver.TOOLS):
        pytest.skip(lack)
    running = servers.get()
    yield running
    if request.node.stash.get(_FAILED, False):
        servers.end()
        return
    try:
        tidy(running)
    except BaseException:
        servers.end()
        raise


def tidy(server: apiserver.ApiServer) -> None:
    """Put away what the operator notes for itself.

    Raises:
        AssertionError: something else of ours is still there.
    """
    server.kubectl("delete", *_NOTES, "-n", HOME, "--ignore-not-found")
    left = server.kubectl("get", _CHILDREN, "-n", HOME, "-l", f"{names.MANAGED}=true", "-o", "name")
    assert not left, f"the test has left {left}"


@pytest.fixture
async def tailnet(anyio_backend: str) -> AsyncIterator[ControlPlane]:
    """An emulated control plane of the test's own."""
    async with await ControlPlane.start("tailscale") as running:
        yield running


@pytest.fixture
async def node(server: apiserver.ApiServer, tailnet: ControlPlane) -> AsyncIterator[Node]:
    """Stands in for kubelet and containerboot."""
    async with Node.start(server.kubeconfig, tailnet) as running:
        yield running


@pytest.fixture
async def operators(
    server: apiserver.ApiServer, tailnet: ControlPlane, node: Node, tmp_path: Path
) -> AsyncIterator[Operators]:
    """Makes operator processes, and kills those that are left."""
    made = Operators(server=server, plane=tailnet, folder=tmp_path)
    try:
        yield made
    finally:
        made.kill()
