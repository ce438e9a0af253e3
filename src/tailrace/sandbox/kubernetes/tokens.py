"""Who a bearer token stands for: fixed ones of this sandbox, and those that service accounts are given."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from tailrace.sandbox.kubernetes import status
from tailrace.sandbox.kubernetes.admission import User, service_account
from tailrace.sandbox.kubernetes.core import Core, random_token, timestamp
from tailrace.sandbox.kubernetes.rules import field_errors as fe
from tailrace.sandbox.kubernetes.storage import Doc
from tailrace.sandbox.kubernetes.subresources import check_kind

AUDIENCE = "https://kubernetes.default.svc"
_LIFE, _SHORTEST = timedelta(hours=1), timedelta(minutes=10)
_BINDABLE = ("Pod", "Secret", "Node")
_ACCOUNTS, _PODS = ("", "serviceaccounts"), ("", "pods")


@dataclass(frozen=True, slots=True)
class _Token:
    user: User
    audiences: tuple[str, ...] = (AUDIENCE,)
    expires: datetime | None = None
    account: tuple[str, str, str] | None = None  # namespace, name, uid: gone with it
    pod: tuple[str, str, str] | None = None


class Tokens:
    def __init__(self, core: Core) -> None:
        self._core = core
        self._tokens: dict[str, _Token] = {}

    def add(self, user: User) -> str:
        """A token that ends with the sandbox."""
        token = f"sandbox-{random_token()}"
        self._tokens[token] = _Token(user)
        return token

    def revoke(self, token: str) -> None:
        self._tokens.pop(token, None)

    def request(self, namespace: str, name: str, review: Doc) -> Doc:
        """Answer a TokenRequest for a service account. Raises 404 when there is none."""
        account = self._core.store.get(_ACCOUNTS, (namespace, name))
        if account is None:
            raise status.not_found("", "serviceaccounts", name)
        check_kind(review, "authentication.k8s.io/v1", "TokenRequest")
        spec = review.get("spec") or {}
        seconds = spec.get("expirationSeconds") or int(_LIFE.total_seconds())
        bound = spec.get("boundObjectRef") or {}
        if seconds < _SHORTEST.total_seconds():
            text = "may not specify a duration less than 10 minutes"
            wrong = fe.invalid_value("spec.expirationSeconds", seconds, text)
            raise status.invalid("authentication.k8s.io", "TokenRequest", "", [wrong])
        if bound and bound.get("kind") not in _BINDABLE:
            group, _, version = str(bound.get("apiVersion") or "").rpartition("/")
            kind = bound.get("kind", "")
            raise status.bad_request(f"cannot bind token to object of type {group}/{version}, Kind={kind}")
        pod = None
        if bound.get("kind") == "Pod":
            found = self._core.store.get(_PODS, (namespace, bound.get("name", "")))
            if found is None:
                raise status.not_found("", "pods", bound.get("name", ""))
            pod = (namespace, bound["name"], found.doc["metadata"]["uid"])
        uid = account.doc["metadata"]["uid"]
        expires = self._core.clock() + timedelta(seconds=seconds)
        token = random_token()
        audiences = tuple(spec.get("audiences") or (AUDIENCE,))
        self._tokens[token] = _Token(
            service_account(namespace, name, uid), audiences, expires, (namespace, name, uid), pod
        )
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": name, "namespace": namespace, "creationTimestamp": self._core.now()},
            "spec": {
                "audiences": list(audiences),
                "expirationSeconds": seconds,
                "boundObjectRef": bound or None,
            },
            "status": {"token": token, "expirationTimestamp": timestamp(expires)},
        }

    def user_of(self, token: str, audiences: Iterable[str] = (AUDIENCE,)) -> User | None:
        """None for a token that is unknown, too old, for somebody else, or whose account or pod is gone."""
        known = self._tokens.get(token)
        if known is None or not set(known.audiences) & set(audiences):
            return None
        if known.expires is not None and known.expires <= self._core.clock():
            return None
        for kind, bound in ((_ACCOUNTS, known.account), (_PODS, known.pod)):
            if bound is None:
                continue
            stored = self._core.store.get(kind, bound[:2])
            if stored is None or stored.doc["metadata"]["uid"] != bound[2]:
                return None
        return known.user
