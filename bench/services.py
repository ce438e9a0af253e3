"""What it costs to expose many Services: time, requests, control-plane calls, CPU, memory; then what idling costs.

    python -m bench.services [--services 50 200 500] [--control-plane tailscale] [--settled 60] [--kubeconfig FILE]

Without a kubeconfig each run has a sandbox of its own (`tailrace sandbox --no-operator`): a Service is done when it is
Ready. With one the API server is real, made for this (its namespaces `bench` and `tailscale` are used), and proxies
are stood in for: a Service is done when it is Online. The operator is a process of its own in both. Prints the
tables of docs/performance.md.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from bench import sample
from bench.grounds import BACKEND, BENCH, HOME, Ground, Proxies, run_tailrace, start_sandbox, use_server
from bench.sample import Sample

from tailrace.api import kube, names
from tailrace.kube import resources
from tailrace.kube.client import Kube
from tailrace.kube.store import Event, Store
from tailrace.kube.watch import Watch

__all__ = ["HOME", "Proxies"]

_CALM = 5.0  # seconds without a request after which an exposure is over
_LOOK = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """One run."""

    ground: str
    goal: str
    services: int
    created: float  # seconds until the last Service was created
    done: float  # seconds until the last one had reached the goal
    exposed: Sample
    settled: Sample
    peak: float  # MiB
    resident: float  # MiB, at the end
    sandbox: float | None  # CPU seconds of the sandbox while exposing
    load: tuple[float, float]  # of the machine, the minute before and at the end of the exposure


def build_service(number: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": f"svc-{number:04}", "namespace": BENCH, "annotations": {names.EXPOSE: "true"}},
        "spec": {"ports": [{"name": "http", "port": 80}], "selector": {"app": BACKEND}},
    }


class Done:
    """Counts the Services that have reached the ground's goal."""

    def __init__(self, goal: str) -> None:
        self._goal = goal
        self.names: set[str] = set()
        self.store: Store[kube.Service] = Store("services")
        self.store.on_event(self._see)

    def _see(self, event: Event[kube.Service]) -> None:
        if event.new is None:
            return
        condition = kube.find_condition(event.new.status.conditions, self._goal)
        if condition is not None and condition.status == "True":
            self.names.add(event.new.metadata.name)


@contextlib.asynccontextmanager
async def start_operator(ground: Ground, folder: Path) -> AsyncIterator[tuple[str, int]]:
    """The operator, leading and with its watches filled: where its metrics are, and its process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    log = folder / "operator.log"
    environment = {**ground.environment, "TAILRACE_METRICS_ADDRESS": address}
    arguments = ("run", "--kubeconfig", str(ground.operator))
    async with run_tailrace(*arguments, log=log, environment=environment) as process:
        async with httpx2.AsyncClient() as client:
            for _ in range(300):
                if process.returncode is not None:
                    break
                with contextlib.suppress(httpx2.TransportError):
                    if (await client.get(f"http://{address}/readyz")).status_code == 200:
                        await wait_calm(address, process.pid, 1.0)
                        yield address, process.pid
                        return
                await asyncio.sleep(0.2)
        raise SystemExit(f"the operator did not become ready:\n{sample.read_end(log)}")


async def wait_calm(address: str, pid: int, seconds: float) -> Sample:
    """Until no request was made for some time; the last sample."""
    last = await sample.take(address, pid)
    since = time.monotonic()
    while time.monotonic() - since < seconds:
        await asyncio.sleep(0.5)
        now = await sample.take(address, pid)
        if now.requests != last.requests:
            since = time.monotonic()
        last = now
    return last


async def wait_done(done: Done, count: int, limit: float, pid: int, log: Path) -> None:
    """Until all have reached the goal, unless the operator ends or the time does."""
    began = time.monotonic()
    while len(done.names) < count:
        await asyncio.sleep(_LOOK)
        if not sample.is_running(pid):
            raise SystemExit(
                f"the operator ended after {len(done.names)} of {count} Services:\n{sample.read_end(log)}"
            )
        if time.monotonic() - began > limit:
            raise SystemExit(f"only {len(done.names)} of {count} Services after {limit} s")


async def measure(ground: Ground, folder: Path, count: int, options: argparse.Namespace) -> Result:
    done = Done(ground.goal)
    async with (
        Kube.connect(kubeconfig=ground.admin) as cluster,
        start_operator(ground, folder) as (where, pid),
    ):
        watching = asyncio.create_task(Watch(cluster, resources.SERVICES, done.store, namespace=BENCH).run())
        try:
            before, load = await sample.take(where, pid), os.getloadavg()[0]
            spent = sample.read_cpu(ground.pid) if ground.pid else 0.0
            began = time.monotonic()
            await asyncio.gather(
                *(cluster.create(resources.SERVICES, build_service(n)) for n in range(count))
            )
            created = time.monotonic() - began
            await wait_done(done, count, options.limit, pid, folder / "operator.log")
            elapsed = time.monotonic() - began
            sandbox = sample.read_cpu(ground.pid) - spent if ground.pid else None
            loads = (load, os.getloadavg()[0])
            exposed = await wait_calm(where, pid, _CALM)
            peak, _ = sample.read_memory(pid)
            await asyncio.sleep(options.settled)
            settled = await sample.take(where, pid)
            _, resident = sample.read_memory(pid)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    return Result(
        ground=ground.name,
        goal=ground.goal,
        services=count,
        created=created,
        done=elapsed,
        exposed=exposed.since(before),
        settled=settled.since(exposed),
        peak=peak,
        resident=resident,
        sandbox=sandbox,
        load=loads,
    )


async def run(options: argparse.Namespace, count: int) -> Result:
    with tempfile.TemporaryDirectory(prefix="tailrace-bench-") as name:
        folder = Path(name)
        if options.kubeconfig is not None:
            ground = use_server(folder, options.control_plane, options.kubeconfig)
        else:
            ground = start_sandbox(folder, options.control_plane)
        async with ground as found:
            print(f"{count} Services on {found.name} …", file=sys.stderr, flush=True)
            return await measure(found, folder, count, options)


def build_rows(result: Result) -> dict[str, str]:
    """The column of one run; the row names are those of docs/performance.md."""
    count, exposed, settled = result.services, result.exposed, result.settled
    idle = f"settled {settled.at:.0f} s: "
    rows = {
        "all created after": f"{result.created:.1f} s",
        f"all {result.goal} after": f"{result.done:.1f} s",
        "Kubernetes requests a Service": f"{exposed.requests.total() / count:.2f}",
        "control-plane calls a Service": f"{exposed.calls.total() / count:.2f}",
        "CPU": f"{exposed.cpu:.1f} s",
        "peak memory": f"{result.peak:.1f} MiB",
        f"{idle}Kubernetes requests": f"{settled.requests.total()}",
        f"{idle}of the lease": f"{settled.leases}",
        f"{idle}watches opened": f"{settled.watches}",
        f"{idle}control-plane calls": f"{settled.calls.total()}",
        f"{idle}CPU": f"{settled.cpu:.2f} s",
        "memory then": f"{result.resident:.1f} MiB",
        "load of the machine before, after": f"{result.load[0]:.1f}, {result.load[1]:.1f}",
    }
    if result.sandbox is not None:
        rows["CPU of the sandbox meanwhile"] = f"{result.sandbox:.1f} s"
    return rows


def print_table(head: Sequence[str], columns: Sequence[dict[str, str]]) -> None:
    names = list(dict.fromkeys(name for column in columns for name in column))
    print(f"| {' | '.join(head)} |")
    print("| --- " * len(head) + "|")
    for name in names:
        print(f"| {name} | {' | '.join(column.get(name, '') for column in columns)} |")
    print()


def print_results(results: Sequence[Result]) -> None:
    first = results[0]
    print(
        f"Ground: {first.ground}. {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}.\n"
    )
    head = ["", *(f"{result.services} Services" for result in results)]
    print_table(head, [build_rows(result) for result in results])
    head[0] = "while exposing"
    print_table(
        head, [{k: str(v) for k, v in (r.exposed.requests + r.exposed.calls).most_common()} for r in results]
    )
    if any(result.settled.requests or result.settled.calls for result in results):
        head[0] = "while settled"
        print_table(
            head, [{k: str(v) for k, v in (r.settled.requests + r.settled.calls).items()} for r in results]
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--services", type=int, nargs="+", default=[500], help="one run each")
    parser.add_argument(
        "--control-plane", default="tailscale", choices=("tailscale", "headscale-0.29", "headscale-0.30")
    )
    parser.add_argument("--kubeconfig", type=Path, help="of a real API server; default: a sandbox")
    parser.add_argument("--settled", type=float, default=60.0, help="seconds to watch it idle")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds that an exposure may take")
    options = parser.parse_args()
    if options.kubeconfig is not None and len(options.services) > 1:
        parser.error("a real API server keeps what a run made: give one number of Services")
    print_results([asyncio.run(run(options, count)) for count in options.services])


if __name__ == "__main__":
    main()
