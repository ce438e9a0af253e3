"""/metrics, /healthz and /readyz: liveness apart from readiness.

Alive: the event loop turns and the watches have said something lately. Ready: synced, leader or standby, and the
control plane answers. `?verbose` lists every check. A process that is not ready is left alone; one that is not alive
is restarted, which mends a stuck loop and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, override

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tailrace.errors import Usage
from tailrace.observe import metrics

BEAT = 1.0
LATE = 30.0
QUIET = 300.0

type Check = Callable[[], str]
"""Returns what is wrong, or an empty string."""


class Turning(Protocol):
    """What a watch shows of itself."""

    @property
    def name(self) -> str: ...
    @property
    def last_turn(self) -> float: ...


@dataclass(slots=True)
class Health:
    """What the checks look at. `beat` runs as a task."""

    clock: Callable[[], float] = time.monotonic
    ready: dict[str, Check] = field(default_factory=dict)
    _beaten: float = 0.0
    _watches: list[Turning] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._beaten = self.clock()

    async def beat(self) -> None:
        """Prove that the loop turns."""
        while True:
            self._beaten = self.clock()
            await asyncio.sleep(BEAT)
            metrics.LOOP_LAG.set(max(0.0, self.clock() - self._beaten - BEAT))

    def watch(self, watch: Turning) -> None:
        """Look at this watch too. Its turns count, not its luck: an API server that is away for an hour makes nobody
        dead, a watch that neither hears nor asks any more does."""
        self._watches.append(watch)

    def check_alive(self) -> dict[str, str]:
        """Problems by check; empty strings where there is none."""
        now = self.clock()
        late = now - self._beaten
        found = {"loop": f"the event loop has not turned for {late:.0f} s" if late > LATE else ""}
        for watch in self._watches:
            quiet = now - watch.last_turn
            found[f"watch {watch.name}"] = f"no turn for {quiet:.0f} s" if quiet > QUIET else ""
        return found

    def check_ready(self) -> dict[str, str]:
        return {name: check() for name, check in self.ready.items()}


def build_app(health: Health) -> Starlette:
    def answer(checks: Mapping[str, str], request: Request) -> Response:
        bad = {name: problem for name, problem in checks.items() if problem}
        lines = ["ok"] if not bad else [f"{name}: {problem}" for name, problem in bad.items()]
        if "verbose" in request.query_params:
            lines = [
                f"[{'-' if problem else '+'}] {name} {problem or 'ok'}" for name, problem in checks.items()
            ]
        return PlainTextResponse("\n".join(lines) + "\n", status_code=503 if bad else 200)

    async def healthz(request: Request) -> Response:
        return answer(health.check_alive(), request)

    async def readyz(request: Request) -> Response:
        return answer(health.check_ready(), request)

    async def show_metrics(request: Request) -> Response:
        body, content_type = metrics.render(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    return Starlette(
        routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", show_metrics)]
    )


class _Server(uvicorn.Server):
    """Leaves signals to whoever owns the process."""

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises:
        Usage: the address is taken, or none of this machine.
    """
    try:
        # getaddrinfo names the protocol: asyncio sets TCP_NODELAY only where it reads TCP.
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with contextlib.ExitStack() as undo:
            bound = undo.enter_context(socket.socket(family, kind, protocol))
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            bound.listen()
            undo.pop_all()
    except OSError as error:
        raise Usage(
            f"Metrics and health cannot be served on {host}:{port}: {error.strerror}.",
            hint="name a free address of this machine in TAILRACE_METRICS_ADDRESS",
        ) from error
    return bound


async def serve(health: Health, listening: socket.socket) -> None:
    """Serve until cancelled; calls under way then get a second. Closes the socket."""
    config = uvicorn.Config(
        build_app(health),
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    with listening:
        task = asyncio.create_task(server.serve(sockets=[listening]), name="health-server")
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            server.should_exit = True
            await task
            raise
