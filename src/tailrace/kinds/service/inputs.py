"""Everything that the decision about a Service may know, as frozen values. Filled by `controller.gather`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from tailrace.api import kube
from tailrace.kinds.service import request
from tailrace.proxy import secret, spec
from tailrace.tailnet import port


@dataclass(frozen=True, kw_only=True, slots=True)
class Install:
    """What is the same for every Service of this installation."""

    namespace: str
    defaults: request.Defaults
    image: spec.Image
    cluster_name: str
    cluster_domain: str
    key_ttl: timedelta
    delete_deadline: timedelta


@dataclass(frozen=True, kw_only=True, slots=True)
class Children:
    """The children that exist now, from the stores."""

    service_account: kube.ServiceAccount | None = None
    role: kube.Role | None = None
    role_binding: kube.RoleBinding | None = None
    state: secret.State | None = None
    statefulset: kube.StatefulSet | None = None
    pod: kube.Pod | None = None

    @property
    def objects(self) -> tuple[tuple[str, kube.Object], ...]:
        """Kind and object of each that exists, without pod and StatefulSet (which go first)."""
        pairs = (
            ("Secret", self.state.secret if self.state else None),
            ("RoleBinding", self.role_binding),
            ("Role", self.role),
            ("ServiceAccount", self.service_account),
        )
        return tuple((kind, found) for kind, found in pairs if found is not None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tailnet:
    """What the control plane says that concerns this Service."""

    known: bool  # a device list exists at all
    fresh: bool = True  # and is not older than a few refreshes
    problem: str = ""  # why it is not, in words
    denied: bool = False  # the problem is our credential
    device: port.Device | None = None  # the one whose id stands in the Secret
    gone: bool = False  # confirmed: it was deleted; False also means that we do not know yet
    namesakes: tuple[port.Device, ...] = ()  # others of the hostname asked for
    claimed: frozenset[str] = frozenset()  # ids of namesakes that belong to other proxies of ours
    can_rename: bool = True
    can_tag: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """Does the operator's namespace admit a privileged pod? Asked by a dry run."""

    privileged: bool
    refusal: str = ""  # the API server's words


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """One world of one Service."""

    namespace: str
    name: str
    install: Install
    service: kube.Service | None
    children: Children
    tailnet: Tailnet
    admission: Admission
    rivals: tuple[kube.Service, ...] = ()  # other Services that ask for the same hostname
    slices: tuple[kube.EndpointSlice, ...] = ()
    now: datetime
