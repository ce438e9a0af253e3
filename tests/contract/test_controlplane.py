"""The contract on the memory twin and on real Headscales; `tests/sandbox/controlplane` runs it on the emulations."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack

import httpx2
import pytest

from tailrace.tailnet import connect, credentials, memory
from tailrace.tailnet.port import DeviceId, MintedKey
from tests.contract import controlplane
from tests.rig import needs, tailnet

pytestmark = pytest.mark.anyio


class MemoryHarness(controlplane.Harness):
    def __init__(self) -> None:
        self.twin = self.plane = memory.MemoryPlane(tags=[controlplane.TAG])

    def set_nameservers(self) -> bool:
        self.twin.nameservers = controlplane.NAMESERVERS
        return True

    async def join(self, key: MintedKey, hostname: str) -> DeviceId:
        return self.twin.join(key.secret, hostname, routes=["10.1.0.0/24"]).id


class HeadscaleHarness(controlplane.Harness):
    """Devices come by Headscale's own way to pretend one, which needs a user and no client."""

    checks_tags = False

    def __init__(self, server: tailnet.Headscale, release: str) -> None:
        self._server = server
        self._release = release
        source = credentials.Values(lambda: {"api_key": server.api_key}, where="the rig")
        self.plane = connect.connect(source, server.url)

    async def join(self, key: MintedKey, hostname: str) -> DeviceId:
        headers = {"Authorization": f"Bearer {self._server.api_key}"}
        async with httpx2.AsyncClient(base_url=f"{self._server.url}/api/v1", headers=headers) as http:
            await http.post("/user", json={"name": "contract"})
            request = tailnet.make_request(self._release)
            node = {"user": "contract", "key": request, "name": hostname, "routes": ["10.1.0.0/24"]}
            (await http.post("/debug/node", json=node)).raise_for_status()
            reply = await http.post("/node/register", params={"user": "contract", "key": request})
            device = DeviceId(reply.raise_for_status().json()["node"]["id"])
        await self.plane.set_tags(device, (controlplane.TAG,))
        return device


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], tailnet.Headscale]]:
    """A Headscale of a release; the first who asks starts it."""
    with ExitStack() as running:

        @functools.cache
        def get(release: str) -> tailnet.Headscale:
            folder = tmp_path_factory.mktemp(f"headscale-{release}")
            return running.enter_context(tailnet.start_headscale(folder, tailnet.RELEASES[release]))

        yield get


@pytest.fixture(params=["memory", *tailnet.RELEASES])
async def harness(
    request: pytest.FixtureRequest, start: Callable[[str], tailnet.Headscale]
) -> AsyncIterator[controlplane.Harness]:
    made: controlplane.Harness
    if request.param == "memory":
        made = MemoryHarness()
    else:
        if lack := needs.explain([tailnet.RELEASES[request.param]]):
            pytest.skip(lack)
        made = HeadscaleHarness(start(request.param), request.param)
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
