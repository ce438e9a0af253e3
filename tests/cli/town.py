"""A sandbox with the real operator in a thread of its own: commands meet it from outside, over HTTPS, as a person's do."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog

from tailrace.cli import sandbox
from tailrace.cli.main import run_command
from tailrace.sandbox.controlplane.records import Dialect
from tailrace.sandbox.kubernetes.admission import service_account
from tailrace.sandbox.kubernetes.resources import Ref
from tailrace.sandbox.world import Options, World

PATIENCE = 20.0
HOME = sandbox.NAMESPACE


@dataclass(slots=True)
class Town:
    """A `World` that lives elsewhere: `on` runs something in its loop. With or without the operator."""

    folder: Path
    world: World = field(init=False)
    _operator: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    def on[T](self, act: Callable[[World], T]) -> T:
        """Do something with the world, in its loop."""
        done: concurrent.futures.Future[T] = concurrent.futures.Future()

        def run() -> None:
            try:
                done.set_result(act(self.world))
            except BaseException as error:
                done.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        return done.result(PATIENCE)

    def wait(self, act: Callable[[World], Any]) -> None:
        """Await something of the world."""
        asyncio.run_coroutine_threadsafe(act(self.world), self._loop).result(PATIENCE)

    def stop_operator(self) -> None:
        """As a scale-down to nothing: the world goes on without it."""
        self.wait(lambda _: self._operator.aclose())

    def until(self, true: Callable[[World], Any]) -> None:
        """Until something is true of the world."""
        end = time.monotonic() + PATIENCE
        while not self.on(true):
            assert time.monotonic() < end, "the world did not become so"
            time.sleep(0.05)

    def apply(self, *documents: dict[str, Any]) -> None:
        self.on(lambda world: world.apply(documents))

    def get(self, name: str, namespace: str = "default", resource: str = "services") -> dict[str, Any]:
        """An object of the core group."""
        ref = Ref("", "v1", resource)
        return self.on(lambda world: world.cluster.get(ref, name, namespace=namespace))

    def condition(self, name: str, kind: str = "Ready") -> tuple[str, str]:
        """Status and reason of a condition of Service default/`name`."""
        found = self.get(name).get("status", {}).get("conditions", [])
        return next(((c["status"], c["reason"]) for c in found if c["type"] == kind), ("", ""))

    def wait_for(self, name: str, status: str, reason: str) -> None:
        end = time.monotonic() + PATIENCE
        while self.condition(name) != (status, reason):
            assert time.monotonic() < end, self.condition(name)
            time.sleep(0.05)

    # Its life ----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def live(self, *, operator: bool, dialect: Dialect = "tailscale", **environment: str) -> Iterator[None]:
        """Up and running; `environment` is the operator's."""
        ready, stop = threading.Event(), asyncio.Event()
        failed: list[BaseException] = []

        async def main() -> None:
            async with await World.start(self.folder, Options(dialect=dialect, pace=0.05)) as self.world:
                await sandbox.fill(self.world, [])
                async with self._operator:
                    if operator:
                        await self._operator.enter_async_context(
                            sandbox.run_operator(
                                self.world, TAILRACE_METRICS_ADDRESS="127.0.0.1:0", **environment
                            )
                        )
                    ready.set()
                    await stop.wait()

        def run() -> None:
            try:
                with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                    runner.run(main())
            except BaseException as error:
                failed.append(error)
            finally:
                ready.set()

        thread = threading.Thread(target=run, name="town")
        thread.start()
        ready.wait(PATIENCE)
        try:
            if not failed:
                yield
        finally:
            if not failed:
                self._loop.call_soon_threadsafe(stop.set)
            thread.join(PATIENCE)
            structlog.reset_defaults()
        if failed:
            raise failed[0]


@dataclass(frozen=True, slots=True)
class Said:
    code: int
    out: str
    err: str


@dataclass(slots=True)
class Person:
    """Who types commands. Whatever is printed is held against all secrets of the town."""

    town: Town
    capture: pytest.CaptureFixture[str]
    kubeconfig: Path

    def type(self, *arguments: str) -> Said:
        code = run_command([*arguments, "--kubeconfig", str(self.kubeconfig)])
        out, err = self.capture.readouterr()
        assert "Traceback" not in out + err
        assert not [secret for secret in self.secrets() if secret in out + err]
        return Said(code, out, err)

    def as_account(self, name: str, rules: list[dict[str, Any]], *, namespace: str = "default") -> Person:
        """Somebody with these rights alone, in this namespace or everywhere ("")."""
        account = {"kind": "ServiceAccount", "name": name, "namespace": "default"}
        kind = "Role" if namespace else "ClusterRole"
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
        metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
        rbac = "rbac.authorization.k8s.io/v1"
        self.town.apply(
            {"apiVersion": rbac, "kind": kind, "metadata": metadata, "rules": rules},
            {
                "apiVersion": rbac,
                "kind": f"{kind}Binding",
                "metadata": metadata,
                "roleRef": role,
                "subjects": [account],
            },
        )
        token = self.town.on(lambda world: world.cluster.tokens.add(service_account("default", name)))
        return self.with_token(token)

    def with_token(self, token: str) -> Person:
        """Somebody who shows this token."""
        kubeconfig = self.town.folder / "other.kubeconfig"
        kubeconfig.write_text(self.kubeconfig.read_text().replace(self.town.world.admin_token, token))
        return Person(self.town, self.capture, kubeconfig)

    def secrets(self) -> Sequence[str]:
        world = self.town.world
        return [
            *(v for k, v in world.plane.credentials.items() if k != "client_id"),
            world.admin_token,
            world.operator_token,
            "tskey-",
        ]


def service(name: str, *, ports: Sequence[int] = (80,), **annotations: str) -> dict[str, Any]:
    """A Service of namespace default; `expose="true"` is `tailscale.com/expose`."""
    notes = {f"tailscale.com/{key}": value for key, value in annotations.items()}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default", "annotations": notes},
        "spec": {
            "selector": {"app": name},
            "ports": [{"name": f"http-{port}", "port": port} for port in ports],
        },
    }


def backend(name: str) -> dict[str, Any]:
    """A pod that answers on port 80 behind `service(name)`."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "spec": {"containers": [{"name": "web", "image": "nginx", "ports": [{"containerPort": 80}]}]},
    }


def connector(name: str, *routes: str) -> dict[str, Any]:
    """A subnet router."""
    return {
        "apiVersion": "tailscale.com/v1alpha1",
        "kind": "Connector",
        "metadata": {"name": name},
        "spec": {"subnetRouter": {"advertiseRoutes": list(routes)}},
    }
