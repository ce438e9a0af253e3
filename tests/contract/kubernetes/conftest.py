"""`api`: the same tests on the sandbox's API server and on the real one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import httpx2
import pytest

from tailrace.sandbox.kubernetes.admission import ADMIN
from tailrace.sandbox.kubernetes.cluster import Cluster
from tailrace.sandbox.kubernetes.server import ApiServer
from tailrace.sandbox.serve import Listener
from tests.contract.kubernetes.talk import Api, Talk
from tests.rig import apiserver, needs

SERVICE_CIDR = "127.96.0.0/16"  # as the rig's


def client(url: str) -> httpx2.Client:
    return httpx2.Client(base_url=url, verify=False, timeout=30)


@pytest.fixture(scope="session")
def sandbox_api() -> Iterator[Api]:
    """The sandbox's API server in a thread of its own, so that tests are as plain as for one elsewhere."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="sandbox API server")
    thread.start()
    cluster = Cluster(service_cidr=SERVICE_CIDR)
    server = ApiServer(cluster)
    listener = Listener(server)
    asyncio.run_coroutine_threadsafe(listener.start(), loop).result()

    def compact() -> None:
        loop.call_soon_threadsafe(server.compact)

    with client(listener.url) as http:
        yield Api("sandbox", listener.url, cluster.tokens.add(ADMIN), http, compact)
    loop.call_soon_threadsafe(server.cut_watches)
    asyncio.run_coroutine_threadsafe(listener.stop(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(scope="session")
def real_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    if lack := needs.explain(apiserver.BINARIES, tools=apiserver.TOOLS):
        pytest.skip(lack)
    with apiserver.start(tmp_path_factory.mktemp("apiserver")) as server, client(server.url) as http:
        yield Api("real", server.url, apiserver.ADMIN, http)


@pytest.fixture(params=["sandbox", "real"])
def api(request: pytest.FixtureRequest) -> Api:
    found: Api = request.getfixturevalue(f"{request.param}_api")
    return found


@pytest.fixture
def talk(api: Api) -> Talk:
    return Talk(api)
