"""EndpointSlices: which pods stand behind a Service, as the endpoint slice controller would write it.

Pure: a Service and the pods of its namespace in, one slice document out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Doc = Mapping[str, Any]

MANAGED_BY = "endpointslice-controller.k8s.io"
SERVICE_NAME = "kubernetes.io/service-name"


def selects(service: Doc, pod: Doc) -> bool:
    selector = service["spec"].get("selector") or {}
    labels = pod["metadata"].get("labels") or {}
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


def is_ready(pod: Doc) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def build_slices(service: Doc, pods: Iterable[Doc]) -> list[dict[str, Any]]:
    """The slices of a Service with a selector: one for each set of target port numbers, in a stable order."""
    groups: dict[tuple[tuple[str, str, int], ...], list[Doc]] = {}
    for pod in pods:
        status = pod.get("status", {})
        if (
            selects(service, pod)
            and status.get("podIP")
            and status.get("phase") not in ("Succeeded", "Failed")
        ):
            groups.setdefault(_ports(service, pod), []).append(pod)
    return [
        _slice(service, number, ports, sorted(members, key=lambda pod: str(pod["metadata"]["name"])))
        for number, (ports, members) in enumerate(sorted(groups.items()))
    ]


def _ports(service: Doc, pod: Doc) -> tuple[tuple[str, str, int], ...]:
    """(name, protocol, number) of each Service port that this pod has; a name is looked up in its containers."""
    declared = [p for c in pod["spec"].get("containers") or () for p in c.get("ports") or ()]
    found = []
    for port in service["spec"].get("ports") or ():
        target, protocol = port.get("targetPort") or port["port"], port.get("protocol", "TCP")
        numbers = [target] if isinstance(target, int) else [
            p["containerPort"] for p in declared if (p.get("name"), p.get("protocol", "TCP")) == (target, protocol)
        ]  # fmt: skip
        found += [(port.get("name") or "", protocol, number) for number in numbers[:1]]
    return tuple(found)


def _slice(
    service: Doc, number: int, ports: Iterable[tuple[str, str, int]], pods: Iterable[Doc]
) -> dict[str, Any]:
    metadata, spec = service["metadata"], service["spec"]
    labels = dict(metadata.get("labels") or {}) | {
        SERVICE_NAME: metadata["name"],
        "endpointslice.kubernetes.io/managed-by": MANAGED_BY,
    }
    if spec.get("clusterIP") == "None":
        labels["service.kubernetes.io/headless"] = ""
    owner = {"apiVersion": "v1", "kind": "Service", "name": metadata["name"], "uid": metadata["uid"]}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{metadata['name']}-{number}",
            "namespace": metadata["namespace"],
            "labels": labels,
            "ownerReferences": [owner | {"controller": True, "blockOwnerDeletion": True}],
        },
        "addressType": "IPv4",
        "ports": [{"name": name, "protocol": protocol, "port": port} for name, protocol, port in ports],
        "endpoints": [_endpoint(service, pod) for pod in pods],
    }


def _endpoint(service: Doc, pod: Doc) -> dict[str, Any]:
    spec, metadata = service["spec"], pod["metadata"]
    terminating = metadata.get("deletionTimestamp") is not None
    serving = is_ready(pod)
    ready = bool(spec.get("publishNotReadyAddresses")) or (serving and not terminating)
    target = {
        "kind": "Pod",
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "uid": metadata["uid"],
    }
    endpoint = {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "targetRef": target,
    }
    if node := pod["spec"].get("nodeName"):
        endpoint["nodeName"] = node
    if (name := pod["spec"].get("hostname")) and pod["spec"].get("subdomain") == service["metadata"]["name"]:
        endpoint["hostname"] = name
    return endpoint
