"""The drivers' own contract, run against each emulated control plane over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import override

import pytest

from tailrace.sandbox.controlplane.control import ControlPlane, Options
from tailrace.sandbox.controlplane.records import Dialect
from tailrace.tailnet import connect, credentials
from tailrace.tailnet.port import DeviceId, MintedKey
from tests.contract import controlplane as contract

pytestmark = pytest.mark.anyio

CLIENT = ("client_id", "client_secret")
SCOPES = (
    "auth_keys",
    "devices:core",
    "devices:routes",
    "policy_file",
    "feature_settings",
    "services",
    "dns:read",
)


class Emulation(contract.Harness):
    def __init__(self, server: ControlPlane, names: tuple[str, ...]) -> None:
        self.server = server
        values = {name: server.credentials[name] for name in names}
        self.plane = connect.connect(credentials.Values(lambda: values, where="the test"), server.url)
        self.checks_tags = "api_key" not in names
        self.endpoints = () if server.tailnet.headscale else ("192.168.1.5",)

    @override
    def set_nameservers(self) -> bool:
        tailnet = self.server.tailnet
        everywhere, corp = contract.NAMESERVERS
        tailnet.nameservers, tailnet.split_dns = [everywhere.address], {corp.domain: [corp.address]}
        return not tailnet.headscale

    @override
    async def join(self, key: MintedKey, hostname: str) -> DeviceId:
        nodes = self.server.tailnet.nodes
        machine = f"mkey:{key.id}"
        node = nodes.login(
            auth_key=key.secret,
            hostname=hostname,
            machine_key=machine,
            routes=["10.1.0.0/24"],
            endpoints=["192.168.1.5:41641"],
        )
        return DeviceId(node.id)


@pytest.fixture(
    params=[
        ("tailscale", CLIENT),
        ("headscale-0.29", ("api_key",)),
        ("headscale-0.30", CLIENT),
        ("headscale-0.30", ("api_key",)),
        ("headscale-0.30", ("api_key", *CLIENT)),
    ],
    ids=["tailscale", "0.29", "0.30-client", "0.30-key", "0.30-both"],
)
async def harness(request: pytest.FixtureRequest) -> AsyncIterator[contract.Harness]:
    dialect: Dialect
    dialect, names = request.param
    async with await ControlPlane.start(dialect, Options(scopes=SCOPES)) as server:
        made = Emulation(server, names)
        yield made
        await made.plane.close()


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
async def test_contract(
    harness: contract.Harness, check: Callable[[contract.Harness], Awaitable[None]]
) -> None:
    """One promise of the port, kept by a driver that talks to an emulation."""
    await check(harness)
