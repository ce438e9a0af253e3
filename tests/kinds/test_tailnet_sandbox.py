"""A Tailnet in the sandbox: over HTTPS to the API server and over HTTP to control planes, as in a real cluster."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tailrace.api import crd, kube, tailnet
from tailrace.kinds.tailnet import watched
from tailrace.kinds.tailnet.controller import TailnetObjects
from tailrace.kinds.tailnet.tokens import build_mint
from tailrace.kube import resources
from tailrace.kube.client import Kube
from tailrace.plan.executor import Executor
from tailrace.sandbox import certificates
from tailrace.sandbox.controlplane.control import ControlPlane
from tailrace.sandbox.controlplane.control import Options as Served
from tailrace.sandbox.controlplane.records import Dialect, Federated
from tailrace.sandbox.kubernetes.resources import Ref
from tailrace.sandbox.world import Options, World
from tailrace.tailnet import connect, credentials, devices, registry
from tailrace.tailnet.memory import MemoryPlane
from tailrace.tailnet.port import ControlPlane as Plane
from tailrace.wire import http, retry

pytestmark = pytest.mark.anyio

HOME, NAME, ACCOUNT, AUDIENCE = "tailscale", "lab", "operator", "api.example/k-wif"
CALM = devices.Schedule(fast=5.0, hurry=0.0, slow=60.0)
"""No listing is under way when its membership is replaced: the HTTP library leaves a socket behind when a handshake is
cancelled."""
OFTEN = devices.Schedule(fast=0.02, hurry=0.0, slow=0.2, error_cap=0.05)


@dataclass
class Ground:
    """A sandbox with the room at work in it."""

    world: World
    cluster: Kube
    room: TailnetObjects
    users: list[str]

    def write_secret(self, keys: Mapping[str, str]) -> None:
        self.world.apply(
            [
                {
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {"name": "lab-oauth", "namespace": HOME},
                    "data": {key: kube.encode_key(value) for key, value in keys.items()},
                }
            ]
        )

    def write_tailnet(self, server: str) -> None:
        self.world.apply(
            [
                {
                    "apiVersion": "tailscale.com/v1alpha1",
                    "kind": "Tailnet",
                    "metadata": {"name": NAME},
                    "spec": {"loginUrl": server, "credentials": {"secretName": "lab-oauth"}},
                }
            ]
        )

    @property
    def live(self) -> tailnet.Tailnet | None:
        return self.room.store.get("", NAME)

    @property
    def said(self) -> tuple[str, str]:
        """Reason and message."""
        for condition in self.live.status.conditions if self.live else ():
            return condition.reason, condition.message
        return "", ""

    async def until(self, holds: Callable[[], Any]) -> None:
        try:
            async with asyncio.timeout(15):
                while not holds():
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"it stays so: {self.said}") from None


def open_plane(source: credentials.Source, server: str, ca_pem: str) -> Plane:
    options = http.Options(policy=retry.Policy(first=0.0, cap=0.0))
    return connect.connect(source, server, wiring=connect.Wiring(options=options, ca_pem=ca_pem))


@contextlib.asynccontextmanager
async def open_ground(folder: Path, schedule: devices.Schedule = OFTEN) -> AsyncIterator[Ground]:
    build = functools.partial(registry.build_membership, schedule=schedule)
    options = Options(dialect="tailscale", namespace=HOME)
    before = asyncio.all_tasks()
    async with (
        await World.start(folder, options) as world,
        Kube.connect(kubeconfig=world.kubeconfig) as cluster,
    ):
        world.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HOME}}])
        world.apply(
            [
                crd.build_crd(tailnet.DEFINITION),
                {
                    "apiVersion": "v1",
                    "kind": "ServiceAccount",
                    "metadata": {"name": ACCOUNT, "namespace": HOME},
                },
            ]
        )
        while not world.knows({"apiVersion": "tailscale.com/v1alpha1", "kind": "Tailnet"}):
            await asyncio.sleep(0)
        tailnets = registry.Tailnets(build("", MemoryPlane()), build=build)
        users: list[str] = []
        executor = Executor(
            cluster=cluster,
            planes=tailnets.find_plane,
            namespace=HOME,
            record=lambda event: None,
            written=lambda kind, obj: None,
        )
        room = TailnetObjects(
            namespace=HOME,
            tailnets=tailnets,
            executor=executor,
            open_plane=open_plane,
            open_watch=watched.build_watch(cluster, HOME),
            users=lambda name: tuple(users),
            mint=build_mint(cluster, HOME, ACCOUNT),
        )
        runs = (room.build_watch(cluster).run, room.secrets.run, tailnets.run, room.controller.run)
        tasks = [asyncio.create_task(run()) for run in runs]
        try:
            yield Ground(world, cluster, room, users)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await tailnets.close()
    for _ in range(400):  # a server's half of a broken handshake ends by itself
        if not (left := asyncio.all_tasks() - before):
            break
        await asyncio.sleep(0.005)
    else:
        raise AssertionError(f"left behind: {left}")


async def test_a_tailnet_lives_through_rotation_revocation_and_deletion(tmp_path: Path) -> None:
    """Tailscale's OAuth client: the Secret comes late, is rotated, the client ends and comes back; a user keeps it."""
    async with open_ground(tmp_path) as ground:
        plane = ground.world.plane
        ground.write_tailnet(plane.url)
        await ground.until(lambda: ground.said[0] == "InvalidSecret")
        assert ground.said[1] == 'referenced secret "lab-oauth" does not exist in namespace "tailscale"'
        ground.write_secret(plane.credentials)
        await ground.until(lambda: ground.said[0] == "TailnetValid")
        assert plane.credentials["client_id"] in ground.said[1]
        assert plane.credentials["client_secret"] not in ground.said[1]
        plane.revoke_credentials()
        plane.tailnet.expire_tokens()
        await ground.until(lambda: ground.said[0] == "InvalidOAuth")
        ground.write_secret(plane.rotate_credentials())
        await ground.until(lambda: ground.said[0] == "TailnetValid")
        ground.users.append("Service demo/web")
        await ground.cluster.delete(resources.TAILNETS, NAME)
        await ground.until(lambda: ground.said[0] == "InUse")
        assert "Service demo/web" in ground.said[1]
        ground.users.clear()
        ground.room.wake(NAME)
        await ground.until(lambda: ground.live is None)
        assert [one.name for one in ground.room.tailnets.all()] == [""]


async def test_workload_identity_takes_a_token_of_the_operators_account(tmp_path: Path) -> None:
    """The cluster's own TokenRequest, exchanged at the control plane; without the account it is told."""
    async with open_ground(tmp_path) as ground:
        tokens, model = ground.world.cluster.tokens, ground.world.plane.tailnet

        def verify(token: str) -> Mapping[str, Any] | None:
            user = tokens.user_of(token, (AUDIENCE,))
            claims = {"iss": "cluster", "sub": user.name if user else "", "aud": AUDIENCE}
            later = datetime.now(UTC) + timedelta(minutes=5)
            return {**claims, "exp": later.timestamp()} if user else None

        trusted = Federated(
            issuer="cluster",
            subject=f"system:serviceaccount:{HOME}:{ACCOUNT}",
            audience=AUDIENCE,
            verify=verify,
        )
        client = model.add_client(scopes=("all",), tags=("tag:k8s-operator",), federated=trusted)
        ground.write_secret({"client_id": client.id, "audience": AUDIENCE})
        ground.write_tailnet(ground.world.plane.url)
        await ground.until(lambda: ground.said[0] == "TailnetValid")
        assert f"federated identity {client.id}" in ground.said[1]
        ref = Ref("", "v1", "serviceaccounts")
        ground.world.cluster.delete(ref, ACCOUNT, namespace=HOME)
        ground.write_secret({"client_id": client.id, "audience": f"{AUDIENCE}/other"})
        await ground.until(lambda: ground.said[0] == "InvalidOAuth")
        assert "the cluster gives no token of ServiceAccount tailscale/operator" in ground.said[1]


@pytest.mark.parametrize(
    "dialect, names",
    [
        ("headscale-0.29", ("api_key",)),
        ("headscale-0.30", ("api_key",)),
        ("headscale-0.30", ("client_id", "client_secret")),
    ],
)
async def test_a_headscale_is_found_out(tmp_path: Path, dialect: Dialect, names: tuple[str, ...]) -> None:
    """By an API key, from 0.30 on also by an OAuth client; the message says what it is and who we are."""
    async with await ControlPlane.start(dialect) as plane, open_ground(tmp_path) as ground:
        ground.write_secret({name: plane.credentials[name] for name in names})
        ground.write_tailnet(plane.url)
        await ground.until(lambda: ground.said[0] == "TailnetValid")
        message = ground.said[1]
        assert f"{plane.url} (headscale-v" in message
        assert ("OAuth client" if "client_id" in names else "API key hskey-api-") in message
        assert not any(plane.credentials[name] in message for name in names if name != "client_id")


async def test_a_scope_that_is_missing_is_named_with_the_servers_words(tmp_path: Path) -> None:
    async with open_ground(tmp_path) as ground:
        client = ground.world.plane.tailnet.add_client(scopes=("devices:core",), tags=("tag:k8s",))
        ground.write_secret({"client_id": client.id, "client_secret": client.secret})
        ground.write_tailnet(ground.world.plane.url)
        await ground.until(lambda: ground.said[0] == "InvalidOAuth")
        assert f"OAuth client {client.id} lacks auth_keys: grant it on the control plane." in ground.said[1]
        assert "GET /api/v2/tailnet/-/keys: 403" in ground.said[1]
        assert client.secret not in ground.said[1]


async def test_a_private_ca_of_the_secret_is_believed(tmp_path: Path) -> None:
    """Without it the server is as good as away, and the message says that it is the certificate."""
    pair = certificates.issue(tmp_path)
    served = Served(cert=pair.cert, key=pair.key)
    async with (
        await ControlPlane.start("headscale-0.30", served) as plane,
        open_ground(tmp_path / "world", CALM) as ground,
    ):
        ground.write_secret(plane.credentials)
        ground.write_tailnet(plane.url)
        await ground.until(lambda: ground.said[0] == "ControlPlaneUnreachable")
        assert "certificate" in ground.said[1].lower()
        ground.write_secret({**plane.credentials, "ca.crt": pair.ca_pem})
        await ground.until(lambda: ground.said[0] == "TailnetValid")
        membership = ground.room.tailnets.get(NAME)
        assert membership is not None
        assert membership.ca_pem == pair.ca_pem.strip()
