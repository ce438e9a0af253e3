"""Who may what: tokens, roles, reviews, escalation, impersonation, and those without a name."""

from __future__ import annotations

from typing import Any

from tests.contract.kubernetes.talk import Doc, Talk
from tests.contract.kubernetes.talks.documents import account, configmap

_RBAC = "rbac.authorization.k8s.io/v1"
_REVIEWS = "/apis/authorization.k8s.io/v1"
_READ = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}


def _account(talk: Talk, name: str = "robot") -> str:
    talk.post("serviceaccounts", account(name), quiet=True)
    made = talk.post(f"serviceaccounts/{name}/token", {"spec": {"expirationSeconds": 600}}, quiet=True)
    token: str = made.body["status"]["token"]
    return token


def _grant(talk: Talk, *rules: Doc, name: str = "robot") -> None:
    talk.post(f"{_RBAC}/roles", {"metadata": {"name": name}, "rules": list(rules)}, quiet=True)
    subject = {"kind": "ServiceAccount", "name": name, "namespace": talk.namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    binding = {"metadata": {"name": name}, "subjects": [subject], "roleRef": role}
    talk.post(f"{_RBAC}/rolebindings", binding, quiet=True)


def _granted(talk: Talk, token: str, path: str) -> None:
    """A real server's authorizer learns of a binding a moment later."""
    end = 200
    while talk.get(path, token=token, quiet=True).code == 403 and end:
        end -= 1


def tokens_of_service_accounts(talk: Talk) -> None:
    talk.post("serviceaccounts", account("robot"), quiet=True)
    ask: Doc = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": 600},
    }
    shown = ("kind", "apiVersion", "metadata.name", "metadata.namespace", "spec")
    made = talk.post("serviceaccounts/robot/token", ask, show=shown)
    assert made.code == 201
    talk.post("serviceaccounts/robot/token", {"spec": {}}, show=shown)
    talk.post("serviceaccounts/robot/token", {"spec": {"expirationSeconds": 5}})
    talk.post("serviceaccounts/robot/token", {"spec": {"audiences": ["x"]}}, show=shown)
    talk.post("serviceaccounts/robot/token", ask | {"kind": "Nothing"})
    bound = {"kind": "Pod", "apiVersion": "v1", "name": "none"}
    talk.post("serviceaccounts/robot/token", {"spec": {"boundObjectRef": bound}})
    talk.post("serviceaccounts/robot/token", {"spec": {"boundObjectRef": {"kind": "Nothing", "name": "a"}}})
    token = made.body["status"]["token"]
    review = {"spec": {"token": token}}
    found = talk.post(
        "/apis/authentication.k8s.io/v1/tokenreviews",
        review,
        show=(
            "kind",
            "status.authenticated",
            "status.user.username",
            "status.user.groups",
            "status.user.uid",
            "status.audiences",
        ),
    )
    assert found.body["status"]["authenticated"]
    other = {"spec": {"token": token, "audiences": ["somebody else"]}}
    talk.post(
        "/apis/authentication.k8s.io/v1/tokenreviews", other, show=("status.authenticated", "status.user")
    )
    talk.post(
        "/apis/authentication.k8s.io/v1/tokenreviews",
        {"spec": {"token": "nonsense"}},
        show=("status.authenticated", "status.user"),
    )
    who = talk.post(
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        {},
        token=token,
        show=("kind", "status.userInfo.username", "status.userInfo.groups"),
    )
    assert who.code == 201
    talk.delete("serviceaccounts/robot", quiet=True)
    talk.wait_gone("serviceaccounts/robot")
    talk.post("serviceaccounts/robot/token", ask)


def rights(talk: Talk) -> None:
    """What a role gives, nothing else, each refusal in its words."""
    token = _account(talk)
    talk.get("configmaps", token=token)
    talk.post("configmaps", configmap("a"), token=token)
    talk.delete("configmaps/a", token=token)
    talk.delete("configmaps", token=token)
    talk.patch("configmaps/a", {}, token=token)
    talk.get("/api/v1/configmaps", token=token)
    talk.get("apps/v1/statefulsets/a", token=token)
    talk.get("apps/v1/statefulsets/a/scale", token=token)
    talk.get("/api/v1/nodes", token=token)
    talk.get("/api/v1/namespaces", token=token)
    talk.get(f"/api/v1/namespaces/{talk.namespace}", token=token)
    talk.get("configmaps", token=token, watch="1")
    talk.get("configmaps", token=token, fieldSelector="metadata.name=a")
    talk.get("/metrics", token=token)
    talk.get("/apis/nothing.example.com/v1/things", token=token)
    _grant(
        talk,
        _READ,
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["one"], "verbs": ["get", "list"]},
    )
    _granted(talk, token, "configmaps")
    talk.get("configmaps/none", token=token)
    talk.get("/api/v1/configmaps", token=token)
    talk.get("secrets/one", token=token)
    talk.get("secrets/two", token=token)
    talk.get("secrets", token=token)
    talk.get("secrets", token=token, fieldSelector="metadata.name=one", show=("items",))
    talk.apply("configmaps/a", configmap("a"), token=token)


def nobody_grants_what_they_do_not_hold(talk: Talk) -> None:
    token = _account(talk)
    write = {
        "apiGroups": ["rbac.authorization.k8s.io"],
        "resources": ["roles", "rolebindings"],
        "verbs": ["create", "update", "patch", "get", "list"],
    }
    _grant(talk, _READ, write)
    _granted(talk, token, f"{_RBAC}/roles")
    _granted(talk, token, "configmaps")
    talk.post(f"{_RBAC}/roles", {"metadata": {"name": "a"}, "rules": [_READ]}, token=token, show=("rules",))
    more = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"]}
    talk.post(f"{_RBAC}/roles", {"metadata": {"name": "b"}, "rules": [more]}, token=token)
    talk.patch(f"{_RBAC}/roles/a", {"rules": [_READ | {"verbs": ["*"]}]}, token=token)
    talk.post(f"{_RBAC}/rolebindings", _binding("c", "none"), token=token)
    talk.post(f"{_RBAC}/rolebindings", _binding("c", "a"), token=token, show=("roleRef", "subjects"))
    talk.post(f"{_RBAC}/roles", {"metadata": {"name": "strong"}, "rules": [more]}, quiet=True)
    talk.post(f"{_RBAC}/rolebindings", _binding("d", "strong"), token=token)
    talk.post(f"{_RBAC}/rolebindings", _binding("d", "cluster-admin", "ClusterRole"), token=token)
    talk.patch(f"{_RBAC}/rolebindings/c", {"roleRef": {"name": "strong"}})
    talk.patch(f"{_RBAC}/rolebindings/c", {"subjects": []}, token=token, show=("roleRef",))


def _binding(name: str, role: str, kind: str = "Role") -> Doc:
    subject = {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "alice"}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role}
    return {"metadata": {"name": name}, "subjects": [subject], "roleRef": reference}


def roles_and_bindings_that_cannot_be(talk: Talk) -> None:
    talk.post(
        f"{_RBAC}/roles", {"metadata": {"name": "a"}, "rules": [{"apiGroups": [""], "resources": ["pods"]}]}
    )
    talk.post(
        f"{_RBAC}/roles", {"metadata": {"name": "a"}, "rules": [{"verbs": ["get"], "resources": ["pods"]}]}
    )
    talk.post(
        f"{_RBAC}/roles",
        {"metadata": {"name": "a"}, "rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]},
    )
    talk.post(f"{_RBAC}/roles", {"metadata": {"name": "system:a"}}, show=("metadata.name", "rules"))
    talk.post(
        f"{_RBAC}/rolebindings",
        _binding("a", "x") | {"roleRef": {"kind": "Role", "name": "x"}},
        show=("roleRef",),
    )
    talk.post(f"{_RBAC}/rolebindings", _binding("b", ""))
    talk.post(f"{_RBAC}/rolebindings", _binding("b", "x") | {"subjects": [{"kind": "Robot", "name": "x"}]})
    talk.post(
        f"{_RBAC}/rolebindings", _binding("b", "x") | {"subjects": [{"kind": "ServiceAccount", "name": "x"}]}
    )


def reviews(talk: Talk) -> None:
    """One asks for oneself, an administrator for others."""
    token = _account(talk)
    _grant(talk, _READ)
    _granted(talk, token, "configmaps")
    asked = {"namespace": talk.namespace, "verb": "get", "resource": "configmaps"}
    for more in (
        {},
        {"verb": "delete"},
        {"namespace": "default"},
        {"name": "x"},
        {"subresource": "x"},
        {"group": "apps"},
    ):
        body = {"spec": {"resourceAttributes": asked | more}}
        talk.post(
            f"{_REVIEWS}/selfsubjectaccessreviews",
            body,
            token=token,
            show=("kind", "status.allowed", "status.denied"),
            note=str(more),
        )
    body = {"spec": {"nonResourceAttributes": {"path": "/version", "verb": "get"}}}
    talk.post(f"{_REVIEWS}/selfsubjectaccessreviews", body, token=token, show=("status.allowed",))
    user = f"system:serviceaccount:{talk.namespace}:robot"
    other: dict[str, Any] = {"spec": {"user": user, "resourceAttributes": asked}}
    talk.post(f"{_REVIEWS}/subjectaccessreviews", other, show=("status.allowed",))
    talk.post(
        f"{_REVIEWS}/subjectaccessreviews",
        {"spec": {"user": "nobody", "groups": ["system:masters"], "resourceAttributes": asked}},
        show=("status.allowed",),
    )
    talk.post(f"{_REVIEWS}/subjectaccessreviews", other, token=token)
    talk.post("authorization.k8s.io/v1/localsubjectaccessreviews", other, show=("status.allowed",))
    talk.post(f"{_REVIEWS}/selfsubjectaccessreviews", {"spec": {}})
    talk.post(f"{_REVIEWS}/subjectaccessreviews", {"spec": {"resourceAttributes": asked}})
    talk.post(f"{_REVIEWS}/selfsubjectrulesreviews", {"spec": {}})
    rules = talk.post(
        f"{_REVIEWS}/selfsubjectrulesreviews",
        {"spec": {"namespace": talk.namespace}},
        token=token,
        show=("status.incomplete", "status.evaluationError"),
    )
    own = [rule for rule in rules.body["status"]["resourceRules"] if rule["resources"] == ["configmaps"]]
    talk.note(rules=own)


def unresolved_roles(talk: Talk) -> None:
    """A binding to a role that is not there is told to who asks for their rules."""
    token = _account(talk)
    subject = {"kind": "ServiceAccount", "name": "robot", "namespace": talk.namespace}
    talk.post(f"{_RBAC}/rolebindings", _binding("a", "none") | {"subjects": [subject]}, quiet=True)
    body = {"spec": {"namespace": talk.namespace}}
    path = f"{_REVIEWS}/selfsubjectrulesreviews"
    for _ in range(100):
        found = talk.post(path, body, token=token, quiet=True)
        if found.body["status"].get("evaluationError"):
            break
    talk.note(
        error=found.body["status"].get("evaluationError"), incomplete=found.body["status"]["incomplete"]
    )


def impersonation(talk: Talk) -> None:
    token = _account(talk)
    alice = {"Impersonate-User": "alice"}
    who = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    talk.post(who, {}, headers=alice, show=("status.userInfo.username", "status.userInfo.groups"))
    talk.post(
        who,
        {},
        headers=alice | {"Impersonate-Group": "crew"},
        show=("status.userInfo.username", "status.userInfo.groups"),
    )
    talk.get("configmaps", headers=alice)
    for whom in (
        alice,
        alice | {"Impersonate-Group": "crew"},
        alice | {"Impersonate-Uid": "5"},
        alice | {"Impersonate-Extra-Team": "x"},
        {"Impersonate-User": "system:serviceaccount:default:robot"},
        {"Impersonate-User": "system:node:one"},
        {"Impersonate-Group": "crew"},
    ):
        talk.get("configmaps", headers=whom, token=token)
    talk.get("/version", headers=alice, token=token)
    talk.delete("configmaps/a", headers=alice, token=token)
    talk.get("configmaps", headers={"Impersonate-User": f"system:serviceaccount:{talk.namespace}:robot"})


def constrained_impersonation(talk: Talk) -> None:
    """As whom, and for what, are two rights; a service account is one of its own kind."""
    token, name = _account(talk), f"bound-{talk.word}"
    word = talk.word
    rules = [
        {
            "apiGroups": ["authentication.k8s.io"],
            "resources": ["users"],
            "verbs": ["impersonate:user-info"],
            "resourceNames": [word],
        },
        {
            "apiGroups": ["authentication.k8s.io"],
            "resources": ["serviceaccounts"],
            "verbs": ["impersonate:serviceaccount"],
        },
        {
            "apiGroups": [""],
            "resources": ["configmaps"],
            "verbs": ["impersonate-on:user-info:get", "impersonate-on:serviceaccount:get"],
        },
    ]
    talk.post(f"/apis/{_RBAC}/clusterroles", {"metadata": {"name": name}, "rules": rules}, quiet=True)
    subject = {"kind": "ServiceAccount", "name": "robot", "namespace": talk.namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    binding = {"metadata": {"name": name}, "subjects": [subject], "roleRef": role}
    talk.post(f"/apis/{_RBAC}/clusterrolebindings", binding, quiet=True)
    whoever = {"Impersonate-User": word}
    end = 200
    while (
        "impersonate" in talk.get("configmaps/a", headers=whoever, token=token, quiet=True).body["message"]
        and end
    ):
        end -= 1
    talk.get("configmaps/a", headers=whoever, token=token)
    talk.get("configmaps", headers=whoever, token=token)
    talk.get("configmaps/a", headers=whoever | {"Impersonate-Group": "crew"}, token=token)
    talk.get("configmaps/a", headers=whoever | {"Impersonate-Uid": "5"}, token=token)
    talk.get("configmaps/a", headers=whoever | {"Impersonate-Extra-Example.com%2Fteam": "x"}, token=token)
    talk.get("configmaps/a", headers={"Impersonate-User": "alice"}, token=token)
    other = {"Impersonate-User": "system:serviceaccount:default:other"}
    talk.get("configmaps/a", headers=other, token=token)


def without_a_name(talk: Talk) -> None:
    """Health and the version are for all; the rest is for those whom a role names; a bad token is nobody."""
    for path in ("/healthz", "/livez", "/readyz"):
        talk.get(path, token="")
    talk.get("/version", token="", show=("major",))
    for path in (
        "/api",
        "/apis",
        "/api/v1",
        "/openapi/v2",
        "/nothing",
        "/",
        "configmaps",
        "configmaps/a",
        "/api/v1/nodes",
        "/apis/nothing.example.com/v1/things",
    ):
        talk.get(path, token="")
    talk.post("configmaps", configmap("a"), token="")
    for path in ("/healthz", "/version", "configmaps", "/nothing"):
        talk.get(path, token="nonsense")
    talk.get("configmaps", headers={"Authorization": "Basic YTpi"}, token="")
