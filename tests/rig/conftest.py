"""One real API server for the session, with our namespace, our rights and the audit log on.

Every test leaves it as it found it: no Services of its own, nothing of ours in the namespace.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from bench.grounds import HOME

from tailrace.sandbox.controlplane.control import ControlPlane
from tests.rig import apiserver
from tests.rig.node import Node
from tests.rig.operators import Operators

ROOT = Path(__file__).resolve().parents[2]
RIGHTS = ROOT / "src" / "tailrace" / "cli" / "rbac.yaml"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[apiserver.ApiServer]:
    """Skips, by name, where the servers are missing."""
    missing = sorted(set(apiserver.BINARIES) - set(apiserver.find_binaries()))
    if missing:
        pytest.skip(f"the rig lacks {', '.join(missing)} (TAILRACE_RIG_BIN names a folder)")
    with apiserver.start(tmp_path_factory.mktemp("rig"), audit=True) as running:
        running.kubectl("create", "namespace", HOME)
        running.kubectl("apply", "-f", str(RIGHTS))
        yield running


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
