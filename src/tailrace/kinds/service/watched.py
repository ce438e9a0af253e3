"""What the room for Services watches, and the indexes by which it finds what belongs together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tailrace.api import kube, names
from tailrace.kinds.service import request
from tailrace.kube import resources
from tailrace.kube.client import Kube
from tailrace.kube.resource import Key, Resource
from tailrace.kube.store import Store
from tailrace.kube.watch import Watch

BY_HOSTNAME = "hostname"
BY_DEVICE = "device"
BY_PARENT = "parent"
BY_SERVICE = "service"
CHILDREN = f"{names.MANAGED}=true,{names.PARENT_TYPE}=svc"


@dataclass(slots=True)
class Stores:
    """What this room watches."""

    services: Store[kube.Service] = field(default_factory=lambda: Store("services"))
    secrets: Store[kube.ProxySecret] = field(default_factory=lambda: Store("secrets"))
    statefulsets: Store[kube.StatefulSet] = field(default_factory=lambda: Store("statefulsets"))
    accounts: Store[kube.ServiceAccount] = field(default_factory=lambda: Store("accounts"))
    roles: Store[kube.Role] = field(default_factory=lambda: Store("roles"))
    bindings: Store[kube.RoleBinding] = field(default_factory=lambda: Store("bindings"))
    pods: Store[kube.Pod] = field(default_factory=lambda: Store("pods"))
    slices: Store[kube.EndpointSlice] = field(default_factory=lambda: Store("slices"))
    namespaces: Store[kube.Namespace] = field(default_factory=lambda: Store("namespaces"))

    @property
    def children(self) -> tuple[Store[Any], ...]:
        return (self.secrets, self.statefulsets, self.accounts, self.roles, self.bindings, self.pods)

    def add_indexes(self, defaults: request.Defaults) -> None:
        """Before the first sync."""
        self.services.add_index(BY_HOSTNAME, lambda s: index_hostname(s, defaults))
        self.secrets.add_index(BY_DEVICE, index_device)
        for store in self.children:
            store.add_index(BY_PARENT, index_parent)
        self.slices.add_index(BY_SERVICE, index_service)

    def note(self, kind: str, answer: kube.Object) -> None:
        """The answer of a write of ours."""
        match answer:
            case kube.Service():
                self.services.note_write(answer)
            case kube.ProxySecret():
                self.secrets.note_write(answer)
            case kube.StatefulSet():
                self.statefulsets.note_write(answer)
            case kube.Role():
                self.roles.note_write(answer)
            case kube.RoleBinding():
                self.bindings.note_write(answer)
            case kube.ServiceAccount():
                self.accounts.note_write(answer)
            case kube.Pod():
                self.pods.note_write(answer)
            case _:
                pass


def build_watches(stores: Stores, cluster: Kube, namespace: str) -> list[Watch[Any]]:
    """Services and their endpoints everywhere; of everything else only our own, in our own namespace."""

    def own[T: kube.Object](resource: Resource[T], store: Store[T]) -> Watch[T]:
        return Watch(cluster, resource, store, namespace=namespace, labels=CHILDREN)

    fields = f"metadata.name={namespace}"
    return [
        Watch(cluster, resources.SERVICES, stores.services),
        Watch(cluster, resources.ENDPOINT_SLICES, stores.slices, labels=names.SERVICE_NAME),
        Watch(cluster, resources.NAMESPACES, stores.namespaces, fields=fields),
        own(resources.SECRETS, stores.secrets),
        own(resources.STATEFUL_SETS, stores.statefulsets),
        own(resources.SERVICE_ACCOUNTS, stores.accounts),
        own(resources.ROLES, stores.roles),
        own(resources.ROLE_BINDINGS, stores.bindings),
        own(resources.PODS, stores.pods),
    ]


def key_of(found: kube.Object) -> Key:
    return Key(found.metadata.namespace, found.metadata.name)


def concerns(service: kube.Service | None) -> bool:
    """Does the Service name us in any way? Everything else in the cluster is passed over at once."""
    if service is None:
        return False
    meta = service.metadata
    return (
        names.FINALIZER in meta.finalizers
        or service.spec.loadBalancerClass == names.LOAD_BALANCER_CLASS
        or (service.spec.type == "LoadBalancer" and service.spec.loadBalancerClass is None)
        or any(key.startswith(request.OURS) for key in meta.annotations)
    )


def index_hostname(service: kube.Service, defaults: request.Defaults) -> tuple[str, ...]:
    return (request.read_hostname(service).lower(),) if request.is_exposed(service, defaults) else ()


def index_device(found: kube.ProxySecret) -> tuple[str, ...]:
    device = kube.decode_key(found.data.device_id)
    return (device,) if device else ()


def index_parent(found: kube.Object) -> tuple[str, ...]:
    labels = found.metadata.labels
    name, namespace = labels.get(names.PARENT_NAME, ""), labels.get(names.PARENT_NAMESPACE, "")
    return (f"{namespace}/{name}",) if name else ()


def index_service(found: kube.EndpointSlice) -> tuple[str, ...]:
    name = found.metadata.labels.get(names.SERVICE_NAME, "")
    return (f"{found.metadata.namespace}/{name}",) if name else ()
