"""A small world for the tests of the workload side: manifests, and a way to wait that watches no clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tailrace.sandbox.kubernetes.resources import Ref
from tailrace.sandbox.world import Options, World

Doc = dict[str, Any]
PODS, SECRETS, SERVICES = Ref("", "v1", "pods"), Ref("", "v1", "secrets"), Ref("", "v1", "services")
STATEFULSETS, DEPLOYMENTS = Ref("apps", "v1", "statefulsets"), Ref("apps", "v1", "deployments")
NS = "default"
_LIMIT = 20.0  # seconds: only keeps a fault from hanging


@asynccontextmanager
async def living(folder: Path, *, pace: float = 0.01) -> AsyncIterator[World]:
    async with await World.start(folder, Options(pace=pace)) as world:
        yield world


async def until(check: Callable[[], Any]) -> Any:
    """What `check` answers as soon as that is true."""
    async with asyncio.timeout(_LIMIT):
        while not (found := check()):
            await asyncio.sleep(0.003)
        return found


def pod(name: str, *containers: Doc, labels: dict[str, str] | None = None, **spec: Any) -> Doc:
    metadata: Doc = {"name": name, "namespace": NS, "labels": labels or {"app": name}}
    containers = containers or ({"name": "app", "image": "app:1", "ports": [{"containerPort": 80}]},)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": list(containers)} | spec,
    }


def proxy(name: str = "proxy", **more: Any) -> Doc:
    """A container of the proxy image with its state in the Secret `state`, which logs in with that Secret's key."""
    env = {
        "TS_KUBE_SECRET": "state",
        "TS_USERSPACE": "true",
        "TS_HOSTNAME": "dev",
        "TS_ENABLE_HEALTH_CHECK": "true",
        "TS_LOCAL_ADDR_PORT": "$(POD_IP):9002",
    }
    address = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    probe = {"httpGet": {"path": "/healthz", "port": 9002}, "periodSeconds": 1}
    return {
        "name": name,
        "image": "docker.io/tailscale/tailscale:v1.102.5",
        "env": [address, *({"name": k, "value": v} for k, v in env.items())],
        "readinessProbe": probe,
    } | more


def workload(kind: str, name: str, template: Doc, **spec: Any) -> Doc:
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": NS},
        "spec": {
            "selector": {"matchLabels": template["metadata"]["labels"]},
            "template": {"metadata": {"labels": template["metadata"]["labels"]}, "spec": template["spec"]},
        }
        | spec,
    }


def service(name: str, **spec: Any) -> Doc:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": NS},
        "spec": {"ports": [{"port": 80}], "selector": {"app": name}} | spec,
    }


def secret(name: str, **data: str) -> Doc:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": NS},
        "stringData": data,
    }


def give_rights(world: World) -> None:
    """The default account may keep a proxy's state, and the Secret with a fresh key is there."""
    expires = world.now().replace(year=world.now().year + 1)
    key = world.plane.tailnet.add_key(tags=("tag:k8s",), expires=expires, reusable=True).secret
    world.apply(
        [
            secret("state", authkey=key),
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "Role",
                "metadata": {"name": "proxy", "namespace": NS},
                "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "patch", "update"]}],
            },
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": "proxy", "namespace": NS},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "proxy"},
                "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": NS}],
            },
        ]
    )


def find(world: World, kind: str, name: str, namespace: str = NS) -> Doc | None:
    """A stored object by plural, None when it is not there."""
    group = {"statefulsets": "apps", "deployments": "apps", "replicasets": "apps"}.get(kind, "")
    stored = world.cluster.store.get((group, kind), (namespace, name))
    return stored.doc if stored else None


def state(world: World, name: str, container: int = 0) -> Doc:
    """What a pod's status says about a container, empty before it says anything."""
    statuses: list[Doc] = ((find(world, "pods", name) or {}).get("status") or {}).get(
        "containerStatuses"
    ) or []
    return statuses[container] if statuses else {}


def ready(world: World, name: str) -> bool:
    status = (find(world, "pods", name) or {}).get("status") or {}
    return any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())


def reason(world: World, name: str, container: int = 0) -> str:
    """Why a container waits or has ended."""
    said: dict[str, Doc] = state(world, name, container).get("state") or {}
    return "".join(str(detail.get("reason", "")) for detail in said.values())


def told(world: World, why: str) -> list[str]:
    """The messages of all events with a reason."""
    stored = world.cluster.store.all(("", "events")).values()
    return [s.doc["message"] for s in stored if s.doc["reason"] == why]
