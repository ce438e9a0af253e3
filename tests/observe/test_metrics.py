"""Every metric that is declared is set by a running operator, and the reference page lists exactly these."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.parser import text_string_to_metric_families

import tailrace
from tailrace import app, settings
from tailrace.api import names
from tailrace.kinds.sweep import controller as sweep
from tailrace.kube.client import Kube
from tailrace.observe import metrics
from tailrace.runtime import health
from tailrace.sandbox.controlplane.control import ControlPlane
from tests.support.world import build_service

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "metrics.md"
DECLARED = {
    next(iter(m.describe())).name: m
    for m in vars(metrics).values()
    if isinstance(m, Counter | Gauge | Histogram)
}
UNSET = -1.0


class Api:
    """An API server that has one Service, one orphan and one object that nobody can read, takes every write, and fails once when
    it is watched and once when it is written to."""

    def __init__(self) -> None:
        self.versions = itertools.count(1)
        self.troubles = {"GET", "PATCH"}

    async def answer(self, request: httpx2.Request) -> httpx2.Response:
        plural = request.url.path.rpartition("/")[2]
        if request.method in self.troubles and plural != "services":
            self.troubles.remove(request.method)
            return httpx2.Response(500, json={"kind": "Status", "code": 500, "message": "in trouble"})
        if request.method == "GET":
            return httpx2.Response(200, content=self.watch(plural))
        obj = msgspec.json.decode(request.content)
        obj["data"] = {key: value for key, value in obj.get("data", {}).items() if value is not None}
        version = str(next(self.versions))
        obj["metadata"] = {"uid": f"uid-{version}", **obj.get("metadata", {}), "resourceVersion": version}
        return httpx2.Response(200, json=obj)

    async def watch(self, plural: str) -> AsyncIterator[bytes]:
        """The streaming list; then it is silent for as long as somebody listens."""
        unreadable = {"metadata": {"name": "odd", "namespace": "demo"}, "spec": {"ports": 1}}
        orphans = {"metadata": {"name": names.ORPHANS, "namespace": "tailscale"}, "data": {"n1": "{}"}}
        known = {"services": (build_service(), unreadable), "configmaps": (orphans,)}
        for obj in known.get(plural, ()):
            yield build_line("ADDED", obj)
        end = {"annotations": {"k8s.io/initial-events-end": "true"}, "resourceVersion": "1"}
        yield build_line("BOOKMARK", {"metadata": end})
        await asyncio.Event().wait()


def build_line(kind: str, obj: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"type": kind, "object": obj}) + b"\n"


def list_set() -> set[str]:
    """Names of the declared metrics that have a value; a histogram or counter that counted nothing has none."""
    text = metrics.render("")[0].decode()
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    return {
        row.name
        for row in metrics.TABLE
        for s in samples
        if (row.kind == "gauge" and s.name == row.name and s.value != UNSET)
        or (row.kind == "counter" and s.name == row.name and s.value > 0)
        or (row.kind == "histogram" and s.name == f"{row.name}_count" and s.value > 0)
    }


def forget_all() -> None:
    """As if nothing had run in this process yet; the build is what it is."""
    for row in metrics.TABLE:
        metric = DECLARED[row.name.removesuffix("_total")]
        if row.labels and metric is not metrics.BUILD:
            metric.clear()
        elif isinstance(metric, Gauge) and not row.labels:
            metric.set(UNSET)


@pytest.mark.anyio
async def test_a_small_run_of_the_operator_sets_every_metric(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "BEAT", 0.01)
    monkeypatch.setattr(sweep, "FIRST", 0.01)
    async with await ControlPlane.start("tailscale") as plane:
        for key in ("client_id", "client_secret"):
            (tmp_path / key).write_text(plane.credentials[key])
        chosen = settings.load(
            {
                "OPERATOR_NAMESPACE": "tailscale",
                "OPERATOR_LOGIN_SERVER": plane.url,
                "CLIENT_ID_FILE": str(tmp_path / "client_id"),
                "CLIENT_SECRET_FILE": str(tmp_path / "client_secret"),
                "TAILRACE_METRICS_ADDRESS": "127.0.0.1:0",
                "TAILRACE_LEADER_ELECTION": "false",
            }
        )
        http = httpx2.AsyncClient(transport=httpx2.MockTransport(Api().answer), base_url="https://api.test")
        cluster = Kube(http, cluster_name="test", observer=metrics.observe_kube_request)
        forget_all()
        assert list_set() == {"tailrace_build_info"}
        stop = asyncio.Event()
        edges = app.Edges(cluster=cluster, plane=app.open_plane(chosen))
        running = asyncio.create_task(app.run(chosen, edges, stop=stop))
        declared = {row.name for row in metrics.TABLE}
        try:
            async with asyncio.timeout(10):
                while (unset := declared - list_set()) and not running.done():
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pytest.fail(f"never set: {sorted(unset)}")
        finally:
            stop.set()
            await running
        assert not unset


def test_the_build_is_told() -> None:
    assert metrics.REGISTRY.get_sample_value("tailrace_build_info", {"version": tailrace.__version__}) == 1


def test_the_table_lists_what_is_exposed() -> None:
    """Nothing is exposed that the table does not know, but what the client library says about the process."""
    exposed = {family.name for family in metrics.REGISTRY.collect() if not family.name.startswith("process_")}
    assert exposed == {row.name.removesuffix("_total") for row in metrics.TABLE} == set(DECLARED)


def test_the_reference_page_lists_exactly_the_table() -> None:
    assert re.findall(r"^\| `(\w+)` \|", REFERENCE.read_text(), re.MULTILINE) == [
        row.name for row in metrics.TABLE
    ]
