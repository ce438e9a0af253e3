"""Real traffic: real Headscale, the real containerboot of each proxy, a real tailscaled as client, and the bytes.

Operator and proxies have their real service accounts on a real API server. ClusterIPs are loopback addresses here, and
the test answers at them in the place of kube-proxy and pods. Skipped, by name, where a program or root is missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tailrace.api import names
from tests.rig import apiserver, needs, pods, tailnet

HOME = pods.NAMESPACE
MENDED = 180.0
"""Seconds until a tailscaled (1.102) has found its way again, all of it its own: a dial of Headscale that is refused
ends after 10, each further one waits at most 45; the relay is dialled every 8; a session whose other end is new is given
up after 15, and a handshake is tried every 5; a stream of Headscale's that says nothing is given up after 120."""
PAUSE = 3.0  # seconds without Headscale
ATTEMPT = 10  # seconds: a connection to a proxy that is killed at that moment stalls until TCP gives up
LACK = needs.explain(
    (*apiserver.BINARIES, *tailnet.BINARIES, *pods.PROGRAMS),
    tools=(*apiserver.TOOLS, *pods.TOOLS, "curl"),
    rights=[needs.private_mounts],
)

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(bool(LACK), reason=LACK),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[apiserver.ApiServer]:
    with apiserver.start(tmp_path_factory.mktemp("api")) as running:
        apiserver.furnish(running.kubectl)
        yield running


@pytest.fixture(scope="module")
def headscale(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tailnet.Headscale]:
    with tailnet.start_headscale(tmp_path_factory.mktemp("headscale")) as running:
        yield running


@pytest.fixture(scope="module")
def client(headscale: tailnet.Headscale, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tailnet.Node]:
    """Somebody's laptop."""
    key = mint(headscale)
    with tailnet.start_node(tmp_path_factory.mktemp("client"), headscale.url, key, "laptop") as node:
        yield node


@pytest.fixture
async def cluster(
    server: apiserver.ApiServer, headscale: tailnet.Headscale, tmp_path: Path
) -> AsyncIterator[pods.Pods]:
    """The operator as a process, and pods as processes."""
    key = tmp_path / "key"
    key.write_text(headscale.api_key)
    token = server.kubectl("create", "token", "operator", "-n", HOME).strip()
    environment = {
        **os.environ,
        "OPERATOR_NAMESPACE": HOME,
        "OPERATOR_LOGIN_SERVER": headscale.url,
        "TAILRACE_API_KEY_FILE": str(key),
        "TAILRACE_PROXY_MODE": "userspace",
        "TAILRACE_DEVICE_REFRESH": "2s",
        "TAILRACE_METRICS_ADDRESS": "127.0.0.1:0",
    }
    kubeconfig = server.write_kubeconfig("operator", token)
    headers = {"Authorization": f"Bearer {apiserver.ADMIN}"}
    async with httpx2.AsyncClient(base_url=server.url, headers=headers, verify=False, timeout=10) as api:
        running = pods.Pods(api, tmp_path / "pods", ca=server.folder / "certs" / "apiserver.crt")
        kubelet = asyncio.create_task(running.run())
        with (tmp_path / "operator.log").open("wb") as log:
            command = [sys.executable, "-m", "tailrace", "run", "--kubeconfig", str(kubeconfig)]
            operator = await asyncio.create_subprocess_exec(*command, env=environment, stdout=log, stderr=log)
            try:
                yield running
            finally:
                with contextlib.suppress(ProcessLookupError):  # it has ended by itself, as its log says
                    operator.terminate()
                await operator.wait()
                kubelet.cancel()
                await asyncio.gather(kubelet, return_exceptions=True)
                await asyncio.to_thread(running.close)
        said = (tmp_path / "operator.log").read_text()
        assert operator.returncode == 0, said[-3000:]
        assert "forbidden" not in said


@pytest.fixture
def cables(client: tailnet.Node, headscale: tailnet.Headscale, cluster: pods.Pods) -> Cables:
    return Cables(client=client, headscale=headscale, pods=cluster)


def mint(headscale: tailnet.Headscale) -> str:
    body = {"aclTags": ["tag:k8s"], "reusable": False, "expiration": "2099-01-01T00:00:00Z"}
    headers = {"Authorization": f"Bearer {headscale.api_key}"}
    reply = httpx2.post(f"{headscale.url}/api/v1/preauthkey", headers=headers, json=body).raise_for_status()
    key: str = reply.json()["preAuthKey"]["key"]
    return key


# Answering at a ClusterIP -------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def answer_at(ip: str, port: int, body: bytes) -> AsyncIterator[None]:
    """A backend that sends `body` as an HTTP answer, whatever is asked."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
        writer.close()

    listener = await asyncio.start_server(serve, ip, port)
    async with listener:
        yield


async def curl(client: tailnet.Node, url: str, limit: int = 60) -> bytes:
    """The body, fetched by the client's own way into the tailnet. `limit`: seconds."""
    command = ["curl", "-sSf", "--max-time", str(limit), "--socks5-hostname", client.socks, url]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, error = await process.communicate()
    assert process.returncode == 0, f"{url}: {error.decode()}"
    return out


async def kubectl(server: apiserver.ApiServer, *arguments: str) -> str:
    return await asyncio.to_thread(server.kubectl, *arguments)


async def expose(
    server: apiserver.ApiServer, name: str, ports: list[int], **annotations: str
) -> dict[str, Any]:
    """A Deployment, and a Service that is ready on the tailnet when this returns."""
    labels = {"app": name}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": "app"}]}}
    documents = [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {"selector": {"matchLabels": labels}, "template": pod},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "annotations": {names.EXPOSE: "true"} | annotations},
            "spec": {"selector": labels, "ports": [{"name": f"p{port}", "port": port} for port in ports]},
        },
    ]
    file = server.folder / f"{name}.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}))
    await kubectl(server, "apply", "-f", str(file))
    return await wait_ready(server, name)


async def wait_ready(server: apiserver.ApiServer, name: str) -> dict[str, Any]:
    await kubectl(server, "wait", "--for=condition=Ready", f"service/{name}", "--timeout=50s")
    found: dict[str, Any] = json.loads(await kubectl(server, "get", "service", name, "-o", "json"))
    return found


async def delete(server: apiserver.ApiServer, name: str) -> None:
    await kubectl(server, "delete", f"service/{name}", f"deployment/{name}", "--timeout=50s")


def device_ids(headscale: tailnet.Headscale) -> dict[str, int]:
    nodes = json.loads(headscale.cli("nodes", "list", "-o", "json")) or []
    return {n["given_name"]: int(n["id"]) for n in nodes if n["given_name"] != "laptop"}


def addresses(headscale: tailnet.Headscale) -> dict[str, str]:
    """Device name → IPv4 address, for every device but the client."""
    nodes = json.loads(headscale.cli("nodes", "list", "-o", "json")) or []
    return {n["given_name"]: n["ip_addresses"][0] for n in nodes if n["given_name"] != "laptop"}


# Tests --------------------------------------------------------------------------------------------------------------


async def test_bytes_arrive_by_two_ports_whole_and_many_at_once(
    server: apiserver.ApiServer, headscale: tailnet.Headscale, cables: Cables, cluster: pods.Pods
) -> None:
    """A Service with two ports: text by name, 64 MiB by address with its checksum, 50 requests at once."""
    service = await expose(server, "web", [8080, 8081], **{names.HOSTNAME: "web"})
    ip, large = service["spec"]["clusterIP"], os.urandom(64 * 1024 * 1024)
    assert addresses(headscale).keys() == {"web"}
    device = addresses(headscale)["web"]
    async with answer_at(ip, 8080, b"hello from web"), answer_at(ip, 8081, large):
        # A proxy is Ready some seconds before the first packet finds it: its relay is chosen in between.
        assert await cables.eventually("http://web.rig.internal:8080/") == b"hello from web"
        answers = await asyncio.gather(*(curl(cables.client, f"http://{device}:8080/") for _ in range(50)))
        assert set(answers) == {b"hello from web"}
        body = await curl(cables.client, f"http://{device}:8081/")
        assert hashlib.sha256(body).digest() == hashlib.sha256(large).digest()
    await delete(server, "web")
    assert addresses(headscale) == {}


async def test_every_cable_that_is_pulled_mends_itself(
    server: apiserver.ApiServer, headscale: tailnet.Headscale, cables: Cables, cluster: pods.Pods
) -> None:
    """The pod is killed, Headscale is away, the device is deleted, the Secret is: afterwards one device of that name
    answers."""
    service = await expose(server, "app", [8080], **{names.HOSTNAME: "app"})
    async with answer_at(service["spec"]["clusterIP"], 8080, b"still here"):
        device = addresses(headscale)["app"]
        async with asyncio.timeout(MENDED):
            await cluster.kill(pod_name(server, "app"))
        assert await cables.eventually(f"http://{device}:8080/") == b"still here"
        assert addresses(headscale) == {"app": device}, "a restart is the same device"

        await asyncio.to_thread(headscale.down)
        await asyncio.sleep(PAUSE)
        await asyncio.to_thread(headscale.up)
        assert await cables.eventually(f"http://{device}:8080/") == b"still here"

        gone = device_ids(headscale)["app"]
        headscale.cli("nodes", "delete", "-i", str(gone), "--force")
        await wait_other(headscale, "app", gone)
        assert await cables.eventually("http://app.rig.internal:8080/") == b"still here"
        assert device_ids(headscale).keys() == {"app"}

        gone = device_ids(headscale)["app"]
        await kubectl(server, "delete", "secret", pod_name(server, "app"), "-n", HOME)
        await wait_other(headscale, "app", gone)
        assert await cables.eventually("http://app.rig.internal:8080/") == b"still here"
        assert device_ids(headscale).keys() == {"app"}
    await delete(server, "app")
    assert addresses(headscale) == {}


async def wait_other(headscale: tailnet.Headscale, name: str, former: int) -> None:
    """Until a device of this name is there that is not the former one."""
    async with asyncio.timeout(90):
        while device_ids(headscale).get(name, former) == former:
            await asyncio.sleep(0.3)


async def test_a_proxy_that_starts_while_headscale_is_away_stays_the_same_device(
    server: apiserver.ApiServer, headscale: tailnet.Headscale, cables: Cables
) -> None:
    """containerboot asks for another key then, and waits. With one it would be another device at another address."""
    service = await expose(server, "gate", [8080], **{names.HOSTNAME: "gate"})
    async with answer_at(service["spec"]["clusterIP"], 8080, b"as before"):
        device, pod = addresses(headscale)["gate"], pod_name(server, "gate")
        number = device_ids(headscale)["gate"]
        await asyncio.to_thread(headscale.down)
        try:
            await kubectl(server, "delete", "pod", pod, "-n", HOME)  # a new one knows no former network map
            async with asyncio.timeout(30):
                while "reissue_authkey" not in await read_secret(server, pod):
                    await asyncio.sleep(0.3)
            await asyncio.sleep(PAUSE)
        finally:
            await asyncio.to_thread(headscale.up)
        assert await cables.eventually(f"http://{device}:8080/") == b"as before"
        assert "reissue_authkey" not in await read_secret(server, pod)
        assert (addresses(headscale), device_ids(headscale)) == ({"gate": device}, {"gate": number})
        await wait_ready(server, "gate")
    await delete(server, "gate")
    assert addresses(headscale) == {}


async def test_the_proxy_reads_its_own_secret_and_no_other(
    server: apiserver.ApiServer, cluster: pods.Pods
) -> None:
    """With the token that its pod has."""
    await expose(server, "one", [8080])
    await expose(server, "two", [8080])
    mine, other = pod_name(server, "one"), pod_name(server, "two")
    account = json.loads(await kubectl(server, "get", "pod", mine, "-n", HOME, "-o", "json"))["spec"][
        "serviceAccountName"
    ]
    token = (await kubectl(server, "create", "token", account, "-n", HOME)).strip()
    async with httpx2.AsyncClient(
        base_url=server.url, headers={"Authorization": f"Bearer {token}"}, verify=False
    ) as proxy:
        base = f"/api/v1/namespaces/{HOME}/secrets"
        codes = [(await proxy.get(path)).status_code for path in (f"{base}/{mine}", f"{base}/{other}", base)]
    assert codes == [200, 403, 403]
    for name in ("one", "two"):
        await delete(server, name)


async def read_secret(server: apiserver.ApiServer, name: str) -> dict[str, str]:
    """Its keys and their values, base64."""
    found: dict[str, Any] = json.loads(await kubectl(server, "get", "secret", name, "-n", HOME, "-o", "json"))
    data: dict[str, str] = found["data"]
    return data


def pod_name(server: apiserver.ApiServer, service: str) -> str:
    selector = f"{names.PARENT_NAME}={service}"
    return server.kubectl(
        "get", "pods", "-n", HOME, "-l", selector, "-o", "jsonpath={.items[0].metadata.name}"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Cables:
    """All that lies between the client and a proxy."""

    client: tailnet.Node
    headscale: tailnet.Headscale
    pods: pods.Pods

    async def eventually(self, url: str) -> bytes:
        """What it has as soon as it answers.

        Raises:
            AssertionError: it never did; with how each attempt ended, and what each end of a cable says.
        """
        started, said = time.monotonic(), list[str]()
        while time.monotonic() - started < MENDED:
            try:
                return await curl(self.client, url, ATTEMPT)
            except AssertionError as error:
                said.append(f"{time.monotonic() - started:.0f} s: {error}".strip())
            await asyncio.sleep(0.5)
        raise AssertionError("\n".join([*said, await asyncio.to_thread(self.describe)]))

    def describe(self) -> str:
        devices = self.headscale.cli("nodes", "list")
        logs = [self.client.log, self.headscale.log, *self.pods.logs]
        ends = (f"--- {log}\n{log.read_text(errors='replace')[-6000:]}" for log in logs)
        return "\n".join([self.client.describe(), devices, *ends])
