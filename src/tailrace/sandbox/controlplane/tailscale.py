"""Tailscale's API v2, as far as an operator uses it: scopes and tag ownership are enforced, names are whole.

Facts from Tailscale's published API description and from what users quote of its refusals; nothing here was compared with
the hosted service itself. The ones not said anywhere: a rename to a taken name (409 here), and the words of a 404.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, override

from starlette.responses import Response

from tailrace.sandbox.controlplane import policy, tokens, web
from tailrace.sandbox.controlplane.records import Access, AuthKey, Node, Refused, Why
from tailrace.sandbox.controlplane.web import Ask, Endpoint, Refusal, second
from tailrace.sandbox.workloads import hujson

DEFAULT_SECONDS = 90 * 24 * 3600
_DEVICES = "/tailnet/{tailnet}/devices"
_DNS = "/tailnet/{tailnet}/dns"
_KEYS = "/tailnet/{tailnet}/keys"
_SERVICES = "/tailnet/{tailnet}/vip-services"
_HUJSON = "application/hujson"

_WORDS = {
    Why.UNKNOWN_NODE: (404, "not found"),
    Why.UNKNOWN_KEY: (404, "not found"),
    Why.NAME_TAKEN: (409, 'name "{0}" is already in use'),
    Why.NAME_BAD: (400, "invalid name: {0}"),
    Why.ROUTE_BAD: (400, 'invalid route "{0}"'),
    Why.TAG_BAD: (400, "{0}"),
    Why.TAG_UNKNOWN: (400, "requested tags [{0}] are invalid or not permitted"),
    Why.POLICY_BAD: (400, "{0}"),
}


class Tailscale(web.Dialect):
    @override
    def endpoints(self) -> Sequence[Endpoint]:
        def on(method: str, path: str, scope: str, handler: web.Handler) -> Endpoint:
            return Endpoint(method=method, template=f"/api/v2{path}", handler=handler, scope=scope)

        token = Endpoint(method="POST", template="/api/v2/oauth/token", handler=self.token, public=True)
        exchange = Endpoint(
            method="POST", template="/api/v2/oauth/token-exchange", handler=self.exchange, public=True
        )
        return (
            token,
            exchange,
            on("GET", _KEYS, "auth_keys:read", self.list_keys),
            on("POST", _KEYS, "auth_keys", self.create_key),
            on("GET", _KEYS + "/{id}", "auth_keys:read", self.get_key),
            on("DELETE", _KEYS + "/{id}", "auth_keys", self.delete_key),
            on("GET", _DEVICES, "devices:core:read", self.list_devices),
            on("GET", "/device/{id}", "devices:core:read", self.get_device),
            on("DELETE", "/device/{id}", "devices:core", self.delete_device),
            on("POST", "/device/{id}/name", "devices:core", self.rename_device),
            on("POST", "/device/{id}/tags", "devices:core", self.tag_device),
            on("POST", "/device/{id}/authorized", "devices:core", self.authorize_device),
            on("POST", "/device/{id}/key", "devices:core", self.set_device_key),
            on("POST", "/device/{id}/expire", "devices:core", self.expire_device),
            on("GET", "/device/{id}/routes", "devices:routes:read", self.get_routes),
            on("POST", "/device/{id}/routes", "devices:routes", self.set_routes),
            on("GET", "/tailnet/{tailnet}/acl", "policy_file:read", self.get_policy),
            on("POST", "/tailnet/{tailnet}/acl", "policy_file", self.set_policy),
            on("POST", "/tailnet/{tailnet}/acl/validate", "policy_file:read", self.validate_policy),
            on("POST", "/tailnet/{tailnet}/acl/preview", "policy_file:read", self.preview_policy),
            on("GET", "/tailnet/{tailnet}/settings", "feature_settings:read", self.get_settings),
            on("GET", _DNS + "/configuration", "dns:read", self.get_dns),
            on("GET", _DNS + "/nameservers", "dns:read", self.get_nameservers),
            on("POST", _DNS + "/nameservers", "dns", self.set_nameservers),
            on("GET", _DNS + "/split-dns", "dns:read", self.get_split_dns),
            on("PUT", _DNS + "/split-dns", "dns", self.set_split_dns),
            on("GET", _DNS + "/preferences", "dns:read", lambda _: {"magicDNS": True}),
            on("GET", _DNS + "/searchpaths", "dns:read", self.get_search_paths),
            on("GET", _SERVICES, "services:read", self.list_services),
            on("GET", _SERVICES + "/{name}", "services:read", self.get_service),
            on("PUT", _SERVICES + "/{name}", "services", self.put_service),
            on("DELETE", _SERVICES + "/{name}", "services", self.delete_service),
        )

    @override
    def admit(self, credential: str | None) -> Access:
        access = self.tailnet.access(credential or "")
        if access is None:
            raise Refusal(401, "API token invalid")
        return access

    @override
    def check_scope(self, access: Access, endpoint: Endpoint) -> None:
        if endpoint.scope and not access.allows(endpoint.scope):
            raise Refusal(403, "calling actor does not have enough permissions to perform this function")

    @override
    def check_body(self, endpoint: Endpoint, ask: Ask) -> None:
        if endpoint.public or endpoint.template.startswith("/api/v2/tailnet/{tailnet}/acl"):
            return
        try:
            _ = ask.document
        except ValueError as wrong:
            raise Refusal(400, "invalid JSON in the request body") from wrong

    @override
    def refuse(self, refusal: Refusal) -> Response:
        body: dict[str, Any] = {"message": refusal.message}
        if refusal.errors:
            body["data"] = list(refusal.errors)
        return web.Compact(body, refusal.status)

    @override
    def explain(self, refused: Refused, endpoint: Endpoint) -> Refusal:
        status, words = _WORDS[refused.why]
        return Refusal(status, words.format(refused.subject))

    def token(self, ask: Ask) -> Mapping[str, Any]:
        return self._grant(tokens.grant, ask)

    def exchange(self, ask: Ask) -> Mapping[str, Any]:
        return self._grant(tokens.exchange, ask)

    def _grant(self, how: Any, ask: Ask) -> Mapping[str, Any]:
        try:
            said: Mapping[str, Any] = how(self.tailnet, ask)
        except tokens.TokenRefused as refused:
            if refused.error in ("invalid_client", "invalid_grant"):
                raise Refusal(401, "API token invalid") from refused
            raise Refusal(400, refused.description) from refused
        return said

    # Keys

    def list_keys(self, _ask: Ask) -> Mapping[str, Any]:
        """Those that were not deleted."""
        return {"keys": [self._shown(key) for key in self.tailnet.keys.values() if key.revoked is None]}

    def create_key(self, ask: Ask) -> Mapping[str, Any]:
        body = ask.document
        create = body.get("capabilities", {}).get("devices", {}).get("create")
        if not isinstance(create, dict):
            raise Refusal(400, "capabilities.devices.create is required")
        description = str(body.get("description") or "")
        if not re.fullmatch(r"[A-Za-z0-9 -]{0,50}", description):
            raise Refusal(400, "description: at most 50 letters, digits, hyphens and blanks")
        tags = tuple(create.get("tags") or ())
        if not tags and ask.access.client:
            raise Refusal(400, "tailnet-owned auth key must have tags set")
        self._check_tags(ask.access, tags)
        seconds = int(body.get("expirySeconds") or DEFAULT_SECONDS)
        key = self.tailnet.add_key(
            tags=tags,
            expires=self.tailnet.now() + timedelta(seconds=seconds),
            reusable=bool(create.get("reusable")),
            ephemeral=bool(create.get("ephemeral")),
            preauthorized=bool(create.get("preauthorized")),
            description=description,
        )
        return self._shown(key) | {"key": key.secret}

    def get_key(self, ask: Ask) -> Mapping[str, Any]:
        return self._shown(self.tailnet.key_by_id(ask.path["id"]))

    def delete_key(self, ask: Ask) -> Mapping[str, Any]:
        if self.tailnet.key_by_id(ask.path["id"]).revoked is not None:
            raise Refused(Why.UNKNOWN_KEY)
        self.tailnet.revoke_key(ask.path["id"])
        return {}

    def _shown(self, key: AuthKey) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "id": key.id,
            "keyType": "auth",
            "created": second(key.created),
            "description": key.description,
            "capabilities": capabilities(key),
            "tags": list(key.tags),
        }
        if key.expires:
            shown["expires"] = second(key.expires)
        if key.revoked:
            shown["revoked"] = second(key.revoked)
        if not key.usable(self.tailnet.now()):
            shown["invalid"] = True
        return shown

    def _check_tags(self, access: Access, tags: tuple[str, ...]) -> None:
        """A client gives out the tags that it has, or that these own; an API token any that the policy knows."""
        rules = self.tailnet.policy
        bad = [
            tag
            for tag in tags
            if not (rules.may_assign(access.tags, tag) if access.client else rules.knows(tag))
        ]
        if bad:
            raise Refusal(400, f"requested tags [{' '.join(bad)}] are invalid or not permitted")

    # Devices

    def list_devices(self, ask: Ask) -> Mapping[str, Any]:
        everything = ask.query.get("fields") == "all"
        wanted = {name: ask.query[name] for name in ("hostname", "name") if name in ask.query}
        devices = [self._device(node, everything) for node in self.tailnet.nodes.all()]
        found = [device for device in devices if all(device[name] == said for name, said in wanted.items())]
        tag = ask.query.get("tags")
        return {"devices": [device for device in found if tag is None or tag in device.get("tags", ())]}

    def get_device(self, ask: Ask) -> Mapping[str, Any]:
        return self._device(self.tailnet.node(ask.path["id"]), ask.query.get("fields") == "all")

    def delete_device(self, ask: Ask) -> Mapping[str, Any]:
        self.tailnet.delete_node(ask.path["id"])
        return {}

    def rename_device(self, ask: Ask) -> Mapping[str, Any]:
        """Takes a label or a whole name; nothing means: what the hostname gives."""
        name = str(ask.document.get("name") or "").removesuffix(f".{self.tailnet.base_domain}").lower()
        self.tailnet.rename_node(ask.path["id"], name or self.tailnet.node(ask.path["id"]).hostname)
        return {}

    def tag_device(self, ask: Ask) -> Mapping[str, Any]:
        node = self.tailnet.node(ask.path["id"])
        tags = tuple(ask.document.get("tags") or ())
        if not tags and node.tags:
            raise Refusal(400, "tagged device must keep at least one tag")
        self._check_tags(ask.access, tags)
        self.tailnet.tag_node(node.id, tags)
        return {}

    def authorize_device(self, ask: Ask) -> Mapping[str, Any]:
        self.tailnet.authorize_node(ask.path["id"], bool(ask.document.get("authorized")))
        return {}

    def set_device_key(self, ask: Ask) -> Mapping[str, Any]:
        never = bool(ask.document.get("keyExpiryDisabled"))
        later = self.tailnet.now() + timedelta(days=180)
        self.tailnet.expire_node(ask.path["id"], None if never else later)
        return {}

    def expire_device(self, ask: Ask) -> Mapping[str, Any]:
        self.tailnet.expire_node(ask.path["id"], self.tailnet.now())
        return {}

    def get_routes(self, ask: Ask) -> Mapping[str, Any]:
        node = self.tailnet.node(ask.path["id"])
        return {"advertisedRoutes": list(node.advertised), "enabledRoutes": list(node.approved)}

    def set_routes(self, ask: Ask) -> Mapping[str, Any]:
        self.tailnet.approve_routes(ask.path["id"], ask.document.get("routes") or ())
        return self.get_routes(ask)

    def _device(self, node: Node, everything: bool) -> dict[str, Any]:
        """`lastSeen` is absent while the device is connected."""
        shown: dict[str, Any] = {
            "addresses": list(node.addresses),
            "id": node.legacy_id,
            "nodeId": node.id,
            "user": node.user.name if node.user else "admin@tailnet.example",
            "name": node.fqdn,
            "hostname": node.hostname,
            "clientVersion": "1.102.5",
            "updateAvailable": False,
            "os": "linux",
            "created": second(node.created),
            "connectedToControl": node.online,
            "keyExpiryDisabled": bool(node.tags) and node.expiry is None,
            "expires": second(node.expiry or node.created + timedelta(days=180)),
            "authorized": node.authorized,
            "isExternal": False,
            "isEphemeral": self.tailnet.nodes.ephemeral(node),
            "machineKey": node.machine_key,
            "nodeKey": node.node_key,
            "blocksIncomingConnections": False,
        }
        if node.tags:
            shown["tags"] = list(node.tags)
        if not node.online:
            shown["lastSeen"] = second(node.last_seen)
        if everything:
            shown |= {
                "advertisedRoutes": list(node.advertised),
                "enabledRoutes": list(node.approved),
                "clientConnectivity": {"endpoints": list(node.endpoints), "mappingVariesByDestIP": False},
            }
        return shown

    # Policy and settings

    def get_policy(self, ask: Ask) -> Response:
        return show_policy(self, ask)

    def set_policy(self, ask: Ask) -> Response:
        check_match(self, ask)
        self.tailnet.set_policy(ask.raw.decode())
        return show_policy(self, ask)

    def validate_policy(self, ask: Ask) -> Mapping[str, Any]:
        """200 either way: a fault is told in the body."""
        try:
            policy.parse(ask.raw.decode(), headscale=False)
        except ValueError as wrong:
            return {"message": "policy failed to parse", "data": [{"user": "", "errors": [str(wrong)]}]}
        return {}

    def preview_policy(self, ask: Ask) -> Mapping[str, Any]:
        """The text must parse; rules are not evaluated here, so no match is ever told."""
        try:
            policy.parse(ask.raw.decode(), headscale=False)
        except ValueError as wrong:
            raise Refused(Why.POLICY_BAD, str(wrong)) from wrong
        asked = {"type": ask.query.get("type", ""), "previewFor": ask.query.get("previewFor", "")}
        return {"matches": [], **asked}

    # DNS: the parts one by one, and all in one document, where a nameserver is an object

    def get_dns(self, ask: Ask) -> Mapping[str, Any]:
        def show(addresses: Sequence[str]) -> list[dict[str, Any]]:
            return [{"address": address, "useWithExitNode": False} for address in addresses]

        return {
            "nameservers": show(self.tailnet.nameservers),
            "splitDNS": {domain: show(found) for domain, found in self.tailnet.split_dns.items()},
            **self.get_search_paths(ask),
            "preferences": {"overrideLocalDNS": False, "magicDNS": True},
        }

    def get_nameservers(self, _ask: Ask) -> Mapping[str, Any]:
        return {"dns": self.tailnet.nameservers}

    def set_nameservers(self, ask: Ask) -> Mapping[str, Any]:
        self.tailnet.nameservers = [str(address) for address in ask.document.get("dns") or ()]
        return {**self.get_nameservers(ask), "magicDNS": True}

    def get_split_dns(self, _ask: Ask) -> Mapping[str, Any]:
        return self.tailnet.split_dns

    def set_split_dns(self, ask: Ask) -> Mapping[str, Any]:
        """Replaces all of it; a domain without nameservers is none."""
        self.tailnet.split_dns = {domain: list(found) for domain, found in ask.document.items() if found}
        return self.tailnet.split_dns

    def get_search_paths(self, _ask: Ask) -> Mapping[str, Any]:
        return {"searchPaths": [self.tailnet.base_domain]}

    def get_settings(self, _ask: Ask) -> Mapping[str, Any]:
        return {
            "aclsExternallyManagedOn": False,
            "devicesApprovalOn": False,
            "devicesAutoUpdatesOn": False,
            "devicesKeyDurationDays": 180,
            "httpsEnabled": True,
            "networkFlowLoggingOn": False,
            "regionalRoutingOn": False,
        }

    # Services: kept as told, with an address of their own

    def list_services(self, _ask: Ask) -> Mapping[str, Any]:
        return {"vipServices": list(self.tailnet.services.values())}

    def get_service(self, ask: Ask) -> Mapping[str, Any]:
        if ask.path["name"] not in self.tailnet.services:
            raise Refusal(404, "not found")
        return self.tailnet.services[ask.path["name"]]

    def put_service(self, ask: Ask) -> Mapping[str, Any]:
        """Creates or replaces; addresses are given at creation and must be told again afterwards."""
        name, service = ask.path["name"], ask.document
        if not name.startswith("svc:") or service.get("name") not in (None, name):
            raise Refusal(400, "invalid service name")
        known = self.tailnet.services.get(name)
        if known and service.get("addrs") != known["addrs"]:
            raise Refusal(400, "addrs must be those of the existing service")
        self._check_tags(ask.access, tuple(service.get("tags") or ()))
        addrs = known["addrs"] if known else list(self.tailnet.nodes.reserve())
        self.tailnet.services[name] = service | {"name": name, "addrs": addrs}
        return self.tailnet.services[name]

    def delete_service(self, ask: Ask) -> Mapping[str, Any]:
        self.get_service(ask)
        del self.tailnet.services[ask.path["name"]]
        return {}


def capabilities(key: AuthKey) -> dict[str, Any]:
    create = {
        "reusable": key.reusable,
        "ephemeral": key.ephemeral,
        "preauthorized": key.preauthorized,
        "tags": list(key.tags),
    }
    return {"devices": {"create": create}}


def show_policy(dialect: web.Dialect, ask: Ask) -> Response:
    """With its comments by `Accept: application/hujson`, else as plain JSON; the hash as ETag."""
    stored = dialect.tailnet.policy_text
    text = policy.ALLOW_ALL if stored is None else stored
    etag = {"etag": f'"{dialect.tailnet.policy_etag}"'}
    if _HUJSON in ask.headers.get("accept", ""):
        return Response(text, media_type=_HUJSON, headers=etag)
    return Response(json.dumps(hujson.decode(text or "{}")), media_type="application/json", headers=etag)


def check_match(dialect: web.Dialect, ask: Ask) -> None:
    """Raises Refusal (412) when the policy is not the one that the caller read. `ts-default`: none was stored yet."""
    wanted = ask.headers.get("if-match", "").strip('"')
    first = wanted == "ts-default" and dialect.tailnet.policy_text is None
    if wanted and not first and wanted != dialect.tailnet.policy_etag:
        raise Refusal(412, "precondition failed, invalid old hash")
