"""Which cluster a command speaks to, how objects of it are named, and what is known of its operator."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import os
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from tailrace import errors, settings
from tailrace.api import connector, crd, kube, names, proxyclass, tailnet
from tailrace.fleet.install import Defaults
from tailrace.kube import resources
from tailrace.kube.client import Kube
from tailrace.kube.resource import Key, Resource, key_of
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


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object as people type it."""

    resource: Resource[Any]
    aliases: frozenset[str]

    @property
    def name(self) -> str:
        return self.resource.kind.lower()

    @property
    def example(self) -> str:
        return "default/web" if self is SERVICE else f"{self.name}/home"

    def describe(self, key: Key) -> str:
        """Such as `default/web` and `connector/home`: a Service needs no kind before it."""
        return str(key) if self is SERVICE else f"{self.name}/{key}"


def build_kind(kind: crd.Definition, resource: Resource[Any]) -> Kind:
    return Kind(resource, frozenset({kind.kind.lower(), kind.plural, *kind.short_names}))


SERVICE = Kind(resources.SERVICES, frozenset({"service", "services", "svc"}))
KINDS = (
    SERVICE,
    build_kind(connector.DEFINITION, resources.CONNECTORS),
    build_kind(proxyclass.DEFINITION, resources.PROXY_CLASSES),
    build_kind(tailnet.DEFINITION, resources.TAILNETS),
)


NAME = re.compile(r"\w([\w.-]*\w)?", re.ASCII)
"""Wider than a cluster has it, since the nearest name is told; what no path of the API can hold is refused."""


def check_namespace(text: str | None) -> None:
    """
    Raises:
        Usage: no namespace can be called so.
    """
    if text is not None and not NAME.fullmatch(text):
        raise errors.Usage(
            f'"{text}" is no name of a namespace.', hint="kubectl get namespaces lists what there is"
        )


def parse_name(text: str, default_namespace: str, kinds: Sequence[Kind] = (SERVICE,)) -> tuple[Kind, Key]:
    """`NAMESPACE/NAME`, `service/NAMESPACE/NAME`, `svc/NAME` or `NAME`; of other kinds `connector/NAME`, `cn/NAME`.

    Raises:
        Usage: it is none of these.
    """
    parts = text.split("/")
    typed = parts[0].lower()
    kind = next((kind for kind in kinds if typed in kind.aliases), None) if len(parts) > 1 else None
    if kind is not None:
        parts = parts[1:]
    elif len(parts) == 3:
        known = [alias for kind in kinds for alias in sorted(kind.aliases)]
        near = difflib.get_close_matches(typed, known, 1)
        raise errors.Usage(
            f'"{parts[0]}" is no kind that Tailrace serves.',
            hint=f"did you mean {near[0]}?" if near else "write service/NAMESPACE/NAME",
        )
    chosen = kind or SERVICE
    if not all(map(NAME.fullmatch, parts)) or len(parts) > 1 + chosen.resource.namespaced:
        form = "NAMESPACE/NAME" if chosen.resource.namespaced else f"{chosen.name}/NAME"
        raise errors.Usage(
            f'"{text}" is no name of a {chosen.resource.kind}.',
            hint=f"write {form}, for example {chosen.example}",
        )
    home = default_namespace if chosen.resource.namespaced else ""
    return chosen, Key(parts[0], parts[1]) if len(parts) == 2 else Key(home, parts[0])


async def get_service(cluster: Kube, name: str) -> kube.Service:
    """The Service that a person names.

    Raises:
        Usage: there is none; the hint names the nearest.
    """
    kind, key = parse_name(name, cluster.namespace)
    service: kube.Service = await get(cluster, kind, key, (SERVICE,))
    return service


async def get(cluster: Kube, kind: Kind, key: Key, kinds: Sequence[Kind] = KINDS) -> Any:
    """The object.

    Raises:
        Usage: there is none; the hint names the nearest of these kinds.
    """
    try:
        return await cluster.get(kind.resource, key.name, key.namespace or None)
    except errors.NotFound:
        near = await find_nearest(cluster, kind.describe(key), kinds)
        place = f" -n {key.namespace}" if key.namespace else ""
        lists = f"kubectl get {kind.resource.plural}{place} lists what there is"
        hint = f"did you mean {near}?" if near else lists
        raise errors.Usage(f"There is no {kind.resource.kind} {key}.", hint=hint) from None


async def find_nearest(cluster: Kube, name: str, kinds: Sequence[Kind]) -> str:
    """What is named most like this, empty when nothing is or we may not know."""
    there: list[str] = []
    for kind in kinds:
        with contextlib.suppress(errors.Denied, errors.NotFound):
            there += [kind.describe(key_of(found)) for found in await cluster.list(kind.resource)]
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
