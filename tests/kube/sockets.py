"""The client as the operator opens it, on a scripted server, and what an API server says."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx2
import yaml

from tailrace.kube.client import Kube
from tests.support import faults
from tests.support.faults import FaultyTransport, build_refusal
from tests.support.scripted import Reply

type Finished = tuple[str, str, int]
type Wrap = Callable[[httpx2.AsyncBaseTransport], httpx2.AsyncBaseTransport]


def write_kubeconfig(folder: Path, url: str, *, user: dict[str, Any], trusted: Mapping[str, str]) -> Path:
    path = folder / "kubeconfig"
    document = {
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": url, **trusted}}],
        "users": [{"name": "test", "user": user}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


def connect(
    folder: Path,
    url: str,
    *,
    seen: list[Finished] | None = None,
    wrap: Wrap | None = None,
    user: dict[str, Any] | None = None,
    trusted: Mapping[str, str] | None = None,
) -> Kube:
    """The client as the operator opens it; `seen` gets every finished request."""
    path = write_kubeconfig(folder, url, user=user or {"token": "s3cret-token"}, trusted=trusted or {})

    def observe(verb: str, resource: str, code: int, seconds: float) -> None:
        if seen is not None:
            seen.append((verb, resource, code))

    return Kube.connect(kubeconfig=path, in_cluster_ok=False, observer=observe, wrap_transport=wrap)


def pod(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default", "resourceVersion": str(version)}}


def event(kind: str, obj: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"


def bookmark(version: int, *, initial_end: bool = False) -> bytes:
    notes = {"k8s.io/initial-events-end": "true"} if initial_end else {}
    return event("BOOKMARK", {"metadata": {"resourceVersion": str(version), "annotations": notes}})


def refusal(status: int, **headers: str) -> Reply:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status=status, body=build_refusal(status), headers=sent)


class Wrapper:
    """For `wrap_transport`; `made` is the transport that it made."""

    def __init__(self, script: list[faults.Fault | None]) -> None:
        self._script = script
        self.made: FaultyTransport

    def __call__(self, inner: httpx2.AsyncBaseTransport) -> FaultyTransport:
        self.made = FaultyTransport(inner, self._script)
        return self.made
