"""All that a decision about one Tailnet may know. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from tailrace.api import kube
from tailrace.api.tailnet import Tailnet
from tailrace.tailnet import identity
from tailrace.tailnet.port import Probe

CA = "ca.crt"
"""Key of the Secret with a private CA of the control plane, in PEM form."""


class CredentialSecret(kube.Object, frozen=True, kw_only=True):
    """A Secret that a Tailnet names."""

    data: dict[str, str] = msgspec.field(default_factory=dict)

    def __repr__(self) -> str:
        return f"CredentialSecret({self.metadata.name!r})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The Secret, as far as it is known."""

    known: bool = True  # it was looked for
    trouble: str = ""  # why it could not be looked for
    keys: Mapping[str, str] | None = field(default=None, repr=False)  # None: it does not exist
    ca_problem: str = ""  # why its CA bundle is none

    def explain(self, name: str, namespace: str) -> str:
        """Why it is of no use, in the official operator's words where it has some; "" when it is complete, or not
        known yet."""
        if not self.known:
            return f'Secret "{name}" in namespace "{namespace}" cannot be read: {self.trouble}' * bool(
                self.trouble
            )
        if self.keys is None:
            return f'referenced secret "{name}" does not exist in namespace "{namespace}"'
        try:
            identity.choose_keys(self.keys, where=f'Secret "{name}"')
        except identity.Unauthenticated as error:
            return str(error)
        return f'{CA} of Secret "{name}" is of no use: {self.ca_problem}' if self.ca_problem else ""


def decode_keys(secret: CredentialSecret | None) -> dict[str, str] | None:
    """The Secret's keys as text."""
    return None if secret is None else {key: kube.decode_key(value) for key, value in secret.data.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """`probe` is what the control plane last said to this credential, None when it was not asked; `list_age` the
    seconds since the devices were last listed, None when they never were."""

    name: str
    namespace: str  # the operator's
    tailnet: Tailnet | None
    secret: Found = Found()
    probe: Probe | None = None
    list_age: float | None = None
    users: tuple[str, ...] = ()  # such as `Service demo/web`
    now: datetime
