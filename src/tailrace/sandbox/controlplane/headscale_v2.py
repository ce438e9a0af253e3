"""Headscale's `/api/v2` (0.30): Tailscale's shapes, its own strictness. Answers as a real server gave them.

Required fields make 422, the tailnet must be `-`, a device's `name` is the bare label, nothing says "online" (`lastSeen` is
absent while connected), a missing scope is named, a deleted key stays listed. No services, no DNS, no validation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, override

from starlette.responses import Response

from tailrace.sandbox.controlplane import tokens, web
from tailrace.sandbox.controlplane.records import Access, AuthKey, Node, Refused, Why
from tailrace.sandbox.controlplane.tailscale import DEFAULT_SECONDS, capabilities, check_match, show_policy
from tailrace.sandbox.controlplane.web import Ask, Endpoint, Refusal, second

_KEYS = "/tailnet/{tailnet}/keys"
_CREATE = ("reusable", "ephemeral", "preauthorized", "tags")
_WORDS = {
    Why.UNKNOWN_NODE: (404, "device not found"),
    Why.UNKNOWN_KEY: (404, "key not found"),
    Why.NAME_TAKEN: (400, "renaming device"),
    Why.NAME_BAD: (400, "renaming device"),
    Why.ROUTE_BAD: (400, "parsing route"),
    Why.TAG_BAD: (400, "{0}"),
    Why.TAG_UNKNOWN: (400, "tag {0} is not defined in policy"),
    Why.OWNERLESS_KEY: (400, "auth-key must be either tagged or owned by user"),
    Why.POLICY_BAD: (400, "setting policy"),
}
_DETAILS = {
    Why.NAME_TAKEN: "node name is not unique: {0}",
    Why.NAME_BAD: "{0}",
    Why.ROUTE_BAD: "netip.ParsePrefix(\"{0}\"): no '/'",
    Why.POLICY_BAD: "parsing policy: {0}",
}


class HeadscaleV2(web.Dialect):
    @override
    def endpoints(self) -> Sequence[Endpoint]:
        def on(method: str, path: str, scope: str, handler: web.Handler, *fields: str) -> Endpoint:
            return Endpoint(
                method=method,
                template=f"/api/v2{path}",
                handler=handler,
                scope=scope,
                fields=frozenset(fields),
            )

        key_fields = ("keyType", "description", "expirySeconds", "capabilities")
        token = Endpoint(method="POST", template="/api/v2/oauth/token", handler=self.token, public=True)
        return (
            token,
            on("GET", _KEYS, "auth_keys:read", self.list_keys),
            on("POST", _KEYS, "auth_keys", self.create_key, *key_fields),
            on("GET", _KEYS + "/{id}", "auth_keys:read", self.get_key),
            on("DELETE", _KEYS + "/{id}", "auth_keys", self.delete_key),
            on("GET", "/tailnet/{tailnet}/devices", "devices:core:read", self.list_devices),
            on("GET", "/device/{id}", "devices:core:read", self.get_device),
            on("DELETE", "/device/{id}", "devices:core", self.delete_device),
            on("POST", "/device/{id}/name", "devices:core", self.rename_device, "name"),
            on("POST", "/device/{id}/tags", "devices:core", self.tag_device, "tags"),
            on("POST", "/device/{id}/authorized", "devices:core", self.authorize_device, "authorized"),
            on("POST", "/device/{id}/key", "devices:core", self.set_device_key, "keyExpiryDisabled"),
            on("GET", "/device/{id}/routes", "devices:routes:read", self.get_routes),
            on("POST", "/device/{id}/routes", "devices:routes", self.set_routes, "routes"),
            on("GET", "/tailnet/{tailnet}/acl", "policy_file:read", self.get_policy),
            on("POST", "/tailnet/{tailnet}/acl", "policy_file", self.set_policy),
            on("GET", "/tailnet/{tailnet}/settings", "feature_settings:read", self.get_settings),
            on("GET", "/tailnet/{tailnet}/users", "users:read", self.list_users),
        )

    @override
    def admit(self, credential: str | None) -> Access:
        access = self.tailnet.access(credential or "")
        if access is None:
            raise Refusal(401, "unauthorized")
        return access

    @override
    def check_scope(self, access: Access, endpoint: Endpoint) -> None:
        if endpoint.scope and not access.allows(endpoint.scope):
            raise Refusal(403, f"token is missing the required scope {endpoint.scope}")

    @override
    def check_body(self, endpoint: Endpoint, ask: Ask) -> None:
        if ask.path.get("tailnet", "-") != "-":
            raise Refusal(404, "tailnet not found")
        if endpoint.public or endpoint.template.endswith("/acl"):
            return
        try:
            unknown = sorted(ask.document.keys() - endpoint.fields) if endpoint.method == "POST" else []
        except ValueError as wrong:
            raise Refusal(400, "invalid JSON in the request body") from wrong
        if unknown:
            raise _invalid([f"unexpected property (body.{name})" for name in unknown])

    @override
    def refuse(self, refusal: Refusal) -> Response:
        body: dict[str, Any] = {"message": refusal.message}
        if refusal.errors:
            body["data"] = [{"errors": list(refusal.errors)}]
        return web.Compact(
            body | {"status": refusal.status}, refusal.status, media_type="application/problem+json"
        )

    @override
    def explain(self, refused: Refused, endpoint: Endpoint) -> Refusal:
        status, message = _WORDS[refused.why]
        detail = _DETAILS.get(refused.why)
        details = [detail.format(refused.subject)] if detail else []
        return Refusal(status, message.format(refused.subject), errors=details)

    def token(self, ask: Ask) -> Mapping[str, Any] | Response:
        try:
            return tokens.grant(self.tailnet, ask)
        except tokens.TokenRefused as refused:
            said = {"error": refused.error, "error_description": refused.description}
            return web.Compact(said, 401 if refused.error == "invalid_client" else 400)

    # Keys

    def list_keys(self, _ask: Ask) -> Mapping[str, Any]:
        """Also those of `/api/v1`, and the dead ones, marked `invalid`."""
        return {"keys": [self._shown(key) for key in self.tailnet.keys.values()]}

    def create_key(self, ask: Ask) -> Mapping[str, Any]:
        body = ask.document
        create = body.get("capabilities", {}).get("devices", {}).get("create", {})
        where = "body.capabilities.devices.create"
        faults = [
            f"expected required property {name} to be present ({where})"
            for name in _CREATE
            if name not in create
        ]
        faults += [f"unexpected property ({where}.{name})" for name in sorted(create.keys() - set(_CREATE))]
        description = body.get("description") or ""
        if len(description) > 50:
            faults.append("expected length <= 50 (body.description)")
        if faults:
            raise _invalid(faults)
        tags = tuple(create["tags"] or ())
        if not tags and ask.access.client:
            raise Refusal(403, "an OAuth client must create tagged auth keys")
        self._check_tags(ask.access, tags)
        seconds = int(body.get("expirySeconds") or DEFAULT_SECONDS)
        key = self.tailnet.add_key(
            tags=tags,
            expires=self.tailnet.now() + timedelta(seconds=seconds),
            reusable=create["reusable"],
            ephemeral=create["ephemeral"],
            preauthorized=create["preauthorized"],
            description=description,
        )
        return self._shown(key) | {"key": key.secret}

    def get_key(self, ask: Ask) -> Mapping[str, Any]:
        return self._shown(self.tailnet.key_by_id(ask.path["id"]))

    def delete_key(self, ask: Ask) -> Mapping[str, Any]:
        """A revocation: the row stays for a while. Twice is no error."""
        self.tailnet.revoke_key(ask.path["id"])
        return {}

    def _shown(self, key: AuthKey) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "id": key.id,
            "keyType": "auth",
            "description": key.description,
            "created": second(key.created),
            "expires": web.stamp(key.expires),
            "capabilities": capabilities(key),
        }
        if key.revoked:
            shown["revoked"] = second(key.revoked)
        if not key.usable(self.tailnet.now()):
            shown["invalid"] = True
        return shown

    def _check_tags(self, access: Access, tags: tuple[str, ...]) -> None:
        """Each must stand in the policy, and be the token's own or owned by one of its own."""
        for tag in tags:
            if not self.tailnet.policy.knows(tag):
                raise Refused(Why.TAG_UNKNOWN, tag)
            if access.client and not self.tailnet.policy.may_assign(access.tags, tag):
                raise Refusal(403, f"token may not assign tag {tag}")

    # Devices

    def list_devices(self, ask: Ask) -> Mapping[str, Any]:
        everything = ask.query.get("fields") == "all"
        return {"devices": [self._device(node, everything) for node in self.tailnet.nodes.all()]}

    def get_device(self, ask: Ask) -> Mapping[str, Any]:
        return self._device(self.tailnet.node(ask.path["id"]), ask.query.get("fields") == "all")

    def delete_device(self, ask: Ask) -> Mapping[str, Any]:
        self.tailnet.delete_node(ask.path["id"])
        return {}

    def rename_device(self, ask: Ask) -> Mapping[str, Any]:
        self.tailnet.rename_node(ask.path["id"], str(ask.document.get("name") or ""))
        return {}

    def tag_device(self, ask: Ask) -> Mapping[str, Any]:
        """No tags: nothing happens."""
        node = self.tailnet.node(ask.path["id"])
        tags = tuple(ask.document.get("tags") or ())
        if tags:
            self._check_tags(ask.access, tags)
            self.tailnet.tag_node(node.id, tags)
        return {}

    def authorize_device(self, ask: Ask) -> Mapping[str, Any]:
        self.tailnet.node(ask.path["id"])
        if not ask.document.get("authorized"):
            raise Refusal(400, "devices cannot be deauthorized")
        return {}

    def set_device_key(self, ask: Ask) -> Mapping[str, Any]:
        """Acts on true alone."""
        self.tailnet.node(ask.path["id"])
        if ask.document.get("keyExpiryDisabled"):
            self.tailnet.expire_node(ask.path["id"], None)
        return {}

    def get_routes(self, ask: Ask) -> Mapping[str, Any]:
        node = self.tailnet.node(ask.path["id"])
        return {"advertisedRoutes": list(node.advertised), "enabledRoutes": list(node.approved)}

    def set_routes(self, ask: Ask) -> Mapping[str, Any]:
        self.tailnet.approve_routes(ask.path["id"], ask.document.get("routes") or ())
        return self.get_routes(ask)

    def _device(self, node: Node, everything: bool) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "addresses": list(node.addresses),
            "name": node.name,
            "id": node.id,
            "nodeId": node.id,
            "authorized": True,
            "user": node.user.name if node.user else "tagged-devices",
            "tags": list(node.tags),
            "keyExpiryDisabled": node.expiry is None,
            "created": second(node.created),
            "expires": web.stamp(node.expiry),
            "hostname": node.hostname,
            "isEphemeral": self.tailnet.nodes.ephemeral(node),
            "machineKey": node.machine_key,
            "nodeKey": node.node_key,
            "os": "linux",
            "clientVersion": "1.102.5",
            "updateAvailable": False,
        }
        if not node.online:
            shown["lastSeen"] = second(node.last_seen)
        if everything and node.advertised:
            shown["advertisedRoutes"] = list(node.advertised)
        if everything and node.approved:
            shown["enabledRoutes"] = list(node.approved)
        return shown

    # Policy, settings, users

    def get_policy(self, ask: Ask) -> Response:
        """A default document where none is stored, unlike v1."""
        return show_policy(self, ask)

    def set_policy(self, ask: Ask) -> Response:
        check_match(self, ask)
        self.tailnet.set_policy(ask.raw.decode())
        return show_policy(self, ask)

    def get_settings(self, _ask: Ask) -> Mapping[str, Any]:
        return {
            "aclsExternallyManagedOn": False,
            "devicesApprovalOn": False,
            "devicesKeyDurationDays": 0,
            "httpsEnabled": False,
        }

    def list_users(self, _ask: Ask) -> Mapping[str, Any]:
        users = [
            {"id": str(user.number), "loginName": user.name, "displayName": user.display_name}
            for user in self.tailnet.users.values()
        ]
        return {"users": users}


def _invalid(faults: Sequence[str]) -> Refusal:
    return Refusal(422, "validation failed", errors=faults)
