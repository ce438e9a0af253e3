"""What each kind does with a write before anybody judges it: first status, generations, what a writer cannot change. Pure.

Place: called by `writing` and `deletion`. Source: the `strategy.go` of each kind in Kubernetes' `pkg/registry`.
"""

from __future__ import annotations

import base64

from tailrace.sandbox.kubernetes.resources import Resource
from tailrace.sandbox.kubernetes.storage import Doc

DEFINITIONS = ("apiextensions.k8s.io", "customresourcedefinitions")

_WITH_GENERATION = frozenset(
    {
        ("", "pods"),
        ("", "replicationcontrollers"),
        ("apps", "daemonsets"),
        ("apps", "deployments"),
        ("apps", "replicasets"),
        ("apps", "statefulsets"),
        ("batch", "cronjobs"),
        ("batch", "jobs"),
        ("discovery.k8s.io", "endpointslices"),
        ("networking.k8s.io", "ingressclasses"),
        ("networking.k8s.io", "ingresses"),
        ("networking.k8s.io", "networkpolicies"),
        ("policy", "poddisruptionbudgets"),
        ("scheduling.k8s.io", "priorityclasses"),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
    }
)

FIRST_STATUS: dict[tuple[str, str], Doc] = {
    ("", "namespaces"): {"phase": "Active"},
    ("", "persistentvolumeclaims"): {"phase": "Pending"},
    ("", "pods"): {"phase": "Pending", "qosClass": "BestEffort"},
    ("", "services"): {"loadBalancer": {}},
    ("apps", "replicasets"): {"replicas": 0},
    ("apps", "statefulsets"): {"availableReplicas": 0, "replicas": 0},
    ("apps", "daemonsets"): {
        "currentNumberScheduled": 0,
        "desiredNumberScheduled": 0,
        "numberMisscheduled": 0,
        "numberReady": 0,
    },
    ("networking.k8s.io", "ingresses"): {"loadBalancer": {}},
    ("policy", "poddisruptionbudgets"): {
        "currentHealthy": 0,
        "desiredHealthy": 0,
        "disruptionsAllowed": 0,
        "expectedPods": 0,
    },
}

_STATUS_WRITES = frozenset({"labels", "annotations", "finalizers", "ownerReferences"})
_NOT_WITH_STATUS = {
    ("apps", "deployments"): frozenset({"labels"}),
    ("", "pods"): frozenset({"ownerReferences"}),
}


def counts_generations(resource: Resource) -> bool:
    return resource.crd is not None or (resource.group, resource.resource) in _WITH_GENERATION


def carry_over(resource: Resource, old: Doc, new: Doc, subresource: str) -> Doc:
    """`new` with what a writer cannot change: system metadata, and the half that its endpoint does not write."""
    before, given = old["metadata"], new["metadata"]
    if subresource == "status":
        kept = before
        if resource.crd is None:
            written = _STATUS_WRITES - _NOT_WITH_STATUS.get(resource.storage, frozenset())
            kept = {k: v for k, v in before.items() if k not in written}
            kept |= {k: v for k, v in given.items() if k in written and v}
        made = {key: value for key, value in old.items() if key != "status"}
        made["metadata"] = {
            **kept,
            "managedFields": given.get("managedFields") or before.get("managedFields", []),
        }
        if "status" in new:
            made["status"] = new["status"]
    else:
        system = {
            key: before[key]
            for key in (
                "name",
                "generateName",
                "namespace",
                "uid",
                "resourceVersion",
                "creationTimestamp",
                "generation",
            )
            if key in before
        }
        for key in ("deletionTimestamp", "deletionGracePeriodSeconds"):  # another value is refused
            if (value := given.get(key, before.get(key))) is not None:
                system[key] = value
        own = ("labels", "annotations", "ownerReferences", "finalizers", "managedFields")
        given = {key: given[key] for key in own if given.get(key)}
        if "managedFields" not in given and "managedFields" in before:
            given["managedFields"] = before["managedFields"]
        if resource.storage == ("", "namespaces"):
            given["labels"] = {**given.get("labels", {}), "kubernetes.io/metadata.name": before["name"]}
        made = new | {"metadata": system | given}
        if "status" in resource.subresources:
            made = without(made, "status")
            if "status" in old:
                made["status"] = old["status"]
        if resource.storage == ("", "namespaces") and subresource != "finalize":
            made["spec"] = old["spec"]
    if not made["metadata"].get("managedFields"):
        made["metadata"] = without(made["metadata"], "managedFields")
    return made


def complete_crd(crd: Doc) -> Doc:
    """A definition with the names and the conversion that follow from what it says."""
    spec = dict(crd.get("spec") or {})
    names = dict(spec.get("names") or {})
    names.setdefault("singular", str(names.get("kind", "")).lower())
    names.setdefault("listKind", f"{names.get('kind', '')}List")
    return crd | {"spec": {"conversion": {"strategy": "None"}} | spec | {"names": names}}


def complete_node(node: Doc) -> Doc:
    """A node's first range has two names; the list has the last word."""
    spec = dict(node.get("spec") or {})
    if spec.get("podCIDRs"):
        spec["podCIDR"] = spec["podCIDRs"][0]
    elif spec.get("podCIDR"):
        spec["podCIDRs"] = [spec["podCIDR"]]
    return node | {"spec": spec}


def fold_strings(secret: Doc) -> Doc:
    """A Secret's `stringData` is a way of writing: it is kept, encoded, as `data`."""
    strings = {
        key: base64.b64encode(str(v).encode()).decode() for key, v in (secret["stringData"] or {}).items()
    }
    return without(secret, "stringData") | {"data": {**(secret.get("data") or {}), **strings}}


def content(doc: Doc) -> Doc:
    """What a generation counts: everything but metadata and status."""
    return {key: value for key, value in doc.items() if key not in ("metadata", "status", "apiVersion")}


def without(doc: Doc, key: str) -> Doc:
    return {name: value for name, value in doc.items() if name != key}
