"""Which cluster a command speaks to, and the Services of it that concern us."""

from __future__ import annotations

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
from tailrace.kinds.service import request
from tailrace.kube import resources
from tailrace.kube.client import Kube


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
        there = [f"{s.metadata.namespace}/{s.metadata.name}" for s in await cluster.list(resources.SERVICES)]
        near = difflib.get_close_matches(f"{namespace}/{name}", there, 1)
        hint = (
            f"did you mean {near[0]}?" if near else f"kubectl get services -n {namespace} lists what there is"
        )
        raise errors.Usage(f"There is no Service {namespace}/{name}.", hint=hint) from None


async def find_operator_namespace(cluster: Kube) -> str:
    """Where the proxies live: the setting, else where objects of ours are, else `tailscale`."""
    if chosen := os.environ.get("OPERATOR_NAMESPACE"):
        return chosen
    found = await cluster.list(resources.STATEFUL_SETS, labels=f"{names.MANAGED}=true")
    return found[0].metadata.namespace if found else "tailscale"


def read_defaults() -> request.Defaults:
    """What the operator's settings say, as far as this environment knows them."""
    loaded = settings.load(os.environ)
    return request.Defaults(
        tags=loaded.proxy_tags, mode=loaded.proxy_mode, load_balancer=loaded.default_load_balancer
    )
