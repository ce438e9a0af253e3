"""The API server's own limit: the writes of Tailrace, sent bare, with 32 under way, the same kubelet answering.

The bodies are those of Tailrace's own plan for a new Service and of the two writes after its login. Nothing is
watched, decided or decoded in between, so nobody who needs these writes can be faster on the same machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import msgspec
from bench.kubelet import Kubelet

from tailrace import app, settings
from tailrace.api import kube, names
from tailrace.cli import render
from tailrace.fleet import wish
from tailrace.fleet.world import Children, Tailnet
from tailrace.kinds.service import decide, inputs
from tailrace.kube import config as kube_config
from tailrace.kube import resources
from tailrace.plan import executor, ops
from tailrace.proxy import secret
from tailrace.runtime import events
from tailrace.sandbox.controlplane.control import ControlPlane
from tailrace.tailnet import port

IN_FLIGHT = 32
_APPLY = "application/apply-patch+yaml"


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    method: str
    path: str
    query: str
    body: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Writes:
    """What becomes of one Service, in stages; those of a stage go together."""

    create: Request
    before: tuple[tuple[Request, ...], ...]
    child: str  # its StatefulSet
    after: tuple[Request, ...]

    def __len__(self) -> int:
        return sum(map(len, self.before)) + len(self.after)


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    seconds: float
    writes: int  # a Service, without its creation
    requests_per_second: float  # of these, its creation and the kubelet's four


def build_writes(document: Mapping[str, Any], install_env: Mapping[str, str], plane: ControlPlane) -> Writes:
    """The requests of one Service, keys minted."""
    made = settings.load(install_env)
    install = app.build_install(made, app.find_login_server(made))
    now = datetime.now(UTC)
    service = render.read_service(document)
    offline = render.Offline(install=install, now=now, tailscale=install.image.login_server)
    fresh = render.build_inputs(offline, service, "")
    plan = decide.decide(fresh)
    key = plane.tailnet.add_key(tags=made.proxy_tags, expires=now + made.key_ttl)
    before = tuple(tuple(r for op in stage for r in build_requests(op, key.secret)) for stage in plan.stages)
    manifest = next(op.into for op in plan.ops if isinstance(op, ops.MintKey))
    last = decide.decide(build_joined(fresh, manifest)).ops
    return Writes(
        create=build_request("POST", document),
        before=tuple(stage for stage in before if stage),
        child=manifest["metadata"]["name"].removesuffix("-0"),
        after=tuple(
            r
            for op in last
            if isinstance(op, ops.ApplyStatus)
            or (isinstance(op, ops.Apply) and op.manifest["kind"] == "Secret")
            for r in build_requests(op, "")
        ),
    )


def build_joined(fresh: inputs.Inputs, manifest: Mapping[str, Any]) -> inputs.Inputs:
    """The world after the login: the key is to be dropped, the last status to be written."""
    name = manifest["metadata"]["name"]
    waiting = secret.put_key(manifest, "tskey-auth-x", "k1", fresh.now.isoformat())
    told = {"device_id": "n1", "device_fqdn": f"{name}.limit.example.", "device_ips": '["100.64.0.1"]'}
    data = {**waiting["data"], **{k: kube.encode_key(v) for k, v in told.items()}}
    state = secret.read(msgspec.convert({**waiting, "data": data}, kube.ProxySecret))
    service = fresh.service
    assert service is not None
    device = port.Device(
        id=port.DeviceId("n1"),
        name=wish.read_hostname(service),
        hostname=name,
        fqdn=None,
        addresses=("100.64.0.1",),
        tags=fresh.install.defaults.tags,
        online=True,
        last_seen=None,
    )
    return dataclasses.replace(
        fresh, proxies={name: Children(state=state)}, tailnet=Tailnet(known=True, device=device)
    )


def build_requests(op: ops.Op, key: str) -> Iterable[Request]:
    match op:
        case ops.Apply(manifest=manifest):
            yield build_request("PATCH", manifest)
        case ops.MintKey(into=manifest):
            now = datetime.now(UTC).isoformat()
            yield build_request("PATCH", secret.put_key(manifest, key, "k1", now))
        case ops.Finalize(ref=ref):
            body = executor.build_root(ref, {"finalizers": [names.FINALIZER]})
            yield build_request("PATCH", body, manager=f"{names.FIELD_MANAGER}-finalizer")
        case ops.ApplyStatus(ref=ref, status=status):
            body = executor.build_root(ref, {}) | {"status": dict(status)}
            yield build_request("PATCH", body, subresource="status")
        case ops.Emit():
            yield build_request("POST", build_event(op))
        case _:
            raise AssertionError(f"a new Service needs {type(op).__name__}")


def build_request(
    method: str,
    body: Mapping[str, Any],
    *,
    subresource: str | None = None,
    manager: str = names.FIELD_MANAGER,
) -> Request:
    resource = events.EVENTS if body["kind"] == "Event" else resources.BY_KIND[body["kind"]]
    named = {"apiVersion": resource.api_version, **body}
    meta = body["metadata"]
    create = method == "POST"
    return Request(
        method=method,
        path=resource.path(meta["namespace"], None if create else meta["name"], subresource),
        query="" if create else f"?fieldManager={manager}&force=true",
        body=json.dumps(named).encode(),
    )


def build_event(op: ops.Emit) -> dict[str, Any]:
    notice = events.Notice(
        api_version=op.api_version,
        kind=op.ref.kind,
        namespace=op.ref.namespace,
        name=op.ref.name,
        uid=op.uid,
        warning=op.warning,
        reason=op.reason,
        message=op.message,
    )
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"kind": "Event"} | events.build_event(notice, f"{op.ref.name}.{uuid.uuid4().hex[:16]}", now)


@contextlib.asynccontextmanager
async def connect(kubeconfig: Path) -> AsyncIterator[httpx2.AsyncClient]:
    config = kube_config.load_config(kubeconfig=kubeconfig, context=None, in_cluster_ok=False)
    pool = httpx2.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
    calls, watches = kube_config.open_clients(config, timeout=httpx2.Timeout(60, pool=None), limits=pool)
    async with calls, watches:
        yield calls


async def measure(admin: Path, operator: Path, all_writes: list[Writes], kubelet: Kubelet) -> Limit:
    """Send everything; `operator` is who may write what Tailrace writes, so that its rights are checked too."""
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def send(client: httpx2.AsyncClient, what: Request) -> None:
        headers = {"Content-Type": "application/json" if what.method == "POST" else _APPLY}
        async with slots:
            answer = await client.request(
                what.method, what.path + what.query, content=what.body, headers=headers
            )
        if not answer.is_success:
            raise SystemExit(f"{what.method} {what.path}: {answer.status_code} {answer.text[:500]}")

    async def expose(user: httpx2.AsyncClient, client: httpx2.AsyncClient, writes: Writes) -> None:
        await send(user, writes.create)
        for stage in writes.before:
            await asyncio.gather(*(send(client, request) for request in stage))
        await kubelet.wait_joined(writes.child)
        await asyncio.gather(*(send(client, request) for request in writes.after))

    async with connect(admin) as user, connect(operator) as client:
        began = time.monotonic()
        await asyncio.gather(*(expose(user, client, writes) for writes in all_writes))
        seconds = time.monotonic() - began
    each = len(all_writes[0])
    return Limit(seconds=seconds, writes=each, requests_per_second=(each + 5) * len(all_writes) / seconds)
