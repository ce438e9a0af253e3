"""What every room needs watched: Services, the proxies' objects in the operator's namespace, ProxyClasses, the cluster's ranges."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tailrace.api import kube, names
from tailrace.api.proxyclass import ProxyClass
from tailrace.fleet import adoption
from tailrace.kube import resources
from tailrace.kube.client import Kube
from tailrace.kube.resource import Resource
from tailrace.kube.store import Event, Store
from tailrace.kube.watch import Watch
from tailrace.proxy import names as proxy_names

BY_DEVICE = "device"
BY_PARENT = "parent"
BY_TAILNET = "tailnet"
CHILDREN = f"{names.MANAGED}=true"


@dataclass(slots=True)
class Stores:
    """Live copies that the rooms share."""

    services: Store[kube.Service] = field(default_factory=lambda: Store("services"))
    secrets: Store[kube.ProxySecret] = field(default_factory=lambda: Store("secrets"))
    statefulsets: Store[kube.StatefulSet] = field(default_factory=lambda: Store("statefulsets"))
    accounts: Store[kube.ServiceAccount] = field(default_factory=lambda: Store("accounts"))
    roles: Store[kube.Role] = field(default_factory=lambda: Store("roles"))
    bindings: Store[kube.RoleBinding] = field(default_factory=lambda: Store("bindings"))
    pods: Store[kube.Pod] = field(default_factory=lambda: Store("pods"))
    budgets: Store[kube.PodDisruptionBudget] = field(default_factory=lambda: Store("budgets"))
    monitors: Store[kube.ServiceMonitor] = field(default_factory=lambda: Store("monitors"))
    namespaces: Store[kube.Namespace] = field(default_factory=lambda: Store("namespaces"))
    classes: Store[ProxyClass] = field(default_factory=lambda: Store("proxyclasses"))
    deployments: Store[kube.Deployment] = field(default_factory=lambda: Store("deployments"))
    nodes: Store[kube.Node] = field(default_factory=lambda: Store("nodes"))
    service_cidrs: Store[kube.ServiceCIDR] = field(default_factory=lambda: Store("servicecidrs"))

    roots: dict[str, Store[Any]] = field(default_factory=dict)  # by kind: those that a room has for itself

    def __post_init__(self) -> None:
        self.secrets.add_index(BY_DEVICE, index_device)
        self.secrets.add_index(BY_TAILNET, index_tailnet)
        for store in self.children:
            store.add_index(BY_PARENT, index_parent)

    @property
    def children(self) -> tuple[Store[Any], ...]:
        """Where the objects of proxies are; of Services only the few with our labels."""
        return (
            self.secrets,
            self.statefulsets,
            self.accounts,
            self.roles,
            self.bindings,
            self.pods,
            self.budgets,
            self.monitors,
            self.services,
        )

    def has_monitors(self) -> bool:
        """Whether the cluster knows ServiceMonitors."""
        return not self.monitors.absent

    def note(self, kind: str, answer: kube.Object) -> None:
        """The answer of a write of ours, so that no decision is made on something older."""
        by_kind: dict[str, Store[Any]] = {
            **self.roots,
            "Service": self.services,
            "Secret": self.secrets,
            "StatefulSet": self.statefulsets,
            "Role": self.roles,
            "RoleBinding": self.bindings,
            "ServiceAccount": self.accounts,
            "Pod": self.pods,
            "PodDisruptionBudget": self.budgets,
            "ServiceMonitor": self.monitors,
        }
        store = by_kind.get(kind)
        if store is not None:
            store.note_write(answer)


def build_watches(stores: Stores, cluster: Kube, namespace: str) -> list[Watch[Any]]:
    """Services and ProxyClasses everywhere; of everything else only our own, in our own namespace. Kinds whose
    definition is not installed count as having no objects."""

    def own[T: kube.Object](resource: Resource[T], store: Store[T], *, optional: bool = False) -> Watch[T]:
        return Watch(cluster, resource, store, namespace=namespace, labels=CHILDREN, optional=optional)

    fields = f"metadata.name={namespace}"
    return [
        Watch(cluster, resources.SERVICES, stores.services),
        Watch(cluster, resources.NAMESPACES, stores.namespaces, fields=fields),
        Watch(cluster, resources.PROXY_CLASSES, stores.classes, optional=True),
        Watch(
            cluster,
            resources.DEPLOYMENTS,
            stores.deployments,
            namespace=namespace,
            fields=f"metadata.name={adoption.OPERATOR}",
            optional=True,
        ),
        Watch(cluster, resources.NODES, stores.nodes, optional=True),
        Watch(cluster, resources.SERVICE_CIDRS, stores.service_cidrs, optional=True),
        own(resources.SECRETS, stores.secrets),
        own(resources.STATEFUL_SETS, stores.statefulsets),
        own(resources.SERVICE_ACCOUNTS, stores.accounts),
        own(resources.ROLES, stores.roles),
        own(resources.ROLE_BINDINGS, stores.bindings),
        own(resources.PODS, stores.pods),
        own(resources.POD_DISRUPTION_BUDGETS, stores.budgets),
        own(resources.SERVICE_MONITORS, stores.monitors, optional=True),
    ]


def tell_parent(parent: str, namespace: str, name: str) -> str:
    """The index value of a root's children: kind, namespace, name (cut, as on the label)."""
    return f"{parent}/{namespace}/{proxy_names.truncate_label(name)}"


def index_parent(found: kube.Object) -> tuple[str, ...]:
    labels = found.metadata.labels
    if labels.get(names.MANAGED) != "true":
        return ()
    parent, name = labels.get(names.PARENT_TYPE, ""), labels.get(names.PARENT_NAME, "")
    return (f"{parent}/{labels.get(names.PARENT_NAMESPACE, '')}/{name}",) if name else ()


def describe_parent(child: kube.Object) -> str:
    """What a child was made for, for people, as far as its labels say it: `Service demo/web`, `Connector home`."""
    labels = child.metadata.labels
    kind = {"svc": "Service", "connector": "Connector"}.get(labels.get(names.PARENT_TYPE, ""), "proxy")
    place = (labels.get(names.PARENT_NAMESPACE, ""), labels.get(names.PARENT_NAME, ""))
    return f"{kind} {'/'.join(part for part in place if part)}"


def has_new_spec(event: Event[Any]) -> bool:
    """Whether the object came, went or asks for something else: one that only reports itself does not."""
    return event.old is None or event.new is None or event.old.spec != event.new.spec


def tell_device(tailnet: str, device: str) -> str:
    """The index value of a device: ids of two tailnets may be equal."""
    return f"{tailnet}/{device}"


def index_device(found: kube.ProxySecret) -> tuple[str, ...]:
    device = kube.decode_key(found.data.device_id)
    return (tell_device(read_tailnet(found), device),) if device else ()


def index_tailnet(found: kube.ProxySecret) -> tuple[str, ...]:
    return (read_tailnet(found),)


def read_tailnet(found: kube.ProxySecret) -> str:
    """The tailnet that a proxy is in; "" is the operator's own."""
    return found.metadata.annotations.get(names.TAILNET, "")
