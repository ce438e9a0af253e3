"""The real official operator makes a proxy and is stopped; Tailrace takes it over: the same device under the same name.

Real are the API server and both operators. The official one's own node joins a real Headscale behind the front of the
side-by-side measurement; its API, and the node that runs the proxies, are the stand-ins.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from bench.contenders import is_port_free, prepare_official
from bench.front import Front
from bench.rig import mint_node_key

from tailrace.sandbox.controlplane.control import ControlPlane
from tests.rig import apiserver, look, needs, tailnet
from tests.rig.node import Node
from tests.rig.operators import Operators
from tests.support import official

METRICS_PORT = 8080  # of the official operator, which cannot be told another
LACK = needs.explain((*apiserver.BINARIES, "headscale", "k8s-operator"), tools=(*apiserver.TOOLS, "go"))

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(bool(LACK), reason=LACK)]

SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web", "namespace": "demo", "annotations": {"tailscale.com/expose": "true"}},
    "spec": {"ports": [{"port": 80}], "selector": {"app": "web"}},
}


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[apiserver.ApiServer]:
    """An API server that nobody has installed anything on."""
    with apiserver.start(tmp_path) as running:
        yield running


@pytest.fixture
async def front(tailnet_api: ControlPlane, tmp_path: Path) -> AsyncIterator[Front]:
    with tailnet.start_headscale(tmp_path / "headscale") as headscale:
        made = Front(tailnet_api, headscale.port, await mint_node_key(headscale))
        async with made.run():
            yield made


@pytest.fixture
async def tailnet_api(anyio_backend: str) -> AsyncIterator[ControlPlane]:
    async with await ControlPlane.start("tailscale") as running:
        yield running


async def apply(server: apiserver.ApiServer, *documents: dict[str, Any]) -> None:
    path = server.folder / "documents.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}))
    await look.kubectl(server, "apply", "--server-side", "-f", str(path))


async def read(server: apiserver.ApiServer, *what: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await look.kubectl(server, "get", *what, "-o", "json"))
    return found


async def wait_condition(server: apiserver.ApiServer, kind: str, reason: str) -> None:
    said = f"{{.status.conditions[?(@.type=='{kind}')].reason}}"
    await look.kubectl(
        server, "wait", "service/web", "-n", "demo", f"--for=jsonpath={said}={reason}", "--timeout=90s"
    )


async def wait_replaced(server: apiserver.ApiServer, workload: dict[str, Any]) -> dict[str, Any]:
    """The StatefulSet that came after this one."""
    async with asyncio.timeout(look.PATIENCE):
        while True:
            found = (await read(server, "statefulset", "-n", official.HOME))["items"]
            if found and found[0]["metadata"]["uid"] != workload["metadata"]["uid"]:
                successor: dict[str, Any] = found[0]
                return successor
            await asyncio.sleep(0.2)


async def test_tailrace_takes_over_from_the_real_official_operator(
    bare: apiserver.ApiServer, tailnet_api: ControlPlane, front: Front, tmp_path: Path
) -> None:
    if not is_port_free(METRICS_PORT):
        pytest.skip(
            f"{needs.MACHINE}port {METRICS_PORT} is taken, which the official operator wants for its metrics"
        )
    contender = prepare_official(bare, front.url, tailnet_api.credentials)
    await look.kubectl(bare, "create", "namespace", "demo")
    operators = Operators(server=bare, plane=tailnet_api, folder=tmp_path)
    try:
        async with Node.start(bare.kubeconfig, tailnet_api):
            async with contender.run():
                await apply(bare, official.build_operator(1), SERVICE)
                await wait_condition(bare, "TailscaleProxyReady", "ProxyCreated")
                await look.wait_until("the device has joined", lambda: bool(tailnet_api.tailnet.nodes.all()))
                (before,) = tailnet_api.tailnet.nodes.all()
                (workload,) = (await read(bare, "statefulset", "-n", official.HOME))["items"]
                await look.kubectl(
                    bare, "apply", "--server-side", "--force-conflicts",
                    "-f", str(apiserver.DEFINITIONS), "-f", str(apiserver.RIGHTS),
                )  # fmt: skip
                operators.start(settings={"TAILRACE_PROXY_MODE": "userspace"})
                await wait_condition(bare, "Accepted", "OfficialOperatorRunning")
                (untouched,) = (await read(bare, "statefulset", "-n", official.HOME))["items"]
                assert untouched["metadata"]["uid"] == workload["metadata"]["uid"]
            await look.kubectl(bare, "scale", "deployment", "operator", "--replicas=0", "-n", official.HOME)
            await wait_condition(bare, "Online", "Connected")

            taken = await wait_replaced(bare, workload)
            await look.wait_until("it is connected", lambda: tailnet_api.tailnet.nodes.all()[0].online)
            (after,) = tailnet_api.tailnet.nodes.all()
            assert (after.id, after.name, after.addresses) == (before.id, before.name, before.addresses)
            assert taken["metadata"]["name"] == workload["metadata"]["name"]
            data = (await read(bare, "secret", f"{taken['metadata']['name']}-0", "-n", official.HOME))["data"]
            assert "cap-95.hujson" not in data
            assert (await read(bare, "service", "-n", official.HOME))["items"] == []

            await look.kubectl(bare, "delete", "service", "web", "-n", "demo", "--timeout=60s")
            assert tailnet_api.tailnet.nodes.all() == ()
    finally:
        operators.kill()
