"""The main job on a real kube-apiserver: five clusters' Services applied with the real kubectl, each becomes a device.

The operator is a process of its own with its real service account, so that its rights are proved too; the control
plane is the emulated one, over HTTP; proxies are stood in for.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from bench.services import HOME, Proxies

from tailrace.api import names
from tailrace.kube import resources
from tailrace.kube.client import Kube
from tailrace.kube.watch import Watch
from tailrace.sandbox.controlplane.control import ControlPlane
from tests.rig import apiserver

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "deploy" / "examples"

pytestmark = pytest.mark.anyio


@pytest.fixture
async def plane(server: apiserver.ApiServer) -> AsyncIterator[ControlPlane]:
    """Control plane, stand-in proxies, and the operator as a process of its own."""
    folder = server.folder
    token = server.kubectl("create", "token", "operator", "-n", HOME).strip()
    kubeconfig = server.write_kubeconfig("operator", token)
    async with await ControlPlane.start("tailscale") as running:
        for key in ("client_id", "client_secret"):
            (folder / key).write_text(running.credentials[key])
        environment = {
            **os.environ,
            "OPERATOR_NAMESPACE": HOME,
            "OPERATOR_LOGIN_SERVER": running.url,
            "CLIENT_ID_FILE": str(folder / "client_id"),
            "CLIENT_SECRET_FILE": str(folder / "client_secret"),
            "TAILRACE_METRICS_ADDRESS": f"127.0.0.1:{apiserver.free_port()}",
        }
        log = folder / "operator.log"
        with log.open("wb") as out:
            command = [sys.executable, "-m", "tailrace", "run", "--kubeconfig", str(kubeconfig)]
            operator = await asyncio.create_subprocess_exec(*command, env=environment, stdout=out, stderr=out)
            cluster = Kube.connect(kubeconfig=server.kubeconfig)
            proxies = Proxies(cluster, running)
            labels = f"{names.MANAGED}=true"
            watch = Watch(cluster, resources.STATEFUL_SETS, proxies.store, namespace=HOME, labels=labels)
            watching = asyncio.create_task(watch.run())
            try:
                yield running
            finally:
                operator.terminate()
                await operator.wait()
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
                await cluster.close()
        assert "forbidden" not in log.read_text()


async def kubectl(server: apiserver.ApiServer, *arguments: str) -> str:
    return await asyncio.to_thread(server.kubectl, *arguments)


async def wait_condition(server: apiserver.ApiServer, name: str, kind: str, status: str = "True") -> None:
    namespace, _, service = name.partition("/")
    wait = (
        "wait",
        f"--for=condition={kind}={status}",
        f"service/{service}",
        "-n",
        namespace,
        "--timeout=50s",
    )
    await kubectl(server, *wait)


async def list_children(server: apiserver.ApiServer) -> list[Any]:
    kinds = "secrets,statefulsets,serviceaccounts,roles,rolebindings"
    found = await kubectl(server, "get", kinds, "-n", HOME, "-l", f"{names.MANAGED}=true", "-o", "json")
    items: list[Any] = json.loads(found)["items"]
    return items


async def wait_gone(server: apiserver.ApiServer, plane: ControlPlane) -> None:
    async with asyncio.timeout(50):
        while await list_children(server) or plane.tailnet.nodes.all():
            await asyncio.sleep(0.3)


async def test_the_services_of_five_clusters_become_devices_and_leave_nothing(
    server: apiserver.ApiServer, plane: ControlPlane
) -> None:
    examples = str(EXAMPLES / "five-clusters")
    await kubectl(server, "apply", "-f", examples)
    exposed = (await kubectl(server, "get", "services", "-A", "-o", "json")).strip()
    wanted = [
        f"{s['metadata']['namespace']}/{s['metadata']['name']}"
        for s in json.loads(exposed)["items"]
        if s["metadata"].get("annotations", {}).get(names.EXPOSE) or s["spec"].get("loadBalancerClass")
    ]
    assert len(wanted) == 12
    for name in wanted:
        await wait_condition(server, name, "Online")
    assert {node.name for node in plane.tailnet.nodes.all()} >= {
        "grafana-solar",
        "wiki-example-com",
        "media-jellyfin",
    }
    ingress = json.loads(await kubectl(server, "get", "service", "grafana-lb", "-n", "solar", "-o", "json"))
    assert ingress["status"]["loadBalancer"]["ingress"][0]["hostname"].startswith("solar-grafana-lb.")
    secrets = [c for c in await list_children(server) if c["kind"] == "Secret"]
    assert len(secrets) == 12

    await kubectl(server, "annotate", "service", "jellyfin", "-n", "media", f"{names.EXPOSE}-")
    async with asyncio.timeout(50):
        while "media-jellyfin" in {node.name for node in plane.tailnet.nodes.all()}:
            await asyncio.sleep(0.2)
    service = json.loads(await kubectl(server, "get", "service", "jellyfin", "-n", "media", "-o", "json"))
    assert "finalizers" not in service["metadata"]
    assert "conditions" not in service["status"]

    await kubectl(server, "delete", "-f", examples, "--wait=false")
    await wait_gone(server, plane)


async def test_a_mistake_is_told_on_the_object_and_mended_by_typing_it_right(
    server: apiserver.ApiServer, plane: ControlPlane
) -> None:
    await kubectl(server, "apply", "-f", str(EXAMPLES / "mistakes"))
    await wait_condition(server, "default/wiki", "Accepted", "False")
    assert "wiki-example-com" in await kubectl(server, "describe", "service", "wiki", "-n", "default")
    await kubectl(server, "annotate", "--overwrite", "service", "wiki", f"{names.HOSTNAME}=wiki-example-com")
    await wait_condition(server, "default/wiki", "Online")
    await kubectl(server, "delete", "service", "wiki", "--timeout=50s")
    await wait_gone(server, plane)
