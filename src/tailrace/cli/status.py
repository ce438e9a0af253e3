"""`tailrace status`: one table of everything exposed."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

from cyclopts import Parameter

from tailrace.api import names
from tailrace.cli import cluster as clusters
from tailrace.cli import output
from tailrace.cli.exits import Exit
from tailrace.kinds.service import view
from tailrace.kube import resources
from tailrace.kube.client import Kube
from tailrace.proxy import names as proxy_names

HEAD = ("OBJECT", "MODE", "DEVICE", "ADDRESSES", "URLS", "READY", "REASON", "AGE")
REFRESH = 2.0


async def status(
    *,
    namespace: Annotated[
        str | None, Parameter(name=["--namespace", "-n"], help="Only this namespace.")
    ] = None,
    form: Annotated[output.Format, Parameter(name=["--output", "-o"], help="table, json or yaml.")] = "table",
    watch: Annotated[
        bool, Parameter(name=["--watch", "-w"], negative="", help="Show it again on change.")
    ] = False,
    cluster: clusters.Target | None = None,
) -> int:
    """Show what is exposed: object, mode, device, addresses, working URLs, condition, age."""
    async with clusters.connect(cluster) as found:
        before: list[view.Row] | None = None
        while True:
            rows = await gather_rows(found, namespace)
            if rows != before:
                print_rows(rows, form)
            if not watch:
                return Exit.OK
            before = rows
            sys.stdout.flush()
            await asyncio.sleep(REFRESH)


async def gather_rows(cluster: Kube, namespace: str | None) -> list[view.Row]:
    """A row for each Service that concerns us, sorted by namespace and name."""
    defaults = clusters.read_defaults()
    home = await clusters.find_operator_namespace(cluster)
    labels = f"{names.MANAGED}=true,{names.PARENT_TYPE}=svc"
    services, secrets, workloads = await asyncio.gather(
        cluster.list(resources.SERVICES, namespace),
        cluster.list(resources.SECRETS, home, labels=labels),
        cluster.list(resources.STATEFUL_SETS, home, labels=labels),
    )
    states = {s.metadata.name: s for s in secrets}
    sets = {s.metadata.name: s for s in workloads}
    rows = []
    for service in services:
        if not view.concerns_us(service, defaults):
            continue
        child = proxy_names.build_child_name("svc", service.metadata.namespace, service.metadata.name)
        rows.append(view.build_row(service, states.get(f"{child}-0"), sets.get(child)))
    return sorted(rows, key=lambda row: row.object)


def print_rows(rows: list[view.Row], form: output.Format) -> None:
    if form != "table":
        output.print_data(rows, form)
        return
    output.print_table(
        HEAD,
        (
            (
                row.object,
                row.mode,
                row.device,
                ",".join(row.addresses[:1]),
                " ".join(row.urls),
                row.ready,
                row.reason,
                output.describe_age(row.created),
            )
            for row in rows
        ),
        empty="Nothing is exposed. `tailrace expose NAMESPACE/NAME` exposes a Service.",
    )
