"""`tailrace status`: one table of everything exposed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from tailrace import errors
from tailrace.api import kube, names
from tailrace.cli import cluster as clusters
from tailrace.cli import output
from tailrace.cli.exits import Exit
from tailrace.fleet.view import Row
from tailrace.kinds.service import view
from tailrace.kube import resources
from tailrace.kube.client import Kube
from tailrace.proxy import names as proxy_names

HEAD = ("OBJECT", "MODE", "DEVICE", "ADDRESSES", "URLS", "READY", "REASON", "AGE")
REFRESH = 2.0


async def status(
    *,
    namespace: Annotated[
        str | None, Parameter(name=["--namespace", "-n"], help="Only this namespace. Default: all.")
    ] = None,
    all_namespaces: Annotated[
        bool, Parameter(name=["--all-namespaces", "-A"], negative="", help="All namespaces, as without -n.")
    ] = False,
    form: Annotated[output.Format, Parameter(name=["--output", "-o"], help="How to print it.")] = "table",
    watch: Annotated[
        bool, Parameter(name=["--watch", "-w"], negative="", help="Print it again when something changes.")
    ] = False,
    cluster: clusters.Target | None = None,
) -> int:
    """Show what is exposed: object, mode, device, addresses, working URLs, condition, age.

    The table shows the first address and URL of each; `-o json` and `-o yaml` have all of them and the messages.

    Example: `tailrace status -n default -o json`
    """
    chosen = None if all_namespaces else namespace
    async with clusters.connect(cluster) as found:
        rows = await gather_rows(found, chosen)
        print_rows(rows, form)
        while watch:
            sys.stdout.flush()
            await asyncio.sleep(REFRESH)
            before, rows = rows, await gather_again(found, chosen, rows)
            if rows != before:
                print_rows(rows, form)
        return Exit.OK


async def gather_again(cluster: Kube, namespace: str | None, rows: list[Row]) -> list[Row]:
    """The rows as they are now; a cluster that does not answer for a moment changes nothing."""
    try:
        return await gather_rows(cluster, namespace)
    except errors.Transient as error:
        output.tell_once(f"note: {error} It is asked again.")
        return rows


async def gather_rows(cluster: Kube, namespace: str | None) -> list[Row]:
    """A row for each Service that concerns us, sorted by namespace and name."""
    operator = await clusters.find_operator(cluster)
    async with clusters.together() as group:
        listing = group.create_task(cluster.list(resources.SERVICES, namespace))
        children = group.create_task(list_children(cluster, operator.namespace))
    services, (secrets, workloads) = listing.result(), children.result()
    states = {s.metadata.name: s for s in secrets}
    sets = {s.metadata.name: s for s in workloads}
    rows = []
    for service in services:
        if not view.concerns_us(service, operator.defaults):
            continue
        child = proxy_names.build_child_name("svc", service.metadata.namespace, service.metadata.name)
        rows.append(view.build_row(service, states.get(f"{child}-0"), sets.get(child)))
    return sorted(rows, key=lambda row: row.object)


async def list_children(
    cluster: Kube, home: str
) -> tuple[Sequence[kube.ProxySecret], Sequence[kube.StatefulSet]]:
    """The proxies' Secrets and StatefulSets; who may not read them still sees the conditions."""
    labels = f"{names.MANAGED}=true,{names.PARENT_TYPE}=svc"
    try:
        async with clusters.together() as group:
            secrets = group.create_task(cluster.list(resources.SECRETS, home, labels=labels))
            workloads = group.create_task(cluster.list(resources.STATEFUL_SETS, home, labels=labels))
        return secrets.result(), workloads.result()
    except errors.Denied as error:
        output.tell_once(f"note: modes, devices and URLs are left out: {error}")
        return (), ()


def print_rows(rows: list[Row], form: output.Format) -> None:
    if form != "table":
        output.print_data(rows, form)
        return
    cells = (
        (
            row.object,
            row.mode,
            row.device.partition(".")[0],
            shorten(row.addresses),
            shorten(row.urls),
            row.ready,
            row.reason,
            output.describe_age(row.created),
        )
        for row in rows
    )
    output.print_table(
        HEAD, cells, empty="Nothing is exposed. `tailrace expose NAMESPACE/NAME` exposes a Service."
    )


def shorten(values: Sequence[str]) -> str:
    """The first of them and how many more there are."""
    more = f" +{len(values) - 1}" if len(values) > 1 else ""
    return f"{values[0]}{more}" if values else ""
