"""A cluster is thrown away with all its state, a real Headscale stays: the same manifest in a new cluster gets the same name.

Real are Headscale, the API servers, the containerboot of the proxy, and the operator with its rights.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.rig import apiserver, look, needs, pods, tailnet

HOME = pods.NAMESPACE
LACK = needs.explain(
    (*apiserver.BINARIES, *tailnet.BINARIES, *pods.PROGRAMS),
    tools=(*apiserver.TOOLS, *pods.TOOLS),
    rights=[needs.private_mounts],
)

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(bool(LACK), reason=LACK)]

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default, annotations: {tailscale.com/expose: "true"}}
spec: {ports: [{port: 80}]}
"""


@pytest.fixture
def headscale(tmp_path: Path) -> Iterator[tailnet.Headscale]:
    with tailnet.start_headscale(tmp_path / "headscale") as running:
        yield running


@contextlib.asynccontextmanager
async def live(folder: Path, headscale: tailnet.Headscale) -> AsyncIterator[apiserver.ApiServer]:
    """A cluster from its first day to its sudden end; nothing of it is deleted in order."""
    with apiserver.start(folder) as server:
        await asyncio.to_thread(apiserver.furnish, server.kubectl)
        manifest, key = folder / "service.yaml", folder / "key"
        manifest.write_text(SERVICE)
        key.write_text(headscale.api_key)
        await look.kubectl(server, "apply", "--server-side", "-f", str(manifest))
        headers = {"Authorization": f"Bearer {apiserver.ADMIN}"}
        async with httpx2.AsyncClient(base_url=server.url, headers=headers, verify=False, timeout=10) as api:
            running = pods.Pods(api, folder / "pods", ca=folder / "certs" / "apiserver.crt")
            kubelet = asyncio.create_task(running.run())
            try:
                async with run_operator(server, headscale, key):
                    yield server
            finally:
                kubelet.cancel()
                await asyncio.gather(kubelet, return_exceptions=True)
                await asyncio.to_thread(running.close)


@contextlib.asynccontextmanager
async def run_operator(
    server: apiserver.ApiServer, headscale: tailnet.Headscale, key: Path
) -> AsyncIterator[None]:
    token = (await look.kubectl(server, "create", "token", "operator", "-n", HOME)).strip()
    environment = {
        **os.environ,
        "OPERATOR_NAMESPACE": HOME,
        "OPERATOR_LOGIN_SERVER": headscale.url,
        "TAILRACE_API_KEY_FILE": str(key),
        "TAILRACE_PROXY_MODE": "userspace",
        "TAILRACE_DEVICE_REFRESH": "2s",
        "TAILRACE_METRICS_ADDRESS": f"127.0.0.1:{apiserver.free_port()}",
    }
    kubeconfig = server.write_kubeconfig("operator", token)
    command = [sys.executable, "-m", "tailrace", "run", "--kubeconfig", str(kubeconfig)]
    with (server.folder / "operator.log").open("wb") as log:
        operator = await asyncio.create_subprocess_exec(*command, env=environment, stdout=log, stderr=log)
        try:
            yield
        finally:
            operator.kill()
            await operator.wait()


async def wait_connected(server: apiserver.ApiServer) -> None:
    said = "--for=jsonpath={.status.conditions[?(@.type=='Online')].reason}=Connected"
    await look.kubectl(server, "wait", "service/web", "-n", "default", said, "--timeout=120s")


async def list_nodes(headscale: tailnet.Headscale) -> list[dict[str, Any]]:
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {headscale.api_key}"}) as client:
        found = (await client.get(f"{headscale.url}/api/v1/node")).raise_for_status().json()
    nodes: list[dict[str, Any]] = found["nodes"]
    return nodes


async def test_a_rebuilt_cluster_has_the_same_name_on_a_real_headscale(
    headscale: tailnet.Headscale, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The new operator waits until the old device is seen dead, then takes its name."""
    async with live(tmp_path_factory.mktemp("first"), headscale) as server:
        await wait_connected(server)
        (before,) = await list_nodes(headscale)
    async with live(tmp_path_factory.mktemp("second"), headscale) as server:
        await wait_connected(server)
        (after,) = await list_nodes(headscale)
    assert before["givenName"] == after["givenName"] == "default-web"
    assert before["id"] != after["id"]
