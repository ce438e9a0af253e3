"""The two operators as processes: what each is told, and which rights it has. Both run as `tailscale/operator`."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from bench.grounds import HOME, write_environment

from tests.rig import binaries, tailnet
from tests.rig.apiserver import ApiServer, free_port
from tests.rig.keeper import die_with_parent

ROOT = Path(__file__).resolve().parent.parent
_RIGHTS = ROOT / "src" / "tailrace" / "cli" / "rbac.yaml"
_MODULE = ROOT / "tests" / "rig" / "tools" / "official"
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # 7,000 lines: C is ten times faster
_WANTED = frozenset(
    [
        "ServiceAccount",
        "CustomResourceDefinition",
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "RoleBinding",
        "IngressClass",
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """How to start one of them, as often as you like."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[asyncio.subprocess.Process]:
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *self.command, env=self.environment, stdout=log, stderr=log, preexec_fn=die_with_parent
            )
        try:
            yield process
            if process.returncode is not None:
                raise SystemExit(f"{self.name} ended by itself:\n{self.log.read_text()[-2000:]}")
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


def prepare_tailrace(server: ApiServer, login_server: str, credentials: Mapping[str, str]) -> Contender:
    server.kubectl("create", "namespace", HOME)
    server.kubectl("apply", "-f", str(_RIGHTS))
    kubeconfig = write_operator(server)
    environment = write_environment(server.folder, login_server, credentials)
    return Contender(
        name="Tailrace",
        command=(sys.executable, "-m", "tailrace", "run", "--kubeconfig", str(kubeconfig)),
        environment=environment | {"TAILRACE_METRICS_ADDRESS": f"127.0.0.1:{free_port()}"},
        log=server.folder / "tailrace.log",
    )


def prepare_official(server: ApiServer, login_server: str, credentials: Mapping[str, str]) -> Contender:
    """With its own release's custom resources and rights, from the Go module's cache.

    Its metrics are on port 8080 of every address, which cannot be chosen; its node's state is a file.
    """
    server.kubectl("create", "namespace", HOME)
    documents = server.folder / "official.yaml"
    documents.write_text(yaml.safe_dump_all(read_official()))
    server.kubectl("apply", "--server-side", "-f", str(documents))
    server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    environment = tailnet.environment() | write_environment(server.folder, login_server, credentials)
    return Contender(
        name="official",
        command=(binaries.find(["k8s-operator"])["k8s-operator"],),
        environment=environment
        | {
            "HOME": str(server.folder),
            "XDG_CONFIG_HOME": str(server.folder),
            "KUBECONFIG": str(write_operator(server)),
            "OPERATOR_HOSTNAME": "tailscale-operator",
            "OPERATOR_INITIAL_TAGS": "tag:k8s-operator",
            "PROXY_TAGS": "tag:k8s",
            "PROXY_IMAGE": "tailscale/tailscale:stable",
            "PROXY_FIREWALL_MODE": "auto",
        },
        log=server.folder / "official.log",
    )


def read_official() -> list[dict[str, Any]]:
    """What its release's manifest makes beside the Deployment and the credentials."""
    command = ["go", "list", "-m", "-f", "{{.Dir}}", "tailscale.com"]
    folder = subprocess.run(command, cwd=_MODULE, capture_output=True, text=True, check=True).stdout.strip()
    manifest = Path(folder) / "cmd" / "k8s-operator" / "deploy" / "manifests" / "operator.yaml"
    return [d for d in yaml.load_all(manifest.read_text(), _Loader) if d and d["kind"] in _WANTED]


def write_operator(server: ApiServer) -> Path:
    """A kubeconfig with the service account's own token."""
    token = server.kubectl("create", "token", "operator", "-n", HOME, "--duration=12h").strip()
    return server.write_kubeconfig("operator", token)


def is_port_free(port: int) -> bool:
    """Whether somebody who binds it on all addresses would succeed."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True
