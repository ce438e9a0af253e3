"""Keep the registry of tailnets like the Tailnet objects, and say on each whether it can be used.

    Tailnets, their Secrets ─► memberships ─► (check ─► decide ─► executor, problem of the membership)

A membership is made the moment its object is seen, before any reconcile: who uses a tailnet finds it, and why it cannot be
used yet, from the first turn on. It is made anew only for another server or CA; a rotated credential is read with the
next call. What the shared device list learns against the last check has the Tailnet checked again at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tailrace import errors
from tailrace.api.tailnet import Tailnet
from tailrace.kinds.tailnet import decide, inputs, watched
from tailrace.kube import resources
from tailrace.kube.client import Kube
from tailrace.kube.resource import Key
from tailrace.kube.store import Event, Store
from tailrace.kube.watch import Watch
from tailrace.observe import logs, metrics
from tailrace.plan import ops
from tailrace.plan.executor import Executor
from tailrace.runtime.controller import Controller
from tailrace.tailnet import credentials, registry
from tailrace.tailnet.port import ControlPlane, DeviceId, Probe

type OpenPlane = Callable[[credentials.Source, str, str], ControlPlane]
"""A control plane from a credential, the server's URL ("": Tailscale's own) and a private CA (PEM, or "")."""

type Users = Callable[[str], tuple[str, ...]]
"""What uses the tailnet of this name, each for people: `Service demo/web`."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a membership was made of."""

    server: str
    secret: str
    ca_pem: str


@dataclass(frozen=True, slots=True)
class Check:
    """What a control plane said, when, and to which keys."""

    probe: Probe
    keys: int
    at: float

    @property
    def passed(self) -> bool:
        return self.probe.ok and not self.probe.problem


@dataclass(slots=True)
class TailnetObjects:
    """The room. `mint` None: there is no workload identity here."""

    namespace: str  # the operator's
    tailnets: registry.Tailnets
    executor: Executor
    open_plane: OpenPlane
    open_watch: watched.OpenWatch
    users: Users
    mint: credentials.Mint | None = None
    store: Store[Tailnet] = field(default_factory=lambda: Store("tailnets"))
    controller: Controller = field(init=False)
    secrets: watched.Secrets = field(init=False)
    _terms: dict[str, Terms] = field(default_factory=dict)
    _checks: dict[str, Check] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.secrets = watched.Secrets(self.namespace, self.open_watch, self.note_secret)
        self.controller = Controller("tailnet", self.reconcile, workers=4)
        self.store.on_event(self.follow)
        metrics.TAILNETS.set(0)
        self.controller.watch(self.store, lambda event: [event.key])
        self.tailnets.subscribe(self.note_tailnet)

    def build_watch(self, cluster: Kube) -> Watch[Tailnet]:
        return Watch(cluster, resources.TAILNETS, self.store, optional=True)

    # --- what happens ------------------------------------------------------------------------------------------

    def follow(self, event: Event[Tailnet]) -> None:
        """A Tailnet came, went or differs: watch its Secret, and be a member, or no more."""
        metrics.TAILNETS.set(len(self.store))
        self.secrets.follow(frozenset(known.spec.credentials.secretName for known in self.store.list()))
        self.join(event.key.name)

    def join(self, name: str) -> None:
        """Have the membership that the object asks for."""
        tailnet = self.store.get("", name)
        if tailnet is None:
            self.tailnets.remove(name)
            self._terms.pop(name, None)
            self._checks.pop(name, None)
            return
        secret = tailnet.spec.credentials.secretName
        found = self.secrets.find(secret)
        ca_pem = "" if found.ca_problem or not found.keys else found.keys.get(inputs.CA, "").strip()
        terms = Terms(server=tailnet.spec.loginUrl, secret=secret, ca_pem=ca_pem)
        if self._terms.get(name) == terms:
            return
        self._terms[name] = terms
        self._checks.pop(name, None)
        source = watched.SecretValues(self.secrets, secret, self.mint)
        problem = decide.explain(self.gather(name, found), None)
        self.tailnets.put(name, self.open_plane(source, terms.server, ca_pem), problem=problem, ca_pem=ca_pem)

    def note_secret(self, secret: str) -> None:
        """A Secret came, went or was rotated."""
        for tailnet in self.store.list():
            if tailnet.spec.credentials.secretName == secret:
                name = tailnet.metadata.name
                self.join(name)
                if (membership := self.tailnets.get(name)) is not None:
                    membership.devices.retry()
                self.wake(name)

    def note_tailnet(self, name: str, devices: frozenset[DeviceId]) -> None:
        """Look again when the shared device list says otherwise than the last check."""
        if not devices and name in self._checks and self.is_doubtful(name):
            self.wake(name)

    def is_doubtful(self, name: str) -> bool:
        """Listing fails though the check passed, or works though it did not."""
        membership, check = self.tailnets.get(name), self._checks.get(name)
        if membership is None or check is None:
            return True
        snapshot = membership.devices.snapshot()
        return snapshot.known and (snapshot.error is not None) == check.passed

    def wake(self, name: str) -> None:
        """Give a Tailnet a turn; also for those who use it, when they come and go."""
        self.controller.enqueue(Key("", name))

    # --- reconcile ---------------------------------------------------------------------------------------------

    async def reconcile(self, key: Key) -> ops.Result:
        tailnet = self.store.get("", key.name)
        found = self.secrets.find(tailnet.spec.credentials.secretName) if tailnet else inputs.Found()
        probe = await self.check(key.name, tailnet, found) if tailnet else None
        decision = decide.decide(self.gather(key.name, found, probe))
        self.tailnets.judge(key.name, decision.problem)
        if decision.plan.ops:
            logs.annotate(operations=len(decision.plan.ops), waiting_on=decision.plan.result.waiting_on or "")
        return await self.executor.run(decision.plan)

    def gather(self, name: str, found: inputs.Found, probe: Probe | None = None) -> inputs.Inputs:
        membership = self.tailnets.get(name)
        snapshot = membership.devices.snapshot() if membership else None
        listed = snapshot is not None and snapshot.known
        return inputs.Inputs(
            name=name,
            namespace=self.namespace,
            tailnet=self.store.get("", name),
            secret=found,
            probe=probe,
            list_age=snapshot.age(read_clock()) if snapshot is not None and listed else None,
            users=self.users(name),
            now=datetime.now(UTC),
        )

    async def check(self, name: str, tailnet: Tailnet, found: inputs.Found) -> Probe | None:
        """What the control plane says to this credential: asked now, or just before. None when there is nothing to ask
        with."""
        membership = self.tailnets.get(name)
        secret = tailnet.spec.credentials.secretName
        if membership is None or not found.known or found.explain(secret, self.namespace):
            self._checks.pop(name, None)
            return None
        keys = hash(frozenset((found.keys or {}).items()))
        before = self._checks.get(name)
        if before is not None and before.keys == keys and not self.is_doubtful(name) and is_fresh(before):
            return before.probe
        probe = await membership.plane.probe()
        if self.tailnets.get(name) is not membership or self.secrets.find(secret) != found:
            raise errors.Conflict(f"Tailnet {name} has changed meanwhile.")
        check = self._checks[name] = Check(probe=probe, keys=keys, at=read_clock())
        if check.passed and membership.devices.snapshot().error is not None:
            membership.devices.retry()
        return probe


def is_fresh(check: Check) -> bool:
    """Whether the turn that comes by schedule need not ask again; a tenth early counts as due."""
    period = decide.RECHECK_VALID if check.passed else decide.RECHECK_REFUSED
    return read_clock() - check.at < 0.9 * period


def read_clock() -> float:
    return asyncio.get_running_loop().time()
