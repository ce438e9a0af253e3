"""Role-based access: decisions, refusals, escalation, aggregation and default roles as a 1.36 server has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.sandbox.kubernetes.admission import ADMIN, ANONYMOUS, User, service_account
from tailrace.sandbox.kubernetes.rbac import (
    GROUP,
    Attributes,
    Authorizer,
    aggregate,
    bootstrap,
    escalation_refusal,
    refusal,
)

Doc = dict[str, Any]
ALICE = User(name="alice", groups=("developers", "system:authenticated"))


@dataclass
class Cluster:
    """Documents in memory; `looked_up` counts how often the roles of a namespace were asked for."""

    namespaced: dict[str, dict[str, Doc]] = field(default_factory=dict)
    wide: dict[str, Doc] = field(default_factory=dict)
    bindings: dict[str, list[Doc]] = field(default_factory=dict)
    looked_up: int = 0

    def roles(self, namespace: str) -> Mapping[str, Doc]:
        self.looked_up += 1
        return self.namespaced.get(namespace, {})

    def role_bindings(self, namespace: str) -> Iterable[Doc]:
        assert namespace, "an empty namespace has no bindings"
        return self.bindings.get(namespace, [])

    def cluster_roles(self) -> Mapping[str, Doc]:
        return self.wide

    def cluster_role_bindings(self) -> Iterable[Doc]:
        return self.bindings.get("", [])

    def role(self, namespace: str, name: str, *rules: Doc) -> None:
        roles = self.namespaced.setdefault(namespace, {}) if namespace else self.wide
        roles[name] = {"metadata": {"name": name}, "rules": list(rules)}

    def bind(self, namespace: str, role: str, *subjects: Doc, kind: str = "") -> None:
        reference = {"kind": kind or ("Role" if namespace else "ClusterRole"), "name": role}
        self.bindings.setdefault(namespace, []).append({"roleRef": reference, "subjects": list(subjects)})

    def grant(self, namespace: str, user: str, *rules: Doc) -> None:
        name = f"role-{len(self.bindings.get(namespace, []))}"
        self.role(namespace, name, *rules)
        self.bind(namespace, name, subject("User", user))


def subject(kind: str, name: str, namespace: str = "") -> Doc:
    return {"kind": kind, "name": name, **({"namespace": namespace} if namespace else {})}


def rule(verbs: str, groups: str, resources: str, *names: str) -> Doc:
    made: Doc = {
        "verbs": verbs.split(),
        "apiGroups": groups.split(" "),
        "resources": resources.split(),
    }
    return made | ({"resourceNames": list(names)} if names else {})


def paths(verbs: str, urls: str) -> Doc:
    return {"verbs": verbs.split(), "nonResourceURLs": urls.split()}


def asked(verb: str, what: str, name: str = "") -> Attributes:
    """`group/resource[/subresource]`, in the namespace `team`."""
    group, resource, *subresource = what.split("/")
    return Attributes(
        verb=verb,
        group=group,
        resource=resource,
        subresource="".join(subresource),
        namespace="team",
        name=name,
    )


def held(*rules: Doc) -> Authorizer:
    """Alice holds `rules` in `team`."""
    cluster = Cluster()
    cluster.grant("team", "alice", *rules)
    return Authorizer(cluster)


@pytest.mark.parametrize(
    ("granted", "request_", "allowed"),
    [
        (rule("get", "", "pods"), asked("get", "/pods", "p"), True),
        (rule("get", "", "pods"), asked("list", "/pods"), False),
        (rule("get", "", "pods"), asked("get", "apps/pods", "p"), False),
        (rule("get", "", "pods"), asked("get", "/pods/log", "p"), False),
        (rule("get", "", "pods/log"), asked("get", "/pods/log", "p"), True),
        (rule("get", "", "pods/log"), asked("get", "/pods", "p"), False),
        (rule("get", "", "pods/*"), asked("get", "/pods/log", "p"), False),
        (rule("update", "apps", "*/scale"), asked("update", "apps/deployments/scale", "d"), True),
        (rule("update", "apps", "*/scale"), asked("update", "apps/deployments/status", "d"), False),
        (rule("update", "apps", "*/scale"), asked("update", "apps/deployments", "d"), False),
        (rule("*", "*", "*"), asked("patch", "apps/deployments/scale", "d"), True),
        (rule("get", "", "secrets", "mine"), asked("get", "/secrets", "mine"), True),
        (rule("get", "", "secrets", "mine"), asked("get", "/secrets", "yours"), False),
        (rule("list", "", "secrets", "mine"), asked("list", "/secrets"), False),
        (rule("list", "", "secrets", "mine"), asked("list", "/secrets", "mine"), True),
        (rule("create deletecollection", "", "secrets", "mine"), asked("create", "/secrets"), False),
        (
            rule("create deletecollection", "", "secrets", "mine"),
            asked("deletecollection", "/secrets"),
            False,
        ),
        (rule("create", "", "pods/exec", "p"), asked("create", "/pods/exec", "p"), True),
        (paths("*", "*"), asked("get", "/pods", "p"), False),
        ({"verbs": ["get"]}, asked("get", "/pods", "p"), False),
        ({"verbs": ["get"], "apiGroups": None, "resources": None}, asked("get", "/pods", "p"), False),
    ],
)
def test_a_rule_allows_what_it_names(granted: Doc, request_: Attributes, allowed: bool) -> None:
    assert held(granted).allows(ALICE, request_) is allowed


@pytest.mark.parametrize(
    ("url", "path", "allowed"),
    [
        ("/metrics", "/metrics", True),
        ("/metrics", "/metrics/slis", False),
        ("/debug/*", "/debug/pprof/heap", True),
        ("/debug/*", "/debug", False),
        ("/logs*", "/logs-of-today", True),
        ("*", "/anything", True),
    ],
)
def test_a_star_at_the_end_of_a_path_is_any_rest(url: str, path: str, allowed: bool) -> None:
    cluster = Cluster()
    cluster.grant("", "alice", paths("get", url))
    assert Authorizer(cluster).allows(ALICE, Attributes(verb="get", path=path)) is allowed
    assert not Authorizer(cluster).allows(ALICE, Attributes(verb="post", path=path))


PROXY = service_account("team", "proxy")


@pytest.mark.parametrize(
    ("named", "user", "matches"),
    [
        (subject("User", "alice"), ALICE, True),
        (subject("User", "developers"), ALICE, False),
        (subject("Group", "developers"), ALICE, True),
        (subject("Group", "alice"), ALICE, False),
        (subject("ServiceAccount", "alice"), ALICE, False),
        (subject("ServiceAccount", "proxy"), PROXY, True),
        (subject("ServiceAccount", "proxy", "team"), PROXY, True),
        (subject("ServiceAccount", "proxy", "other"), PROXY, False),
        (subject("ServiceAccount", "proxy"), service_account("other", "proxy"), False),
        (subject("ServiceAccount", "proxy", "other"), service_account("other", "proxy"), True),
        (subject("User", "system:serviceaccount:team:proxy"), PROXY, True),
        (subject("User", "proxy"), PROXY, False),
        (subject("Group", "system:serviceaccounts:team"), PROXY, True),
        (subject("Robot", "alice"), ALICE, False),
    ],
)
def test_a_binding_in_a_namespace_names_its_subjects(named: Doc, user: User, matches: bool) -> None:
    cluster = Cluster()
    cluster.role("team", "reader", rule("get", "", "pods"))
    cluster.bind("team", "reader", subject("User", "somebody"), named)
    assert Authorizer(cluster).allows(user, asked("get", "/pods", "p")) is matches


def test_a_cluster_wide_binding_gives_no_namespace_to_a_service_account_without_one() -> None:
    cluster = Cluster()
    cluster.role("", "reader", rule("get", "", "pods"))
    cluster.bind("", "reader", subject("ServiceAccount", "proxy"))
    assert not Authorizer(cluster).allows(PROXY, asked("get", "/pods", "p"))
    cluster.bind("", "reader", subject("ServiceAccount", "proxy", "team"))
    assert Authorizer(cluster).allows(PROXY, asked("get", "/pods", "p"))


def test_a_role_binding_to_a_cluster_role_holds_in_its_namespace_alone() -> None:
    cluster = Cluster()
    cluster.role("", "reader", rule("get", "", "pods"), paths("get", "/metrics"))
    cluster.bind("team", "reader", subject("User", "alice"), kind="ClusterRole")
    authorizer = Authorizer(cluster)
    assert authorizer.allows(ALICE, asked("get", "/pods", "p"))
    assert not authorizer.allows(ALICE, Attributes(verb="get", resource="pods", namespace="other"))
    assert not authorizer.allows(ALICE, Attributes(verb="get", resource="pods"))
    assert not authorizer.allows(ALICE, Attributes(verb="get", path="/metrics"))


def test_masters_may_do_all_without_any_document() -> None:
    authorizer = Authorizer(Cluster())
    assert authorizer.allows(ADMIN, asked("delete", "/secrets", "s"))
    assert authorizer.missing(ADMIN, "team", [rule("*", "*", "*")]) == []
    assert not authorizer.allows(ANONYMOUS, asked("get", "/pods", "p"))


def test_documents_are_read_afresh_at_every_decision() -> None:
    cluster = Cluster()
    authorizer = Authorizer(cluster)
    assert not authorizer.allows(ALICE, asked("get", "/pods", "p"))
    cluster.grant("team", "alice", rule("get", "", "pods"))
    assert authorizer.allows(ALICE, asked("get", "/pods", "p"))
    cluster.bindings.clear()
    assert not authorizer.allows(ALICE, asked("get", "/pods", "p"))


def test_of_many_bindings_only_the_role_of_the_own_one_is_looked_up() -> None:
    cluster = Cluster()
    for number in range(500):
        name = f"proxy-{number}"
        cluster.role("team", name, rule("get patch", "", "secrets", name))
        cluster.bind("team", name, subject("ServiceAccount", name))
    authorizer, user = Authorizer(cluster), service_account("team", "proxy-321")
    assert authorizer.allows(user, asked("patch", "/secrets", "proxy-321"))
    assert cluster.looked_up == 1
    assert not authorizer.allows(user, asked("patch", "/secrets", "proxy-32"))
    assert cluster.looked_up == 2


def test_the_rules_of_a_user_are_those_of_the_cluster_then_those_of_the_namespace() -> None:
    cluster = Cluster()
    cluster.grant("team", "alice", rule("get", "", "pods"))
    cluster.grant("team", "bob", rule("get", "", "secrets"))
    cluster.grant("", "alice", paths("get", "/metrics"))
    authorizer = Authorizer(cluster)
    assert authorizer.rules_for(ALICE, "team") == [paths("get", "/metrics"), rule("get", "", "pods")]
    assert authorizer.rules_for(ALICE, "") == [paths("get", "/metrics")]


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        (
            asked("list", "/pods"),
            'User "alice" cannot list resource "pods" in API group "" in the namespace "team"',
        ),
        (
            asked("get", "apps/deployments/scale", "d"),
            'User "alice" cannot get resource "deployments/scale" in API group "apps" in the namespace "team"',
        ),
        (
            Attributes(verb="list", resource="nodes"),
            'User "alice" cannot list resource "nodes" in API group "" at the cluster scope',
        ),
        (Attributes(verb="get", path="/x"), 'User "alice" cannot get path "/x"'),
    ],
)
def test_a_refusal_tells_who_cannot_do_what_where(attributes: Attributes, text: str) -> None:
    assert refusal(ALICE, attributes) == text


def test_the_name_in_a_refusal_is_quoted() -> None:
    text = refusal(User(name='a"é\tq'), Attributes(verb="get", path="/"))
    assert text == r'User "a\"é\tq" cannot get path "/"'


def test_a_refusal_tells_of_roles_that_do_not_exist() -> None:
    cluster = Cluster()
    cluster.bind("team", "missing", subject("User", "alice"))
    authorizer = Authorizer(cluster)
    one = f'role.{GROUP} "missing" not found'
    assert not authorizer.allows(ALICE, asked("list", "/pods"))
    assert authorizer.rules_for(ALICE, "team") == []
    unresolved = authorizer.unresolved(ALICE, "team")
    assert refusal(ALICE, asked("list", "/pods"), unresolved).endswith(f'"team": RBAC: {one}')
    for _ in range(2):  # told once
        cluster.bind("team", "absent", subject("User", "alice"), kind="ClusterRole")
    unresolved = authorizer.unresolved(ALICE, "team")
    two = f'clusterrole.{GROUP} "absent" not found'
    assert refusal(ALICE, asked("list", "/pods"), unresolved).endswith(f'"team": RBAC: [{one}, {two}]')
    assert authorizer.unresolved(ALICE, "") == []


@pytest.mark.parametrize(
    ("has", "wants", "covered"),
    [
        (rule("get list", "", "pods services"), rule("list", "", "services"), True),
        (rule("get", "", "pods"), rule("*", "", "pods"), False),
        (rule("*", "", "pods"), rule("*", "", "pods"), True),
        (rule("get", "*", "pods"), rule("get", " apps", "pods"), True),
        (rule("get", "", "pods"), rule("get", "*", "pods"), False),
        (rule("get", "", "*"), rule("get", "", "pods/log"), True),
        (rule("get", "", "*/log"), rule("get", "", "pods/log"), True),
        (rule("get", "", "*/log"), rule("get", "", "pods"), False),
        (rule("get", "", "pods/log"), rule("get", "", "*/log"), False),
        (rule("get", "", "secrets"), rule("get", "", "secrets", "a", "b"), True),
        (rule("get", "", "secrets", "a", "b"), rule("get", "", "secrets", "b"), True),
        (rule("get", "", "secrets", "a"), rule("get", "", "secrets", "b"), False),
        (rule("get", "", "secrets", "a"), rule("get", "", "secrets"), False),
        (paths("get", "/debug/*"), paths("get", "/debug/pprof /debug/*"), True),
        (paths("get", "/debug/*"), paths("get", "/debug*"), False),
        (paths("get", "*"), rule("get", "", "pods"), False),
        (rule("*", "*", "*"), paths("get", "/metrics"), False),
        (rule("get", "", "pods"), rule("", "", "secrets"), True),
    ],
)
def test_what_one_holds_one_may_grant(has: Doc, wants: Doc, covered: bool) -> None:
    assert (held(has).missing(ALICE, "team", [wants]) == []) is covered


def test_two_rules_together_cover_one() -> None:
    authorizer = held(rule("get", "", "pods"), rule("list", "", "pods"))
    assert authorizer.missing(ALICE, "team", [rule("get list", "", "pods")]) == []
    assert authorizer.missing(ALICE, "other", [rule("get", "", "pods")]) == [rule("get", "", "pods")]


def test_an_escalation_is_refused_with_what_is_missing_compacted_and_sorted() -> None:
    authorizer = held(
        rule("get", "", "pods"),
        rule("get", "", "secrets", "a"),
        rule("*", "apps", "*/scale"),
        paths("get", "/x"),
    )
    wanted = [
        rule("list get", "apps ", "deployments deployments/scale pods"),
        rule("get list", "", "secrets", "a", "b"),
        rule("* list", "", "pods"),
        paths("get post put", "/x"),
    ]
    text = escalation_refusal(ALICE, authorizer.missing(ALICE, "team", wanted))
    assert text.splitlines() == [
        'user "alice" (groups=["developers" "system:authenticated"])'
        " is attempting to grant RBAC permissions not currently held:",
        '{APIGroups:[""], Resources:["deployments"], Verbs:["list" "get"]}',
        '{APIGroups:[""], Resources:["deployments/scale"], Verbs:["list" "get"]}',
        '{APIGroups:[""], Resources:["pods"], Verbs:["list" "*" "list"]}',
        '{APIGroups:[""], Resources:["secrets"], ResourceNames:["a"], Verbs:["list"]}',
        '{APIGroups:[""], Resources:["secrets"], ResourceNames:["b"], Verbs:["get" "list"]}',
        '{APIGroups:["apps"], Resources:["deployments"], Verbs:["list" "get"]}',
        '{APIGroups:["apps"], Resources:["pods"], Verbs:["list" "get"]}',
        '{NonResourceURLs:["/x"], Verbs:["post"]}',
        '{NonResourceURLs:["/x"], Verbs:["put"]}',
    ]


def some(*values: str) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True)


RULES = st.fixed_dictionaries(
    {
        "verbs": some("get", "create", "*"),
        "apiGroups": some("", "apps", "*"),
        "resources": some("pods", "pods/log", "*/log", "*"),
    },
    optional={"resourceNames": some("a", "b")},
)
ASKED = st.builds(
    asked,
    verb=st.sampled_from(["get", "create"]),
    what=st.sampled_from(["/pods", "/pods/log", "apps/pods", "apps/jobs/log"]),
    name=st.sampled_from(["", "a", "b"]),
)


@given(st.lists(RULES, max_size=3), st.lists(RULES, max_size=2), ASKED)
def test_granting_what_one_holds_gives_nobody_more(
    mine: list[Doc], given_: list[Doc], what: Attributes
) -> None:
    if not held(*mine).missing(ALICE, "team", given_) and held(*given_).allows(ALICE, what):
        assert held(*mine).allows(ALICE, what)


@given(st.lists(RULES, max_size=3))
def test_one_holds_all_of_what_one_holds(mine: list[Doc]) -> None:
    assert held(*mine).missing(ALICE, "team", mine) == []


def labelled(name: str, *rules: Doc, into: str = "", of: str = "") -> Doc:
    doc: Doc = {"metadata": {"name": name, "labels": {into: "true"} if into else {}}, "rules": list(rules)}
    if of:
        doc["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {of: "true"}}]}
    return doc


def keyed(*docs: Doc) -> dict[str, Doc]:
    return {doc["metadata"]["name"]: doc for doc in docs}


PODS, JOBS, NODES = rule("get", "", "pods"), rule("get", "batch", "jobs"), rule("get", "", "nodes")


def test_an_aggregate_has_the_rules_of_those_it_selects_by_name_each_once() -> None:
    roles = keyed(
        labelled("z", PODS, into="v"),
        labelled("a", JOBS, PODS, into="v"),
        labelled("other", NODES, into="w"),
        labelled("all", NODES, of="v"),
    )
    assert aggregate(roles) == {"all": [JOBS, PODS]}


def test_aggregates_of_aggregates_are_followed_and_circles_end() -> None:
    chain = keyed(
        labelled("1", of="x"),
        labelled("2", into="x", of="y"),
        labelled("3", into="y", of="z"),
        labelled("4", PODS, into="z"),
    )
    assert aggregate(chain) == {"1": [PODS], "2": [PODS], "3": [PODS]}
    circle = keyed(
        labelled("a", into="x", of="y"),
        labelled("b", into="y", of="x"),
        labelled("c", PODS, into="x"),
        labelled("d", JOBS, into="y"),
    )
    found = aggregate(circle)
    assert [sorted(map(str, found[name])) for name in ("a", "b")] == [sorted(map(str, [PODS, JOBS]))] * 2


def test_an_aggregation_rule_without_selectors_selects_nothing() -> None:
    doc = labelled("all", PODS) | {"aggregationRule": {"clusterRoleSelectors": None}}
    assert aggregate(keyed(doc, labelled("a", PODS))) == {"all": []}


@pytest.fixture
def defaults() -> Cluster:
    """A cluster at its first start, where Alice has `edit` and Vera `view` in `team`."""
    cluster = Cluster()
    for doc in bootstrap():
        if doc["kind"] == "ClusterRole":
            cluster.wide[doc["metadata"]["name"]] = doc
        else:
            cluster.bindings.setdefault("", []).append(doc)
    cluster.bind("team", "edit", subject("User", "alice"), kind="ClusterRole")
    cluster.bind("team", "view", subject("User", "vera"), kind="ClusterRole")
    return cluster


def test_the_default_roles_are_consistent(defaults: Cluster) -> None:
    """Every binding finds its role, and the aggregates are already what aggregation makes of them."""
    assert {b["roleRef"]["name"] for b in defaults.cluster_role_bindings()} <= set(defaults.wide)
    rules = {name: defaults.wide[name]["rules"] for name in ("admin", "edit", "view")}
    assert aggregate(defaults.wide) == rules
    assert [len(rules[name]) for name in ("admin", "edit", "view")] == [29, 27, 12]


def test_the_default_roles_are_new_documents_at_every_call() -> None:
    changed = bootstrap()
    changed[0]["rules"].clear()
    changed[0]["metadata"]["labels"].clear()
    assert bootstrap()[0] != changed[0]


@pytest.mark.parametrize(
    ("user", "attributes", "allowed"),
    [
        (ALICE, asked("create", "apps/deployments"), True),
        (ALICE, asked("get", "/secrets", "s"), True),
        (ALICE, asked("create", f"{GROUP}/roles"), False),
        (ALICE, asked("update", "/endpoints", "e"), False),
        (User(name="vera"), asked("list", "/pods"), True),
        (User(name="vera"), asked("get", "/secrets", "s"), False),
        (User(name="vera"), asked("delete", "/pods", "p"), False),
        (ANONYMOUS, Attributes(verb="get", path="/healthz"), True),
        (ANONYMOUS, Attributes(verb="get", path="/api/v1"), False),
        (ALICE, Attributes(verb="get", path="/api/v1"), True),
        (ALICE, Attributes(verb="get", path="/metrics"), False),
        (
            ALICE,
            Attributes(verb="create", group="authorization.k8s.io", resource="selfsubjectaccessreviews"),
            True,
        ),
        (PROXY, Attributes(verb="get", path="/openid/v1/jwks"), True),
        (ALICE, Attributes(verb="get", path="/openid/v1/jwks"), False),
    ],
)
def test_the_default_roles_allow_what_a_new_cluster_allows(
    defaults: Cluster, user: User, attributes: Attributes, allowed: bool
) -> None:
    assert Authorizer(defaults).allows(user, attributes) is allowed


def test_an_administrator_of_a_namespace_may_pass_on_edit_but_not_all(defaults: Cluster) -> None:
    defaults.bind("team", "admin", subject("User", "ada"), kind="ClusterRole")
    authorizer, ada = Authorizer(defaults), User(name="ada")
    assert authorizer.missing(ada, "team", defaults.wide["edit"]["rules"]) == []
    assert authorizer.missing(ada, "team", defaults.wide["cluster-admin"]["rules"]) == [
        rule("*", "*", "*"),
        paths("*", "*"),
    ]
