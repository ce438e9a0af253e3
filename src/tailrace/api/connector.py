"""Connector: devices that route for the tailnet, as subnet router, exit node or app connector."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from tailrace.api import crd, kube
from tailrace.api.schema import hold, require

type Tag = Annotated[str, hold(pattern="^tag:[a-zA-Z][a-zA-Z0-9-]*$")]
type Route = Annotated[str, hold(format="cidr")]


class SubnetRouter(kube.Base, frozen=True, kw_only=True):
    """Routes into the networks that the cluster can reach."""

    advertiseRoutes: Annotated[
        tuple[Route, ...],
        hold(minItems=1),
        Meta(description="Networks in CIDR form, IPv4 or IPv6; those of 4via6 too."),
    ]


class AppConnector(kube.Base, frozen=True, kw_only=True):
    """Routes to the domains that the tailnet's policy gives to this device."""

    routes: Annotated[
        tuple[Route, ...],
        hold(minItems=1),
        Meta(
            description="Networks in CIDR form that are routed from the start; others are found as domains resolve."
        ),
    ] = ()


class ConnectorSpec(kube.Base, frozen=True, kw_only=True):
    """What the devices route and how they are named."""

    subnetRouter: Annotated[
        SubnetRouter | None,
        Meta(description="Makes the devices subnet routers. Not together with `appConnector`."),
    ] = None
    exitNode: Annotated[
        bool,
        Meta(
            description="Offers the devices as exit nodes; default false. Not together with `appConnector`."
        ),
    ] = False
    appConnector: Annotated[
        AppConnector | None,
        Meta(
            description="Makes the devices app connectors; their domains stand in the tailnet's policy. "
            "Not together with `subnetRouter` or `exitNode`."
        ),
    ] = None
    replicas: Annotated[
        int | None,
        hold(format="int32", minimum=0),
        Meta(description="Number of devices; default 1. Several take over from each other."),
    ] = None
    hostname: Annotated[
        str,
        hold(pattern="^[a-z0-9][a-z0-9-]{0,61}[a-z0-9]$"),
        Meta(
            description="Name of a single device, 2 to 63 characters; default `<name>-connector`. "
            "Several devices have a `hostnamePrefix`."
        ),
    ] = ""
    hostnamePrefix: Annotated[
        str,
        hold(pattern="^[a-z0-9][a-z0-9-]{0,61}$"),
        Meta(description="Device i is named `<hostnamePrefix>-<i>`, also a single one."),
    ] = ""
    tags: Annotated[
        tuple[Tag, ...],
        Meta(
            description="Tags of the devices; default: the operator's default tags. The operator's credential must "
            "own them. Automatic approval of routes goes by them."
        ),
    ] = ()
    proxyClass: Annotated[
        str,
        Meta(description="Name of the ProxyClass for the devices; the operator's default one is not meant."),
    ] = ""
    tailnet: Annotated[
        str,
        require("self == oldSelf", "Connector tailnet is immutable"),
        Meta(description="Name of the Tailnet that the devices join; default: the operator's own tailnet."),
    ] = ""


class ConnectorDevice(kube.Base, frozen=True, kw_only=True):
    """One device."""

    hostname: Annotated[str, Meta(description="Its full name in the tailnet.")] = ""
    tailnetIPs: Annotated[tuple[str, ...], Meta(description="Its addresses in the tailnet.")] = ()


class ConnectorStatus(kube.Base, frozen=True, kw_only=True):
    """What the devices are; written by the operator."""

    conditions: Annotated[
        kube.Conditions, Meta(description="How it stands, by type; `ConnectorReady` sums it up.")
    ] = ()
    subnetRoutes: Annotated[str, Meta(description="The advertised networks, joined with commas.")] = ""
    isExitNode: Annotated[bool, Meta(description="Whether the devices are offered as exit nodes.")] = False
    isAppConnector: Annotated[bool, Meta(description="Whether the devices are app connectors.")] = False
    hostname: Annotated[str, Meta(description="Full name of the first device in the tailnet.")] = ""
    tailnetIPs: Annotated[tuple[str, ...], Meta(description="Addresses of the first device.")] = ()
    devices: Annotated[tuple[ConnectorDevice, ...], Meta(description="Every device.")] = ()


class Connector(kube.Object, frozen=True, kw_only=True):
    """Devices that route for the tailnet: subnet routers, exit nodes, or app connectors."""

    spec: Annotated[
        ConnectorSpec,
        require(
            "has(self.subnetRouter) || (has(self.exitNode) && self.exitNode == true) || has(self.appConnector)",
            "A Connector needs to have at least one of exit node, subnet router or app connector configured.",
        ),
        require(
            "!((has(self.subnetRouter) || (has(self.exitNode)  && self.exitNode == true)) && has(self.appConnector))",
            "The appConnector field is mutually exclusive with exitNode and subnetRouter fields.",
        ),
        require(
            "!(has(self.hostname) && has(self.replicas) && self.replicas > 1)",
            "The hostname field cannot be specified when replicas is greater than 1.",
        ),
        require(
            "!(has(self.hostname) && has(self.hostnamePrefix))",
            "The hostname and hostnamePrefix fields are mutually exclusive.",
        ),
    ]
    status: ConnectorStatus = ConnectorStatus()


DEFINITION: Final = crd.Definition(
    group=crd.GROUP,
    version=crd.VERSION,
    kind="Connector",
    plural="connectors",
    type=Connector,
    short_names=("cn",),
    columns=(
        crd.Column(
            name="SubnetRoutes",
            path=".status.subnetRoutes",
            description="Networks that the devices advertise.",
        ),
        crd.Column(
            name="IsExitNode",
            path=".status.isExitNode",
            description="Whether the devices are offered as exit nodes.",
        ),
        crd.Column(
            name="IsAppConnector",
            path=".status.isAppConnector",
            description="Whether the devices are app connectors.",
        ),
        crd.Column(
            name="Status",
            path='.status.conditions[?(@.type == "ConnectorReady")].reason',
            description="How it stands.",
        ),
        crd.AGE,
    ),
)
