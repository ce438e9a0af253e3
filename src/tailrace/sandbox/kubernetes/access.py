"""Access to this server: role-based decisions on the stored roles, and the reviews that ask for them.

Place: between `rbac`, which decides on documents, and `cluster`, which asks before each verb.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tailrace.sandbox.kubernetes import rbac, status
from tailrace.sandbox.kubernetes.admission import User
from tailrace.sandbox.kubernetes.core import Core
from tailrace.sandbox.kubernetes.rbac import Attributes, Authorizer
from tailrace.sandbox.kubernetes.resources import Resource
from tailrace.sandbox.kubernetes.rules import field_errors as fe
from tailrace.sandbox.kubernetes.storage import Change, Doc
from tailrace.sandbox.kubernetes.tokens import AUDIENCE, Tokens

_BINDINGS = ("rolebindings", "clusterrolebindings")
_ROLES = ("roles", "clusterroles")


class _Documents:
    """Roles and bindings as they are stored now, by namespace."""

    def __init__(self, core: Core) -> None:
        self._by_namespace: dict[tuple[str, str], dict[str, Doc]] = {}
        for resource in (*_ROLES, *_BINDINGS):
            core.store.listen((rbac.GROUP, resource), self._learn)

    def _learn(self, change: Change) -> None:
        namespace, name = change.key
        documents = self._by_namespace.setdefault((change.kind[1], namespace), {})
        if change.type == "DELETED":
            documents.pop(name, None)
        else:
            documents[name] = change.new.doc

    def roles(self, namespace: str) -> Mapping[str, Doc]:
        return self._by_namespace.get(("roles", namespace), {})

    def role_bindings(self, namespace: str) -> Iterable[Doc]:
        return self._by_namespace.get(("rolebindings", namespace), {}).values()

    def cluster_roles(self) -> Mapping[str, Doc]:
        return self._by_namespace.get(("clusterroles", ""), {})

    def cluster_role_bindings(self) -> Iterable[Doc]:
        return self._by_namespace.get(("clusterrolebindings", ""), {}).values()


class Access:
    def __init__(self, core: Core, tokens: Tokens) -> None:
        self._core = core
        self._tokens = tokens
        self._documents = _Documents(core)
        self._authorizer = Authorizer(self._documents)

    def check(self, user: User, attributes: Attributes) -> None:
        """Raises 403."""
        if not self._authorizer.allows(user, attributes):
            why = rbac.refusal(user, attributes)
            if attributes.path:
                raise status.ApiError(403, "Forbidden", f"forbidden: {why}", {})
            raise status.forbidden(attributes.group, attributes.resource, attributes.name, why)

    def may(self, user: User, attributes: Attributes) -> bool:
        return self._authorizer.allows(user, attributes)

    def check_grant(self, user: User, resource: Resource, namespace: str, new: Doc, old: Doc | None) -> None:
        """Nobody grants what they do not hold: raises 403 for a role or a binding that would."""
        if user.all_powerful or resource.group != rbac.GROUP:
            return
        name = new["metadata"].get("name", "")
        if resource.resource in _ROLES:
            rules = [] if old is not None and old.get("rules") == new.get("rules") else new.get("rules") or []
            verb, target, target_name = "escalate", resource.resource, name
        else:
            if old is not None and (old.get("subjects"), old["roleRef"]) == (
                new.get("subjects"),
                new.get("roleRef"),
            ):
                return
            reference = new.get("roleRef") or {}
            verb, target_name = "bind", reference.get("name", "")
            target = "clusterroles" if reference.get("kind") == "ClusterRole" else "roles"
            held = (
                self._documents.cluster_roles()
                if target == "clusterroles"
                else self._documents.roles(namespace)
            )
            rules = (held.get(target_name) or {}).get("rules") or []
            if target_name not in held and not self._may(user, verb, target, namespace, target_name):
                raise status.not_found(resource.group, resource.resource, target_name)
        if self._may(user, verb, target, namespace, target_name):
            return
        if missing := self._authorizer.missing(user, namespace, rules):
            why = rbac.escalation_refusal(user, missing)
            raise status.forbidden(resource.group, resource.resource, name, why)

    def _may(self, user: User, verb: str, resource: str, namespace: str, name: str) -> bool:
        asked = Attributes(verb=verb, group=rbac.GROUP, resource=resource, namespace=namespace, name=name)
        return self._authorizer.allows(user, asked)

    # Reviews: questions that are posted, and answered in the same document ---------------------------------------

    def review(self, resource: Resource, namespace: str, doc: Doc, user: User) -> Doc:
        """The document of a review with its `status` filled in."""
        spec = doc.get("spec") or {}
        match resource.kind:
            case "SelfSubjectReview":
                answer: Doc = {"userInfo": _user_info(user)}
            case "TokenReview":
                answer = self._review_token(spec)
            case "SelfSubjectRulesReview":
                answer = self._review_rules(user, spec.get("namespace", ""))
            case "SelfSubjectAccessReview":
                answer = self._review_access(user, spec)
            case _:
                _check_asked_for(spec)
                answer = self._review_access(_user_in(spec), spec, namespace)
        return doc | {"metadata": {"creationTimestamp": None}, "status": answer}

    def _review_token(self, spec: Doc) -> Doc:
        audiences = spec.get("audiences") or []
        user = self._tokens.user_of(spec.get("token", ""), *([audiences] if audiences else []))
        if user is None:
            return {"user": {}, "error": "[invalid bearer token, token lookup failed]"}
        return {"authenticated": True, "user": _user_info(user), "audiences": audiences or [AUDIENCE]}

    def _review_rules(self, user: User, namespace: str) -> Doc:
        if not namespace:
            raise status.bad_request("no namespace on request")
        unresolved = "" if user.all_powerful else ", ".join(self._authorizer.unresolved(user, namespace))
        rules = self._authorizer.rules_for(user, namespace)
        if user.all_powerful:
            rules = [
                {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
                {"verbs": ["*"], "nonResourceURLs": ["*"]},
            ]
        return {
            "resourceRules": [rule for rule in rules if rule.get("resources")],
            "nonResourceRules": [rule for rule in rules if rule.get("nonResourceURLs")],
            "incomplete": False,
        } | ({"evaluationError": unresolved} if unresolved else {})

    def _review_access(self, user: User, spec: Doc, namespace: str = "") -> Doc:
        _check_question(spec)
        if path := spec.get("nonResourceAttributes"):
            asked = Attributes(verb=path.get("verb", ""), path=path.get("path", ""))
        else:
            given = spec.get("resourceAttributes") or {}
            asked = Attributes(
                verb=given.get("verb", ""),
                group=given.get("group", ""),
                resource=given.get("resource", ""),
                subresource=given.get("subresource", ""),
                namespace=namespace or given.get("namespace", ""),
                name=given.get("name", ""),
            )
        return {"allowed": self._authorizer.allows(user, asked)}


def _check_question(spec: Doc) -> None:
    """Raises 422."""
    if bool(spec.get("resourceAttributes")) == bool(spec.get("nonResourceAttributes")):
        text = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        raise _invalid(fe.invalid_value("spec.resourceAttributes", spec.get("resourceAttributes"), text))


def _check_asked_for(spec: Doc) -> None:
    """Raises 422."""
    if not spec.get("user") and not spec.get("groups"):
        raise _invalid(fe.invalid_value("spec.user", "", "at least one of user or group must be specified"))


def _invalid(wrong: fe.FieldError) -> status.ApiError:
    return status.invalid("authorization.k8s.io", "", "", [wrong])


def _user_info(user: User) -> dict[str, Any]:
    info: dict[str, Any] = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        info["uid"] = user.uid
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra.items()}
    return info


def _user_in(spec: Doc) -> User:
    return User(name=spec.get("user", ""), uid=spec.get("uid", ""), groups=tuple(spec.get("groups") or ()))
