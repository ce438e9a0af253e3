"""`tailrace adopt`: what the operator would take over from the official one, and what stands in the way. It changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from tailrace import errors
from tailrace.api import kube, names
from tailrace.cli import cluster as clusters
from tailrace.cli import output
from tailrace.cli.exits import Exit
from tailrace.cli.look import Sight, look
from tailrace.fleet import adoption
from tailrace.kinds.sweep import judge
from tailrace.kinds.sweep.inputs import Owner, read_owner
from tailrace.kube import resources
from tailrace.kube.client import Kube
from tailrace.kube.resource import Key
from tailrace.proxy import secret

HEAD = ("OBJECT", "PROXY", "DEVICE", "TAKEN OVER", "WHY")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A proxy of the official operator."""

    object: str
    proxy: str
    device: str
    adopted: bool
    why: str


async def adopt(
    *,
    form: Annotated[output.Format, Parameter(name=["--output", "-o"], help="How to print it.")] = "table",
    cluster: clusters.Target | None = None,
) -> int:
    """Show which proxies of the official operator Tailrace takes over, and what stands in the way.

    The work is the operator's: it takes each proxy over, with its device and name, once the official operator has been
    stopped. This command changes nothing.

    Example: `tailrace adopt`
    """
    async with clusters.connect(cluster) as found:
        operator = await clusters.find_operator(found)
        async with look(found, operator) as sight:
            rows = list_rows(sight)
            obstacles = [*describe_obstacles(sight), *await find_elsewhere(found, operator.namespace)]
            running = sight.running
    print_rows(rows, form)
    for obstacle in obstacles:
        output.tell(f"in the way: {obstacle}")
    if form == "table" and rows and not obstacles:
        output.tell(f"Nothing stands in the way. The operator takes them over ({running}).")
    return Exit.NOT_READY if obstacles else Exit.OK


def list_rows(sight: Sight) -> list[Row]:
    """One for each Secret that the official operator wrote last."""
    stores = sight.fleet.stores
    found = ((each, read_owner(each)) for each in stores.secrets.list() if adoption.is_foreign(each))
    rows = [build_row(sight, each, owner) for each, owner in found if owner is not None]
    return sorted(rows, key=lambda row: (row.object, row.proxy))


def build_row(sight: Sight, found: kube.ProxySecret, owner: Owner) -> Row:
    parent, namespace, name = owner
    kind, state = judge.KINDS.get(parent, parent), secret.read(found)
    device = f"{state.fqdn or '?'} ({state.device_id})" if state.device_id else "none yet"
    served = parent in judge.KINDS
    there = served and exists(sight, parent, Key(namespace, name))
    why = (
        f'Tailrace does not serve the kind "{parent}": it stays with the official operator'
        if not served
        else "the same device under the same name"
        if there
        else "its object does not exist: the proxy and its device are removed"
    )
    where = f"{namespace}/{name}" if namespace else name
    return Row(object=f"{kind} {where}", proxy=found.metadata.name, device=device, adopted=there, why=why)


def exists(sight: Sight, parent: str, key: Key) -> bool:
    store = sight.fleet.stores.services if parent == "svc" else sight.connectors.store
    return store.get(*key) is not None


def describe_obstacles(sight: Sight) -> Iterable[str]:
    running = adoption.find_running(sight.fleet.stores.deployments.list())
    if running is not None:
        yield adoption.describe_running(running)


async def find_elsewhere(cluster: Kube, home: str) -> list[str]:
    """Official operators in other namespaces: they serve the same objects with children that are not seen from here."""
    try:
        listed = await cluster.list(resources.DEPLOYMENTS, fields=f"metadata.name={adoption.OPERATOR}")
    except errors.Denied:
        output.tell("note: other namespaces were not looked at: you may not list Deployments there")
        return []
    others = (d for d in listed if d.metadata.namespace != home)
    running = [d for d in others if adoption.is_official(d) and adoption.is_running(d)]
    return [
        f"an official operator runs in namespace {d.metadata.namespace}: it serves the same objects. Install Tailrace there, "
        "or remove it"
        for d in running
    ]


def print_rows(rows: Sequence[Row], form: output.Format) -> None:
    if form != "table":
        output.print_data(list(rows), form)
        return
    cells = ((r.object, r.proxy, r.device, "yes" if r.adopted else "no", r.why) for r in rows)
    empty = (
        f"There is nothing of the official operator: no Secret labelled {names.MANAGED}=true that it wrote."
    )
    output.print_table(HEAD, cells, empty=empty)
