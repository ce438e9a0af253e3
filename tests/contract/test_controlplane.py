"""The contract on the memory twin and on a real Headscale; `tests/sandbox/controlplane` runs it on the emulations."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import httpx2
import pytest

from tailrace.tailnet import connect, credentials, memory
from tailrace.tailnet.port import DeviceId, MintedKey
from tests.contract import controlplane
from tests.rig import binaries, tailnet

pytestmark = pytest.mark.anyio

MISSING = binaries.find_missing(tailnet.BINARIES[:1])


class MemoryHarness(controlplane.Harness):
    def __init__(self) -> None:
        self.twin = self.plane = memory.MemoryPlane(tags=[controlplane.TAG])

    async def join(self, key: MintedKey, hostname: str) -> DeviceId:
        return self.twin.join(key.secret, hostname, routes=["10.1.0.0/24"]).id


class HeadscaleHarness(controlplane.Harness):
    """Devices come by Headscale's own way to pretend one, which needs a user and no client."""

    def __init__(self, server: tailnet.Headscale) -> None:
        self._server = server
        source = credentials.Values(lambda: {"api_key": server.api_key}, where="the rig")
        self.plane = connect.connect(source, server.url)

    async def join(self, key: MintedKey, hostname: str) -> DeviceId:
        headers = {"Authorization": f"Bearer {self._server.api_key}"}
        async with httpx2.AsyncClient(base_url=f"{self._server.url}/api/v1", headers=headers) as http:
            await http.post("/user", json={"name": "contract"})
            request = f"hskey-authreq-{secrets.token_hex(12)}"
            node = {"user": "contract", "key": request, "name": hostname, "routes": ["10.1.0.0/24"]}
            (await http.post("/debug/node", json=node)).raise_for_status()
            reply = await http.post("/node/register", params={"user": "contract", "key": request})
            device = DeviceId(reply.raise_for_status().json()["node"]["id"])
        await self.plane.set_tags(device, (controlplane.TAG,))
        return device


@pytest.fixture(scope="module")
def headscale(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tailnet.Headscale]:
    with tailnet.start_headscale(tmp_path_factory.mktemp("headscale")) as running:
        yield running


@pytest.fixture(
    params=[
        "memory",
        pytest.param(
            "headscale",
            marks=pytest.mark.skipif(bool(MISSING), reason=f"a real Headscale lacks {', '.join(MISSING)}"),
        ),
    ]
)
async def harness(request: pytest.FixtureRequest) -> AsyncIterator[controlplane.Harness]:
    made: controlplane.Harness
    if request.param == "memory":
        made = MemoryHarness()
    else:
        made = HeadscaleHarness(request.getfixturevalue("headscale"))
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
