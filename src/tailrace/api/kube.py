"""Kubernetes objects, each as the narrowest struct that somebody reads.

Field names are the wire names. Unknown fields are dropped on decode (so managedFields and private state keys never
stay in memory), therefore nothing decoded here is ever PUT back: writers apply or patch. Objects without a field hold
its default, never None where an empty value means the same.
"""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Annotated

import msgspec

from tailrace.api.schema import hold, list_by

type Time = Annotated[datetime, msgspec.Meta(tz=True)]
"""Kubernetes' Time: RFC 3339 with its zone."""


_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_CONDITION_TYPE = rf"^({_LABEL}(\.{_LABEL})*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"


class Base(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Frozen, keyword-only; `gc=False` because these are trees without cycles, and there are many."""


class OwnerReference(Base, frozen=True, kw_only=True):
    apiVersion: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None


class ObjectMeta(Base, frozen=True, kw_only=True):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resourceVersion: str = ""
    generation: int = 0
    creationTimestamp: Time | None = None
    deletionTimestamp: Time | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    finalizers: tuple[str, ...] = ()
    ownerReferences: tuple[OwnerReference, ...] = ()


class Condition(Base, frozen=True, kw_only=True):
    """One aspect of the object's state, as of a generation."""

    type: Annotated[
        str, hold(maxLength=316, pattern=_CONDITION_TYPE), msgspec.Meta(description="Which aspect.")
    ]
    status: Annotated[
        str, hold(enum=["True", "False", "Unknown"]), msgspec.Meta(description="Whether it is so.")
    ]
    reason: Annotated[
        str,
        hold(minLength=1, maxLength=1024, pattern="^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"),
        msgspec.Meta(description="Why, in one word."),
    ] = ""
    message: Annotated[str, hold(maxLength=32768), msgspec.Meta(description="Why, for people.")] = ""
    observedGeneration: Annotated[
        int | None,
        hold(format="int64", minimum=0),
        msgspec.Meta(description="The object's generation that this was found at."),
    ] = None
    lastTransitionTime: Annotated[
        Time | None, msgspec.Meta(description="Since when `status` is what it is.")
    ] = None


type Conditions = Annotated[
    tuple[
        Annotated[Condition, hold(required=["lastTransitionTime", "message", "reason", "status", "type"])],
        ...,
    ],
    list_by("type"),
]
"""The conditions of a kind of ours. Whoever writes one writes the message too, be it empty."""


class Object(Base, frozen=True, kw_only=True):
    """What every object has."""

    metadata: ObjectMeta = ObjectMeta()


class ServicePort(Base, frozen=True, kw_only=True):
    port: int
    name: str = ""
    protocol: str = "TCP"
    targetPort: int | str | None = None
    appProtocol: str = ""
    nodePort: int = 0


class ServiceSpec(Base, frozen=True, kw_only=True):
    type: str = "ClusterIP"
    clusterIP: str = ""
    clusterIPs: tuple[str, ...] = ()
    externalName: str = ""
    loadBalancerClass: str | None = None
    ports: tuple[ServicePort, ...] = ()
    selector: dict[str, str] = {}
    ipFamilyPolicy: str = ""
    ipFamilies: tuple[str, ...] = ()
    internalTrafficPolicy: str = ""
    externalTrafficPolicy: str = ""
    allocateLoadBalancerNodePorts: bool | None = None
    loadBalancerSourceRanges: tuple[str, ...] = ()


class LoadBalancerIngress(Base, frozen=True, kw_only=True):
    hostname: str = ""
    ip: str = ""


class LoadBalancerStatus(Base, frozen=True, kw_only=True):
    ingress: tuple[LoadBalancerIngress, ...] = ()


class ServiceStatus(Base, frozen=True, kw_only=True):
    loadBalancer: LoadBalancerStatus = LoadBalancerStatus()
    conditions: tuple[Condition, ...] = ()


class Service(Object, frozen=True, kw_only=True):
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()


class ProxySecretData(
    Base,
    frozen=True,
    kw_only=True,
    rename={"config": "cap-107.hujson", "serve_config": "serve-config", "ca": "ca.crt"},
):
    """The keys of a proxy's Secret that we read, base64 as on the wire; keys of tailscaled's own state are dropped."""

    config: str = ""
    serve_config: str = ""
    ca: str = ""
    device_id: str = ""
    device_fqdn: str = ""
    device_ips: str = ""
    reissue_authkey: str | None = None


class ProxySecret(Object, frozen=True, kw_only=True):
    """A proxy's Secret: its configuration (ours) and its state (containerboot's)."""

    data: ProxySecretData = ProxySecretData()


class StatefulSetStatus(Base, frozen=True, kw_only=True):
    observedGeneration: int = 0
    replicas: int = 0
    readyReplicas: int = 0
    updatedReplicas: int = 0


class StatefulSet(Object, frozen=True, kw_only=True):
    """`spec` stays undecoded: it is read only to compare it with what we want."""

    spec: msgspec.Raw = msgspec.Raw(b"{}")
    status: StatefulSetStatus = StatefulSetStatus()


class TemplateContainer(Base, frozen=True, kw_only=True):
    image: str = ""


class TemplateSpec(Base, frozen=True, kw_only=True):
    containers: tuple[TemplateContainer, ...] = ()


class PodTemplate(Base, frozen=True, kw_only=True):
    metadata: ObjectMeta = ObjectMeta()
    spec: TemplateSpec = TemplateSpec()


class DeploymentSpec(Base, frozen=True, kw_only=True):
    replicas: int = 1
    template: PodTemplate = PodTemplate()


class DeploymentStatus(Base, frozen=True, kw_only=True):
    replicas: int = 0


class Deployment(Object, frozen=True, kw_only=True):
    """Read to know whether the official operator runs."""

    spec: DeploymentSpec = DeploymentSpec()
    status: DeploymentStatus = DeploymentStatus()


class PodCondition(Base, frozen=True, kw_only=True):
    type: str
    status: str
    reason: str = ""
    message: str = ""
    lastTransitionTime: datetime | None = None


class ContainerStateWaiting(Base, frozen=True, kw_only=True):
    reason: str = ""
    message: str = ""


class ContainerStateRunning(Base, frozen=True, kw_only=True):
    startedAt: datetime | None = None


class ContainerState(Base, frozen=True, kw_only=True):
    waiting: ContainerStateWaiting | None = None
    running: ContainerStateRunning | None = None


class ContainerStatus(Base, frozen=True, kw_only=True):
    name: str = ""
    ready: bool = False
    restartCount: int = 0
    state: ContainerState = ContainerState()


class PodStatus(Base, frozen=True, kw_only=True):
    phase: str = ""
    podIP: str = ""
    conditions: tuple[PodCondition, ...] = ()
    containerStatuses: tuple[ContainerStatus, ...] = ()


class Pod(Object, frozen=True, kw_only=True):
    status: PodStatus = PodStatus()


class ServiceAccount(Object, frozen=True, kw_only=True):
    pass


class PolicyRule(Base, frozen=True, kw_only=True):
    apiGroups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    resourceNames: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()


class Role(Object, frozen=True, kw_only=True):
    rules: tuple[PolicyRule, ...] = ()


class RoleRef(Base, frozen=True, kw_only=True):
    apiGroup: str = ""
    kind: str = ""
    name: str = ""


class Subject(Base, frozen=True, kw_only=True):
    kind: str = ""
    name: str = ""
    namespace: str = ""


class RoleBinding(Object, frozen=True, kw_only=True):
    roleRef: RoleRef = RoleRef()
    subjects: tuple[Subject, ...] = ()


class EndpointConditions(Base, frozen=True, kw_only=True):
    ready: bool | None = None


class Endpoint(Base, frozen=True, kw_only=True):
    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions = EndpointConditions()


class EndpointPort(Base, frozen=True, kw_only=True):
    name: str | None = None
    port: int | None = None
    protocol: str = "TCP"


class EndpointSlice(Object, frozen=True, kw_only=True):
    addressType: str = "IPv4"
    endpoints: tuple[Endpoint, ...] | None = None
    ports: tuple[EndpointPort, ...] | None = None


class Namespace(Object, frozen=True, kw_only=True):
    pass


class NodeSpec(Base, frozen=True, kw_only=True):
    podCIDRs: tuple[str, ...] = ()


class Node(Object, frozen=True, kw_only=True):
    """Read for the addresses of its pods alone."""

    spec: NodeSpec = NodeSpec()


class ServiceCIDRSpec(Base, frozen=True, kw_only=True):
    cidrs: tuple[str, ...] = ()


class ServiceCIDR(Object, frozen=True, kw_only=True):
    """A range that cluster IPs are taken from."""

    spec: ServiceCIDRSpec = ServiceCIDRSpec()


class ConfigMap(Object, frozen=True, kw_only=True):
    data: dict[str, str] = {}


class PodDisruptionBudget(Object, frozen=True, kw_only=True):
    """`spec` stays undecoded: it is read only to compare it with what we want."""

    spec: msgspec.Raw = msgspec.Raw(b"{}")


class ServiceMonitor(Object, frozen=True, kw_only=True):
    """Of the Prometheus operator. `spec` stays undecoded: it is read only to compare it with what we want."""

    spec: msgspec.Raw = msgspec.Raw(b"{}")


def decode_key(value: str) -> str:
    """A Secret value as text; what is not base64 of UTF-8 reads as empty, since every byte from outside is hostile."""
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return ""


def encode_key(value: str) -> str:
    """Text as a Secret value."""
    return base64.b64encode(value.encode()).decode()


def find_condition(conditions: tuple[Condition, ...], kind: str) -> Condition | None:
    """The condition of that type, or None."""
    return next((c for c in conditions if c.type == kind), None)
