"""What the room for Services watches beside what all share, and the indexes by which it finds what belongs together."""

from __future__ import annotations

from tailrace.api import kube, names
from tailrace.fleet import wish
from tailrace.fleet.install import Defaults
from tailrace.kinds.service import request
from tailrace.kube.store import Store

BY_HOSTNAME = "hostname"
BY_SERVICE = "service"


def add_indexes(services: Store[kube.Service], slices: Store[kube.EndpointSlice], defaults: Defaults) -> None:
    """Before the first sync."""
    services.add_index(BY_HOSTNAME, lambda s: index_hostname(s, defaults))
    slices.add_index(BY_SERVICE, index_service)


def concerns(service: kube.Service | None) -> bool:
    """Does the Service name us in any way? Everything else in the cluster is passed over at once."""
    if service is None:
        return False
    meta = service.metadata
    return (
        names.FINALIZER in meta.finalizers
        or service.spec.loadBalancerClass == names.LOAD_BALANCER_CLASS
        or (service.spec.type == "LoadBalancer" and service.spec.loadBalancerClass is None)
        or any(key.startswith(wish.OURS) for key in meta.annotations)
    ) and not is_child(service)


def is_child(service: kube.Service) -> bool:
    """Whether it is one of ours, made for another object."""
    return service.metadata.labels.get(names.MANAGED) == "true"


def index_hostname(service: kube.Service, defaults: Defaults) -> tuple[str, ...]:
    return (wish.read_hostname(service).lower(),) if request.is_exposed(service, defaults) else ()


def index_service(found: kube.EndpointSlice) -> tuple[str, ...]:
    name = found.metadata.labels.get(names.SERVICE_NAME, "")
    return (f"{found.metadata.namespace}/{name}",) if name else ()
