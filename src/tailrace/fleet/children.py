"""Which of a root's objects belong to which of its proxies, by their names. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from tailrace.api import kube
from tailrace.fleet.world import Children
from tailrace.proxy import secret


def tell_proxy(parent: str, kind: str, name: str) -> str:
    """The name of the Secret of the proxy that a child belongs to, "" when its name does not say so.

    The proxy of a Service is `ts-x`, its Secret and its pod `ts-x-0`, as the official operator has it. Of a replica of a
    Connector all is named like the Secret, `ts-x-1`, and the pod `ts-x-1-0`.
    """
    match kind:
        case "Secret":
            return name
        case "Pod":
            return name if parent == "svc" else name.rpartition("-")[0]
        case "StatefulSet" | "ServiceAccount" | "Role" | "RoleBinding":
            return f"{name}-0" if parent == "svc" else name
        case _:
            return ""


def group_proxies(parent: str, objects: Iterable[tuple[str, kube.Object]]) -> dict[str, Children]:
    """The objects of one root, kind and object, by the proxy that they belong to."""
    found: dict[str, list[tuple[str, kube.Object]]] = {}
    rest: list[tuple[str, kube.Object]] = []
    for kind, obj in objects:
        proxy = tell_proxy(parent, kind, obj.metadata.name)
        (found.setdefault(proxy, []) if proxy else rest).append((kind, obj))
    built = {name: build_children(pairs) for name, pairs in sorted(found.items())}
    if rest:
        first = next(iter(built), "")
        built[first] = dataclasses.replace(built.get(first, Children()), others=tuple(rest))
    return built


def build_children(pairs: Iterable[tuple[str, Any]]) -> Children:
    by_kind = dict(pairs)
    state = by_kind.get("Secret")
    return Children(
        service_account=by_kind.get("ServiceAccount"),
        role=by_kind.get("Role"),
        role_binding=by_kind.get("RoleBinding"),
        state=None if state is None else secret.read(state),
        statefulset=by_kind.get("StatefulSet"),
        pod=by_kind.get("Pod"),
    )
