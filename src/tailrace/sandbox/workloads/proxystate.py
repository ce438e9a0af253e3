"""The proxy's own Secret: what containerboot may do with it, and the keys that it keeps there for the operator.

Written after `kube.go` and `settings.go` of containerboot 1.102, `kube/kubeclient` and `kube/authkey`. tailscaled's own
keys are `proxynode`'s; both are written here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Protocol

from tailrace.sandbox.kubernetes.status import ApiError
from tailrace.sandbox.workloads import bootconfig, proxynode

DEVICE_ID, DEVICE_FQDN, DEVICE_IPS = "device_id", "device_fqdn", "device_ips"
REISSUE = "reissue_authkey"
HTTPS_ENDPOINT = "https_endpoint"

Changes = Mapping[str, bytes | None]


class Crash(Exception):
    """The container exits with a failure; `str()` is its last line. No secret is in it."""


class StateSecret(Protocol):
    """The pod's own Secret, as its service account reaches it. Failures are `ApiError`."""

    def get(self) -> dict[str, bytes]: ...

    def patch(self, changes: Changes) -> None:
        """Set keys; None removes one, whether it is there or not."""

    def may(self, verb: str) -> bool:
        """What a SelfSubjectAccessReview about this Secret answers."""
        ...


class Store:
    """What one run of the container reads and writes of its Secret."""

    def __init__(
        self, secret: StateSecret, name: str, *, in_cluster: bool, log: Callable[[str], None]
    ) -> None:
        """Ask for the rights and read what is there. `name` "" is no Secret at all. Raises Crash."""
        self._secret, self._log = secret, log
        self._written: dict[str, bytes | None] = {}
        self.kept = False
        """Whether anything is written: without the right to patch nothing is, and nobody complains."""
        self.data: Mapping[str, bytes] = {}
        if not name:
            return
        setting_up = "error setting up for running on Kubernetes: "
        missing = [verb for verb in ("get", "update") if self._may(verb, name) is False]
        if missing:
            reasons = "\n".join(f"missing {verb} permission on secret {json.dumps(name)}" for verb in missing)
            raise Crash(
                f"{setting_up}some Kubernetes permissions are missing, please check your RBAC configuration: {reasons}"
            )
        self.kept = in_cluster and self._may("patch", name) is True
        try:
            self.data = secret.get()
        except ApiError as error:
            if error.code != 404:
                raise Crash(f"{setting_up}getting Tailscale state Secret {name}: {error}") from error
            if not self._may("create", name):
                raise Crash(
                    f"{setting_up}tailscale state Secret {name} does not exist and we don't have permissions to "
                    "create it."
                ) from error

    def reset(self, pod_uid: str | None, config_key: str | None) -> None:
        """What a start clears. The device's keys stay, so that the operator can still delete the old device; a request
        for another key stays until the configuration holds one."""
        asked = self.data.get(REISSUE)
        changes: dict[str, bytes | None] = {
            "tailscale_capver": str(bootconfig.CAPABILITY_VERSION).encode(),
            HTTPS_ENDPOINT: None,
            "egress-services": None,
            "ingress-config.json": None,
        }
        if pod_uid:
            changes["pod_uid"] = pod_uid.encode()
        if asked is not None and config_key and asked != config_key.encode():
            changes[REISSUE] = None
        self.put("error clearing previous state from Secret", changes)

    def put(self, doing: str, changes: Changes) -> None:
        """Write what this run has not written yet. Raises Crash, which says that it happened while `doing` that."""
        new = {key: value for key, value in changes.items() if (key, value) not in self._written.items()}
        if not self.kept or not new:
            return
        try:
            self._secret.patch(new)
        except ApiError as error:
            raise Crash(f"{doing}: {error}") from error
        self._written |= new

    def forget_device(self) -> None:
        """Another key has come: clear the request and everything that makes this the old device."""
        try:
            profile = self._secret.get().get(proxynode.CURRENT_PROFILE, b"").decode()
            keys = {REISSUE, DEVICE_ID, DEVICE_FQDN, DEVICE_IPS, *proxynode.STATE_KEYS, profile} - {""}
            self._secret.patch(dict.fromkeys(sorted(keys)))
        except ApiError as error:
            self._log(f"Warning: failed to clear reissue request: {error}")

    def _may(self, verb: str, name: str) -> bool | None:
        """None: nobody answered, which containerboot takes for a yes to what it needs and a no to what it likes."""
        try:
            return self._secret.may(verb)
        except ApiError as error:
            self._log(f"error checking {verb} permission on secret {name}: {error}")
            return None
