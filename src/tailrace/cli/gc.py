"""`tailrace gc`: what is left over on the tailnets and in the operator's namespace, why it may go, and on a word its end."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated

from cyclopts import Parameter

from tailrace import app, errors, settings
from tailrace.api import kube, names
from tailrace.cli import cluster as clusters
from tailrace.cli import output
from tailrace.cli.cluster import Operator
from tailrace.cli.exits import Exit
from tailrace.cli.look import NO_CREDENTIALS, Sight, look, open_plane
from tailrace.fleet import removal
from tailrace.fleet.world import Children
from tailrace.kinds.sweep import controller as sweep
from tailrace.kinds.sweep import judge
from tailrace.kinds.sweep.inputs import Inputs, Remembered
from tailrace.kinds.sweep.judge import Finding, Verdict, What
from tailrace.kinds.tailnet.inputs import CA
from tailrace.kube import resources
from tailrace.kube.client import Kube
from tailrace.kube.resource import Key, key_of
from tailrace.plan import ops
from tailrace.plan.executor import Executor
from tailrace.proxy import names as proxy_names
from tailrace.tailnet import connect, credentials, port
from tailrace.tailnet.registry import OWN

HEAD = ("WHAT", "NAME", "ID", "TAILNET", "LAST SEEN", "GOES", "WHY")
LOOK = 1.0  # seconds between two looks at a proxy that is ending
PATIENCE = 90.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A finding as it is printed. `outcome` is empty in a dry run."""

    what: str
    name: str
    id: str
    tailnet: str
    lastSeen: datetime | None
    verdict: str
    goes: bool
    why: str
    outcome: str = ""


@dataclass(slots=True)
class Ground:
    """The tailnets that can be asked from here, what each says, and in words which cannot."""

    cluster: Kube
    operator: Operator
    planes: dict[str, port.ControlPlane] = field(default_factory=dict)
    worlds: list[Inputs] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def find_plane(self, tailnet: str) -> port.ControlPlane:
        if tailnet not in self.planes:
            raise errors.Transient(f"{describe_tailnet(tailnet)} cannot be asked from here")
        return self.planes[tailnet]


async def gc(
    *,
    yes: Annotated[
        bool, Parameter(name="--yes", negative="", help="Delete what goes. Without it nothing is.")
    ] = False,
    include_shared_tags: Annotated[
        bool,
        Parameter(
            negative="",
            help="Also devices and keys that another cluster with the same tags may have made.",
        ),
    ] = False,
    age: Annotated[str, Parameter(help="For how long a device must not have been connected.")] = "10m",
    form: Annotated[output.Format, Parameter(name=["--output", "-o"], help="How to print it.")] = "table",
    cluster: clusters.Target | None = None,
) -> int:
    """Find devices, keys and proxies that nobody needs any more; `--yes` deletes them.

    A device that is connected is never deleted, and each is looked at once more before it goes. The control plane is asked
    when this shell has credentials for it (the operator's variables, such as TAILRACE_API_KEY_FILE); other tailnets are
    asked with their Secrets, where you may read them.

    Example: `tailrace gc --age 1h`
    """
    unseen_for = read_age(age)
    async with clusters.connect(cluster) as found, survey(found, unseen_for) as ground:
        for note in ground.notes:
            output.tell(f"note: {note}")
        pairs = [(finding, world) for world in ground.worlds for finding in judge.judge(world)]
        rows = [build_row(finding, shared=include_shared_tags) for finding, _ in pairs]
        if yes:
            rows = [
                await clean(ground, row, *pair) if row.goes else row
                for row, pair in zip(rows, pairs, strict=True)
            ]
    print_rows(rows, form, yes=yes)
    return Exit.NOT_READY if any(row.outcome.startswith("failed") for row in rows) else Exit.OK


def read_age(text: str) -> timedelta:
    try:
        return settings.parse_seconds(text)
    except ValueError as error:
        raise errors.Usage(f'--age "{text}" {error}.', hint="write for example --age 1h") from None


def build_row(finding: Finding, *, shared: bool) -> Row:
    goes = finding.verdict in {Verdict.OURS, Verdict.NAMED} or (shared and finding.verdict is Verdict.SHARED)
    return Row(
        what=finding.what,
        name=finding.name,
        id=finding.id,
        tailnet=finding.tailnet,
        lastSeen=finding.last_seen,
        verdict=finding.verdict,
        goes=goes,
        why=finding.why,
    )


# --- seeing ----------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def survey(cluster: Kube, age: timedelta) -> AsyncIterator[Ground]:
    """Everything that the judgement needs, one world for each tailnet."""
    operator = await clusters.find_operator(cluster)
    ground = Ground(cluster=cluster, operator=operator)
    async with contextlib.AsyncExitStack() as stack:
        async with look(cluster, operator) as sight:
            remembered = await read_remembered(cluster, operator.namespace)
            claimed = await read_claimed(ground)
            ground.notes += [f"not seen: {sentence}" for sentence in sight.unseen]
            for name in list_tailnets(sight):
                devices, keys = await ask(ground, sight, name, stack)
                ground.worlds.append(
                    sweep.build_inputs(
                        sight.fleet,
                        name,
                        roots=find_roots(sight),
                        remembered=remembered,
                        claimed=claimed.get(name, frozenset()),
                        devices=devices,
                        keys=keys,
                        age=age,
                    )
                )
        yield ground


def list_tailnets(sight: Sight) -> list[str]:
    """The operator's own, those of Tailnets, and those that have proxies still."""
    named = (tailnet.metadata.name for tailnet in sight.tailnets.store.list())
    used = (found.metadata.annotations.get(names.TAILNET, "") for found in sight.fleet.stores.secrets.list())
    return sorted({OWN, *named, *used})


async def ask(
    ground: Ground, sight: Sight, name: str, stack: contextlib.AsyncExitStack
) -> tuple[tuple[port.Device, ...], tuple[port.KeyInfo, ...] | None]:
    """Devices and keys; nothing of a tailnet that cannot be asked, which is said. `stack` closes what is opened."""
    try:
        plane = open_tailnet(ground.operator, sight, name)
        stack.push_async_callback(plane.close)
        found = await plane.list_devices(), await sweep.list_keys(plane)
    except errors.TailraceError as error:
        ground.notes.append(f"{describe_tailnet(name)} was not asked: {error}")
        return (), None
    ground.planes[name] = plane
    return found


def open_tailnet(operator: Operator, sight: Sight, name: str) -> port.ControlPlane:
    """The operator's own with this shell's credentials, others with their Secrets.

    Raises:
        Denied: there are none, they cannot be seen, or nobody but the operator can use them.
        NotFound: there is no such Tailnet.
    """
    if name == OWN:
        if (own := open_plane(operator.settings)) is None:
            raise errors.Denied(NO_CREDENTIALS)
        return own
    tailnet = sight.tailnets.store.get("", name)
    if tailnet is None:
        raise errors.NotFound("it has proxies, and there is no Tailnet of its name")
    where = tailnet.spec.credentials.secretName
    found = sight.tailnets.secrets.find(where)
    keys = found.keys
    if keys is None:
        raise errors.Denied(found.explain(where, operator.namespace) or "its Secret is not seen")
    if isinstance(credentials.choose_keys(keys, where=where), credentials.Federation):
        raise errors.Denied("its credential is the operator's own service account")
    source = credentials.Values(lambda: keys, where=f'Secret "{where}"')
    return connect.connect(
        source, tailnet.spec.loginUrl, wiring=connect.Wiring(ca_pem=keys.get(CA, "").strip())
    )


def find_roots(sight: Sight) -> dict[str, frozenset[tuple[str, str]]]:
    return {
        "svc": sweep.list_roots(key_of(s) for s in sight.fleet.stores.services.list()),
        "connector": sweep.list_roots(key_of(c) for c in sight.connectors.store.list()),
    }


async def read_remembered(cluster: Kube, home: str) -> tuple[Remembered, ...]:
    """The orphan record."""
    try:
        return app.remember(await cluster.get(resources.CONFIG_MAPS, names.ORPHANS, home))
    except errors.NotFound:
        return ()


async def read_claimed(ground: Ground) -> dict[str, frozenset[str]]:
    """Devices that any Secret of the operator's namespace names, by tailnet: also the official operator's own."""
    found: dict[str, frozenset[str]] = {}
    for each in await ground.cluster.list(resources.SECRETS, ground.operator.namespace):
        device, tailnet = (
            kube.decode_key(each.data.device_id),
            each.metadata.annotations.get(names.TAILNET, ""),
        )
        if device:
            found[tailnet] = found.get(tailnet, frozenset()) | {device}
    return found


# --- acting ----------------------------------------------------------------------------------------------------


async def clean(ground: Ground, row: Row, finding: Finding, world: Inputs) -> Row:
    """Take one thing away; what stands in the way is told in its row, and the next is tried."""
    executor = Executor(
        cluster=ground.cluster,
        planes=ground.find_plane,
        namespace=ground.operator.namespace,
        record=lambda event: None,
        written=lambda kind, answer: None,
    )
    output.tell(f"{finding.what} {finding.name or finding.id} goes")
    try:
        if finding.what is What.PROXY:
            async with asyncio.timeout(PATIENCE):
                await remove_proxy(ground, executor, finding)
        else:
            await executor.run(judge.decide(finding, world))
    except TimeoutError:
        return fail(row, "its pods do not end")
    except errors.TailraceError as error:
        return fail(row, str(error))
    return dataclasses.replace(row, outcome="deleted")


async def remove_proxy(ground: Ground, executor: Executor, finding: Finding) -> None:
    """As the operator removes it: it stops, its device goes, then its objects. Looked at anew before each step."""
    assert finding.owner is not None
    parent, namespace, name = finding.owner
    while True:
        async with look(ground.cluster, ground.operator) as sight:
            if (namespace, name) in find_roots(sight)[parent]:
                raise errors.Conflict("its object exists again")
            proxies = sight.fleet.gather_proxies(parent, Key(namespace, name))
            if sight.fleet.stand_back(None, proxies) is not None:
                raise errors.Conflict("it is the official operator's, which runs and takes it away itself")
            plan = build_removal(sight, finding, tuple(proxies.values()))
        if not proxies:
            return
        await executor.run(plan)
        await asyncio.sleep(LOOK)


def build_removal(sight: Sight, finding: Finding, proxies: Sequence[Children]) -> ops.Plan:
    assert finding.owner is not None
    leaving = removal.Leaving(
        install=sight.fleet.install,
        label=f"{judge.KINDS[finding.owner[0]]} {finding.name}",
        owner=proxy_names.build_labels(*finding.owner),
        proxies=proxies,
        tailnet=removal.find_tailnet(proxies),
        since=None,
        now=datetime.now(UTC),
    )
    return removal.decide_removal(leaving)


def fail(row: Row, why: str) -> Row:
    output.tell(f"it stays: {why}")
    return dataclasses.replace(row, outcome=f"failed: {why}")


# --- printing --------------------------------------------------------------------------------------------------


def describe_tailnet(name: str) -> str:
    return f'tailnet "{name}"' if name else "the operator's own tailnet"


def print_rows(rows: Sequence[Row], form: output.Format, *, yes: bool) -> None:
    if form != "table":
        output.print_data(list(rows), form)
        return
    cells = (
        (
            row.what,
            row.name,
            row.id,
            row.tailnet or "(own)",
            output.describe_age(row.lastSeen),
            row.outcome or describe_verdict(row),
            row.why,
        )
        for row in rows
    )
    output.print_table(HEAD, cells, empty="Nothing is left over.")
    if rows and not yes:
        output.tell(summarize(rows))


def describe_verdict(row: Row) -> str:
    if row.goes:
        return "yes"
    return "if shared" if row.verdict == Verdict.SHARED else "no"


def summarize(rows: Sequence[Row]) -> str:
    """What a person can do now."""
    going = sum(row.goes for row in rows)
    shared = sum(row.verdict == Verdict.SHARED and not row.goes for row in rows)
    said = [f"{going} of {len(rows)} would go: add --yes to delete them." if going else "Nothing would go."]
    if shared:
        said.append(
            f"{shared} may be another cluster's with the same tags: --include-shared-tags counts them too, "
            "if no other cluster uses these tags."
        )
    return " ".join(said)
