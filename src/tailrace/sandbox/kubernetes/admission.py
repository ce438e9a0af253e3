"""Who asks, and what is asked at admission: the values that plug-ins such as pod security judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tailrace.sandbox.kubernetes.resources import Resource


@dataclass(frozen=True, kw_only=True, slots=True)
class User:
    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    @property
    def all_powerful(self) -> bool:
        return "system:masters" in self.groups


ADMIN = User(name="kubernetes-admin", groups=("system:masters", "system:authenticated"))
ANONYMOUS = User(name="system:anonymous", groups=("system:unauthenticated",))


def service_account(namespace: str, name: str, uid: str = "") -> User:
    """The user that a service account's token stands for."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return User(name=f"system:serviceaccount:{namespace}:{name}", uid=uid, groups=groups)


@dataclass(frozen=True, kw_only=True, slots=True)
class AdmissionRequest:
    operation: Literal["CREATE", "UPDATE", "DELETE"]
    resource: Resource
    namespace: str
    name: str
    object: dict[str, Any] | None
    old: dict[str, Any] | None
    user: User
    subresource: str = ""
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class AdmissionReply:
    """`refusal` is the text after `… is forbidden: `; warnings become `Warning:` headers."""

    refusal: str = ""
    warnings: tuple[str, ...] = ()


Plugin = Callable[[AdmissionRequest], AdmissionReply | None]
