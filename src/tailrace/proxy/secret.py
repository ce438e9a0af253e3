"""The Secret of a proxy: its configuration (ours) beside its state (containerboot's), and the auth key in between.

The configuration is tailscaled's config file (`ipn.ConfigVAlpha`, "version":"alpha0") under the name that
containerboot looks for, `cap-<N>.hujson`, and in userspace mode a serve configuration. Tags come from the key alone:
the file has no field for them, and Headscale refuses a client that asks for some beside its key.

The auth key is in the file only from minting to login. It never enters a plan: `read` strips it before a decision
sees the Secret, and `put_key` is called by the executor.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from tailrace.api import kube, names
from tailrace.plan import diff
from tailrace.proxy import spec

CONFIG = "cap-107.hujson"
SERVE = "serve-config"
CA = "ca.crt"
REQUEST = "reissue_authkey"  # containerboot's, for another key


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """What a proxy's Secret says, without any secret."""

    secret: kube.ProxySecret  # its configuration without key, for comparing
    has_key: bool  # a key waits in the configuration
    wants_key: bool  # the proxy asked for another key than the one it has (`reissue_authkey`)
    device_id: str
    fqdn: str  # without trailing dot
    addresses: tuple[str, ...]  # IPv4 before IPv6

    def note(self, key: str) -> str:
        """An annotation of ours on the Secret."""
        return self.secret.metadata.annotations.get(key, "")


def read(secret: kube.ProxySecret) -> State:
    """A Secret from the store as facts. What cannot be read counts as absent: the proxy may write anything there."""
    data = secret.data
    config = decode_object(kube.decode_key(data.config))
    key = config.pop("AuthKey", None)
    refused = None if data.reissue_authkey is None else kube.decode_key(data.reissue_authkey)
    stripped = kube.encode_key(encode(config)) if config else ""
    public = msgspec.structs.replace(data, config=stripped, reissue_authkey=None)
    return State(
        secret=msgspec.structs.replace(secret, data=public),
        has_key=bool(key),
        wants_key=refused is not None and (not key or refused == key),
        device_id=kube.decode_key(data.device_id),
        fqdn=kube.decode_key(data.device_fqdn).rstrip("."),
        addresses=read_addresses(kube.decode_key(data.device_ips)),
    )


def read_addresses(text: str) -> tuple[str, ...]:
    """A JSON list of IP addresses, sorted IPv4 first; anything else in it is left out."""
    try:
        values = msgspec.json.decode(text or "[]", type=list[str])
        parsed = [ipaddress.ip_address(value) for value in values]
    except (msgspec.DecodeError, ValueError):
        return ()
    return tuple(str(ip) for ip in sorted(parsed, key=lambda ip: (ip.version, int(ip))))


def decode_object(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        return {}


def encode(value: object) -> str:
    return msgspec.json.encode(value, order="deterministic").decode()


def build_config(proxy: spec.ProxySpec) -> dict[str, Any]:
    """tailscaled's config file without key. Booleans are bare JSON booleans; `Locked` must be false, or the serve
    configuration is refused."""
    config: dict[str, Any] = {
        "Version": "alpha0",
        "Locked": False,
        "Hostname": proxy.hostname,
        "acceptDNS": False,
        "acceptRoutes": proxy.accept_routes,
        "NoStatefulFiltering": True,
    }
    if isinstance(proxy.target, spec.Router):
        config["AdvertiseRoutes"] = list(proxy.target.routes)
        config["AppConnector"] = {"Advertise": proxy.target.app_connector}
    if proxy.image.login_server:
        config["ServerURL"] = proxy.image.login_server
    return config


def build_serve_config(forwards: spec.Forwards) -> dict[str, Any]:
    """The serve configuration that forwards each TCP port (`ipn.ServeConfig`)."""
    tcp: dict[str, Any] = {}
    for forward in forwards.ports:
        host = f"[{forward.host}]" if ":" in forward.host else forward.host
        handler: dict[str, Any] = {"TCPForward": f"{host}:{forward.target}"}
        if forwards.proxy_protocol:
            handler["ProxyProtocol"] = forwards.proxy_protocol
        tcp[str(forward.port)] = handler
    return {"TCP": tcp}


def build_secret(proxy: spec.ProxySpec, *, notes: Mapping[str, str]) -> dict[str, Any]:
    """The Secret without key. `notes` are annotations about keys and refreshes that the decision keeps there."""
    data = {CONFIG: kube.encode_key(encode(build_config(proxy)))}
    if isinstance(proxy.target, spec.Forwards):
        data[SERVE] = kube.encode_key(encode(build_serve_config(proxy.target)))
    if proxy.image.ca_pem:
        data[CA] = kube.encode_key(proxy.image.ca_pem)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": proxy.secret_name,
            "namespace": proxy.namespace,
            "labels": {**proxy.labels, names.SECRET_TYPE: "state"},
            "annotations": {key: value for key, value in notes.items() if value},
        },
        "data": data,
    }


def compute_refresh(manifest: Mapping[str, Any], key_id: str) -> str:
    """Digest of what a running proxy must see soon: the configuration and which key it was given last."""
    return diff.compute_digest([manifest["data"], key_id])


def put_key(manifest: Mapping[str, Any], key: str, key_id: str, refreshed_at: str) -> dict[str, Any]:
    """The Secret with an auth key in its configuration; called where the plan is carried out, never before.

    The digest of what was applied is taken without the key, so that the decision, which never sees one, can compare.
    """
    meta = dict(manifest["metadata"])
    meta["annotations"] = {
        **meta["annotations"],
        names.KEY_ID: key_id,
        names.REFRESH: compute_refresh(manifest, key_id),
        names.REFRESHED_AT: refreshed_at,
    }
    return carry_key(diff.stamp({**manifest, "metadata": meta}), key)


def carry_key(manifest: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The Secret with a key that it already had, annotations untouched; no key leaves it as it is."""
    if not key:
        return dict(manifest)
    config = {**decode_object(kube.decode_key(manifest["data"][CONFIG])), "AuthKey": key}
    return {**manifest, "data": {**manifest["data"], CONFIG: kube.encode_key(encode(config))}}


def find_key(secret: kube.ProxySecret) -> str:
    """The auth key that waits in a Secret, or empty: for carrying it over to a changed configuration."""
    return str(decode_object(kube.decode_key(secret.data.config)).get("AuthKey", ""))
