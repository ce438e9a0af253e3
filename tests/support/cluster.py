"""A cluster in memory behind the methods of `kube.client.Kube` that the executor uses, with the machinery that acts on
our objects: StatefulSets get pods, pods join the tailnet with the key that they find.

It keeps what matters to a plan: versions, finalizers, foreground deletion, fields of an applier that go when it no
longer applies them. It refuses what Kubernetes refuses (labels that are too long, a changed selector).
"""

from __future__ import annotations

import contextlib
import copy
import itertools
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from tailrace import errors
from tailrace.api import kube, names
from tailrace.kube.reflector import Dropped, Put, Replaced
from tailrace.kube.resource import Key, Resource
from tailrace.kube.store import Store
from tailrace.proxy import secret
from tailrace.tailnet.memory import JoinRefusedError
from tests.support.tailnets import Tailnet

type Place = tuple[str, str, str]  # kind, namespace, name

ROOTS = ("Service", "Connector")
WRITES = ("apply", "patch", "create", "delete")


class Unheard(errors.Transient):
    """As a fault of the cluster: the write is done, and its answer is lost."""


class MemoryCluster:
    """Objects as JSON values. The next writes raise `faults`, before anything changes or, `Unheard`, after it."""

    cluster_name = "memory"
    url = "memory://"

    def __init__(self, plane: Tailnet) -> None:
        self.objects: dict[Place, dict[str, Any]] = {}
        self.writes = 0
        self.privileged = True
        self.faults: deque[errors.TailraceError | None] = deque()
        self._plane = plane
        self._applied: dict[tuple[Place, str, str], dict[str, Any]] = {}
        self._versions = itertools.count(1)
        self._stores: dict[str, tuple[Store[Any], Resource[Any]]] = {}
        self._devices: dict[Place, str] = {}  # which a pod is, whatever became of its Secret

    # --- what the executor and the prober call -----------------------------------------------------------------

    async def apply(
        self,
        resource: Resource[Any],
        obj: Mapping[str, Any],
        *,
        manager: str,
        subresource: str | None = None,
        force: bool = True,
        dry_run: bool = False,
    ) -> Any:
        with self._write():
            place = place_of(resource.kind, obj)
            live = self.objects.get(place)
            if live is None and subresource:
                raise errors.NotFound(f"{place} is not there")
            wanted = {k: v for k, v in plain(obj).items() if k not in {"apiVersion", "kind"}}
            before = self._applied.get((place, manager, subresource or ""), {})
            self._applied[place, manager, subresource or ""] = wanted
            changed = copy.deepcopy(live) if live else {"metadata": {"uid": f"uid-{next(self._versions)}"}}
            remove(changed, before, wanted)
            merge(changed, wanted)
            return self._keep(resource, place, changed)

    async def create(
        self,
        resource: Resource[Any],
        obj: Mapping[str, Any],
        *,
        namespace: str | None = None,
        dry_run: bool = False,
    ) -> Any:
        if resource.kind == "Pod" and dry_run:
            if self.privileged:
                return kube.Pod()
            raise errors.Denied(
                'pods "probe" is forbidden: violates PodSecurity "restricted:latest": privileged'
            )
        with self._write():
            place = place_of(resource.kind, obj)
            if place in self.objects:
                raise errors.Conflict(f"{place} exists")
            return self._keep(resource, place, {**plain(obj)})

    async def get(self, resource: Resource[Any], name: str, namespace: str | None = None) -> Any:
        place = (resource.kind, namespace or "", name)
        if place not in self.objects:
            raise errors.NotFound(f"{place} is not there")
        return msgspec.convert(self.objects[place], resource.type)

    async def patch(
        self,
        resource: Resource[Any],
        name: str,
        namespace: str | None,
        body: Any,
        *,
        kind: str = "merge",
        subresource: str | None = None,
        manager: str | None = None,
    ) -> Any:
        with self._write():
            place = (resource.kind, namespace or "", name)
            live = self.objects.get(place)
            if live is None:
                raise errors.NotFound(f"{place} is not there")
            asked = body.get("metadata", {}).get("resourceVersion")
            if asked and asked != live["metadata"]["resourceVersion"]:
                raise errors.Conflict(f"{place} has changed")
            return self._keep(resource, place, merge_patch(copy.deepcopy(live), body))

    async def delete(
        self,
        resource: Resource[Any],
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: str = "Background",
    ) -> None:
        with self._write():
            place = (resource.kind, namespace or "", name)
            live = self.objects.get(place)
            if live is None:
                raise errors.NotFound(f"{place} is not there")
            if uid and live["metadata"]["uid"] != uid:
                raise errors.Conflict(f"{place} is another one")
            if resource_version and live["metadata"]["resourceVersion"] != resource_version:
                raise errors.Conflict(f"{place} was changed")
            self.remove(place, foreground=propagation == "Foreground")

    # --- what people and the machinery do ----------------------------------------------------------------------

    def put(self, resource: Resource[Any], obj: Mapping[str, Any]) -> None:
        """A person's write."""
        place = place_of(resource.kind, obj)
        live = self.objects.get(place, {"metadata": {"uid": f"uid-{next(self._versions)}"}})
        self._keep(resource, place, merge(copy.deepcopy(live), plain(obj)))

    def edit(self, resource: Resource[Any], namespace: str, name: str, body: Mapping[str, Any]) -> None:
        """A person's merge patch."""
        place = (resource.kind, namespace, name)
        self._keep(resource, place, merge_patch(copy.deepcopy(self.objects[place]), body))

    def remove(self, place: Place, *, foreground: bool = False) -> None:
        """Delete: marked while finalizers (or pods, in the foreground) hold it, gone otherwise."""
        live = self.objects[place]
        pods = [
            p for p in self.objects if p[0] == "Pod" and p[2] == f"{place[2]}-0" and place[0] == "StatefulSet"
        ]
        if live["metadata"].get("finalizers") or (pods and foreground):
            if "deletionTimestamp" not in live["metadata"]:
                marked = {"metadata": {"deletionTimestamp": now_text()}}
                self._keep(self._stores[place[0]][1], place, merge(copy.deepcopy(live), marked))
            return
        self._drop(place)

    def run_machinery(self) -> None:
        """One turn: pods for StatefulSets, identities for pods, the end of what is going."""
        for place in tuple(self.objects):
            if place[0] == "StatefulSet" and place in self.objects:
                self._run_statefulset(place)

    def _run_statefulset(self, place: Place) -> None:
        live = self.objects[place]
        pod: Place = ("Pod", place[1], f"{place[2]}-0")
        if live["metadata"].get("deletionTimestamp"):
            self._stop(pod)
            self._drop(place)
            return
        template = live["spec"]["template"]
        digest = str(msgspec.json.encode(template, order="deterministic"))
        running = self.objects.get(pod)
        if running is not None and running["spec"]["digest"] != digest:
            self._stop(pod)
            running = None
        if running is None:
            meta = {
                **template["metadata"],
                "name": pod[2],
                "namespace": pod[1],
                "uid": f"uid-{next(self._versions)}",
            }
            meta["creationTimestamp"] = now_text()
            made = {
                "metadata": meta,
                "spec": {"digest": digest, "booted": False, "secret": find_secret(template)},
                "status": {"phase": "Running"},
            }
            self._keep(self._stores["Pod"][1], pod, made)
        self._boot(pod)
        status = {"replicas": 1, "readyReplicas": 1, "updatedReplicas": 1}
        seen = {"status": {**status, "observedGeneration": live["metadata"]["generation"]}}
        self._keep(self._stores["StatefulSet"][1], place, merge(copy.deepcopy(live), seen))

    def _boot(self, pod: Place) -> None:
        """What containerboot does: join with the key when there is no living identity, or ask for another key."""
        place: Place = ("Secret", pod[1], self.objects[pod]["spec"]["secret"])
        if place not in self.objects:
            return
        state = msgspec.convert(self.objects[place], kube.ProxySecret)
        device = kube.decode_key(state.data.device_id)
        alive = device in {d.id for d in self._plane.devices}
        booted = self.objects[pod]["spec"]["booted"]
        key = secret.find_key(state)
        if alive and not booted:
            self._plane.set_online(next(d.id for d in self._plane.devices if d.id == device), True)
        elif not alive and (not booted or not device):  # a connected one does not notice that it is gone
            if not key:
                return
            try:
                config = secret.decode_object(kube.decode_key(state.data.config))
                joined = self._plane.join(key, config["Hostname"])
            except JoinRefusedError:
                self._write_state(place, {"reissue_authkey": key})
                return
            self._write_state(
                place,
                {
                    "device_id": joined.id,
                    "device_fqdn": f"{joined.fqdn or f'{joined.name}.tailnet.test'}.",
                    "device_ips": msgspec.json.encode(joined.addresses).decode(),
                    "reissue_authkey": None,
                },
            )
        state = msgspec.convert(self.objects[place], kube.ProxySecret)
        self.objects[pod]["spec"]["booted"] = True
        self._devices[pod] = kube.decode_key(state.data.device_id)
        self._advertise(place)

    def _advertise(self, place: Place) -> None:
        """A running proxy reads its configuration again whenever it changes."""
        state = msgspec.convert(self.objects[place], kube.ProxySecret)
        routes = secret.decode_object(kube.decode_key(state.data.config)).get("AdvertiseRoutes", [])
        device = kube.decode_key(state.data.device_id)
        for known in self._plane.devices:
            if known.id == device and {*known.advertised_routes} != {*routes}:
                self._plane.advertise(known.id, routes)

    def _write_state(self, place: Place, values: Mapping[str, str | None]) -> None:
        data = {k: None if v is None else kube.encode_key(v) for k, v in values.items()}
        self._keep(
            self._stores["Secret"][1], place, merge_patch(copy.deepcopy(self.objects[place]), {"data": data})
        )

    def _stop(self, pod: Place) -> None:
        if pod not in self.objects:
            return
        device = self._devices.pop(pod, "")
        for known in self._plane.devices:
            if known.id == device:
                self._plane.set_online(known.id, False)
        self._drop(pod)

    # --- stores ------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def hold_back(self, resource: Resource[Any]) -> Generator[None]:
        """What happens to these meanwhile is not heard of before the end."""
        held, _ = self._stores[resource.kind]
        self._stores[resource.kind] = (Store("unheard"), resource)
        try:
            yield
        finally:
            self._stores[resource.kind] = (held, resource)
            bodies = (
                msgspec.json.encode(obj) for place, obj in self.objects.items() if place[0] == resource.kind
            )
            found = tuple(msgspec.json.decode(body, type=resource.type) for body in bodies)
            held.apply(Replaced(objects=found, unread=frozenset(), version="0"))

    def feed(self, resource: Resource[Any], store: Store[Any]) -> None:
        """Keep a store up to date from here on."""
        self._stores[resource.kind] = (store, resource)
        store.apply(Replaced(objects=(), unread=frozenset(), version="0"))

    @contextlib.contextmanager
    def _write(self) -> Iterator[None]:
        """Around a write: what is raised before it leaves everything as it was, an `Unheard` comes after it."""
        self.writes += 1
        fault = self.faults.popleft() if self.faults else None
        if fault is not None and not isinstance(fault, Unheard):
            raise fault
        yield
        if fault is not None:
            raise fault

    def _keep(self, resource: Resource[Any], place: Place, obj: dict[str, Any]) -> Any:
        meta = obj["metadata"]
        for value in meta.get("labels", {}).values():
            if len(value) > 63:
                raise errors.Terminal(f"label {value} is too long", reason="Invalid")
        live = self.objects.get(place)
        if (
            live is not None
            and resource.kind == "StatefulSet"
            and live["spec"]["selector"] != obj["spec"]["selector"]
        ):
            raise errors.Terminal("updates to the selector are forbidden", reason="Invalid")
        meta.setdefault("creationTimestamp", now_text())
        meta.setdefault("uid", f"uid-{next(self._versions)}")
        unversioned = {k: v for k, v in meta.items() if k != "resourceVersion"}
        if live is not None:
            before = {k: v for k, v in live["metadata"].items() if k != "resourceVersion"}
            if {**live, "metadata": before} == {**obj, "metadata": unversioned}:
                return msgspec.json.decode(msgspec.json.encode(live), type=resource.type)
        if resource.kind == "StatefulSet" and (live is None or live["spec"] != obj["spec"]):
            meta["generation"] = meta.get("generation", 0) + 1
        meta["resourceVersion"] = str(next(self._versions))
        self.objects[place] = obj
        decoded = msgspec.json.decode(msgspec.json.encode(obj), type=resource.type)
        if meta.get("deletionTimestamp") and not meta.get("finalizers") and resource.kind in ROOTS:
            self._drop(place)
        elif resource.kind in self._stores:
            self._stores[resource.kind][0].apply(Put(obj=decoded))
        return decoded

    def _drop(self, place: Place) -> None:
        del self.objects[place]
        for key in [k for k in self._applied if k[0] == place]:
            del self._applied[key]
        if place[0] in self._stores:
            version = str(next(self._versions))
            self._stores[place[0]][0].apply(Dropped(key=Key(place[1], place[2]), version=version))


def place_of(kind: str, obj: Mapping[str, Any]) -> Place:
    meta = obj["metadata"]
    return kind, meta.get("namespace", ""), meta["name"]


def plain(value: Mapping[str, Any]) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(value))
    return decoded


def find_secret(template: Mapping[str, Any]) -> str:
    """The Secret that a proxy pod keeps its state in."""
    env = {e["name"]: e.get("value", "") for e in template["spec"]["containers"][0]["env"]}
    return str(env["TS_KUBE_SECRET"])


def now_text() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def merge(into: dict[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of `wanted` win; maps merge, finalizers and conditions are associative, other lists are replaced."""
    for key, value in wanted.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        elif key == "finalizers":
            into[key] = sorted({*into.get(key, []), *value})
        elif key == "conditions":
            into[key] = sorted(
                [*[c for c in into.get(key, []) if c["type"] not in {v["type"] for v in value}], *value],
                key=lambda c: c["type"],
            )
        else:
            into[key] = copy.deepcopy(value)
    return into


def remove(live: dict[str, Any], before: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Take out what this applier had and no longer wants."""
    for key, value in before.items():
        if key not in wanted:
            live.pop(key, None)
        elif isinstance(value, dict) and isinstance(wanted[key], dict) and isinstance(live.get(key), dict):
            remove(live[key], value, wanted[key])
        elif key == "conditions":
            gone = {c["type"] for c in value} - {c["type"] for c in wanted[key]}
            live[key] = [c for c in live.get(key, []) if c["type"] not in gone]


def merge_patch(live: dict[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in body.items():
        if value is None:
            live.pop(key, None)
        elif isinstance(value, Mapping):
            live[key] = merge_patch(live.get(key, {}) if isinstance(live.get(key), dict) else {}, value)
        else:
            live[key] = copy.deepcopy(value)
    return live


def owned(objects: Mapping[Place, Any]) -> Iterator[Place]:
    """What of ours is there."""
    for place, obj in objects.items():
        if obj["metadata"].get("labels", {}).get(names.MANAGED) == "true":
            yield place
