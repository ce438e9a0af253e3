"""The real helm, for tests: where it is, and a call."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.rig import binaries, needs
from tools import manifests

CHART = manifests.CHART
NAMESPACE = manifests.NAMESPACE
HELM = binaries.find(["helm"]).get("helm")
CASES = sorted((Path(__file__).parent / "cases").glob("*.yaml"))

needs_helm = pytest.mark.skipif(HELM is None, reason=needs.explain(["helm"]))


class Refused(Exception):
    """Helm said no; the message is what it said."""


def helm(*arguments: str) -> str:
    """Run helm with nothing of the person's own configuration; its standard output."""
    assert HELM is not None
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    done = subprocess.run(
        [HELM, *arguments], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode != 0:
        raise Refused(done.stderr)
    return done.stdout


@functools.cache
def template(*arguments: str, namespace: str = NAMESPACE) -> str:
    return helm("template", "tailrace", str(CHART), "--namespace", namespace, *arguments)


def template_documents(*arguments: str, namespace: str = NAMESPACE) -> list[dict[str, Any]]:
    return [d for d in yaml.safe_load_all(template(*arguments, namespace=namespace)) if d]


def find(documents: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [d for d in documents if d["kind"] == kind]
    return found


def read_environment(documents: list[dict[str, Any]]) -> Mapping[str, str]:
    (container,) = find(documents, "Deployment")["spec"]["template"]["spec"]["containers"]
    return {e["name"]: e["value"] for e in container["env"] if "value" in e}
