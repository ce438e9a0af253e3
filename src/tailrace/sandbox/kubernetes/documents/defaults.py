"""What the server fills into built-in kinds: the values that a user sees in `kubectl get -o yaml` and did not write.

Place: `cluster` fills each document before it is validated and stored. A table for what is always the same, a rule
for what depends on something else; both go by the definition's name, so that a pod template is filled wherever it
is. Addresses and node ports of Services are given by `services`, not here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Final

from tailrace.sandbox.kubernetes.documents import schema as schemas
from tailrace.sandbox.kubernetes.documents.schema import Schema

Doc = dict[str, Any]

_RBAC: Final = "rbac.authorization.k8s.io"
_TEMPLATE_CONTAINER: Final = {
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}

TABLE: Final[Mapping[str, Mapping[str, Any]]] = {
    "apps.v1.DaemonSetSpec": {"revisionHistoryLimit": 10},
    "apps.v1.DaemonSetUpdateStrategy": {"type": "RollingUpdate"},
    "apps.v1.DeploymentSpec": {"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600},
    "apps.v1.DeploymentStrategy": {"type": "RollingUpdate"},
    "apps.v1.ReplicaSetSpec": {"replicas": 1},
    "apps.v1.RollingUpdateDaemonSet": {"maxSurge": 0, "maxUnavailable": 1},
    "apps.v1.RollingUpdateDeployment": {"maxSurge": "25%", "maxUnavailable": "25%"},
    "apps.v1.RollingUpdateStatefulSetStrategy": {"partition": 0},
    "apps.v1.StatefulSetPersistentVolumeClaimRetentionPolicy": {
        "whenDeleted": "Retain",
        "whenScaled": "Retain",
    },
    "apps.v1.StatefulSetSpec": {
        "persistentVolumeClaimRetentionPolicy": {},
        "podManagementPolicy": "OrderedReady",
        "replicas": 1,
        "revisionHistoryLimit": 10,
    },
    "batch.v1.CronJobSpec": {
        "concurrencyPolicy": "Allow",
        "failedJobsHistoryLimit": 1,
        "successfulJobsHistoryLimit": 3,
        "suspend": False,
    },
    "batch.v1.PodFailurePolicyOnPodConditionsPattern": {"status": "True"},
    "core.v1.ConfigMapVolumeSource": {"defaultMode": 0o644},
    "core.v1.Container": _TEMPLATE_CONTAINER,
    "core.v1.ContainerPort": {"protocol": "TCP"},
    "core.v1.DownwardAPIVolumeSource": {"defaultMode": 0o644},
    "core.v1.EndpointPort": {"protocol": "TCP"},
    "core.v1.EphemeralContainer": _TEMPLATE_CONTAINER,
    "core.v1.GRPCAction": {"service": ""},
    "core.v1.HTTPGetAction": {"path": "/", "scheme": "HTTP"},
    "core.v1.HostPathVolumeSource": {"type": ""},
    "core.v1.NamespaceStatus": {"phase": "Active"},
    "core.v1.ObjectFieldSelector": {"apiVersion": "v1"},
    "core.v1.PersistentVolumeClaimSpec": {"volumeMode": "Filesystem"},
    "core.v1.PersistentVolumeClaimStatus": {"phase": "Pending"},
    "core.v1.PersistentVolumeSpec": {"persistentVolumeReclaimPolicy": "Retain", "volumeMode": "Filesystem"},
    "core.v1.PersistentVolumeStatus": {"phase": "Pending"},
    "core.v1.PodSpec": {
        "dnsPolicy": "ClusterFirst",
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "terminationGracePeriodSeconds": 30,
    },
    "core.v1.PodStatus": {"phase": "Pending"},
    "core.v1.ProjectedVolumeSource": {"defaultMode": 0o644},
    "core.v1.ReplicationControllerSpec": {"replicas": 1},
    "core.v1.Secret": {"type": "Opaque"},
    "core.v1.SecretVolumeSource": {"defaultMode": 0o644},
    "core.v1.ServiceAccountTokenProjection": {"expirationSeconds": 3600},
    "core.v1.ServiceSpec": {"sessionAffinity": "None", "type": "ClusterIP"},
    "discovery.v1.EndpointPort": {"name": "", "protocol": "TCP"},
    "networking.v1.IngressClassParametersReference": {"scope": "Cluster"},
    "networking.v1.NetworkPolicyPort": {"protocol": "TCP"},
    "rbac.v1.RoleRef": {"apiGroup": _RBAC},
    "storage.v1.StorageClass": {"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"},
}


def fill(doc: Doc, schema: Schema, *filled: Doc) -> Doc:
    """A copy of the document with every default; filling it again changes nothing.

    What it shares with one of the documents in `filled`, which are, is neither looked at nor copied: a write of the
    status leaves the spec alone. Only where the kind's own rule has to run are all its fields read.
    """
    settled = {key for key, value in doc.items() if any(value is known.get(key) for known in filled)}
    reach = _REACH.get(schema.name)
    judged = reach is not None and any(all(doc.get(k) is known.get(k) for k in reach) for known in filled)
    if not judged:
        settled.difference_update(reach or settled)
    made = schemas.default(doc, schema, settled)
    made = {key: value if key in settled else _copy(key, value) for key, value in made.items()}
    _fill_own(made, schema, ruled=not judged)
    for key, value in made.items():
        below = schema.child(key)
        if key not in settled and not _has_rules(below):
            settled.add(key)
        elif key not in settled:
            _fill(value, below)
    return schemas.default(made, schema, settled)


def _copy(key: str, value: Any) -> Any:
    """Owners are never changed in place, and are the greater part of metadata."""
    if key != "metadata" or not isinstance(value, dict):
        return schemas.copy_of(value)
    return {k: v if k == "managedFields" else schemas.copy_of(v) for k, v in value.items()}


@functools.cache
def _has_rules(schema: Schema) -> bool:
    """Whether anything at or below a built-in type is filled here."""
    seen, left = set[Schema](), [schema]
    while left:
        node = left.pop()
        if node.name in TABLE or node.name in _RULES:
            return True
        below = {*node.properties.values(), *filter(None, (node.additional, node.items))} - seen
        seen |= below
        left += below
    return False


def _fill_own(value: Doc, schema: Schema, *, ruled: bool = True) -> None:
    for key, standard in TABLE.get(schema.name, {}).items():
        if value.get(key) in (None, ""):
            value[key] = schemas.copy_of(standard)
    if ruled and (rule := _RULES.get(schema.name)):
        rule(value)


def _fill(value: Any, schema: Schema) -> None:
    if not _has_rules(schema):
        return
    if isinstance(value, list):
        below = schema.element()
        for item in value:
            _fill(item, below)
    elif isinstance(value, dict):
        _fill_own(value, schema)
        for key, inner in value.items():
            if isinstance(inner, dict | list):
                _fill(inner, schema.child(key))


# Rules: each changes its document in place ---------------------------------------------------------------------


def _fill_container(container: Doc) -> None:
    if not container.get("imagePullPolicy"):
        container["imagePullPolicy"] = (
            "Always" if _tag(container.get("image", "")) == "latest" else "IfNotPresent"
        )


def _tag(image: str) -> str:
    """An image reference's tag; without tag and digest it is `latest`, with a digest alone none."""
    plain, _, digest = image.partition("@")
    _, colon, tag = plain.rsplit("/", 1)[-1].partition(":")
    return tag if colon else "" if digest else "latest"


def _fill_probe(probe: Doc) -> None:
    for key, standard in (
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ):
        probe[key] = probe.get(key) or standard


def _fill_volume(volume: Doc) -> None:
    if not volume.keys() - {"name"}:
        volume["emptyDir"] = {}


def _fill_pod_spec(spec: Doc) -> None:
    """The deprecated name of the service account follows the new one, and the other way round."""
    if account := spec.get("serviceAccountName") or spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"] = account


def _fill_pod(pod: Doc) -> None:
    """What a pod gets and its template does not."""
    spec = pod.setdefault("spec", {})
    spec.setdefault("enableServiceLinks", True)
    for container in [*spec.get("containers", []), *spec.get("initContainers", [])]:
        resources = container.get("resources") or {}
        if limits := resources.get("limits"):
            resources["requests"] = {**limits, **resources.get("requests", {})}
        if spec.get("hostNetwork"):
            for port in container.get("ports", []):
                port["hostPort"] = port.get("hostPort") or port.get("containerPort")


def _fill_service(service: Doc) -> None:
    spec = service.setdefault("spec", {})
    kind = spec.get("type") or "ClusterIP"
    for port in spec.get("ports") or []:
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port.get("port")
    if spec.get("sessionAffinity") == "ClientIP":
        affinity = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
        affinity.setdefault("timeoutSeconds", 10800)
    else:
        spec.pop("sessionAffinityConfig", None)
    outside = kind in ("NodePort", "LoadBalancer") or (kind == "ClusterIP" and spec.get("externalIPs"))
    if outside and not spec.get("externalTrafficPolicy"):
        spec["externalTrafficPolicy"] = "Cluster"
    if kind != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if kind == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
        for ingress in service.get("status", {}).get("loadBalancer", {}).get("ingress") or []:
            if ingress.get("ip"):
                ingress.setdefault("ipMode", "VIP")


def _fill_strategy(strategy: Doc) -> None:
    if strategy["type"] == "RollingUpdate":
        strategy.setdefault("rollingUpdate", {})


def _fill_statefulset_strategy(strategy: Doc) -> None:
    """Only a strategy without a type gets its `rollingUpdate` as well."""
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
        strategy.setdefault("rollingUpdate", {})


def _fill_claim_template(spec: Doc) -> None:
    for claim in spec.get("volumeClaimTemplates") or []:
        claim.setdefault("apiVersion", "v1")
        claim.setdefault("kind", "PersistentVolumeClaim")


def _fill_job(job: Doc) -> None:
    spec = job.setdefault("spec", {})
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", 2**31 - 1 if "backoffLimitPerIndex" in spec else 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("podReplacementPolicy", "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed")
    spec.setdefault("manualSelector", False)
    _inherit_labels(job)


def _inherit_labels(owner: Doc) -> None:
    labels = ((owner["spec"].get("template") or {}).get("metadata") or {}).get("labels")
    meta = owner.setdefault("metadata", {})
    if labels and not meta.get("labels"):
        meta["labels"] = dict(labels)


def _fill_replication_controller(controller: Doc) -> None:
    spec = controller.setdefault("spec", {})
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if labels and not spec.get("selector"):
        spec["selector"] = dict(labels)
    _inherit_labels(controller)


def _fill_network_policy(policy: Doc) -> None:
    spec = policy.setdefault("spec", {})
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def _fill_namespace(namespace: Doc) -> None:
    meta = namespace.setdefault("metadata", {})
    if name := meta.get("name"):
        meta["labels"] = {**(meta.get("labels") or {}), "kubernetes.io/metadata.name": name}


def _fill_subject(subject: Doc) -> None:
    if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
        subject["apiGroup"] = _RBAC


def _fill_node_status(status: Doc) -> None:
    if "capacity" in status:
        status.setdefault("allocatable", dict(status["capacity"]))


_RULES: Final[Mapping[str, Callable[[Doc], None]]] = {
    "apps.v1.DaemonSetUpdateStrategy": _fill_strategy,
    "apps.v1.DeploymentStrategy": _fill_strategy,
    "apps.v1.StatefulSetSpec": _fill_claim_template,
    "apps.v1.StatefulSetUpdateStrategy": _fill_statefulset_strategy,
    "batch.v1.Job": _fill_job,
    "core.v1.Container": _fill_container,
    "core.v1.EphemeralContainer": _fill_container,
    "core.v1.Namespace": _fill_namespace,
    "core.v1.NodeStatus": _fill_node_status,
    "core.v1.Pod": _fill_pod,
    "core.v1.PodSpec": _fill_pod_spec,
    "core.v1.Probe": _fill_probe,
    "core.v1.ReplicationController": _fill_replication_controller,
    "core.v1.Service": _fill_service,
    "core.v1.Volume": _fill_volume,
    "networking.v1.NetworkPolicy": _fill_network_policy,
    "rbac.v1.Subject": _fill_subject,
}

_REACH: Final[Mapping[str, tuple[str, ...]]] = {
    "batch.v1.Job": ("metadata", "spec"),
    "core.v1.Namespace": ("metadata",),
    "core.v1.Pod": ("spec",),
    "core.v1.ReplicationController": ("metadata", "spec"),
    "core.v1.Service": ("spec", "status"),
    "networking.v1.NetworkPolicy": ("spec",),
}
"""The fields that the rules of whole kinds read and write."""
