"""The PodDisruptionBudget of several replicas: a drain of nodes takes one router at a time. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tailrace.api import names


def build_budget(name: str, namespace: str, labels: Mapping[str, str], app: str) -> dict[str, Any]:
    """`app` is the root's UID, which all its pods carry."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels)},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {names.APP: app}}},
    }
