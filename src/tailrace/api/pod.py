"""The parts of a pod that a kind of ours lets its user write, as the core API has them.

Kubernetes judges the values when the pod is made, so only shapes stand here. Everything is optional where the core
API says so, and a field that was left out stays apart from one that was given empty. Source: Kubernetes API
reference, core/v1.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from tailrace.api.kube import Base
from tailrace.api.schema import WHOLE, list_by

type Int32 = Annotated[int, Meta(extra_json_schema={"format": "int32"})]
type Int64 = Annotated[int, Meta(extra_json_schema={"format": "int64"})]

_NUMBER = r"([0-9]+(\.[0-9]*)?|\.[0-9]+)"
type Quantity = (
    int | Annotated[str, Meta(pattern=rf"^[+-]?{_NUMBER}([KMGTPE]i|[numkMGTPE]|[eE][+-]?{_NUMBER})?$")]
)
"""An amount of a resource, such as `100m` or `64Mi`."""


class LocalObjectReference(Base, frozen=True, kw_only=True):
    """An object in the namespace of the pod."""

    name: str = ""


class SelectorRequirement(Base, frozen=True, kw_only=True):
    """What a label or a field must be."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


class LabelSelector(Base, frozen=True, kw_only=True):
    """Objects with these labels; an empty one means every object."""

    matchLabels: dict[str, str] = field(default_factory=dict)
    matchExpressions: tuple[SelectorRequirement, ...] = ()


class NodeSelectorTerm(Base, frozen=True, kw_only=True):
    """Nodes that satisfy every requirement."""

    matchExpressions: tuple[SelectorRequirement, ...] = ()
    matchFields: tuple[SelectorRequirement, ...] = ()


class NodeSelector(Base, frozen=True, kw_only=True):
    """Nodes that satisfy one of the terms."""

    nodeSelectorTerms: tuple[Annotated[NodeSelectorTerm, WHOLE], ...]


class PreferredSchedulingTerm(Base, frozen=True, kw_only=True):
    """Nodes that are liked, and how much (1 to 100)."""

    preference: Annotated[NodeSelectorTerm, WHOLE]
    weight: Int32


class NodeAffinity(Base, frozen=True, kw_only=True):
    """On which nodes the pod may run, or had better."""

    preferredDuringSchedulingIgnoredDuringExecution: tuple[PreferredSchedulingTerm, ...] = ()
    requiredDuringSchedulingIgnoredDuringExecution: Annotated[NodeSelector | None, WHOLE] = None


class PodAffinityTerm(Base, frozen=True, kw_only=True):
    """Pods beside which, or away from which, the pod runs."""

    topologyKey: str
    labelSelector: Annotated[LabelSelector | None, WHOLE] = None
    matchLabelKeys: tuple[str, ...] = ()
    mismatchLabelKeys: tuple[str, ...] = ()
    namespaceSelector: Annotated[LabelSelector | None, WHOLE] = None
    namespaces: tuple[str, ...] = ()


class WeightedPodAffinityTerm(Base, frozen=True, kw_only=True):
    """The same, liked that much (1 to 100)."""

    podAffinityTerm: PodAffinityTerm
    weight: Int32


class PodAffinity(Base, frozen=True, kw_only=True):
    """Which pods are to be near, or away."""

    preferredDuringSchedulingIgnoredDuringExecution: tuple[WeightedPodAffinityTerm, ...] = ()
    requiredDuringSchedulingIgnoredDuringExecution: tuple[PodAffinityTerm, ...] = ()


class Affinity(Base, frozen=True, kw_only=True):
    """Where the pod runs."""

    nodeAffinity: NodeAffinity | None = None
    podAffinity: PodAffinity | None = None
    podAntiAffinity: PodAffinity | None = None


class Toleration(Base, frozen=True, kw_only=True):
    """A taint of nodes that the pod bears."""

    effect: str = ""
    key: str = ""
    operator: str = ""
    tolerationSeconds: Int64 | None = None
    value: str = ""


class TopologySpreadConstraint(Base, frozen=True, kw_only=True):
    """How evenly pods are spread."""

    maxSkew: Int32
    topologyKey: str
    whenUnsatisfiable: str
    labelSelector: Annotated[LabelSelector | None, WHOLE] = None
    matchLabelKeys: tuple[str, ...] = ()
    minDomains: Int32 | None = None
    nodeAffinityPolicy: str | None = None
    nodeTaintsPolicy: str | None = None


class Profile(Base, frozen=True, kw_only=True):
    """A profile of AppArmor or seccomp."""

    type: str
    localhostProfile: str | None = None


class SELinuxOptions(Base, frozen=True, kw_only=True):
    """The SELinux context of the processes."""

    level: str = ""
    role: str = ""
    type: str = ""
    user: str = ""


class Sysctl(Base, frozen=True, kw_only=True):
    """A kernel parameter of the pod's namespaces."""

    name: str
    value: str


class WindowsOptions(Base, frozen=True, kw_only=True):
    """What only pods on Windows have."""

    gmsaCredentialSpec: str | None = None
    gmsaCredentialSpecName: str | None = None
    hostProcess: bool | None = None
    runAsUserName: str | None = None


class PodSecurityContext(Base, frozen=True, kw_only=True):
    """With which rights the pod's processes run."""

    appArmorProfile: Profile | None = None
    fsGroup: Int64 | None = None
    fsGroupChangePolicy: str | None = None
    runAsGroup: Int64 | None = None
    runAsNonRoot: bool | None = None
    runAsUser: Int64 | None = None
    seLinuxChangePolicy: str | None = None
    seLinuxOptions: SELinuxOptions | None = None
    seccompProfile: Profile | None = None
    supplementalGroups: tuple[Int64, ...] = ()
    supplementalGroupsPolicy: str | None = None
    sysctls: tuple[Sysctl, ...] = ()
    windowsOptions: WindowsOptions | None = None


class Capabilities(Base, frozen=True, kw_only=True):
    """Capabilities beside those that the container runtime gives."""

    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


class SecurityContext(Base, frozen=True, kw_only=True):
    """With which rights a container's processes run."""

    allowPrivilegeEscalation: bool | None = None
    appArmorProfile: Profile | None = None
    capabilities: Capabilities | None = None
    privileged: bool | None = None
    procMount: str | None = None
    readOnlyRootFilesystem: bool | None = None
    runAsGroup: Int64 | None = None
    runAsNonRoot: bool | None = None
    runAsUser: Int64 | None = None
    seLinuxOptions: SELinuxOptions | None = None
    seccompProfile: Profile | None = None
    windowsOptions: WindowsOptions | None = None


class DNSOption(Base, frozen=True, kw_only=True):
    """An option of the resolver."""

    name: str = ""
    value: str | None = None


class DNSConfig(Base, frozen=True, kw_only=True):
    """What is added to the resolver configuration that the policy gives."""

    nameservers: tuple[str, ...] = ()
    options: tuple[DNSOption, ...] = ()
    searches: tuple[str, ...] = ()


class ResourceClaim(Base, frozen=True, kw_only=True):
    """A claim of the pod that the container uses."""

    name: str
    request: str = ""


class Resources(Base, frozen=True, kw_only=True):
    """What a container asks for and may have at most."""

    claims: Annotated[tuple[ResourceClaim, ...], list_by("name")] = ()
    limits: dict[str, Quantity] = field(default_factory=dict)
    requests: dict[str, Quantity] = field(default_factory=dict)
