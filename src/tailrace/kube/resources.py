"""The resources that Tailrace reads or writes, each with the struct that it is read into."""

from __future__ import annotations

from tailrace.api import connector, crd, kube, proxyclass, tailnet
from tailrace.kube.resource import Resource

SERVICES = Resource(group="", version="v1", plural="services", kind="Service", type=kube.Service)
SECRETS = Resource(group="", version="v1", plural="secrets", kind="Secret", type=kube.ProxySecret)
PODS = Resource(group="", version="v1", plural="pods", kind="Pod", type=kube.Pod)
CONFIG_MAPS = Resource(group="", version="v1", plural="configmaps", kind="ConfigMap", type=kube.ConfigMap)
NAMESPACES = Resource(
    group="", version="v1", plural="namespaces", kind="Namespace", type=kube.Namespace, namespaced=False
)
NODES = Resource(group="", version="v1", plural="nodes", kind="Node", type=kube.Node, namespaced=False)
SERVICE_CIDRS = Resource(
    group="networking.k8s.io",
    version="v1",
    plural="servicecidrs",
    kind="ServiceCIDR",
    type=kube.ServiceCIDR,
    namespaced=False,
)
SERVICE_ACCOUNTS = Resource(
    group="", version="v1", plural="serviceaccounts", kind="ServiceAccount", type=kube.ServiceAccount
)
STATEFUL_SETS = Resource(
    group="apps", version="v1", plural="statefulsets", kind="StatefulSet", type=kube.StatefulSet
)
DEPLOYMENTS = Resource(
    group="apps", version="v1", plural="deployments", kind="Deployment", type=kube.Deployment
)
ROLES = Resource(group="rbac.authorization.k8s.io", version="v1", plural="roles", kind="Role", type=kube.Role)
ROLE_BINDINGS = Resource(
    group="rbac.authorization.k8s.io",
    version="v1",
    plural="rolebindings",
    kind="RoleBinding",
    type=kube.RoleBinding,
)
ENDPOINT_SLICES = Resource(
    group="discovery.k8s.io",
    version="v1",
    plural="endpointslices",
    kind="EndpointSlice",
    type=kube.EndpointSlice,
)
POD_DISRUPTION_BUDGETS = Resource(
    group="policy",
    version="v1",
    plural="poddisruptionbudgets",
    kind="PodDisruptionBudget",
    type=kube.PodDisruptionBudget,
)
SERVICE_MONITORS = Resource(
    group="monitoring.coreos.com",
    version="v1",
    plural="servicemonitors",
    kind="ServiceMonitor",
    type=kube.ServiceMonitor,
)


def _own[T: kube.Object](kind: crd.Definition, struct: type[T]) -> Resource[T]:
    return Resource(
        group=kind.group,
        version=kind.version,
        plural=kind.plural,
        kind=kind.kind,
        type=struct,
        namespaced=kind.namespaced,
    )


CONNECTORS = _own(connector.DEFINITION, connector.Connector)
PROXY_CLASSES = _own(proxyclass.DEFINITION, proxyclass.ProxyClass)
TAILNETS = _own(tailnet.DEFINITION, tailnet.Tailnet)

BY_KIND: dict[str, Resource[kube.Object]] = {
    resource.kind: resource
    for resource in (
        SERVICES,
        SECRETS,
        PODS,
        CONFIG_MAPS,
        SERVICE_ACCOUNTS,
        STATEFUL_SETS,
        ROLES,
        ROLE_BINDINGS,
        ENDPOINT_SLICES,
        POD_DISRUPTION_BUDGETS,
        SERVICE_MONITORS,
        CONNECTORS,
        PROXY_CLASSES,
        TAILNETS,
    )
}
