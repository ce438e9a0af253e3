"""A cluster to play a user's story on: the sandbox, the real operator beside it, and few verbs to tell it with.

Objects are called as `tailrace status` calls them: `service/solar/grafana`, `connector/lan`. Manifests are the files of
`manifests/`; whoever waits here waits until the thing is so, never for a time.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import structlog
import yaml

from tailrace.api import names
from tailrace.cli import cluster as clusters
from tailrace.cli import explain, sandbox
from tailrace.sandbox.controlplane.records import Dialect, Node
from tailrace.sandbox.kubernetes.resources import Ref
from tailrace.sandbox.kubernetes.status import ApiError
from tailrace.sandbox.workloads.outside import Device
from tailrace.sandbox.world import Options, World

type Doc = dict[str, Any]

DIALECTS: tuple[Dialect, ...] = ("tailscale", "headscale-0.29")
HOME = sandbox.NAMESPACE
PATIENCE = 30.0  # seconds: only keeps a fault from hanging
LOOK = 0.01
_MANIFESTS = Path(__file__).parent / "manifests"
_REFS = {
    "namespace": Ref("", "v1", "namespaces"),
    "service": Ref("", "v1", "services"),
    "secret": Ref("", "v1", "secrets"),
    "pod": Ref("", "v1", "pods"),
    "event": Ref("", "v1", "events"),
    "configmap": Ref("", "v1", "configmaps"),
    "statefulset": Ref("apps", "v1", "statefulsets"),
    "connector": Ref("tailscale.com", "v1alpha1", "connectors"),
    "proxyclass": Ref("tailscale.com", "v1alpha1", "proxyclasses"),
    "poddisruptionbudget": Ref("policy", "v1", "poddisruptionbudgets"),
}


class Condition(NamedTuple):
    """What an object says about itself."""

    status: str = ""
    reason: str = ""
    message: str = ""


class Event(NamedTuple):
    reason: str
    message: str


@dataclass(slots=True)
class Stage:
    """One cluster with the operator at work."""

    world: World
    visitors: set[str] = field(default_factory=set)  # ids of the devices that are none of the operator's

    # What people do ----------------------------------------------------------------------------------------------

    async def apply(self, file: str, *only: str) -> None:
        """`kubectl apply` of a file of `manifests/`, or of the objects in it that are named."""
        for doc in read_manifests(file):
            if only and call(doc) not in only:
                continue
            self.world.apply([doc])
            await asyncio.sleep(0)

    def change(self, what: str, **parts: Any) -> None:
        """`kubectl patch --type merge`."""
        ref, namespace, name = locate(what)
        self.world.cluster.patch(ref, name, parts, "merge", namespace=namespace)

    def annotate(self, what: str, **notes: str | None) -> None:
        """`kubectl annotate`: `hostname="x"` is `tailscale.com/hostname`; None takes it away."""
        found = {f"tailscale.com/{key.replace('_', '-')}": value for key, value in notes.items()}
        self.change(what, metadata={"annotations": found})

    def delete(self, *what: str) -> None:
        """`kubectl delete`, without waiting."""
        for each in what:
            ref, namespace, name = locate(each)
            self.world.cluster.delete(ref, name, namespace=namespace)

    def join(self, hostname: str, **more: Any) -> Device:
        """Somebody's own device comes onto the tailnet, as in `Outside.join`."""
        device = self.world.join(hostname, **more)
        self.visitors.add(device.id)
        return device

    def approve(self, hostname: str, *routes: str) -> None:
        """An administrator approves these routes of a device, and no others."""
        self.world.plane.tailnet.approve_routes(self.node(hostname).id, routes)

    # What is there -----------------------------------------------------------------------------------------------

    def find(self, what: str) -> Doc | None:
        ref, namespace, name = locate(what)
        try:
            return self.world.cluster.get(ref, name, namespace=namespace)
        except ApiError:
            return None

    def get(self, what: str) -> Doc:
        found = self.find(what)
        assert found is not None, f"{what} is not there"
        return found

    def condition(self, what: str, kind: str = "Ready") -> Condition:
        found = (self.find(what) or {}).get("status", {}).get("conditions") or ()
        return next(
            (Condition(c["status"], c["reason"], c["message"]) for c in found if c["type"] == kind),
            Condition(),
        )

    def events(self, what: str) -> list[Event]:
        kind, _, name = what.partition("/")
        namespace, _, name = name.rpartition("/")
        stored = self.world.cluster.store.all(("", "events")).values()
        told = [s.doc for s in stored]
        return [
            Event(e["reason"], e["message"])
            for e in told
            for about in (e["involvedObject"],)
            if (about["kind"].lower(), about.get("namespace", ""), about["name"]) == (kind, namespace, name)
        ]

    def nodes(self) -> list[Node]:
        """The devices of the tailnet that the operator's proxies are."""
        return [node for node in self.world.plane.tailnet.nodes.all() if node.id not in self.visitors]

    def node(self, hostname: str) -> Node:
        found = [node for node in self.world.plane.tailnet.nodes.all() if node.name == hostname]
        assert found, f"no device is called {hostname}"
        return found[0]

    def children(self, what: str, kind: str) -> list[Doc]:
        """What was made for an object, of one kind, by name."""
        _, namespace, name = locate(what)
        mine = {names.PARENT_NAME: name, names.PARENT_NAMESPACE: namespace}
        ref = _REFS[kind]
        stored = self.world.cluster.store.all((ref.group, ref.resource)).values()
        found = [s.doc for s in stored if mine.items() <= (s.doc["metadata"].get("labels") or {}).items()]
        return sorted(found, key=lambda doc: str(doc["metadata"]["name"]))

    @staticmethod
    def config_of(secret: Doc) -> str:
        """What a proxy's Secret tells it to be: its newest configuration."""
        return Stage.value_of(secret, max(name for name in secret["data"] if name.startswith("cap-")))

    @staticmethod
    def value_of(secret: Doc, key: str) -> str:
        return base64.b64decode(secret["data"][key]).decode()

    def left_overs(self) -> list[str]:
        """Everything that the operator ever made or wrote and that is still there; its own settings and the text of
        the user's manifests do not count."""
        return [*self._devices_left(), *self._keys_left(), *self._objects_left()]

    def _devices_left(self) -> Iterator[str]:
        yield from (f"device {node.name}" for node in self.nodes())

    def _keys_left(self) -> Iterator[str]:
        now = self.world.now()
        for key in self.world.plane.tailnet.keys.values():
            if not (key.used or key.revoked or (key.expires and key.expires < now)):
                yield f"key {key.id}"

    def _objects_left(self) -> Iterator[str]:
        for kind in self.world.cluster.store.kinds():
            for stored in self.world.cluster.store.all(kind).values():
                meta, status = stored.doc["metadata"], stored.doc.get("status") or {}
                what = f"{kind[1]} {meta.get('namespace', '')}/{meta['name']}"
                if (meta.get("labels") or {}).get(names.MANAGED) == "true":
                    yield what
                yield from (f"{what}: {f}" for f in meta.get("finalizers") or () if f == names.FINALIZER)
                if kind == ("", "services"):
                    yield from (f"{what}: {c['type']}" for c in status.get("conditions") or ())
                if kind == ("", "configmaps") and meta["name"] == names.ORPHANS and stored.doc.get("data"):
                    yield f"{what}: {sorted(stored.doc['data'])}"

    # Waiting for it ----------------------------------------------------------------------------------------------

    async def until(self, holds: Callable[[], Any], otherwise: Callable[[], Any] = str) -> Any:
        """What `holds` answers as soon as that is true."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not (found := holds()):
                    await asyncio.sleep(LOOK)
                return found
        except TimeoutError:
            raise AssertionError(f"it did not become so: {otherwise()}") from None

    async def settled(self, *what: str) -> None:
        """Until each is ready."""
        for each in what:
            await self.says(each, "Ready", status="True")

    async def says(self, what: str, kind: str, reason: str = "", *words: str, status: str = "") -> str:
        """Until a condition has this reason, or status, and its message these words; the message."""

        def holds() -> bool:
            now = self.condition(what, kind)
            right = now.reason == reason if reason else now.status == status
            return right and all(word in now.message for word in words)

        await self.until(holds, lambda: f"{what}: {self.conditions(what)}")
        return self.condition(what, kind).message

    async def told(self, what: str, reason: str, *words: str) -> None:
        """Until there is an event of this reason about it with these words."""

        def holds() -> bool:
            return any(
                e.reason == reason and all(word in e.message for word in words) for e in self.events(what)
            )

        await self.until(holds, lambda: self.events(what))

    async def nothing_left(self, *but: str) -> None:
        """Until nothing is, but for what is named as `left_overs` names it."""
        await self.until(lambda: sorted(self.left_overs()) == sorted(but), self.left_overs)

    def conditions(self, what: str) -> Mapping[str, Condition]:
        """All of them, for a reader of a failure."""
        found = (self.find(what) or {}).get("status", {}).get("conditions") or ()
        return {c["type"]: Condition(c["status"], c["reason"], c["message"]) for c in found}

    async def explain(self, what: str) -> str:
        """What `tailrace explain` prints of it."""
        printed, target = io.StringIO(), clusters.Target(kubeconfig=self.world.kubeconfig)
        with contextlib.redirect_stdout(printed):
            await explain.explain(what, cluster=target)
        return printed.getvalue()

    # Bytes -------------------------------------------------------------------------------------------------------

    async def ask(self, host: str, port: int = 80, by: Device | None = None) -> str:
        """Who answers HTTP there, for a device, or for a pod of the cluster; empty when nobody does."""
        try:
            async with asyncio.timeout(PATIENCE):
                status, body = await (by or self.world).fetch(host, port)
        except OSError:
            return ""
        return body.decode().splitlines()[0] if status == 200 else ""

    async def answered(self, expected: str, host: str, port: int = 80, by: Device | None = None) -> None:
        """Until that is who answers; `expected` empty: until nobody does."""
        try:
            async with asyncio.timeout(PATIENCE):
                while (heard := await self.ask(host, port, by)) != expected:
                    await asyncio.sleep(LOOK)
        except TimeoutError:
            raise AssertionError(f"{host}:{port} is answered by {heard!r} instead of {expected!r}") from None


def read_manifests(file: str) -> list[Doc]:
    return [doc for doc in yaml.safe_load_all((_MANIFESTS / f"{file}.yaml").read_text()) if doc]


def call(doc: Doc) -> str:
    """The name of an object here."""
    meta = doc["metadata"]
    return "/".join(part for part in (doc["kind"].lower(), meta.get("namespace", ""), meta["name"]) if part)


def locate(what: str) -> tuple[Ref, str, str]:
    """Kind, namespace and name."""
    kind, _, rest = what.partition("/")
    namespace, _, name = rest.rpartition("/")
    return _REFS[kind], namespace, name


@contextlib.asynccontextmanager
async def raise_stage(
    folder: Path, dialect: Dialect, *, policy: str = "", pod_security: str = "privileged", early: str = ""
) -> AsyncIterator[Stage]:
    """The cluster, with an operator whose namespace enforces `pod_security`. `policy`: the tailnet's, when not the
    usual one. `early`: the file of what is there before the operator."""
    world = await World.start(folder, Options(dialect=dialect, pace=0.05))
    async with world:
        await sandbox.fill(world, read_manifests(early) if early else [])
        label = {"pod-security.kubernetes.io/enforce": pod_security}
        world.cluster.patch(_REFS["namespace"], HOME, {"metadata": {"labels": label}}, "merge")
        if policy:
            world.plane.tailnet.set_policy(policy)
        environment = {"TAILRACE_METRICS_ADDRESS": "127.0.0.1:0", "TAILRACE_DEVICE_REFRESH": "1s"}
        try:
            async with sandbox.run_operator(world, **environment):
                yield Stage(world)
        finally:
            structlog.reset_defaults()


__all__ = ["DIALECTS", "HOME", "Condition", "Device", "Stage", "raise_stage"]
