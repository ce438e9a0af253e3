"""The official operator and Tailrace side by side: a real API server, the same stand-in for nodes, the same tailnet.

    python -m bench.rig [--counts 1 50 200] [--settled 120] [--alone 2000] [--only tailrace]

For each count: the API server's own limit, the official operator, Tailrace, each on a fresh API server that is started
the same way, so that none inherits what another left. Idling, single Services and a restart are measured with the most
Services present. Prints the tables of docs/performance.md, and progress on standard error. Needs what `make rig`
builds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
from bench import limit, tables
from bench.contenders import is_port_free, prepare_official, prepare_tailrace
from bench.front import Front
from bench.grounds import BENCH
from bench.kubelet import Kubelet
from bench.observer import Observer
from bench.trial import Extent, Trial, build_service

from tailrace.sandbox.controlplane.control import ControlPlane
from tests.rig import apiserver, binaries, tailnet

_NEEDED = (*apiserver.BINARIES, "headscale", "k8s-operator")
_OFFICIAL_PORT = 8080  # of its metrics, on all addresses; it cannot be chosen
_WARM = 15.0  # seconds: the API server has as long before the bare writes as before those of an operator
_CONTROLLERS = (
    # The stand-in makes the pods. What endpoints cost is the same for everybody, so it is left out.
    "--controllers=garbage-collector-controller,namespace-controller,serviceaccount-controller",
    "--kube-api-qps=1000",  # else the collector's own limiter would bound every deletion
    "--kube-api-burst=1000",
)


@contextlib.contextmanager
def start_server(folder: Path) -> Iterator[apiserver.ApiServer]:
    """A fresh API server with the audit log on."""
    folder.mkdir()
    with apiserver.start(folder, audit=True) as server:
        manager = server.servers["kube-controller-manager"]
        manager.end()
        manager.command = [*manager.command, *_CONTROLLERS]
        manager.start()
        server.kubectl("create", "namespace", BENCH)
        yield server


@contextlib.asynccontextmanager
async def start_ground(folder: Path) -> AsyncIterator[tuple[apiserver.ApiServer, ControlPlane, Kubelet]]:
    with start_server(folder) as server:
        plane = ControlPlane("tailscale")
        async with Kubelet.start(server.kubeconfig, plane) as kubelet:
            yield server, plane, kubelet


async def measure_limit(folder: Path, count: int) -> limit.Limit:
    async with start_ground(folder) as (server, plane, kubelet):
        tailrace = prepare_tailrace(server, "http://127.0.0.1:1", plane.credentials)
        services = [build_service(f"svc-{n:04}") for n in range(count)]
        writes = [limit.build_writes(service, tailrace.environment, plane) for service in services]
        operator = server.folder / "operator.kubeconfig"
        await asyncio.sleep(_WARM)
        return await limit.measure(server.kubeconfig, operator, writes, kubelet)


async def measure_operator(folder: Path, name: str, extent: Extent) -> Trial:
    prepare = prepare_official if name == "official" else prepare_tailrace
    async with start_ground(folder) as (server, plane, kubelet):
        with tailnet.start_headscale(folder / "headscale") as headscale:
            front = Front(plane, headscale.port, await mint_node_key(headscale))
            async with front.run(), Observer.start(server.kubeconfig, server.audit_log) as observer:
                contender = prepare(server, front.url, plane.credentials)
                trial = Trial(
                    contender=contender, observer=observer, kubelet=kubelet, api=front.api, plane=plane
                )
                await trial.run(extent)
                return trial


async def mint_node_key(headscale: tailnet.Headscale) -> str:
    """For the official operator's own node."""
    expires = (datetime.now(UTC) + timedelta(hours=12)).isoformat()
    body = {"reusable": True, "ephemeral": False, "expiration": expires, "aclTags": ["tag:k8s-operator"]}
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {headscale.api_key}"}) as client:
        answer = await client.post(f"{headscale.url}/api/v1/preauthkey", content=json.dumps(body))
    key: str = answer.raise_for_status().json()["preAuthKey"]["key"]
    return key


async def run(options: argparse.Namespace, folder: Path) -> None:
    columns: list[tables.Column] = []
    for count in options.counts:
        extent = Extent(count=count, full=count == max(options.counts), settled=options.settled)
        columns += await measure_count(folder, extent, options.only)
    tables.print_comparison(columns)
    if options.alone:
        extent = Extent(count=options.alone, full=False, settled=0)
        tables.print_comparison(await measure_count(folder, extent, ["limit", "tailrace"]))


async def measure_count(folder: Path, extent: Extent, wanted: list[str]) -> list[tables.Column]:
    found: list[tables.Column] = []
    for name in wanted:
        where = folder / f"{name}-{extent.count}"
        load = os.getloadavg()[0]
        say(f"{extent.count} Services, {name} … (load {load:.1f})")
        if name == "limit":
            column = tables.build_limit(extent.count, await measure_limit(where, extent.count), load)
        else:
            column = tables.build_column(await measure_operator(where, name, extent), load)
        say(json.dumps(column.rows))
        found.append(column)
    return found


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 50, 200], help="of Services")
    parser.add_argument("--settled", type=float, default=120.0, help="seconds to watch them idle")
    parser.add_argument("--alone", type=int, help="Services for Tailrace alone, at the end")
    who = ["limit", "official", "tailrace"]
    parser.add_argument("--only", nargs="+", choices=who, default=who)
    options = parser.parse_args()
    if missing := binaries.find_missing(_NEEDED):
        parser.error(f"missing: {', '.join(missing)}; make rig builds them")
    if "official" in options.only and not is_port_free(_OFFICIAL_PORT):
        parser.error(f"the official operator needs port {_OFFICIAL_PORT} for its metrics, which is taken")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite end leaves nothing running either
    with tempfile.TemporaryDirectory(prefix="tailrace-rig-") as name:
        asyncio.run(run(options, Path(name)))


if __name__ == "__main__":
    main()
