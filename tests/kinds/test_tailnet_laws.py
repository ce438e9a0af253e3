"""The four laws for a Tailnet, on memory twins: settles, idempotent, history-free, tidy. And its Secret's life: rotation
without a restart, one that comes late, a CA, workload identity, a credential that is revoked and comes back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace import errors
from tailrace.api import kube, names
from tailrace.kinds.tailnet import inputs, watched
from tailrace.kinds.tailnet.controller import TailnetObjects
from tailrace.kube import resources
from tailrace.kube.client import Kube
from tailrace.kube.reflector import Dropped, Put, Replaced
from tailrace.kube.resource import Key
from tailrace.kube.store import Store
from tailrace.plan import ops
from tailrace.plan.executor import Executor
from tailrace.sandbox import certificates
from tailrace.tailnet import credentials, delegate, devices, probing, registry
from tailrace.tailnet.memory import MemoryPlane
from tailrace.tailnet.port import Capability, ControlPlane, Device, Probe
from tests.laws.histories import examples, faults
from tests.support.cluster import MemoryCluster

HOME, NAME, SECRET = "tailscale", "lab", "lab-oauth"
KEY = Key("", NAME)


@dataclass
class Server:
    """A control plane: its tailnet, whom it knows, and whether it is away."""

    url: str
    tailnet: MemoryPlane = field(default_factory=MemoryPlane)
    known: set[credentials.Credential] = field(default_factory=set)
    away: bool = False


class Edge(delegate.Delegate):
    """A way to a server with whatever credential the source holds now."""

    def __init__(self, server: Server, source: credentials.Source, ca_pem: str) -> None:
        self.server, self.source, self.ca_pem = server, source, ca_pem
        self.name = self.login_server = server.url

    async def inner(self) -> ControlPlane:
        await self.source.prepare()
        credential = self.source.read()
        if self.server.away:
            raise errors.Transient("connection refused")
        if credential not in self.server.known:
            raise credentials.Unauthenticated(f"{self.server.url} does not know {credential.identity}")
        return self.server.tailnet

    async def probe(self) -> Probe:
        return probing.build_probe(
            dialect="memory",
            server=self.server.url,
            version=None,
            identity=credentials.identify(self.source),
            capabilities=frozenset({Capability.RENAME}),
            outcomes=(await probing.attempt(self.list_devices),),
        )

    def has(self, capability: Capability) -> bool:
        return self.server.tailnet.has(capability)

    def learn_fqdn(self, fqdn: str) -> None:
        """Nothing to learn."""

    async def close(self) -> None:
        """Nothing is open."""


def build_credential(number: int) -> credentials.OAuthClient:
    return credentials.OAuthClient(id=f"k{number}", secret=f"hush-{number}")


def build_keys(number: int) -> dict[str, str]:
    return {"client_id": f"k{number}", "client_secret": f"hush-{number}\n"}


class SecretSource:
    """The watch of one Secret; `World.write_secret` is its other end."""

    problem: str | None = None

    def __init__(self, world: World, name: str, store: Store[inputs.CredentialSecret]) -> None:
        self.world, self.name, self.store = world, name, store

    async def run(self) -> None:
        self.world.open[self.name] = self.store
        try:
            found = self.world.secrets.get(self.name)
            self.store.apply(
                Replaced(objects=() if found is None else (found,), unread=frozenset(), version="0")
            )
            await asyncio.Event().wait()
        finally:
            del self.world.open[self.name]


@dataclass
class World:
    """A cluster in memory with one Tailnet, two servers, and the real room, registry and device lists."""

    cluster: MemoryCluster
    servers: dict[str, Server]
    tailnets: registry.Tailnets
    secrets: dict[str, inputs.CredentialSecret] = field(default_factory=dict)
    open: dict[str, Store[inputs.CredentialSecret]] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    events: list[ops.Emit] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    number: int = 1  # of the newest credential
    versions: int = 1
    room: TailnetObjects = field(init=False)

    def __post_init__(self) -> None:
        executor = Executor(
            cluster=cast(Kube, self.cluster),
            planes=self.tailnets.find_plane,
            namespace=HOME,
            record=self.events.append,
            written=lambda kind, obj: None,
        )
        self.room = TailnetObjects(
            namespace=HOME,
            tailnets=self.tailnets,
            executor=executor,
            open_plane=self.open_plane,
            open_watch=lambda name, store: SecretSource(self, name, store),
            users=lambda name: tuple(self.users) if name == NAME else (),
            mint=self.mint,
        )
        self.cluster.feed(resources.TAILNETS, self.room.store)

    def open_plane(self, source: credentials.Source, server: str, ca_pem: str) -> ControlPlane:
        self.edges.append(Edge(self.servers[server], source, ca_pem))
        return self.edges[-1]

    async def mint(self, audience: str) -> credentials.AccountToken:
        self.tokens.append(audience)
        return credentials.AccountToken(value=f"jwt-{audience}", lifetime=600.0)

    @property
    def server(self) -> Server:
        """The one that the Tailnet names."""
        return self.servers[self.cluster.objects["Tailnet", "", NAME]["spec"]["loginUrl"]]

    def put_tailnet(self, server: str = "https://one", **meta: Any) -> None:
        spec = {"loginUrl": server, "credentials": {"secretName": SECRET}}
        self.cluster.put(resources.TAILNETS, {"metadata": {"name": NAME, **meta}, "spec": spec})

    def write_secret(self, keys: Mapping[str, str] | None) -> None:
        """A person's write, or deletion, seen by whoever watches."""
        self.versions += 1
        version = str(self.versions)
        if keys is None:
            self.secrets.pop(SECRET, None)
            change: Any = Dropped(key=Key(HOME, SECRET), version=version)
        else:
            data = {key: kube.encode_key(value) for key, value in keys.items()}
            meta = kube.ObjectMeta(namespace=HOME, name=SECRET, uid="s", resourceVersion=version)
            self.secrets[SECRET] = inputs.CredentialSecret(metadata=meta, data=data)
            change = Put(obj=self.secrets[SECRET])
        if SECRET in self.open:
            self.open[SECRET].apply(change)

    async def turn(self) -> int:
        """A reconcile, as the controller would have it; faults are swallowed, since it would be called again. Gives how
        much was written or told."""
        before = self.cluster.writes + len(self.events)
        with contextlib.suppress(errors.TailraceError):
            await self.room.reconcile(KEY)
        live = self.cluster.objects.get(("Tailnet", "", NAME))
        if live and live["metadata"].get("deletionTimestamp") and not live["metadata"].get("finalizers"):
            self.cluster._drop(("Tailnet", "", NAME))
        await self.list_devices()
        return self.cluster.writes + len(self.events) - before

    async def list_devices(self) -> None:
        """One more listing, whatever becomes of it: what it tells is known to the next turn."""
        await asyncio.sleep(0.001)
        if (membership := self.tailnets.get(NAME)) is not None:
            listed = asyncio.ensure_future(membership.devices.refresh())
            await asyncio.wait([listed], timeout=1)
            if not listed.cancel() and not listed.cancelled():
                listed.exception()

    async def settle(self, turns: int = 400) -> None:
        """Until five turns in a row say nothing new and the device list agrees with what is said.

        Raises:
            AssertionError: it does not come to rest.
        """
        quiet = 0
        for _ in range(turns):
            quiet = 0 if await self.turn() or self.disagrees() else quiet + 1
            if quiet == 5:
                return
        raise AssertionError(f"it does not settle: {self.condition()}")

    def disagrees(self) -> bool:
        membership = self.tailnets.get(NAME)
        if membership is None or ("Tailnet", "", NAME) not in self.cluster.objects:
            return False
        return (membership.devices.snapshot().error is None) != (self.condition()[0] == "True")

    def condition(self) -> tuple[str, str, str]:
        live = self.cluster.objects.get(("Tailnet", "", NAME), {})
        for found in live.get("status", {}).get("conditions", []):
            return found["status"], found["reason"], found["message"]
        return "", "", ""


@contextlib.asynccontextmanager
async def open_world(*trouble: errors.TailraceError | None) -> AsyncIterator[World]:
    """A fresh world in which lists are asked often; the next writes to the cluster meet `trouble`."""
    schedule = devices.Schedule(fast=0.001, hurry=0.0, slow=0.01, error_cap=0.004)

    def build(name: str, plane: ControlPlane) -> registry.Membership:
        listing = devices.DeviceList(plane, tailnet=name, schedule=schedule)
        return registry.Membership(name=name, plane=listing.plane, devices=listing)

    own = MemoryPlane()
    servers = {url: Server(url) for url in ("https://one", "https://two")}
    for server in servers.values():
        server.known = {build_credential(1)}
    world = World(
        cluster=MemoryCluster(own),
        servers=servers,
        tailnets=registry.Tailnets(build("", own), build=build),
    )
    world.cluster.faults.extend(trouble)
    tasks = [asyncio.create_task(run()) for run in (world.tailnets.run, world.room.secrets.run)]
    try:
        yield world
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await world.tailnets.close()


# --- histories -----------------------------------------------------------------------------------------------------

type Edit = Callable[[World], None]


def rotate(world: World) -> None:
    """The old credential ends, and the Secret holds the new one."""
    world.number += 1
    for server in world.servers.values():
        server.known = {build_credential(world.number)}
    world.write_secret(build_keys(world.number))


def revoke(world: World) -> None:
    world.server.known = set()


def restore(world: World) -> None:
    world.server.known = {build_credential(world.number)}


def move(world: World) -> None:
    other = "https://two" if world.server.url == "https://one" else "https://one"
    world.cluster.edit(resources.TAILNETS, "", NAME, {"spec": {"loginUrl": other}})


EDITS: dict[str, Edit] = {
    "Secret written": lambda world: world.write_secret(build_keys(world.number)),
    "Secret rotated": rotate,
    "Secret emptied": lambda world: world.write_secret({}),
    "Secret halved": lambda world: world.write_secret({"client_id": "k1"}),
    "Secret deleted": lambda world: world.write_secret(None),
    "credential revoked": revoke,
    "credential restored": restore,
    "another server": move,
    "a user comes": lambda world: world.users.append("Service demo/web"),
    "users go": lambda world: world.users.clear(),
}
edits = st.lists(st.sampled_from(sorted(EDITS)), max_size=6)
slow = examples(40)


def expect(world: World) -> tuple[str, str]:
    """What must be said of this world, whatever was before."""
    secret = world.secrets.get(SECRET)
    keys = inputs.decode_keys(secret) or {}
    if not keys.get("client_secret"):
        return "False", "InvalidSecret"
    known = credentials.choose_keys(keys, where="") in world.server.known
    return ("True", "TailnetValid") if known else ("False", "InvalidOAuth")


@slow
@given(history=edits, trouble=faults)
def test_any_history_settles_in_what_a_clean_start_would_say(
    history: list[str], trouble: list[errors.TailraceError | None]
) -> None:
    """Laws 1 to 3, and the membership that users see agrees with the condition."""

    async def run() -> None:
        async with open_world(*trouble) as world:
            world.put_tailnet()
            for edit in history:
                await world.turn()
                EDITS[edit](world)
            world.cluster.faults.clear()
            await world.settle()
            assert world.condition()[:2] == expect(world)
            writes = world.cluster.writes
            assert await world.turn() == 0
            assert world.cluster.writes == writes
            problem = "" if world.condition()[0] == "True" else world.condition()[2]
            assert world.tailnets.explain(NAME) == (
                f'tailnet "{NAME}" is not ready: {problem}' if problem else ""
            )
        async with open_world() as clean:
            clean.secrets, clean.users = world.secrets, world.users
            for url, server in clean.servers.items():
                server.known = world.servers[url].known
            clean.put_tailnet(world.server.url)
            await clean.settle()
            assert clean.condition() == world.condition()

    anyio.run(run)


@slow
@given(history=edits, trouble=faults)
def test_a_deleted_tailnet_leaves_nothing_and_waits_for_its_users(
    history: list[str], trouble: list[errors.TailraceError | None]
) -> None:
    """Law 4: no membership, no watch of its Secret, no finalizer of ours; others' stay."""

    async def run() -> None:
        async with open_world(*trouble) as world:
            world.put_tailnet()
            for edit in history:
                await world.turn()
                EDITS[edit](world)
            world.cluster.faults.clear()
            await world.settle()
            world.cluster.remove(("Tailnet", "", NAME))
            for _ in range(3):
                await world.turn()
            if world.users:
                assert world.users[0] in world.condition()[2]
                assert world.tailnets.get(NAME) is not None
                world.users.clear()
            await world.settle()
            assert ("Tailnet", "", NAME) not in world.cluster.objects
            assert [one.name for one in world.tailnets.all()] == [""]
            await asyncio.sleep(0)
            assert world.open == {}

    anyio.run(run)


# --- a Secret's life -----------------------------------------------------------------------------------------------

pytestmark = pytest.mark.anyio


async def test_a_secret_that_comes_late_is_seen() -> None:
    """It is told what is missing, and nobody has to touch the Tailnet."""
    async with open_world() as world:
        world.put_tailnet()
        await world.settle()
        assert world.condition() == (
            "False",
            "InvalidSecret",
            'referenced secret "lab-oauth" does not exist in namespace "tailscale"',
        )
        live = world.cluster.objects["Tailnet", "", NAME]
        assert live["metadata"]["finalizers"] == [names.FINALIZER]
        async with working(world):
            await wait_for(lambda: world.room.controller.idle)
            world.write_secret(build_keys(1))
            await wait_for(lambda: world.condition()[:2] == ("True", "TailnetValid"))
            world.write_secret({})
            await wait_for(lambda: world.condition()[2] == 'Secret "lab-oauth" is empty')


async def test_a_rotated_secret_is_in_use_with_the_next_call() -> None:
    """The same membership, the same connection; nothing starts anew."""
    async with open_world() as world:
        world.put_tailnet()
        world.write_secret(build_keys(1))
        await world.settle()
        before = world.tailnets.get(NAME)
        rotate(world)
        await world.settle()
        assert world.tailnets.get(NAME) is before
        assert len(world.edges) == 1
        assert world.condition()[:2] == ("True", "TailnetValid")
        assert "OAuth client k2" in world.condition()[2]


async def test_a_revoked_credential_is_noticed_by_the_list_and_recovers_by_itself() -> None:
    """Nothing in the cluster changes; the controller is woken, and says what the server says."""
    async with open_world() as world:
        world.put_tailnet()
        world.write_secret(build_keys(1))
        async with working(world):
            await wait_for(lambda: world.condition()[0] == "True")
            world.events.clear()
            revoke(world)
            await wait_for(lambda: world.condition()[1] == "InvalidOAuth")
            assert world.condition()[2] == "https://one does not know OAuth client k1"
            assert "does not know" in world.tailnets.explain(NAME)
            restore(world)
            await wait_for(lambda: world.condition()[0] == "True" and not world.tailnets.explain(NAME))
        assert [event.reason for event in world.events] == ["TailnetNotReady", "TailnetReady"]


async def test_an_operator_that_starts_anew_calls_no_secret_missing() -> None:
    """The first listing waits for the Secret's first reading, and works; nothing is said that was not said before."""
    async with open_world() as world:
        world.write_secret(build_keys(1))
        world.put_tailnet()
        told: list[str] = []
        world.tailnets.subscribe(lambda name, ids: told.append(world.tailnets.explain(name)))
        membership = world.tailnets.get(NAME)
        assert membership is not None
        await wait_for(lambda: membership.devices.snapshot().known)
        assert membership.devices.snapshot().error is None
        assert not any("does not exist" in said for said in told)


async def test_a_short_silence_of_the_server_is_not_told() -> None:
    async with open_world() as world:
        world.put_tailnet()
        world.write_secret(build_keys(1))
        await world.settle()
        told = len(world.events)
        membership = world.tailnets.get(NAME)
        assert membership is not None
        world.server.away = True
        await wait_for(lambda: membership.devices.snapshot().error is not None)
        assert await world.turn() == 0
        world.server.away = False
        await world.settle()
        assert len(world.events) == told
        assert world.condition()[0] == "True"


async def test_a_server_that_never_answered_is_told_as_such() -> None:
    async with open_world() as world:
        world.servers["https://one"].away = True
        world.put_tailnet()
        world.write_secret(build_keys(1))
        await world.settle()
        assert world.condition() == (
            "False",
            "ControlPlaneUnreachable",
            "https://one does not answer: connection refused",
        )


async def test_devices_of_its_tailnet_are_told_under_its_name() -> None:
    async with open_world() as world:
        device: Device = world.servers["https://one"].tailnet.add("nas")
        told: list[tuple[str, frozenset[str]]] = []
        world.tailnets.subscribe(lambda name, ids: told.append((name, frozenset(ids))))
        world.put_tailnet()
        world.write_secret(build_keys(1))
        await world.settle()
        assert (NAME, frozenset({device.id})) in told


async def test_a_ca_makes_the_connection_anew_and_a_broken_one_is_told(tmp_path: Path) -> None:
    """Its proxies find it at the membership."""
    ca_pem = certificates.issue(tmp_path).ca_pem
    async with open_world() as world:
        world.put_tailnet()
        world.write_secret(build_keys(1))
        await world.settle()
        world.write_secret(build_keys(1) | {"ca.crt": ca_pem})
        await world.settle()
        membership = world.tailnets.get(NAME)
        assert membership is not None
        assert [edge.ca_pem for edge in world.edges] == ["", ca_pem.strip()]
        assert membership.ca_pem == ca_pem.strip()
        world.write_secret(build_keys(1) | {"ca.crt": "hello"})
        await world.turn()
        assert world.condition()[1] == "InvalidSecret"
        assert "ca.crt" in world.condition()[2]


async def test_an_audience_asks_for_a_token_of_the_operators_account() -> None:
    async with open_world() as world:
        world.servers["https://one"].known = {credentials.WorkloadIdentity(id="k9", token="jwt-api.example")}
        world.put_tailnet()
        world.write_secret({"client_id": "k9", "audience": "api.example", "client_secret": "ignored"})
        await world.settle()
        assert world.condition()[:2] == ("True", "TailnetValid")
        assert world.tokens == ["api.example"]
        assert "jwt" not in world.condition()[2]


async def test_only_secrets_that_are_named_are_watched() -> None:
    """One that no Tailnet names any more is let go."""
    async with open_world() as world:
        world.put_tailnet()
        await wait_for(lambda: set(world.open) == {SECRET})
        other = {"spec": {"credentials": {"secretName": "other"}}}
        world.cluster.edit(resources.TAILNETS, "", NAME, other)
        await wait_for(lambda: set(world.open) == {"other"})
        assert not world.room.secrets.find(SECRET).known


async def test_the_watch_of_a_secret_is_by_its_name() -> None:
    watch = watched.build_watch(cast(Kube, None), HOME)("lab-oauth", Store())
    machine = cast(Any, watch)._machine
    assert machine.request().params["fieldSelector"] == "metadata.name=lab-oauth"


@contextlib.asynccontextmanager
async def working(world: World) -> AsyncIterator[None]:
    """The controller decides by itself when to look."""
    async with asyncio.TaskGroup() as group:
        group.create_task(world.room.controller.run())
        yield
        world.room.controller.stop()


async def wait_for(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.001)
