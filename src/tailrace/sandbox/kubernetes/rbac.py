"""Who may do what: role-based access control, decided from live documents as the real server decides it.

Every request of the HTTP side asks `Authorizer.allows`; writes of roles and bindings ask `Authorizer.missing` too. The
decisions are those of `plugin/pkg/auth/authorizer/rbac` and `k8s.io/component-helpers/auth/rbac/validation` in
Kubernetes, the words those of a 1.36 server.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tailrace.sandbox.kubernetes.admission import User
from tailrace.sandbox.kubernetes.documents import selectors
from tailrace.sandbox.kubernetes.status import Doc

GROUP = "rbac.authorization.k8s.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """One request, as authorization sees it.

    `name` is that of the URL, so it is empty for `create`; for `list`, `watch` and `deletecollection` it is that of a
    `metadata.name=` field selector. A request for one Namespace has that name as its `namespace` too.
    """

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""  # set for what is no resource, such as `/metrics`

    @property
    def full_resource(self) -> str:
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


class Documents(Protocol):
    """The live documents; roles are keyed by name."""

    def roles(self, namespace: str) -> Mapping[str, Doc]: ...
    def role_bindings(self, namespace: str) -> Iterable[Doc]: ...
    def cluster_roles(self) -> Mapping[str, Doc]: ...
    def cluster_role_bindings(self) -> Iterable[Doc]: ...


class Authorizer:
    """Nothing is cached: a decision is as fresh as the documents it was read from."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    def allows(self, user: User, attributes: Attributes) -> bool:
        if user.all_powerful:
            return True
        return any(
            _rule_allows(rule, attributes)
            for role in self._roles_of(user, attributes.namespace)
            if not isinstance(role, _Dangling)
            for rule in role.get("rules") or ()
        )

    def rules_for(self, user: User, namespace: str) -> list[Doc]:
        """Every rule that holds for `user` in `namespace` (empty: cluster-wide). The live rules, not copies."""
        roles = [role for role in self._roles_of(user, namespace) if not isinstance(role, _Dangling)]
        return [rule for role in roles for rule in role.get("rules") or ()]

    def missing(self, user: User, namespace: str, rules: list[Doc]) -> list[Doc]:
        """What of `rules` the user does not hold, broken down to one verb of one thing each. Empty: may be granted.

        The verbs `escalate` on a role and `bind` on what a binding refers to allow the grant before this is asked.
        """
        if user.all_powerful:
            return []
        held = self.rules_for(user, namespace)
        return [
            part for rule in rules for part in _break_down(rule) if not any(_covers(h, part) for h in held)
        ]

    def unresolved(self, user: User, namespace: str) -> list[str]:
        """Roles that bindings give to `user` and that do not exist, as `refusal` tells of them."""
        roles = self._roles_of(user, namespace)
        return list(dict.fromkeys(str(role) for role in roles if isinstance(role, _Dangling)))

    def _roles_of(self, user: User, namespace: str) -> Iterator[Doc | _Dangling]:
        """Cluster-wide bindings first. A role is looked up only where a subject matches."""
        subjects = _Subjects.of(user)
        for reference in subjects.references(self._documents.cluster_role_bindings(), ""):
            yield self._resolve(reference, "")
        if namespace:
            for reference in subjects.references(self._documents.role_bindings(namespace), namespace):
                yield self._resolve(reference, namespace)

    def _resolve(self, reference: Doc, namespace: str) -> Doc | _Dangling:
        kind, name = reference["kind"], reference["name"]
        if kind == "ClusterRole":
            role = self._documents.cluster_roles().get(name)
        else:
            role = self._documents.roles(namespace).get(name) if namespace else None
        return _Dangling(kind, name) if role is None else role


@dataclass(frozen=True, slots=True)
class _Dangling:
    """A reference to a role that is not there: it grants nothing, and the refusal tells of it."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.lower()}.{GROUP} {_quote(self.name)} not found"


@dataclass(frozen=True, slots=True)
class _Subjects:
    """All that a user is in the words of a binding: computed once for a request."""

    user: User
    account: tuple[str, str] | None  # namespace and name, for a service account
    names: frozenset[str]

    @classmethod
    def of(cls, user: User) -> _Subjects:
        match user.name.split(":"):
            case ["system", "serviceaccount", namespace, name] if namespace:
                return cls(user, (namespace, name), frozenset([user.name, name, *user.groups]))
        return cls(user, None, frozenset([user.name, *user.groups]))

    def references(self, bindings: Iterable[Doc], namespace: str) -> Iterator[Doc]:
        """The `roleRef` of each binding that names this user.

        `namespace` is that of the bindings, and of their service accounts that name none. Every binding of a namespace
        is seen at every request, and nearly all are those of others: one look at the name passes them by.
        """
        names = self.names
        for binding in bindings:
            for subject in binding.get("subjects") or ():
                if subject["name"] in names and self._include(subject, namespace):
                    yield binding["roleRef"]
                    break

    def _include(self, subject: Doc, namespace: str) -> bool:
        name: str = subject["name"]
        match subject["kind"]:
            case "User":
                return name == self.user.name
            case "Group":
                return name in self.user.groups
            case "ServiceAccount":
                return (subject.get("namespace") or namespace, name) == self.account
            case _:
                return False


def _values(rule: Doc, field: str) -> Sequence[str]:
    return rule.get(field) or ()


def _has(allowed: Sequence[str], value: str) -> bool:
    return value in allowed or "*" in allowed


def _rule_allows(rule: Doc, attributes: Attributes) -> bool:
    if not _has(_values(rule, "verbs"), attributes.verb):
        return False
    if attributes.path:
        return _has_path(_values(rule, "nonResourceURLs"), attributes.path)
    names = _values(rule, "resourceNames")
    return (
        _has(_values(rule, "apiGroups"), attributes.group)
        and _has_resource(_values(rule, "resources"), attributes.full_resource)
        and (not names or attributes.name in names)
    )


def _has_resource(allowed: Sequence[str], resource: str) -> bool:
    """`*/scale` is that subresource of everything; `pods` is not `pods/log`, and `pods/*` is nothing."""
    _, slash, subresource = resource.partition("/")
    return _has(allowed, resource) or bool(slash and f"*/{subresource}" in allowed)


def _has_path(allowed: Sequence[str], path: str) -> bool:
    return any(path == one or (one.endswith("*") and path.startswith(one.rstrip("*"))) for one in allowed)


def _break_down(rule: Doc) -> Iterator[Doc]:
    """Rules of one verb each on one resource (of one name) or one path, that together are `rule`."""
    verbs, names = _values(rule, "verbs"), _values(rule, "resourceNames")
    for group in _values(rule, "apiGroups"):
        for resource in _values(rule, "resources"):
            for verb in verbs:
                simple: Doc = {"apiGroups": [group], "resources": [resource], "verbs": [verb]}
                yield from ({**simple, "resourceNames": [name]} for name in names) if names else (simple,)
    for path in _values(rule, "nonResourceURLs"):
        for verb in verbs:
            yield {"nonResourceURLs": [path], "verbs": [verb]}


def _covers(held: Doc, part: Doc) -> bool:
    """Whether `held` includes `part`, which `_break_down` made. All names are more than any one, never the reverse."""
    names, wanted = _values(held, "resourceNames"), _values(part, "resourceNames")
    return (
        all(_has(_values(held, "verbs"), verb) for verb in part["verbs"])
        and all(_has(_values(held, "apiGroups"), group) for group in _values(part, "apiGroups"))
        and all(
            _has_resource(_values(held, "resources"), resource) for resource in _values(part, "resources")
        )
        and all(
            _has_path(_values(held, "nonResourceURLs"), path) for path in _values(part, "nonResourceURLs")
        )
        and (not names or (bool(wanted) and all(name in names for name in wanted)))
    )


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _quote_all(texts: Iterable[str]) -> str:
    return f"[{' '.join(map(_quote, texts))}]"


def refusal(user: User, attributes: Attributes, unresolved: Sequence[str] = ()) -> str:
    """What follows `is forbidden: ` (`forbidden: ` for a path). `unresolved` comes from `Authorizer.unresolved`."""
    who = f"User {_quote(user.name)} cannot {attributes.verb}"
    if attributes.path:
        text = f"{who} path {_quote(attributes.path)}"
    else:
        scope = (
            f"in the namespace {_quote(attributes.namespace)}"
            if attributes.namespace
            else "at the cluster scope"
        )
        what = f"resource {_quote(attributes.full_resource)} in API group {_quote(attributes.group)}"
        text = f"{who} {what} {scope}"
    if not unresolved:
        return text
    return f"{text}: RBAC: {unresolved[0] if len(unresolved) == 1 else f'[{", ".join(unresolved)}]'}"


_SHOWN = (
    ("apiGroups", "APIGroups"),
    ("resources", "Resources"),
    ("nonResourceURLs", "NonResourceURLs"),
    ("resourceNames", "ResourceNames"),
    ("verbs", "Verbs"),
)


def escalation_refusal(user: User, missing: list[Doc]) -> str:
    """What follows `is forbidden: ` when a role or binding would grant more than its author holds."""
    shown = {
        "{" + ", ".join(f"{label}:{_quote_all(rule[key])}" for key, label in _SHOWN if rule.get(key)) + "}"
        for rule in _compact(missing)
    }
    who = f"user {_quote(user.name)} (groups={_quote_all(user.groups)})"
    return "\n".join([f"{who} is attempting to grant RBAC permissions not currently held:", *sorted(shown)])


def _compact(parts: Iterable[Doc]) -> list[Doc]:
    """One rule for all verbs on a resource, in the order and with the repetitions they came; paths stay single."""
    paths: list[Doc] = []
    found: dict[tuple[str, ...], Doc] = {}
    for part in parts:
        if _values(part, "nonResourceURLs"):
            paths.append(part)
            continue
        key = (*part["apiGroups"], *part["resources"], *_values(part, "resourceNames"))
        known = found.get(key, {"verbs": []})
        found[key] = {**part, "verbs": [*known["verbs"], *part["verbs"]]}
    return [*paths, *found.values()]


def aggregate(cluster_roles: Mapping[str, Doc]) -> dict[str, list[Doc]]:
    """The rules of each ClusterRole that has an `aggregationRule`, from those of the roles it selects.

    An aggregate may select another one (`admin` selects `edit`). What stands in `rules` of an aggregate counts for
    nothing. The rules are those of the sources, not copies. Source: `clusterroleaggregation` of the controller manager.
    """
    sources = {
        name: [other for other in _selected(role, cluster_roles) if other != name]
        for name, role in cluster_roles.items()
        if role.get("aggregationRule")
    }
    plain = {name: role.get("rules") or [] for name, role in cluster_roles.items() if name not in sources}
    found: dict[str, list[Doc]] = {name: [] for name in sources}
    for _ in sources:  # a chain of aggregates is not longer than they are many
        latest = {
            name: _union((plain | found)[other] for other in others) for name, others in sources.items()
        }
        if latest == found:
            break
        found = latest
    return found


def _selected(role: Doc, cluster_roles: Mapping[str, Doc]) -> Iterator[str]:
    for selector in role["aggregationRule"].get("clusterRoleSelectors") or ():
        for name in sorted(cluster_roles):
            if selectors.match_labels(selector, cluster_roles[name]["metadata"].get("labels") or {}):
                yield name


def _union(lists: Iterable[list[Doc]]) -> list[Doc]:
    union: list[Doc] = []
    for rules in lists:
        union += [rule for rule in rules if rule not in union]
    return union


_READ = "get list watch"
_WRITE = "create delete deletecollection patch update"
_ALL = "create delete deletecollection get list patch update watch"


def _rule(verbs: str, groups: str, resources: str) -> Doc:
    """Words with spaces between; the group `core` is the one without a name."""
    names = ["" if group == "core" else group for group in groups.split()]
    return {"apiGroups": names, "resources": resources.split(), "verbs": verbs.split()}


def _paths(verbs: str, paths: str) -> Doc:
    return {"nonResourceURLs": paths.split(), "verbs": verbs.split()}


def _policy() -> dict[str, list[Doc]]:
    """The rules of the roles that a server creates at its first start."""
    replicas = "replicationcontrollers replicationcontrollers/scale"
    sessions = "pods/attach pods/exec pods/portforward pods/proxy"
    return {
        "cluster-admin": [_rule("*", "*", "*"), _paths("*", "*")],
        "system:aggregate-to-admin": [
            _rule("create", "authorization.k8s.io", "localsubjectaccessreviews"),
            _rule(_ALL, GROUP, "rolebindings roles"),
        ],
        "system:aggregate-to-edit": [
            _rule(_READ, "core", f"{sessions} secrets services/proxy"),
            _rule("impersonate", "core", "serviceaccounts"),
            _rule(_WRITE, "core", f"pods {sessions}"),
            _rule("create", "core", "pods/eviction"),
            _rule(
                _WRITE,
                "core",
                f"configmaps persistentvolumeclaims {replicas} secrets serviceaccounts services services/proxy",
            ),
            _rule("create", "core", "serviceaccounts/token"),
            _rule(_WRITE, "core events.k8s.io", "events"),
            _rule(
                _WRITE,
                "apps",
                "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale "
                "statefulsets statefulsets/scale",
            ),
            _rule(_WRITE, "autoscaling", "horizontalpodautoscalers"),
            _rule(_WRITE, "batch", "cronjobs jobs"),
            _rule(
                _WRITE,
                "extensions",
                "daemonsets deployments deployments/rollback deployments/scale ingresses networkpolicies "
                "replicasets replicasets/scale replicationcontrollers/scale",
            ),
            _rule(_WRITE, "policy", "poddisruptionbudgets"),
            _rule(_WRITE, "networking.k8s.io", "ingresses networkpolicies"),
            _rule(_ALL, "coordination.k8s.io", "leases"),
            _rule(_WRITE, "resource.k8s.io", "resourceclaims resourceclaimtemplates"),
        ],
        "system:aggregate-to-view": [
            _rule(
                _READ,
                "core",
                f"configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods {replicas} "
                "serviceaccounts services services/status",
            ),
            _rule(
                _READ,
                "core",
                "bindings limitranges namespaces/status pods/log pods/status replicationcontrollers/status "
                "resourcequotas resourcequotas/status",
            ),
            _rule(_READ, "core", "namespaces"),
            _rule(_READ, "core events.k8s.io", "events"),
            _rule(_READ, "discovery.k8s.io", "endpointslices"),
            _rule(
                _READ,
                "apps",
                "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status "
                "replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status",
            ),
            _rule(_READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
            _rule(_READ, "batch", "cronjobs cronjobs/status jobs jobs/status"),
            _rule(
                _READ,
                "extensions",
                "daemonsets daemonsets/status deployments deployments/scale deployments/status ingresses "
                "ingresses/status networkpolicies replicasets replicasets/scale replicasets/status "
                "replicationcontrollers/scale",
            ),
            _rule(_READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
            _rule(_READ, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
            _rule(_READ, "resource.k8s.io", "resourceclaims resourceclaims/status resourceclaimtemplates"),
        ],
        "system:basic-user": [
            _rule("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
            _rule("create", "authentication.k8s.io", "selfsubjectreviews"),
        ],
        "system:discovery": [
            _paths(
                "get",
                "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/",
            )
        ],
        "system:public-info-viewer": [_paths("get", "/healthz /livez /readyz /version /version/")],
        "system:service-account-issuer-discovery": [
            _paths(
                "get",
                "/.well-known/openid-configuration /.well-known/openid-configuration/ "
                "/openid/v1/jwks /openid/v1/jwks/",
            )
        ],
    }


_AGGREGATED_INTO = {
    "edit": "admin",
    "view": "edit",
    "system:aggregate-to-admin": "admin",
    "system:aggregate-to-edit": "edit",
    "system:aggregate-to-view": "view",
}
_BOUND_TO = {
    "cluster-admin": ("system:masters",),
    "system:basic-user": ("system:authenticated",),
    "system:discovery": ("system:authenticated",),
    "system:public-info-viewer": ("system:authenticated", "system:unauthenticated"),
    "system:service-account-issuer-discovery": ("system:serviceaccounts",),
}


def _label(target: str) -> dict[str, str]:
    return {f"{GROUP}/aggregate-to-{target}": "true"}


def _document(kind: str, name: str, **more: Any) -> Doc:
    labels = {"kubernetes.io/bootstrapping": "rbac-defaults"}
    if kind == "ClusterRole" and name in _AGGREGATED_INTO:
        labels |= _label(_AGGREGATED_INTO[name])
    annotations = {"rbac.authorization.kubernetes.io/autoupdate": "true"}
    metadata = {"name": name, "labels": labels, "annotations": annotations}
    return {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": metadata, **more}


def bootstrap() -> list[Doc]:
    """The ClusterRoles for people and for discovery with their bindings, as a 1.36 server creates them.

    Those of control plane components are left out: none runs here. `admin`, `edit` and `view` have their rules already.
    """
    roles = {name: _document("ClusterRole", name, rules=rules) for name, rules in _policy().items()}
    for name in ("admin", "edit", "view"):
        rule = {"clusterRoleSelectors": [{"matchLabels": _label(name)}]}
        roles[name] = _document("ClusterRole", name, aggregationRule=rule)
    for name, rules in aggregate(roles).items():
        roles[name]["rules"] = rules
    bindings = [_bind(name, groups) for name, groups in _BOUND_TO.items()]
    return [*roles.values(), *bindings]


def _bind(name: str, groups: Iterable[str]) -> Doc:
    subjects = [{"apiGroup": GROUP, "kind": "Group", "name": group} for group in groups]
    reference = {"apiGroup": GROUP, "kind": "ClusterRole", "name": name}
    return _document("ClusterRoleBinding", name, roleRef=reference, subjects=subjects)
