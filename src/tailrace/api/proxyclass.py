"""ProxyClass: how the pods of proxies look, beyond what the operator needs of them.

Names, defaults and rules are those of the official operator's kind, so that its objects and manifests mean the same
here. What this kind has no field for stands in annotations of the object, see `tailrace.proxy.extensions`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from tailrace.api import crd, pod
from tailrace.api.kube import Base, Conditions, Object
from tailrace.api.schema import WHOLE, require

type LabelValue = Annotated[
    str, Meta(pattern=r"^(([a-zA-Z0-9][-._a-zA-Z0-9]*)?[a-zA-Z0-9])?$", max_length=63)
]
type Labels = dict[str, LabelValue]
type Port = Annotated[int, Meta(ge=0, le=65535)]

DEBUG_PORT = 9001
METRICS_PORT = 9002


class Env(Base, frozen=True, kw_only=True):
    """An environment variable."""

    name: Annotated[
        str,
        Meta(pattern=r"^[-._a-zA-Z][-._a-zA-Z0-9]*$", description="Name of the variable."),
    ]
    value: Annotated[str, Meta(description="Its value; `$(OTHER)` refers to a variable before it.")] = ""


class Debug(Base, frozen=True, kw_only=True):
    """The debug endpoint of the proxy."""

    enable: Annotated[
        bool, Meta(description="Serve profiles and debug metrics of tailscaled on port 9001 of the pod.")
    ] = False


class Container(Base, frozen=True, kw_only=True):
    """One container of the proxy's pod."""

    env: Annotated[
        tuple[Env, ...],
        Meta(description="Variables beside those of the operator; of one name, this one wins."),
    ] = ()
    image: Annotated[
        str, Meta(description="Image in place of the operator's; it must do what tailscale/tailscale does.")
    ] = ""
    imagePullPolicy: Annotated[
        Literal["Always", "Never", "IfNotPresent"] | None, Meta(description="When the image is pulled.")
    ] = None
    resources: Annotated[
        pod.Resources, Meta(description="Requests, limits and claims; each, where it is given, as a whole.")
    ] = pod.Resources()
    securityContext: Annotated[
        pod.SecurityContext | None,
        Meta(description="In place of the operator's. Kernel mode needs privileges."),
    ] = None
    debug: Annotated[
        Debug | None,
        Meta(
            description="The debug endpoint; left out, it is on where metrics are. Not for the init container."
        ),
    ] = None


class Pod(Base, frozen=True, kw_only=True):
    """The proxy's pod."""

    labels: Annotated[
        Labels, Meta(description="Labels of the pod; those that the operator needs stay as they are.")
    ] = field(default_factory=dict)
    annotations: Annotated[
        dict[str, str],
        Meta(description="Annotations of the pod; those that the operator needs stay as they are."),
    ] = field(default_factory=dict)
    affinity: Annotated[pod.Affinity | None, Meta(description="Where the pod runs.")] = None
    tailscaleContainer: Annotated[Container, Meta(description="The container that runs tailscaled.")] = (
        Container()
    )
    tailscaleInitContainer: Annotated[
        Container, Meta(description="The container that lets the kernel forward; only in kernel mode.")
    ] = Container()
    securityContext: Annotated[
        pod.PodSecurityContext | None, Meta(description="In place of the operator's.")
    ] = None
    imagePullSecrets: Annotated[
        tuple[Annotated[pod.LocalObjectReference, WHOLE], ...] | None,
        Meta(description="Secrets in the operator's namespace with which images are pulled."),
    ] = None
    nodeName: Annotated[str | None, Meta(description="The node that the pod runs on.")] = None
    nodeSelector: Annotated[
        dict[str, str] | None, Meta(description="Labels that the pod's node must have.")
    ] = None
    tolerations: Annotated[
        tuple[pod.Toleration, ...] | None, Meta(description="Taints that the pod bears.")
    ] = None
    topologySpreadConstraints: Annotated[
        tuple[pod.TopologySpreadConstraint, ...] | None, Meta(description="How evenly pods are spread.")
    ] = None
    priorityClassName: Annotated[
        str | None, Meta(description="In place of the operator's setting PROXY_PRIORITY_CLASS_NAME.")
    ] = None
    dnsPolicy: Annotated[
        Literal["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"] | None,
        Meta(description="How the pod resolves names."),
    ] = None
    dnsConfig: Annotated[pod.DNSConfig | None, Meta(description="What is added to that.")] = None


class StatefulSet(Base, frozen=True, kw_only=True):
    """The StatefulSet of each proxy."""

    labels: Annotated[
        Labels, Meta(description="Labels of the StatefulSet; those that the operator needs stay as they are.")
    ] = field(default_factory=dict)
    annotations: Annotated[
        dict[str, str],
        Meta(description="Annotations of the StatefulSet; those that the operator needs stay as they are."),
    ] = field(default_factory=dict)
    pod: Annotated[Pod, Meta(description="Its pod.")] = Pod()


class ServiceMonitor(Base, frozen=True, kw_only=True):
    """A ServiceMonitor of the Prometheus operator for each proxy."""

    enable: Annotated[
        bool, Meta(description="Make one; its kind must be installed and metrics must be enabled.")
    ]
    labels: Annotated[Labels, Meta(description="Its labels, beside the operator's.")] = field(
        default_factory=dict
    )


class Metrics(Base, frozen=True, kw_only=True):
    """What proxies tell about themselves; nothing for egress proxies."""

    enable: Annotated[
        bool, Meta(description="Serve metrics on port 9002 of the pod, with a Service in front.")
    ]
    serviceMonitor: ServiceMonitor | None = None


class Tailscale(Base, frozen=True, kw_only=True):
    """How tailscaled is configured."""

    acceptRoutes: Annotated[
        bool, Meta(description="Use the subnet routes that other devices of the tailnet advertise.")
    ] = False


class PortRange(Base, frozen=True, kw_only=True):
    """One port, or all from one to another."""

    port: Annotated[Port, Meta(description="The port, or the first one.")]
    endPort: Annotated[Port, Meta(description="The last one; left out, there is one alone.")] = 0

    @property
    def last(self) -> int:
        return self.endPort or self.port

    def __str__(self) -> str:
        """`80`, or `80-90`."""
        return f"{self.port}-{self.endPort}" if self.endPort else str(self.port)


class NodePort(Base, frozen=True, kw_only=True):
    """Static endpoints through Services of type NodePort."""

    ports: Annotated[
        tuple[PortRange, ...],
        Meta(min_length=1, description="Node ports to take from; inside the cluster's range of node ports."),
    ]
    selector: Annotated[
        dict[str, str], Meta(description="Labels of the nodes whose external addresses are advertised.")
    ] = field(default_factory=dict)


class StaticEndpoints(Base, frozen=True, kw_only=True):
    """Addresses at which the proxies of a ProxyGroup can be reached directly."""

    nodePort: NodePort


class Spec(Base, frozen=True, kw_only=True):
    """How the proxies of this class look."""

    statefulSet: StatefulSet = StatefulSet()
    metrics: Annotated[
        Metrics | None,
        require(
            "!(has(self.serviceMonitor) && self.serviceMonitor.enable  && !self.enable)",
            "ServiceMonitor can only be enabled if metrics are enabled",
        ),
    ] = None
    tailscale: Tailscale = Tailscale()
    useLetsEncryptStagingEnvironment: Annotated[
        bool,
        Meta(description="Proxies that serve HTTPS get certificates from Let's Encrypt's staging servers."),
    ] = False
    staticEndpoints: StaticEndpoints | None = None


class Status(Base, frozen=True, kw_only=True):
    """What the operator says about the class."""

    conditions: Annotated[
        Conditions,
        Meta(description="ProxyClassReady says whether the class is valid; only then it is used."),
    ] = ()


class ProxyClass(Object, frozen=True, kw_only=True):
    """A set of choices about the proxies that the operator makes: a Service takes them by the label or annotation
    tailscale.com/proxy-class, a Connector by its field proxyClass.
    """

    spec: Spec
    status: Status = Status()

    @property
    def serves_metrics(self) -> bool:
        return self.spec.metrics is not None and self.spec.metrics.enable

    @property
    def serves_debug(self) -> bool:
        """As it is said; where nothing is said, as metrics are."""
        debug = self.spec.statefulSet.pod.tailscaleContainer.debug
        return self.serves_metrics if debug is None else debug.enable

    @property
    def monitor(self) -> ServiceMonitor | None:
        """The ServiceMonitor that is asked for."""
        monitor = self.spec.metrics.serviceMonitor if self.serves_metrics and self.spec.metrics else None
        return monitor if monitor is not None and monitor.enable else None

    @property
    def port_ranges(self) -> tuple[PortRange, ...]:
        """The node ports of its static endpoints."""
        static = self.spec.staticEndpoints
        return () if static is None else static.nodePort.ports


DEFINITION = crd.Definition(
    group="tailscale.com",
    version="v1alpha1",
    kind="ProxyClass",
    plural="proxyclasses",
    type=ProxyClass,
    columns=(
        crd.Column(
            name="Status",
            path='.status.conditions[?(@.type == "ProxyClassReady")].reason',
            description="Whether the class is valid.",
        ),
        crd.Column(name="Age", path=".metadata.creationTimestamp", type="date"),
    ),
)
