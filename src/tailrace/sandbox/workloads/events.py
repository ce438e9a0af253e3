"""Kubernetes Events that the simulated side records: the same one again raises its count."""

from __future__ import annotations

import contextlib
import hashlib
from typing import Any

from tailrace.sandbox.kubernetes.cluster import Cluster
from tailrace.sandbox.kubernetes.core import Call
from tailrace.sandbox.kubernetes.resources import Ref
from tailrace.sandbox.kubernetes.status import ApiError

EVENTS = Ref("", "v1", "events")
_KIND = ("", "events")


def record(
    cluster: Cluster,
    about: dict[str, Any],
    component: str,
    reason: str,
    message: str,
    *,
    warning: bool = False,
) -> None:
    """Tell something about an object. Never a reason to fail."""
    metadata = about["metadata"]
    namespace = metadata.get("namespace", "default")
    digest = hashlib.sha256(f"{metadata['uid']} {reason} {message}".encode()).hexdigest()[:16]
    name = f"{metadata['name']}.{digest}"
    now, call = cluster.core.now(), Call(manager=component)
    with contextlib.suppress(ApiError):
        if stored := cluster.store.get(_KIND, (namespace, name)):
            again = stored.doc | {"count": stored.doc.get("count", 1) + 1, "lastTimestamp": now}
            cluster.update(EVENTS, name, again, namespace=namespace, call=call)
            return
        doc = {
            "metadata": {"name": name},
            "involvedObject": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "name": metadata["name"],
                "namespace": namespace,
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
            "reason": reason,
            "message": message,
            "type": "Warning" if warning else "Normal",
            "source": {"component": component},
            "reportingComponent": component,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        cluster.create(EVENTS, doc, namespace=namespace, call=call)
