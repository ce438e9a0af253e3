"""What runs on a node and is not of it: the operator with its real account, and applications."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from tests.rig import apiserver, tailnet
from tests.rig.apiserver import Server
from tests.rig.machine import images
from tests.rig.machine.node import Machine
from tests.rig.machine.space import ROOT


def run_app(name: str, script: str, ready: dict[str, Any]) -> dict[str, Any]:
    """A Deployment of one pod with BusyBox and dnsmasq."""
    container = {
        "name": "app",
        "image": images.BACKEND,
        "args": ["-ec", script],
        "readinessProbe": {**ready, "periodSeconds": 1},
    }
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
            },
        },
    }


def start_operator(machine: Machine, headscale: tailnet.Headscale) -> Server:
    """With what its service account may do, in the node's network."""
    token = machine.kubectl("create", "token", "operator", "-n", apiserver.HOME).strip()
    kubeconfig = machine.write_kubeconfig("operator", token)
    key = machine.folder / "key"
    key.write_text(headscale.api_key)
    told = {
        "OPERATOR_NAMESPACE": apiserver.HOME,
        "OPERATOR_LOGIN_SERVER": headscale.url,
        "TAILRACE_API_KEY_FILE": str(key),
        "TAILRACE_DEVICE_REFRESH": "2s",
        "TAILRACE_METRICS_ADDRESS": "127.0.0.1:8080",
        "PYTHONPATH": str(ROOT / "src"),
    }
    run = [sys.executable, "-m", "tailrace", "run", "--kubeconfig", str(kubeconfig)]
    command = [*machine.space.network, "env", *(f"{name}={value}" for name, value in told.items()), *run]
    server = Server(command=command, log=machine.folder / "operator.log")
    server.start()
    return server


def wait_until(what: str, holds: Callable[[], bool], limit: float = 180.0) -> None:
    deadline = time.monotonic() + limit
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.3)
