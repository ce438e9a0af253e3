"""`tailrace status`: one table of everything on the tailnet, and of what it is made with."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

from cyclopts import Parameter

from tailrace import errors
from tailrace.api import kube
from tailrace.cli import cluster as clusters
from tailrace.cli import output
from tailrace.cli.exits import Exit
from tailrace.fleet import stores
from tailrace.fleet.view import Row
from tailrace.fleet.world import is_egress
from tailrace.kinds.connector import view as connector_view
from tailrace.kinds.egress import view as egress_view
from tailrace.kinds.proxyclass import view as class_view
from tailrace.kinds.service import view as service_view
from tailrace.kinds.tailnet import view as tailnet_view
from tailrace.kube import resources
from tailrace.kube.client import Kube
from tailrace.kube.resource import Resource

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
    """Show what is exposed, led out or routed: object, mode, device, addresses, URLs or routes, condition, age.

    The table shows the first address and URL of each; `-o json` and `-o yaml` have all of them and the messages. An egress
    has as URL where it leads to. ProxyClasses and Tailnets have a row each; with a namespace there are its Services alone.

    Example: `tailrace status -n default -o json`
    """
    chosen = None if all_namespaces else namespace
    clusters.check_namespace(chosen)
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
    """A row for each object that concerns us, sorted by kind, namespace and name. A namespace has Services alone."""
    operator = await clusters.find_operator(cluster)
    wide = namespace is None
    async with clusters.together() as group:
        services = group.create_task(cluster.list(resources.SERVICES, namespace))
        children = group.create_task(list_children(cluster, operator.namespace))
        connectors = group.create_task(list_optional(cluster, resources.CONNECTORS, wanted=wide))
        classes = group.create_task(list_optional(cluster, resources.PROXY_CLASSES, wanted=wide))
        tailnets = group.create_task(list_optional(cluster, resources.TAILNETS, wanted=wide))
    states, workloads = children.result()
    rows = [connector_view.build_row(c, workloads.get(tell("connector", c))) for c in connectors.result()]
    rows += map(class_view.build_row, classes.result())
    rows += map(tailnet_view.build_row, tailnets.result())
    for service in services.result():
        proxy = states.get(tell("svc", service)), workloads.get(tell("svc", service))
        if is_egress(service):
            rows.append(egress_view.build_row(service, *proxy, operator.defaults))
        elif service_view.concerns_us(service, operator.defaults):
            rows.append(service_view.build_row(service, *proxy))
    return sorted(rows, key=lambda row: row.object)


type ByParent[T] = Mapping[str, T]
"""Of each root's proxies one, by what tells the root."""


def tell(parent: str, root: kube.Object) -> str:
    return stores.tell_parent(parent, root.metadata.namespace, root.metadata.name)


async def list_children(
    cluster: Kube, home: str
) -> tuple[ByParent[kube.ProxySecret], ByParent[kube.StatefulSet]]:
    """The proxies' Secrets and StatefulSets; who may not read them still sees the conditions."""
    try:
        async with clusters.together() as group:
            secrets = group.create_task(cluster.list(resources.SECRETS, home, labels=stores.CHILDREN))
            workloads = group.create_task(cluster.list(resources.STATEFUL_SETS, home, labels=stores.CHILDREN))
    except errors.Denied as error:
        output.tell_once(f"note: modes, devices and URLs are left out: {error}")
        return {}, {}
    return index(secrets.result()), index(workloads.result())


def index[T: kube.Object](found: Iterable[T]) -> dict[str, T]:
    return {parent: obj for obj in found for parent in stores.index_parent(obj)}


async def list_optional[T: kube.Object](cluster: Kube, resource: Resource[T], *, wanted: bool) -> Sequence[T]:
    """Objects of a kind that need not be installed and that not everybody may see."""
    try:
        return await cluster.list(resource) if wanted else ()
    except errors.NotFound:
        return ()
    except errors.Denied as error:
        output.tell_once(f"note: {resource.plural} are left out: {error}")
        return ()


def print_rows(rows: list[Row], form: output.Format) -> None:
    if form != "table":
        output.print_data(rows, form)
        return
    cells = (
        (
            row.object,
            row.mode,
            shorten([name.partition(".")[0] for name in row.devices]),
            shorten(row.addresses),
            shorten(row.urls or row.routes),
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
