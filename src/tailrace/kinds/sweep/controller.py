"""Sweep each tailnet from time to time: slowly, one thing after the other, and only what is provably ours.

The first sweep waits until proxies that were starting with the operator have joined. The list of devices is the shared
one; of keys there is one listing a sweep. A credential that may not list keys sweeps none.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tailrace import errors
from tailrace.fleet.gather import Fleet
from tailrace.kinds.sweep import judge
from tailrace.kinds.sweep.inputs import AGE, Inputs, Remembered
from tailrace.kube.resource import Key
from tailrace.observe import logs, metrics
from tailrace.plan import ops
from tailrace.proxy import names as proxy_names
from tailrace.proxy import secret
from tailrace.runtime.controller import Controller
from tailrace.tailnet import port

log = logs.get_logger("kinds.sweep")

FIRST = 300.0
PERIOD = 600.0
AT_ONCE = 10
"""Things that one sweep takes away at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A kind whose objects have proxies: which there are, and how its room is woken for one that is not."""

    list_keys: Callable[[], Iterable[Key]]
    wake: Callable[[Key], None]


@dataclass(slots=True)
class Sweeper:
    """The room. A key is a tailnet; `kinds` go by the type that children's labels name."""

    fleet: Fleet
    kinds: Mapping[str, Kind]
    remembered: Callable[[], tuple[Remembered, ...]] = tuple
    controller: Controller = field(init=False)

    def __post_init__(self) -> None:
        self.controller = Controller("sweep", self.reconcile, workers=1)
        for member in self.fleet.tailnets.all():
            self.controller.enqueue_after(Key("", member.name), FIRST)
        self.fleet.tailnets.subscribe(self.note_tailnet)

    def note_tailnet(self, tailnet: str, changed: frozenset[port.DeviceId]) -> None:
        """A membership came, or went: no device is named then."""
        if not changed:
            self.controller.enqueue_after(Key("", tailnet), FIRST)

    async def reconcile(self, key: Key) -> ops.Result:
        member = self.fleet.tailnets.get(key.name)
        if member is None:
            forget(key.name)
            return ops.SETTLED
        snapshot = member.devices.snapshot()
        if member.problem or snapshot.error is not None or not snapshot.known:
            return ops.Result(waiting_on="the device list", requeue_after=FIRST)
        inputs = build_inputs(
            self.fleet,
            key.name,
            keys=await list_keys(member.plane),
            roots={parent: list_roots(kind.list_keys()) for parent, kind in self.kinds.items()},
            remembered=self.remembered(),
            devices=snapshot.devices,
        )
        found = judge.judge(inputs)
        count(key.name, found)
        mine = [
            f
            for f in found
            if f.verdict is judge.Verdict.OURS and f.what in {judge.What.KEY, judge.What.PROXY}
        ]
        for finding in mine[:AT_ONCE]:
            await self.take(finding, inputs)
        if mine:
            logs.annotate(operations=len(mine[:AT_ONCE]))
        metrics.LAST_SWEEP.labels(key.name).set(time.time())
        return ops.Result(requeue_after=PERIOD)

    async def take(self, finding: judge.Finding, inputs: Inputs) -> None:
        """A proxy is given to its room."""
        if finding.owner is not None:
            parent, namespace, name = finding.owner
            self.kinds[parent].wake(Key(namespace, name))
        else:
            await self.fleet.executor.run(judge.decide(finding, inputs))
        metrics.SWEPT.labels(finding.what).inc()


def build_inputs(
    fleet: Fleet,
    tailnet: str,
    *,
    roots: Mapping[str, frozenset[tuple[str, str]]],
    remembered: tuple[Remembered, ...],
    devices: tuple[port.Device, ...],
    keys: tuple[port.KeyInfo, ...] | None,
    claimed: frozenset[str] = frozenset(),
    age: timedelta = AGE,
) -> Inputs:
    """With what the stores have of the cluster."""
    install, stores = fleet.install, fleet.stores
    return Inputs(
        cluster=install.cluster_name,
        tags=install.defaults.tags,
        tailnet=tailnet,
        states=tuple(secret.read(found) for found in stores.secrets.list()),
        workloads=tuple(stores.statefulsets.list()),
        roots=roots,
        claimed=claimed,
        remembered=remembered,
        devices=devices,
        keys=keys,
        age=age,
        now=datetime.now(UTC),
    )


def list_roots(keys: Iterable[Key]) -> frozenset[tuple[str, str]]:
    """As labels name them."""
    return frozenset((key.namespace, proxy_names.truncate_label(key.name)) for key in keys)


async def list_keys(plane: port.ControlPlane) -> tuple[port.KeyInfo, ...] | None:
    """None where that is not allowed.

    Raises:
        TailraceError: another reason; it is tried again.
    """
    try:
        return await plane.list_keys()
    except (errors.Denied, errors.NotFound, errors.Terminal) as error:
        log.debug("keys cannot be listed", error=str(error))
        return None


def count(tailnet: str, found: Iterable[judge.Finding]) -> None:
    """What is left over on a tailnet, by what it is."""
    left = Counter(f.what for f in found if f.verdict is not judge.Verdict.KEPT)
    for what in judge.What:
        metrics.LEFT_OVER.labels(tailnet, what).set(left[what])


def forget(tailnet: str) -> None:
    """The tailnet is no longer ours: its numbers go."""
    for what in judge.What:
        metrics.drop(metrics.LEFT_OVER, tailnet, what)
    metrics.drop(metrics.LAST_SWEEP, tailnet)
