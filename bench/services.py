"""How much it costs to expose many Services: time, requests, control-plane calls, CPU, memory.

    python bench/services.py --kubeconfig FILE [--services 500] [--settle 60]

The API server is whatever the kubeconfig names (one made for this; its namespaces `bench` and `tailscale` are used). The control plane
is the emulated Tailscale of the sandbox, over HTTP. Proxies are stood in for: 50 ms after a StatefulSet appears a device
joins with the key in its Secret and the Secret gets the keys that containerboot writes. The operator is a process of its
own; its requests are read from its own metrics, its CPU and memory from the operating system.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from tailrace import errors
from tailrace.api import kube, names
from tailrace.api.conditions import ConditionType
from tailrace.kube import resources
from tailrace.kube.client import Kube
from tailrace.kube.store import Event, Store
from tailrace.kube.watch import Watch
from tailrace.proxy import secret
from tailrace.sandbox.controlplane.control import ControlPlane

HOME, BENCH = "tailscale", "bench"
METRICS = "127.0.0.1:28199"


def build_service(number: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": f"svc-{number:04}", "namespace": BENCH, "annotations": {names.EXPOSE: "true"}},
        "spec": {"ports": [{"name": "http", "port": 80}], "selector": {"app": f"svc-{number:04}"}},
    }


class Proxies:
    """Stands in for kubelet and containerboot: one device for each StatefulSet."""

    def __init__(self, cluster: Kube, plane: ControlPlane) -> None:
        self._cluster, self._plane = cluster, plane
        self._tasks: set[asyncio.Task[None]] = set()
        self.store: Store[kube.StatefulSet] = Store("statefulsets")
        self.store.on_event(self._see)

    def _see(self, event: Event[kube.StatefulSet]) -> None:
        if event.old is None and event.new is not None:
            task = asyncio.create_task(self._join(event.new.metadata.name))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _join(self, name: str) -> None:
        await asyncio.sleep(0.05)
        found = await self._cluster.get(resources.SECRETS, f"{name}-0", HOME)
        config = secret.decode_object(kube.decode_key(found.data.config))
        node = self._plane.tailnet.nodes.login(
            auth_key=config["AuthKey"], hostname=config["Hostname"], machine_key=f"mkey:{name}"
        )
        self._plane.tailnet.nodes.set_connected(node.id, True)
        values = {
            "device_id": str(node.id),
            "device_fqdn": f"{node.name}.{self._plane.tailnet.base_domain}.",
            "device_ips": json.dumps(list(node.addresses)),
        }
        await self._cluster.patch(
            resources.SECRETS, f"{name}-0", HOME, {"data": {k: kube.encode_key(v) for k, v in values.items()}}
        )


async def read_metrics() -> dict[str, float]:
    """Requests by verb and resource, CPU seconds, resident bytes."""
    async with httpx2.AsyncClient() as client:
        text = (await client.get(f"http://{METRICS}/metrics")).text
    found: dict[str, float] = {}
    for line in text.splitlines():
        match = re.match(
            r'tailrace_kube_requests_total\{code="(\d+)",resource="([^"]+)",verb="([^"]+)"\} (\S+)', line
        )
        if match and match[3] != "watch" and match[2] != "leases":
            found[f"{match[3]} {match[2]}"] = found.get(f"{match[3]} {match[2]}", 0) + float(match[4])
        for name in ("process_cpu_seconds_total", "process_resident_memory_bytes"):
            if line.startswith(name + " "):
                found[name] = float(line.split()[1])
    return found


def read_peak(pid: int) -> int:
    """Peak resident memory in KiB."""
    match = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(match[1]) if match else 0


def requests_between(before: dict[str, float], after: dict[str, float]) -> Counter[str]:
    diff = {k: after[k] - before.get(k, 0) for k in after if not k.startswith("process_")}
    return Counter({k: int(v) for k, v in diff.items() if v})


async def start_operator(plane: ControlPlane, kubeconfig: Path, folder: Path) -> asyncio.subprocess.Process:
    credentials = plane.credentials
    for key in ("client_id", "client_secret"):
        (folder / key).write_text(credentials[key])
    environment = {
        **os.environ,
        "OPERATOR_NAMESPACE": HOME,
        "OPERATOR_LOGIN_SERVER": plane.url,
        "CLIENT_ID_FILE": str(folder / "client_id"),
        "CLIENT_SECRET_FILE": str(folder / "client_secret"),
        "TAILRACE_METRICS_ADDRESS": METRICS,
    }
    command = [sys.executable, "-m", "tailrace", "run", "--kubeconfig", str(kubeconfig)]
    log = (folder / "operator.log").open("wb")
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=log, stderr=log)
    async with httpx2.AsyncClient() as client:
        for _ in range(100):
            await asyncio.sleep(0.2)
            try:
                if (await client.get(f"http://{METRICS}/readyz")).status_code == 200:
                    await asyncio.sleep(1.0)
                    return process
            except httpx2.TransportError:
                continue
    raise SystemExit((folder / "operator.log").read_text()[-2000:])


async def ensure_namespaces(cluster: Kube) -> None:
    for name in (HOME, BENCH):
        try:
            await cluster.create(resources.NAMESPACES, {"metadata": {"name": name}})
        except errors.Conflict:
            continue


async def run(options: argparse.Namespace) -> None:
    count: int = options.services
    cluster = Kube.connect(kubeconfig=options.kubeconfig)
    await ensure_namespaces(cluster)
    ready: set[str] = set()
    services: Store[kube.Service] = Store("services")

    def see(event: Event[kube.Service]) -> None:
        found = event.new
        condition = kube.find_condition(found.status.conditions, ConditionType.ONLINE) if found else None
        if found is not None and condition is not None and condition.status == "True":
            ready.add(found.metadata.name)

    services.on_event(see)
    with tempfile.TemporaryDirectory() as folder:
        async with await ControlPlane.start("tailscale") as plane:
            proxies = Proxies(cluster, plane)
            labels = f"{names.MANAGED}=true"
            watches: list[Watch[Any]] = [
                Watch(cluster, resources.STATEFUL_SETS, proxies.store, namespace=HOME, labels=labels),
                Watch(cluster, resources.SERVICES, services, namespace=BENCH),
            ]
            tasks = [asyncio.create_task(w.run()) for w in watches]
            operator = await start_operator(plane, options.kubeconfig, Path(folder))
            try:
                before, calls = await read_metrics(), sum(plane.faults.calls.values())
                began = time.monotonic()
                await asyncio.gather(
                    *(cluster.create(resources.SERVICES, build_service(n)) for n in range(count))
                )
                created = time.monotonic() - began
                while len(ready) < count:
                    await asyncio.sleep(0.05)
                    if time.monotonic() - began > options.limit:
                        raise SystemExit(f"only {len(ready)} of {count} after {options.limit} s")
                elapsed = time.monotonic() - began
                await asyncio.sleep(5)
                after = await read_metrics()
                made = requests_between(before, after)
                result = {
                    "services": count,
                    "all created after s": round(created, 2),
                    "all online after s": round(elapsed, 2),
                    "kubernetes requests a service": round(sum(made.values()) / count, 2),
                    "by request": dict(made.most_common()),
                    "control-plane calls a service": round(
                        (sum(plane.faults.calls.values()) - calls) / count, 3
                    ),
                    "cpu s": round(
                        after["process_cpu_seconds_total"] - before["process_cpu_seconds_total"], 2
                    ),
                    "peak memory MiB": round(read_peak(operator.pid) / 1024, 1),
                }
                calls = sum(plane.faults.calls.values())
                await asyncio.sleep(options.settle)
                settled = await read_metrics()
                result |= {
                    "settled s": options.settle,
                    "settled kubernetes requests": sum(requests_between(after, settled).values()),
                    "settled control-plane calls": sum(plane.faults.calls.values()) - calls,
                    "settled cpu s": round(
                        settled["process_cpu_seconds_total"] - after["process_cpu_seconds_total"], 2
                    ),
                    "resident MiB": round(settled["process_resident_memory_bytes"] / 2**20, 1),
                }
                print(msgspec.json.format(msgspec.json.encode(result), indent=2).decode())
            finally:
                operator.terminate()
                await operator.wait()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
    await cluster.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--services", type=int, default=500)
    parser.add_argument("--settle", type=float, default=60.0)
    parser.add_argument("--limit", type=float, default=300.0)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
