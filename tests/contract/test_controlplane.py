"""The contract on every control plane there is: the twin always, a real Headscale where one is named.

`TAILRACE_TEST_HEADSCALE` is the URL of a throw-away Headscale (policy with `tag:k8s`), `TAILRACE_TEST_HEADSCALE_KEY`
an API key of it. All devices of it are deleted.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx2
import pytest

from tailrace.tailnet import connect, credentials, memory
from tailrace.tailnet.port import DeviceId, MintedKey
from tests.contract import controlplane

pytestmark = pytest.mark.anyio

HEADSCALE = os.environ.get("TAILRACE_TEST_HEADSCALE", "")
HEADSCALE_KEY = os.environ.get("TAILRACE_TEST_HEADSCALE_KEY", "")


class MemoryHarness(controlplane.Harness):
    def __init__(self) -> None:
        self.twin = self.plane = memory.MemoryPlane(tags=[controlplane.TAG])

    async def join(self, key: MintedKey, hostname: str) -> DeviceId:
        return self.twin.join(key.secret, hostname, routes=["10.1.0.0/24"]).id


class HeadscaleHarness(controlplane.Harness):
    """Devices come by Headscale's own way to pretend one, which needs a user and no client."""

    def __init__(self) -> None:
        source = credentials.Values(lambda: {"api_key": HEADSCALE_KEY}, where="the environment")
        self.plane = connect.connect(source, HEADSCALE)

    async def join(self, key: MintedKey, hostname: str) -> DeviceId:
        headers = {"Authorization": f"Bearer {HEADSCALE_KEY}"}
        async with httpx2.AsyncClient(base_url=f"{HEADSCALE}/api/v1", headers=headers) as http:
            await http.post("/user", json={"name": "contract"})
            request = f"hskey-authreq-{secrets.token_hex(12)}"
            node = {"user": "contract", "key": request, "name": hostname, "routes": ["10.1.0.0/24"]}
            (await http.post("/debug/node", json=node)).raise_for_status()
            reply = await http.post("/node/register", params={"user": "contract", "key": request})
            device = DeviceId(reply.raise_for_status().json()["node"]["id"])
        await self.plane.set_tags(device, (controlplane.TAG,))
        return device


@pytest.fixture(
    params=[
        "memory",
        pytest.param(
            "headscale",
            marks=pytest.mark.skipif(not HEADSCALE, reason="TAILRACE_TEST_HEADSCALE names no Headscale"),
        ),
    ]
)
async def harness(request: pytest.FixtureRequest) -> AsyncIterator[controlplane.Harness]:
    made: controlplane.Harness = MemoryHarness() if request.param == "memory" else HeadscaleHarness()
    await made.clear()
    yield made
    await made.clear()
    await made.plane.close()


@pytest.mark.parametrize(
    "check", controlplane.CHECKS, ids=lambda check: check.__name__.removeprefix("check_")
)
async def test_contract(
    harness: controlplane.Harness, check: Callable[[controlplane.Harness], Awaitable[None]]
) -> None:
    """One promise of the port on one control plane."""
    await check(harness)
