"""`tailrace sandbox`: a cluster in one process with the operator in it, to try and to rehearse."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from cyclopts import Parameter

from tailrace import app as operator
from tailrace import errors, settings
from tailrace.api import crd, definitions
from tailrace.cli import files, output, status
from tailrace.cli.exits import Exit
from tailrace.fleet import view
from tailrace.kube.client import Kube
from tailrace.observe import logs
from tailrace.sandbox.kubernetes.storage import Change
from tailrace.sandbox.world import Options, World

type Dialect = Literal["tailscale", "headscale-0.29", "headscale-0.30"]

NAMESPACE = "tailscale"
_CREDENTIALS = {
    "client_id": "CLIENT_ID_FILE",
    "client_secret": "CLIENT_SECRET_FILE",
    "api_key": "TAILRACE_API_KEY_FILE",
}
_FIRST = ("Namespace", "CustomResourceDefinition")
_QUIET = 12.0  # seconds without a change after which what is not ready will not become so by itself
_CALM = 1.0  # the same when everything is ready: a Service that was applied last may not have been looked at
_CHATTER = {("coordination.k8s.io", "leases"), ("", "events")}  # changes that lead nowhere, some without end
_LOOK = 0.2
_RESTART = 1.0


async def sandbox(
    *,
    file: Annotated[
        list[Path] | None,
        Parameter(
            name=["--file", "-f"],
            negative="",
            allow_leading_hyphen=True,
            help="Manifests to apply: file, folder, or -.",
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        Parameter(name="--dir", help="Where kubeconfig and sandbox.json go. Default: a temporary one."),
    ] = None,
    control_plane: Annotated[Dialect, Parameter(help="Which control plane is emulated.")] = "tailscale",
    operator: Annotated[bool, Parameter(negative="--no-operator", help="Run the operator too.")] = True,
    once: Annotated[
        bool,
        Parameter(
            negative="",
            help="Wait until all is settled, print the status, end: 0 when all is ready, 1 if not.",
        ),
    ] = False,
) -> int:
    """Run a cluster in this process: Kubernetes API, control plane, proxies that carry real bytes, and the operator."""
    documents = files.read_documents(file or [])
    with _made(folder) as place:
        options = Options(dialect=control_plane, namespace=NAMESPACE, metrics=free_address())
        async with await World.start(place, options) as world:
            await fill(world, documents)
            if not operator:
                return await serve(world, None, once=once)
            async with run_operator(world) as running:
                return await serve(world, running, once=once)


@contextlib.contextmanager
def _made(folder: Path | None) -> Iterator[Path]:
    """The folder; one that nobody named goes when the sandbox ends."""
    if folder is not None:
        yield folder.absolute()
        return
    place = Path(tempfile.mkdtemp(prefix="tailrace-sandbox-"))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


async def fill(world: World, documents: Iterable[Mapping[str, Any]]) -> None:
    """Apply what the operator needs, then the user's manifests; what has no place here is told and left out.

    Raises:
        Usage: the cluster refuses one.
    """
    rights = resources.files("tailrace.cli").joinpath("rbac.yaml").read_text()
    world.apply([namespace_document(NAMESPACE), *yaml.safe_load_all(rights)])
    world.apply([crd.build_crd(kind) for kind in definitions.ALL])
    await asyncio.sleep(0)  # a definition is served from the next turn on
    ordered = sorted(documents, key=lambda d: _FIRST.index(d["kind"]) if d["kind"] in _FIRST else len(_FIRST))
    for document in ordered:
        metadata = document.get("metadata") or {}
        name = f"{document['kind']} {metadata.get('namespace', '')}/{metadata.get('name', '')}".replace(
            " /", " "
        )
        if not world.knows(document):
            output.tell(
                f"note: {name} is left out: the sandbox has no kind {document['kind']} of {document.get('apiVersion')}"
            )
            continue
        namespace = metadata.get("namespace", "")
        if namespace and world.cluster.core.namespace(namespace) is None:
            output.tell(f"note: namespace {namespace} is made for you, no manifest has it")
            world.apply([namespace_document(namespace)])
        world.apply([document])
        if document["kind"] in _FIRST:
            await asyncio.sleep(0)


def namespace_document(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """The operator beside the world, and a client with an administrator's rights."""

    task: asyncio.Task[None]
    admin: Kube


@contextlib.asynccontextmanager
async def run_operator(world: World, **environment: str) -> AsyncIterator[Running]:
    """The operator as in a cluster: over HTTPS, with its service account's rights; its log is in the folder."""
    loaded = settings.load(write_settings(world) | environment)
    with (world.folder / "operator.log").open("w", buffering=1) as log, logs.write_to(log):
        stop = asyncio.Event()
        task = asyncio.create_task(keep_running(world, loaded, stop), name="operator")
        admin = Kube.connect(kubeconfig=world.kubeconfig)
        try:
            yield Running(task=task, admin=admin)
        finally:
            stop.set()
            await admin.close()
            await task


async def keep_running(world: World, loaded: settings.Settings, stop: asyncio.Event) -> None:
    """Start the operator again when it ends by itself (it does when it loses its lease), as its Deployment would.

    Raises:
        Usage: a setting is wrong.
    """
    while not stop.is_set():
        cluster = Kube.connect(kubeconfig=world.operator_kubeconfig)
        edges = operator.Edges(cluster=cluster, plane=operator.open_plane(loaded))
        try:
            await operator.run(loaded, edges, stop=stop)
        except errors.TailraceError as error:
            if isinstance(error, errors.Usage):
                raise
            logs.get_logger("cli.sandbox").warning(
                "the operator ended and is started again", error=str(error)
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _RESTART)


def write_settings(world: World) -> dict[str, str]:
    """The environment of the operator: the user's own, with the sandbox's addresses; credentials as files."""
    kept = {
        k: v
        for k, v in os.environ.items()
        if k not in {*_CREDENTIALS.values(), "CLIENT_ID", "TAILRACE_CA_BUNDLE"}
    }
    found = {}
    for name, value in world.plane.credentials.items():
        path = world.folder / name
        world.write(name, value)
        found[_CREDENTIALS[name]] = str(path)
    if "CLIENT_ID_FILE" in found:
        found.pop("TAILRACE_API_KEY_FILE", None)
    return (
        kept
        | found
        | {
            "OPERATOR_NAMESPACE": NAMESPACE,
            "OPERATOR_LOGIN_SERVER": world.plane.url,
            "TAILRACE_METRICS_ADDRESS": world.options.metrics,
            "TAILRACE_CLUSTER_DOMAIN": "cluster.local",
        }
    )


async def serve(world: World, running: Running | None, *, once: bool) -> int:
    """Until a signal comes, or with `once` until nothing more will change."""
    stop = operator.catch_signals()
    if once and running is not None:
        return await settle(world, running, stop)
    output.tell(f"export KUBECONFIG={world.kubeconfig}")
    output.tell(
        f"control plane {world.plane.dialect} at {world.plane.url}, everything else in {world.folder}/sandbox.json"
    )
    print("ready", flush=True)
    if once:
        return Exit.OK
    waiting = asyncio.create_task(stop.wait(), name="signal")
    tasks = {waiting} if running is None else {waiting, running.task}
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if running is not None and running.task.done():
        running.task.result()
    return Exit.OK


async def settle(world: World, running: Running, stop: asyncio.Event) -> int:
    """Wait until everything exposed is ready or will not be, print the table, say why where it is not."""
    rows = await wait_settled(world, running, stop)
    status.print_rows(rows, "table")
    open_rows = [row for row in rows if row.ready != "True"]
    for row in open_rows:
        output.tell(
            f"{row.object}: {row.message or row.reason or 'the operator has not said anything about it'}"
        )
    return Exit.NOT_READY if open_rows else Exit.OK


async def wait_settled(world: World, running: Running, stop: asyncio.Event) -> list[view.Row]:
    """The rows of `tailrace status`, as soon as they are final."""
    loop = asyncio.get_running_loop()
    since = loop.time()

    def note(change: Change) -> None:
        nonlocal since
        if change.kind not in _CHATTER:
            since = loop.time()

    rows: list[view.Row] = []
    with contextlib.ExitStack() as stack:
        stack.callback(world.cluster.store.listen(None, note))
        while not stop.is_set() and not running.task.done():
            rows = await status.gather_rows(running.admin, None)
            quiet = loop.time() - since
            if quiet > (_CALM if all(row.ready == "True" for row in rows) else _QUIET):
                break
            await asyncio.sleep(_LOOK)
    return rows


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"
