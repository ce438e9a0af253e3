"""What kinds exist: one table for the built-in ones, and room for those that CustomResourceDefinitions add."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tailrace.sandbox.kubernetes import status

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


class Ref(NamedTuple):
    """Which resource: `Ref("", "v1", "pods")`."""

    group: str
    version: str
    resource: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Resource:
    group: str
    version: str
    resource: str
    kind: str
    singular: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    list_kind: str = ""
    crd: dict[str, Any] | None = field(default=None, repr=False, hash=False, compare=False)
    crd_version: dict[str, Any] | None = field(default=None, repr=False, hash=False, compare=False)

    @property
    def ref(self) -> Ref:
        return Ref(self.group, self.version, self.resource)

    @property
    def storage(self) -> tuple[str, str]:
        """Where its objects are kept; the two groups of events share theirs."""
        return ("", "events") if self.resource == "events" else (self.group, self.resource)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def virtual(self) -> bool:
        """A question (a review), not a thing that is stored."""
        return self.verbs == ("create",)


# group/version: resource kind scope(N|C) [short,names] [category:…] [sub:…] [only-create|no-collection]
_TABLE = """
v1:
  namespaces Namespace C ns sub:status,finalize no-collection
  pods Pod N po category:all sub:status,log,exec,eviction,binding,ephemeralcontainers,resize
  services Service N svc category:all sub:status
  endpoints Endpoints N ep
  secrets Secret N
  configmaps ConfigMap N cm
  serviceaccounts ServiceAccount N sa sub:token
  events Event N ev
  nodes Node C no sub:status
  persistentvolumeclaims PersistentVolumeClaim N pvc sub:status
  persistentvolumes PersistentVolume C pv sub:status
  limitranges LimitRange N limits
  resourcequotas ResourceQuota N quota sub:status
  replicationcontrollers ReplicationController N rc category:all sub:status,scale
  podtemplates PodTemplate N
apps/v1:
  deployments Deployment N deploy category:all sub:status,scale
  statefulsets StatefulSet N sts category:all sub:status,scale
  daemonsets DaemonSet N ds category:all sub:status
  replicasets ReplicaSet N rs category:all sub:status,scale
  controllerrevisions ControllerRevision N
batch/v1:
  jobs Job N category:all sub:status
  cronjobs CronJob N cj category:all sub:status
networking.k8s.io/v1:
  ingresses Ingress N ing sub:status
  ingressclasses IngressClass C
  networkpolicies NetworkPolicy N netpol
  servicecidrs ServiceCIDR C sub:status
discovery.k8s.io/v1:
  endpointslices EndpointSlice N
rbac.authorization.k8s.io/v1:
  roles Role N
  rolebindings RoleBinding N
  clusterroles ClusterRole C
  clusterrolebindings ClusterRoleBinding C
coordination.k8s.io/v1:
  leases Lease N
policy/v1:
  poddisruptionbudgets PodDisruptionBudget N pdb sub:status
storage.k8s.io/v1:
  storageclasses StorageClass C sc
events.k8s.io/v1:
  events Event N ev
scheduling.k8s.io/v1:
  priorityclasses PriorityClass C pc
apiextensions.k8s.io/v1:
  customresourcedefinitions CustomResourceDefinition C crd,crds category:api-extensions sub:status
apiregistration.k8s.io/v1:
  apiservices APIService C category:api-extensions sub:status
authentication.k8s.io/v1:
  tokenreviews TokenReview C only-create
  selfsubjectreviews SelfSubjectReview C only-create
authorization.k8s.io/v1:
  selfsubjectaccessreviews SelfSubjectAccessReview C only-create
  selfsubjectrulesreviews SelfSubjectRulesReview C only-create
  subjectaccessreviews SubjectAccessReview C only-create
  localsubjectaccessreviews LocalSubjectAccessReview N only-create
"""


_VERBS = {
    "only-create": ("create",),
    "no-collection": tuple(verb for verb in ALL_VERBS if verb != "deletecollection"),
}


def _parse_line(group: str, version: str, line: str) -> Resource:
    resource, kind, scope, *rest = line.split()
    tagged = {k: tuple(v.split(",")) for k, _, v in (word.partition(":") for word in rest) if v}
    plain = [word for word in rest if ":" not in word and word not in _VERBS]
    return Resource(
        group=group,
        version=version,
        resource=resource,
        kind=kind,
        singular=kind.lower(),
        namespaced=scope == "N",
        short_names=tuple(plain[0].split(",")) if plain else (),
        categories=tagged.get("category", ()),
        subresources=tagged.get("sub", ()),
        verbs=_VERBS.get(rest[-1] if rest else "", ALL_VERBS),
        list_kind=f"{kind}List",
    )


def builtin_resources() -> list[Resource]:
    """In the order of discovery."""
    found: list[Resource] = []
    group = version = ""
    for line in _TABLE.strip().splitlines():
        if line.startswith(" "):
            found.append(_parse_line(group, version, line))
        else:
            group, _, version = line.rstrip(":").rpartition("/")
    return found


def custom_resources(crd: dict[str, Any]) -> list[Resource]:
    """The resources that an established CustomResourceDefinition serves."""
    spec, names = crd["spec"], crd["spec"]["names"]
    return [
        Resource(
            group=spec["group"],
            version=version["name"],
            resource=names["plural"],
            kind=names["kind"],
            singular=names.get("singular") or names["kind"].lower(),
            namespaced=spec["scope"] == "Namespaced",
            short_names=tuple(names.get("shortNames") or ()),
            categories=tuple(names.get("categories") or ()),
            subresources=tuple(version.get("subresources") or ()),
            list_kind=names.get("listKind") or f"{names['kind']}List",
            crd=crd,
            crd_version=version,
        )
        for version in spec["versions"]
        if version.get("served")
    ]


class Registry:
    """What is served now. `revision` changes with it, for caches of discovery and OpenAPI."""

    def __init__(self) -> None:
        self._resources = {r.ref: r for r in builtin_resources()}
        self._kinds = {(r.api_version, r.kind): r for r in self._resources.values()}
        self.revision = 0

    def __iter__(self) -> Iterator[Resource]:
        return iter(self._resources.values())

    def find(self, ref: Ref) -> Resource | None:
        return self._resources.get(ref)

    def get(self, ref: Ref) -> Resource:
        """Raises 404 when nothing serves `ref`."""
        found = self._resources.get(ref)
        if found is None:
            raise status.no_such_resource()
        return found

    def of_kind(self, api_version: str, kind: str) -> Resource | None:
        return self._kinds.get((api_version, kind))

    def of_storage(self, group: str, resource: str) -> Resource | None:
        """Any version that serves what is kept under `(group, resource)`."""
        return next((r for r in self._resources.values() if (r.group, r.resource) == (group, resource)), None)

    def versions(self, group: str) -> list[str]:
        """The served versions of `group`, preferred one first; empty when there is none."""
        return sorted({r.version for r in self._resources.values() if r.group == group}, key=version_rank)

    def groups(self) -> list[str]:
        return list(dict.fromkeys(r.group for r in self._resources.values()))

    def in_version(self, group: str, version: str) -> list[Resource]:
        return [r for r in self._resources.values() if (r.group, r.version) == (group, version)]

    def serve_crd(self, crd: dict[str, Any]) -> None:
        """Serve (again) what `crd` defines."""
        self.drop_crd(crd)
        for resource in custom_resources(crd):
            self._resources[resource.ref] = resource
            self._kinds[resource.api_version, resource.kind] = resource

    def drop_crd(self, crd: dict[str, Any]) -> None:
        group, plural = crd["spec"]["group"], crd["spec"]["names"]["plural"]
        self._resources = {
            ref: r
            for ref, r in self._resources.items()
            if r.crd is None or (r.group, r.resource) != (group, plural)
        }
        self._kinds = {(r.api_version, r.kind): r for r in self._resources.values()}
        self.revision += 1


def version_rank(version: str) -> tuple[int, int, int, str]:
    """Kubernetes' order of versions: v2, v1, v1beta2, v1beta1, v1alpha1, then others by name."""
    match = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", version)
    if match is None:
        return (3, 0, 0, version)
    stage = {None: 0, "beta": 1, "alpha": 2}[match[2]]
    return (stage, -int(match[1]), -int(match[3] or 0), version)
