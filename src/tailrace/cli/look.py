"""What the operator would know, read once: its own stores, filled by a list each, with its own rooms over them.

A command that shows a decision asks the room itself. Nothing can be changed through any of this: whatever would write
is stopped. What this shell may not see is left out and said, never guessed.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NoReturn

from tailrace import app, errors, settings
from tailrace.cli.cluster import Operator, together
from tailrace.fleet import admission, gather, stores
from tailrace.fleet.install import Install
from tailrace.fleet.world import Admission
from tailrace.kinds.connector.controller import Connectors
from tailrace.kinds.egress.controller import Egresses
from tailrace.kinds.proxyclass.controller import ProxyClasses
from tailrace.kinds.service.controller import Services
from tailrace.kinds.tailnet import decide, watched
from tailrace.kinds.tailnet.controller import TailnetObjects
from tailrace.kinds.tailnet.inputs import CredentialSecret, Found
from tailrace.kube.client import Kube
from tailrace.kube.store import Store
from tailrace.kube.watch import Watch
from tailrace.plan.executor import Executor
from tailrace.runtime.leader import LEASES
from tailrace.tailnet import credentials, delegate, port, registry, tailscale

LEASE_AGE = 30.0  # seconds; a holder that lives renews every two
NO_CREDENTIALS = "this shell has no credentials for it"
NOT_ASKED = f"not asked: {NO_CREDENTIALS}"
OTHER_NOT_ASKED = "not asked: the credentials for it are the operator's"


@dataclass(slots=True)
class Sight:
    """The rooms over what was seen, and in words what was not."""

    operator: Operator
    fleet: gather.Fleet
    services: Services
    egresses: Egresses
    connectors: Connectors
    classes: ProxyClasses
    tailnets: TailnetObjects
    secrets: list[Watch[Any]]  # of Tailnets; they become known with those
    running: str = ""  # is there an operator at all
    unseen: list[str] = field(default_factory=list)


@contextlib.asynccontextmanager
async def look(cluster: Kube, operator: Operator) -> AsyncIterator[Sight]:
    """See everything, as long as the context lasts.

    Raises:
        Usage: the operator's namespace does not exist.
        Denied: what every decision needs may not be read.
    """
    plane = open_plane(operator.settings)
    sight = build_sight(cluster, operator, plane or Absent(app.find_login_server(operator.settings)))
    try:
        async with together() as group:
            running = group.create_task(describe_operator(cluster, operator.namespace))
            for watch in list_watches(cluster, sight):
                group.create_task(read(watch, sight))
            if plane is not None:
                group.create_task(list_devices(sight.fleet.tailnets.own))
        async with together() as group:
            for watch in sight.secrets:
                group.create_task(read(watch, sight))
        sight.running = running.result()
        check_namespace(sight)
        for tailnet in sight.tailnets.store.list():
            name = tailnet.metadata.name
            sight.fleet.tailnets.judge(name, decide_tailnet(sight, name).problem)
            if sight.tailnets.secrets.find(tailnet.spec.credentials.secretName).explain("", ""):
                await list_devices(sight.fleet.tailnets.get(name))
        yield sight
    finally:
        await sight.fleet.tailnets.close()


def build_sight(cluster: Kube, operator: Operator, plane: port.ControlPlane) -> Sight:
    """The rooms as the operator puts them together, over empty stores; a hand that would write is held."""
    held, install = cluster.guard(refuse), build_install(operator)
    unseen: list[str] = []
    tailnets = registry.Tailnets(registry.build_membership(registry.OWN, plane))
    shared = stores.Stores()
    executor = Executor(
        cluster=held,
        planes=tailnets.find_plane,
        namespace=install.namespace,
        record=lambda event: refuse(),
        written=shared.note,
        allow=refuse,
    )
    prober = Prober(cluster, install.namespace, install.image, unseen=unseen)
    fleet = gather.Fleet(
        install=install, stores=shared, tailnets=tailnets, executor=executor, admission=prober
    )
    secrets: list[Watch[Any]] = []

    def open_watch(name: str, store: Store[CredentialSecret]) -> Watch[CredentialSecret]:
        fields = f"metadata.name={name}"
        watch = Watch(cluster, watched.SECRETS, store, namespace=install.namespace, fields=fields)
        secrets.append(watch)
        return watch

    return Sight(
        operator=operator,
        fleet=fleet,
        services=Services(fleet),
        egresses=Egresses(fleet),
        connectors=Connectors(fleet),
        classes=ProxyClasses(fleet, cluster),
        tailnets=TailnetObjects(
            namespace=install.namespace,
            tailnets=tailnets,
            executor=executor,
            open_plane=open_stand_in,
            open_watch=open_watch,
            users=fleet.list_users,
        ),
        secrets=secrets,
        unseen=unseen,
    )


def refuse() -> NoReturn:
    """What stands in the way of every write."""
    raise errors.Bug("A command that only looks would have changed something.")


def build_install(operator: Operator) -> Install:
    """As the operator builds it, with the CA that it wrote down instead of a file of its pod."""
    chosen = operator.settings
    install = app.build_install(chosen, app.find_login_server(chosen))
    if operator.ca_pem is None:
        return install
    return dataclasses.replace(install, image=dataclasses.replace(install.image, ca_pem=operator.ca_pem))


def decide_tailnet(sight: Sight, name: str) -> decide.Decision:
    """What the room says of a Tailnet whose control plane was not asked now."""
    room = sight.tailnets
    tailnet = room.store.get("", name)
    found = room.secrets.find(tailnet.spec.credentials.secretName) if tailnet is not None else Found()
    return decide.decide(room.gather(name, found))


# --- the cluster -----------------------------------------------------------------------------------------------


def list_watches(cluster: Kube, sight: Sight) -> list[Watch[Any]]:
    return [
        *stores.build_watches(sight.fleet.stores, cluster, sight.operator.namespace),
        *sight.services.build_watches(cluster),
        *sight.connectors.build_watches(cluster),
        sight.tailnets.build_watch(cluster),
    ]


async def read(watch: Watch[Any], sight: Sight) -> None:
    """Fill a store; what a decision can do without is left out when we may not see it."""
    needed = (
        not watch.optional and watch not in sight.secrets and watch.store is not sight.fleet.stores.namespaces
    )
    try:
        for bad in await watch.read():
            sight.unseen.append(f"{watch.name} {bad.key}, which cannot be read: {bad.problem}")
    except errors.Denied:
        if needed:
            raise
        sight.unseen.append(f"{watch.name} (you may not list them): taken as none")


def check_namespace(sight: Sight) -> None:
    namespaces, home = sight.fleet.stores.namespaces, sight.operator.namespace
    if namespaces.synced and namespaces.get("", home) is None:
        raise errors.Usage(
            f"There is no namespace {home}, where the operator would be.",
            hint="install the operator, or set OPERATOR_NAMESPACE to its namespace",
        )


class Prober(admission.Prober):
    """Asks by the operator's own dry run; who may not ask is told so."""

    def __init__(self, cluster: Kube, namespace: str, image: Any, *, unseen: list[str]) -> None:
        super().__init__(cluster, namespace, image)
        self._unseen = unseen

    async def ask(self, labels: Any) -> Admission:
        try:
            return await super().ask(labels)
        except errors.Denied:
            note = f"whether {self.namespace} admits a privileged pod (you may not create pods there): taken as yes"
            self._unseen.append(note)
            return Admission(privileged=True)


async def describe_operator(cluster: Kube, home: str) -> str:
    """Who holds the lease, and since when nothing was heard of it."""
    try:
        lease = await cluster.get(LEASES, app.LEASE, home)
    except errors.NotFound:
        return f"none has led in namespace {home}"
    except errors.Denied:
        return "not known: you may not read its lease"
    holder, renewed = lease.spec.holderIdentity, lease.spec.renewTime
    if not holder or not renewed:
        return "none leads: it was stopped"
    age = (datetime.now(UTC) - datetime.fromisoformat(renewed)).total_seconds()
    if age > LEASE_AGE:
        return f"none leads: {holder} has not been heard of for {age:.0f}s"
    return f"{holder} leads"


# --- control planes --------------------------------------------------------------------------------------------


class Absent(delegate.Delegate):
    """Stands where a control plane would be that this shell cannot ask: everything may be possible there, nothing is
    known. Only a credential that there is not fails as it does for the operator."""

    name = "the control plane"

    def __init__(self, login_server: str, source: credentials.Source | None = None) -> None:
        self.login_server = login_server
        self._source = source

    async def inner(self) -> port.ControlPlane:
        if self._source is not None:
            self._source.read()
            raise errors.Transient(OTHER_NOT_ASKED)
        refuse()

    def has(self, capability: port.Capability) -> bool:
        return True

    def learn_fqdn(self, fqdn: str) -> None:
        """Nothing is to be learnt."""

    async def probe(self) -> port.Probe:
        return await (await self.inner()).probe()

    async def close(self) -> None:
        """Nothing is open."""


def open_plane(loaded: settings.Settings) -> port.ControlPlane | None:
    """The operator's own control plane, when this shell has credentials for it."""
    if not (loaded.client_id or loaded.client_id_file or loaded.client_secret_file or loaded.api_key_file):
        return None
    return app.open_plane(loaded)


def open_stand_in(source: credentials.Source, server: str, ca_pem: str) -> port.ControlPlane:
    """For a Tailnet: its credential is the operator's, not this shell's."""
    return Absent(server or tailscale.LOGIN_SERVER, source)


async def list_devices(member: registry.Membership | None) -> None:
    """One listing. That it fails stands in the snapshot afterwards."""
    if member is None:
        return
    listing = asyncio.create_task(member.devices.run())
    try:
        with contextlib.suppress(errors.TailraceError):
            await member.devices.refresh()
    finally:
        listing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listing
