"""Which cluster a command speaks to, and the Services of it that concern us."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tailrace import errors, settings
from tailrace.api import kube, names
from tailrace.fleet.install import Defaults
from tailrace.kube import resources
from tailrace.kube.client import Kube
from tailrace.runtime import published


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Target:
    """Which cluster."""

    kubeconfig: Annotated[Path | None, Parameter(help="Kubeconfig file. Default: as kubectl.")] = None
    context: Annotated[str | None, Parameter(help="Context of the kubeconfig. Default: the current one.")] = (
        None
    )


@contextlib.asynccontextmanager
async def connect(target: Target | None) -> AsyncIterator[Kube]:
    """The cluster, closed afterwards."""
    chosen = target or Target()
    cluster = Kube.connect(kubeconfig=chosen.kubeconfig, context=chosen.context)
    try:
        yield cluster
    finally:
        await cluster.close()


@contextlib.asynccontextmanager
async def together() -> AsyncIterator[asyncio.TaskGroup]:
    """Requests at once: the first failure ends the others and comes out alone."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None


def describe(cluster: Kube) -> str:
    return f"{cluster.cluster_name} ({cluster.url})"


def parse_name(text: str, default_namespace: str) -> tuple[str, str]:
    """`NAMESPACE/NAME`, `service/NAMESPACE/NAME`, `svc/NAME` or `NAME`.

    Raises:
        Usage: it is none of these.
    """
    parts = text.split("/")
    if parts[0].lower() in {"service", "services", "svc"} and len(parts) > 1:
        parts = parts[1:]
    elif len(parts) == 3:
        raise errors.Usage(
            f'"{parts[0]}" is no kind that Tailrace serves.', hint="write service/NAMESPACE/NAME"
        )
    if not all(parts) or len(parts) > 2:
        raise errors.Usage(
            f'"{text}" is no name of a Service.', hint="write NAMESPACE/NAME, for example default/web"
        )
    return (parts[0], parts[1]) if len(parts) == 2 else (default_namespace, parts[0])


async def get_service(cluster: Kube, namespace: str, name: str) -> kube.Service:
    """The Service.

    Raises:
        Usage: there is none; the hint names the nearest.
    """
    try:
        return await cluster.get(resources.SERVICES, name, namespace)
    except errors.NotFound:
        near = await find_nearest(cluster, f"{namespace}/{name}")
        hint = f"did you mean {near}?" if near else f"kubectl get services -n {namespace} lists what there is"
        raise errors.Usage(f"There is no Service {namespace}/{name}.", hint=hint) from None


async def find_nearest(cluster: Kube, name: str) -> str:
    """The Service whose name is most like this one, empty when none is or we may not know."""
    try:
        services = await cluster.list(resources.SERVICES)
    except errors.Denied:
        return ""
    there = [f"{s.metadata.namespace}/{s.metadata.name}" for s in services]
    return next(iter(difflib.get_close_matches(name, there, 1)), "")


@dataclass(frozen=True, kw_only=True, slots=True)
class Operator:
    """What can be known of the operator from outside: where it lives and which settings it has."""

    settings: settings.Settings  # with a namespace
    source: str  # where the settings come from, in words
    ca_pem: str | None  # the control plane's private CA, when the operator wrote it down

    @property
    def namespace(self) -> str:
        return self.settings.namespace

    @property
    def defaults(self) -> Defaults:
        return Defaults(
            tags=self.settings.proxy_tags,
            mode=self.settings.proxy_mode,
            load_balancer=self.settings.default_load_balancer,
            proxy_class=self.settings.proxy_default_class,
        )


async def find_operator(cluster: Kube) -> Operator:
    """The operator's own settings where it wrote them down, else this shell's environment and the defaults.

    What only this process can know (credentials, files) comes from the environment in both cases.
    """
    chosen, why = os.environ.get("OPERATOR_NAMESPACE", ""), "no operator has written down its own"
    try:
        record = await find_record(cluster, chosen)
    except errors.Denied:
        record, why = None, "you may not read the operator's own"
    if record is None:
        loaded = settings.load(os.environ)
        namespace = chosen or await guess_namespace(cluster)
        return Operator(
            settings=settings.replace_namespace(loaded, namespace),
            source=f"assumed from this shell's environment and the defaults: {why}",
            ca_pem=None,
        )
    local = {key: value for key, value in os.environ.items() if key in settings.LOCAL}
    return Operator(
        settings=settings.load(record.data | local),
        source=f"the operator's own (ConfigMap {record.metadata.namespace}/{names.SETTINGS})",
        ca_pem=record.data.get(published.CA, ""),
    )


async def find_record(cluster: Kube, namespace: str) -> kube.ConfigMap | None:
    """The ConfigMap in which the operator writes down its settings, of any namespace when none is named."""
    found = await cluster.list(
        resources.CONFIG_MAPS, namespace or None, fields=f"metadata.name={names.SETTINGS}"
    )
    return found[0] if found else None


async def guess_namespace(cluster: Kube) -> str:
    """Where objects of ours are, else the usual one."""
    try:
        found = await cluster.list(resources.STATEFUL_SETS, labels=f"{names.MANAGED}=true")
    except errors.Denied:
        found = []
    return found[0].metadata.namespace if found else "tailscale"
