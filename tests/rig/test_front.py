"""The front of the side-by-side measurement: one address for the API, which is counted, and for a real control server."""

from __future__ import annotations

import asyncio

import httpx2
import pytest
from bench.front import Front

from tailrace.sandbox.controlplane.control import ControlPlane

pytestmark = pytest.mark.anyio


async def answer_whatever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A control server that upgrades: it repeats what it hears after the head."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    writer.write(await reader.readexactly(4))
    writer.close()
    await writer.wait_closed()


async def test_the_api_is_counted_and_everything_else_goes_through_upgrades_included() -> None:
    plane = ControlPlane("tailscale")
    server = await asyncio.start_server(answer_whatever, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Front(plane, port, "hskey-of-the-node").run() as front:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(front.url.rpartition(":")[2]))
        writer.write(b"POST /ts2021 HTTP/1.1\r\nUpgrade: tailscale-control-protocol\r\n\r\nping")
        assert (await reader.read()).endswith(b"\r\n\r\nping")
        writer.close()
        await writer.wait_closed()

        credentials = plane.credentials
        async with httpx2.AsyncClient(base_url=front.url) as client:
            form = {"client_id": credentials["client_id"], "client_secret": credentials["client_secret"]}
            token = (await client.post("/api/v2/oauth/token", data=form)).json()["access_token"]
            client.headers["Authorization"] = f"Bearer {token}"
            assert await mint(client, "tag:k8s-operator") == "hskey-of-the-node"
            assert (await mint(client, "tag:k8s")).startswith("tskey-auth-")
            assert (await client.delete("/api/v2/device/n123")).status_code == 404
        assert front.api.calls == {
            "POST /api/v2/oauth/token": 1,
            "POST /api/v2/tailnet/-/keys": 2,
            "DELETE /api/v2/device/{id}": 1,
        }


async def mint(client: httpx2.AsyncClient, tag: str) -> str:
    create = {"reusable": False, "preauthorized": True, "tags": [tag]}
    body = {"capabilities": {"devices": {"create": create}}}
    key: str = (await client.post("/api/v2/tailnet/-/keys", json=body)).raise_for_status().json()["key"]
    return key
