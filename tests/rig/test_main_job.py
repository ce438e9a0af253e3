"""The main job on a real kube-apiserver: five clusters' Services applied with the real kubectl, each becomes a device.

The operator is a process of its own with its real service account, so that its rights are proved too; the control
plane is the emulated one, over HTTP; proxies are stood in for.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from tailrace.api import names
from tailrace.sandbox.controlplane.control import ControlPlane
from tests.rig import look
from tests.rig.apiserver import ApiServer
from tests.rig.conftest import ROOT
from tests.rig.operators import Operators

EXAMPLES = ROOT / "deploy" / "examples"

pytestmark = pytest.mark.anyio


@pytest.fixture
async def plane(tailnet: ControlPlane, operators: Operators) -> AsyncIterator[ControlPlane]:
    """The control plane, with an operator at work."""
    operators.start()
    yield tailnet
    assert "forbidden" not in operators.read_logs()


async def wait_condition(server: ApiServer, name: str, kind: str, status: str = "True") -> None:
    namespace, _, service = name.partition("/")
    wait = (
        "wait",
        f"--for=condition={kind}={status}",
        f"service/{service}",
        "-n",
        namespace,
        f"--timeout={look.PATIENCE:.0f}s",
    )
    await look.kubectl(server, *wait)


async def test_the_services_of_five_clusters_become_devices_and_leave_nothing(
    server: ApiServer, plane: ControlPlane
) -> None:
    examples = str(EXAMPLES / "five-clusters")
    await look.kubectl(server, "apply", "-f", examples)
    exposed = (await look.kubectl(server, "get", "services", "-A", "-o", "json")).strip()
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
    ingress = json.loads(
        await look.kubectl(server, "get", "service", "grafana-lb", "-n", "solar", "-o", "json")
    )
    assert ingress["status"]["loadBalancer"]["ingress"][0]["hostname"].startswith("solar-grafana-lb.")
    secrets = [child for child in await look.list_children(server) if child.startswith("Secret ")]
    assert len(secrets) == 12

    await look.kubectl(server, "annotate", "service", "jellyfin", "-n", "media", f"{names.EXPOSE}-")
    async with asyncio.timeout(look.PATIENCE):
        while "media-jellyfin" in {node.name for node in plane.tailnet.nodes.all()}:
            await asyncio.sleep(0.2)
    service = json.loads(
        await look.kubectl(server, "get", "service", "jellyfin", "-n", "media", "-o", "json")
    )
    assert "finalizers" not in service["metadata"]
    assert "conditions" not in service["status"]

    await look.kubectl(server, "delete", "-f", examples, "--wait=false")
    await look.wait_nothing_left(server, plane)


async def test_a_mistake_is_told_on_the_object_and_mended_by_typing_it_right(
    server: ApiServer, plane: ControlPlane
) -> None:
    await look.kubectl(server, "apply", "-f", str(EXAMPLES / "mistakes"))
    await wait_condition(server, "default/wiki", "Accepted", "False")
    assert "wiki-example-com" in await look.kubectl(server, "describe", "service", "wiki", "-n", "default")
    await look.kubectl(
        server, "annotate", "--overwrite", "service", "wiki", f"{names.HOSTNAME}=wiki-example-com"
    )
    await wait_condition(server, "default/wiki", "Online")
    await look.kubectl(server, "delete", "service", "wiki", f"--timeout={look.PATIENCE:.0f}s")
    await look.wait_nothing_left(server, plane)
