"""Headscale's own API, `/api/v1`, as 0.29 answers (protojson and gRPC's codes) and as 0.30 does (problem documents).

Every odd answer here was seen on a real server. The worst: 500 may mean "not found" or "taken", list calls know more than
get calls, a key without `expiration` is dead on arrival, and `expire` reads the query on 0.29 and the body on 0.30; what it
does not read it ignores, and expires the node at once.
"""

from __future__ import annotations

import functools
import http
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, override

from starlette.responses import PlainTextResponse, Response

from tailrace.sandbox.controlplane import policy, prefixes, protojson, web
from tailrace.sandbox.controlplane.headscale_shapes import (
    TAGGED_DEVICES,
    show_api_key,
    show_key,
    show_user,
)
from tailrace.sandbox.controlplane.records import Access, Node, Refused, Why
from tailrace.sandbox.controlplane.web import Ask, Endpoint, Refusal, stamp

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_EXITS = ("0.0.0.0/0", "::/0")
_INVALID, _UNKNOWN, _NOT_FOUND, _UNIMPLEMENTED, _INTERNAL = 3, 2, 5, 12, 13
_HTTP = {_INVALID: 400, _UNKNOWN: 500, _NOT_FOUND: 404, _UNIMPLEMENTED: 501, _INTERNAL: 500}
_REQUEST_HEAD, _REQUEST_LENGTH = "hskey-authreq-", 38  # of what waits to be registered


@dataclass(frozen=True, slots=True)
class Words:
    """How 0.29 and 0.30 say one refusal: gRPC's code (its HTTP status follows), status, and the sentence of both."""

    grpc: int
    status: int
    message: str


_WORDS = {
    Why.UNKNOWN_NODE: Words(_NOT_FOUND, 404, "node not found"),
    Why.UNKNOWN_KEY: Words(_NOT_FOUND, 404, "auth-key not found"),
    Why.UNKNOWN_USER: Words(_UNKNOWN, 404, "user not found"),
    Why.UNKNOWN_API_KEY: Words(_UNKNOWN, 404, "record not found"),
    Why.USER_EXISTS: Words(
        _INTERNAL,
        409,
        "creating user: creating user: constraint failed: UNIQUE constraint failed: users.name (2067)",
    ),
    Why.USER_HAS_NODES: Words(_UNKNOWN, 409, "user not empty: node(s) found"),
    Why.NAME_TAKEN: Words(_UNKNOWN, 400, "node name is not unique: {0}"),
    Why.NAME_BAD: Words(_UNKNOWN, 400, "renaming node: {0}"),
    Why.ROUTE_BAD: Words(_UNKNOWN, 400, "parsing route: {0}"),
    Why.TAG_BAD: Words(_INVALID, 400, "{0}"),
    Why.TAG_UNKNOWN: Words(_INVALID, 400, "requested tags [{0}] are invalid or not permitted"),
    Why.OWNERLESS_KEY: Words(_UNKNOWN, 400, "auth-key must be either tagged or owned by user"),
    Why.UNKNOWN_REQUEST: Words(_UNKNOWN, 404, "node not found in registration cache"),
    Why.POLICY_READ_ONLY: Words(_UNKNOWN, 400, "update is disabled for modes other than 'database'"),
    Why.POLICY_BAD: Words(_UNKNOWN, 400, "setting policy: parsing policy: {0}"),
}
"""0.29 by default; `_SPECIAL` has what single calls say otherwise."""

_GONE = "node no longer exists in NodeStore: {0}"
_SPECIAL = {
    ("approve_routes", Why.UNKNOWN_NODE): Words(_INVALID, 404, _GONE),
    ("rename_node", Why.UNKNOWN_NODE): Words(_UNKNOWN, 404, _GONE),
    ("expire_node", Why.UNKNOWN_NODE): Words(_UNKNOWN, 404, _GONE),
    ("rename_user", Why.USER_EXISTS): Words(
        _UNKNOWN, 409, "updating user: constraint failed: UNIQUE constraint failed: users.name (2067)"
    ),
    ("register_node", Why.UNKNOWN_USER): Words(_UNKNOWN, 404, "looking up user: user not found"),
    ("pretend_node", Why.ROUTE_BAD): Words(_UNKNOWN, 400, "{0}"),
    ("set_tags", Why.TAG_BAD): Words(_UNKNOWN, 400, "{0}"),
    ("check_policy", Why.POLICY_BAD): Words(_INVALID, 400, "parsing policy: {0}"),
}


class HeadscaleV1(web.Dialect):
    """Both versions; `modern` is 0.30's way."""

    @property
    def modern(self) -> bool:
        return self.tailnet.dialect == "headscale-0.30"

    @override
    def endpoints(self) -> Sequence[Endpoint]:
        def on(method: str, path: str, handler: web.Handler, *fields: str) -> Endpoint:
            return Endpoint(
                method=method, template=f"/api/v1{path}", handler=handler, fields=frozenset(fields)
            )

        return (
            on("GET", "/health", lambda _: {"databaseConnectivity": True}),
            on("GET", "/user", self.list_users),
            on("POST", "/user", self.create_user, "name", "displayName", "email", "pictureUrl"),
            on("DELETE", "/user/{id}", self.delete_user),
            on("POST", "/user/{id}/rename/{name}", self.rename_user),
            on("GET", "/preauthkey", self.list_keys),
            on(
                "POST",
                "/preauthkey",
                self.create_key,
                "user",
                "reusable",
                "ephemeral",
                "expiration",
                "aclTags",
            ),
            on("DELETE", "/preauthkey", self.delete_key),
            on("POST", "/preauthkey/expire", self.expire_key, "id"),
            on("GET", "/node", self.list_nodes),
            on("POST", "/debug/node", self.pretend_node, "user", "key", "name", "routes"),
            on("POST", "/node/register", self.register_node),
            on("GET", "/node/{id}", self.get_node),
            on("DELETE", "/node/{id}", self.delete_node),
            on("POST", "/node/{id}/tags", self.set_tags, "tags"),
            on("POST", "/node/{id}/approve_routes", self.approve_routes, "routes"),
            on("POST", "/node/{id}/rename/{name}", self.rename_node),
            on("POST", "/node/{id}/expire", self.expire_node, "expiry", "disableExpiry"),
            on("GET", "/apikey", self.list_api_keys),
            on("POST", "/apikey", self.create_api_key, "expiration"),
            on("POST", "/apikey/expire", self.expire_api_key, "prefix", "id"),
            on("DELETE", "/apikey/{prefix}", self.delete_api_key),
            on("GET", "/policy", self.get_policy),
            on("PUT", "/policy", self.set_policy, "policy"),
            on("POST", "/policy/check", self.check_policy, "policy"),
            *(on(method, "/{rest:path}", self.no_such_call) for method in _METHODS),
        )

    @override
    def read_credential(self, headers: Mapping[str, str]) -> str | None:
        """0.29 knows `Bearer ` alone, written so."""
        said = headers.get("authorization", "")
        return super().read_credential(headers) if self.modern or said.startswith("Bearer ") else None

    @override
    def admit(self, credential: str | None) -> Access:
        """API keys alone: an OAuth token is a stranger here, as on the real 0.30."""
        access = self.tailnet.access(credential or "")
        if access is None or access.client is not None:
            raise Refusal(401, "Unauthorized")
        return access

    @override
    def check_scope(self, access: Access, endpoint: Endpoint) -> None:
        """An API key may do everything."""

    @override
    def refuse(self, refusal: Refusal) -> Response:
        if self.modern:
            body: dict[str, Any] = {
                "title": http.HTTPStatus(refusal.status).phrase,
                "status": refusal.status,
                "detail": refusal.message,
            }
            if refusal.errors:
                body["errors"] = list(refusal.errors)
            return web.Compact(body, refusal.status, media_type="application/problem+json")
        if refusal.status == 401:
            return PlainTextResponse("Unauthorized", 401)
        return web.Compact({"code": refusal.code, "message": refusal.message, "details": []}, refusal.status)

    @override
    def explain(self, refused: Refused, endpoint: Endpoint) -> Refusal:
        call = getattr(endpoint.handler, "__name__", "")
        return self._no(_SPECIAL.get((call, refused.why)) or _WORDS[refused.why], refused.subject)

    @override
    def call(self, endpoint: Endpoint, ask: Ask) -> Response | Mapping[str, Any]:
        try:
            return endpoint.handler(ask)
        except protojson.Unreadable as wrong:
            raise self._no(Words(_INVALID, 422, "{0}"), str(wrong)) from wrong

    @override
    def check_body(self, endpoint: Endpoint, ask: Ask) -> None:
        """0.29 drops what it does not know; 0.30 refuses it."""
        try:
            document = json.loads(ask.raw) if ask.raw.strip() else {}
        except ValueError as wrong:
            raise self._no(Words(_INVALID, 400, "invalid body: {0}"), str(wrong)) from wrong
        if not isinstance(document, dict):
            raise self._no(Words(_INVALID, 400, "{0}"), str(protojson.syntax_error(document)))
        unknown = (
            sorted(document.keys() - endpoint.fields) if self.modern and endpoint.method != "GET" else []
        )
        if unknown:
            details = [
                {"message": "unexpected property", "location": f"body.{name}", "value": document}
                for name in unknown
            ]
            raise Refusal(422, "validation failed", errors=details)

    def _no(self, words: Words, subject: str = "") -> Refusal:
        message = words.message.format(subject)
        return Refusal(words.status if self.modern else _HTTP[words.grpc], message, code=words.grpc)

    def no_such_call(self, ask: Ask) -> Response:
        """A path that another method has is something else than one that nobody has."""
        if not self.modern and any(path.fullmatch(ask.path["rest"]) for path in self._paths):
            raise self._no(Words(_UNIMPLEMENTED, 405, "Method Not Allowed"))
        raise self._no(Words(_NOT_FOUND, 404, "Not Found"))

    @functools.cached_property
    def _paths(self) -> tuple[re.Pattern[str], ...]:
        templates = (endpoint.template.removeprefix("/api/v1/") for endpoint in self.endpoints())
        return tuple(re.compile(re.sub(r"\{\w+\}", "[^/]*", path)) for path in templates if ":" not in path)

    # Users

    def list_users(self, ask: Ask) -> Mapping[str, Any]:
        """Of several filters the first counts: name, email, id."""
        name, email, number = (ask.query.get(field, "") for field in ("name", "email", "id"))
        wanted = protojson.read_uint(number or "0", 'parsing field "id"')
        found = [
            user
            for user in self.tailnet.users.values()
            if (user.name == name if name else user.email == email if email else wanted in (0, user.number))
        ]
        return {"users": [show_user(user) for user in found]}

    def create_user(self, ask: Ask) -> Mapping[str, Any]:
        body = self._body(ask)
        user = self.tailnet.add_user(
            body.text("name"),
            display_name=body.text("displayName"),
            email=body.text("email"),
            picture=body.text("pictureUrl"),
        )
        return {"user": show_user(user)}

    def rename_user(self, ask: Ask) -> Mapping[str, Any]:
        return {
            "user": show_user(self.tailnet.rename_user(self._path_number(ask, "old_id"), ask.path["name"]))
        }

    def delete_user(self, ask: Ask) -> Mapping[str, Any]:
        self.tailnet.delete_user(self._path_number(ask, "id"))
        return {}

    # Keys

    def create_key(self, ask: Ask) -> Mapping[str, Any]:
        body = self._body(ask)
        number = body.number("user")
        key = self.tailnet.add_key(
            tags=body.texts("aclTags"),
            expires=body.time("expiration"),
            reusable=body.flag("reusable"),
            ephemeral=body.flag("ephemeral"),
            user=self.tailnet.user(number) if number else None,
        )
        return {"preAuthKey": show_key(key) | {"key": key.secret}}

    def list_keys(self, _ask: Ask) -> Mapping[str, Any]:
        return {"preAuthKeys": [show_key(key) for key in self.tailnet.keys.values()]}

    def expire_key(self, ask: Ask) -> Mapping[str, Any]:
        """An unknown one is a success on 0.29."""
        self._forgive(self.tailnet.expire_key, str(self._body(ask).number("id")))
        return {}

    def delete_key(self, ask: Ask) -> Mapping[str, Any]:
        """The id is in the query. An unknown one is a success on 0.29."""
        self._forgive(
            self.tailnet.delete_key, str(protojson.read_uint(ask.query.get("id", "0"), 'parsing field "id"'))
        )
        return {}

    def _forgive(self, act: Any, id_: str) -> None:
        try:
            act(id_)
        except Refused:
            if self.modern:
                raise

    # Nodes

    def list_nodes(self, ask: Ask) -> Mapping[str, Any]:
        owner = self.tailnet.user_named(ask.query["user"]) if ask.query.get("user") else None
        nodes = [
            node
            for node in self.tailnet.nodes.all()
            if owner is None or (node.user is not None and node.user.number == owner.number)
        ]
        return {"nodes": [self._listed(node) for node in nodes]}

    def pretend_node(self, ask: Ask) -> Mapping[str, Any]:
        """A node without a client, for tests. The answer is an echo: there is no node before it is registered, and the
        routes are forgotten until then."""
        body = self._body(ask)
        user = self.tailnet.user_named(body.text("user"))
        routes = body.texts("routes")
        for route in routes:
            if fault := prefixes.fault(route):
                raise Refused(Why.ROUTE_BAD, fault)
        made = self.tailnet.pretend_node(self._request(body.text("key")), body.text("name"))
        echo: dict[str, Any] = {
            "id": "0",
            "machineKey": made.machine_key,
            "nodeKey": made.node_key,
            "discoKey": f"discokey:{'0' * 64}",
            "ipAddresses": [],
            "name": made.hostname,
            "user": show_user(user),
            "lastSeen": stamp(None),
            "expiry": stamp(None),
            "preAuthKey": None,
            "createdAt": stamp(None),
            "registerMethod": "REGISTER_METHOD_UNSPECIFIED",
            "givenName": "",
            "online": False,
            "approvedRoutes": [],
            "availableRoutes": list(routes),
            "subnetRoutes": [],
            "tags": [],
        }
        return {"node": echo}

    def register_node(self, ask: Ask) -> Mapping[str, Any]:
        request = self._request(ask.query.get("key", ""))
        user = self.tailnet.user_named(ask.query.get("user", ""))
        return {"node": self._shown(self.tailnet.register_node(request, user))}

    def _request(self, text: str) -> str:
        if not text.startswith(_REQUEST_HEAD):
            said = f'auth ID has invalid prefix: expected prefix "{_REQUEST_HEAD}"'
            raise self._no(Words(_UNKNOWN, 400, "{0}"), said)
        if len(text) != _REQUEST_LENGTH:
            said = f"auth ID has invalid length: expected {_REQUEST_LENGTH}, got {len(text)}"
            raise self._no(Words(_UNKNOWN, 400, "{0}"), said)
        return text

    def get_node(self, ask: Ask) -> Mapping[str, Any]:
        return {"node": self._shown(self.tailnet.node(str(self._path_number(ask))))}

    def delete_node(self, ask: Ask) -> Mapping[str, Any]:
        self.tailnet.delete_node(str(self._path_number(ask)))
        return {}

    def set_tags(self, ask: Ask) -> Mapping[str, Any]:
        number, tags = self._path_number(ask), self._body(ask).texts("tags")
        if not tags:
            raise self._no(
                Words(
                    _INVALID,
                    400,
                    "cannot remove all tags from a node - tagged nodes must have at least one tag",
                )
            )
        return {"node": self._shown(self.tailnet.tag_node(str(number), tags))}

    def approve_routes(self, ask: Ask) -> Mapping[str, Any]:
        number, routes = self._path_number(ask), self._body(ask).texts("routes")
        for route in routes:
            if fault := prefixes.fault(route):
                raise Refused(Why.ROUTE_BAD, fault)
        node = self.tailnet.approve_routes(str(number), routes)
        return {"node": self._shown(node) | {"subnetRoutes": list(self.tailnet.serving(node))}}

    def rename_node(self, ask: Ask) -> Mapping[str, Any]:
        name = ask.path["name"]
        try:
            node = self.tailnet.rename_node(str(self._path_number(ask)), name)
        except Refused as refused:
            if refused.why is Why.NAME_BAD:
                raise Refused(
                    Why.NAME_BAD, f'"{name}" is not a valid DNS label: {refused.subject}'
                ) from refused
            raise
        return {"node": self._shown(node)}

    def expire_node(self, ask: Ask) -> Mapping[str, Any]:
        """0.29 reads the query and ignores the body, 0.30 the other way round; nothing read means: now."""
        number = str(self._path_number(ask))
        if self.modern:
            never, asked = bool(ask.document.get("disableExpiry")), ask.document.get("expiry")
            until = protojson.parse_time(str(asked)) if asked else None
        else:
            never, until = (
                protojson.read_flag(ask.query, "disable_expiry"),
                protojson.read_time(ask.query, "expiry"),
            )
        if never and until:
            raise self._no(Words(_INVALID, 400, "cannot set both disable_expiry and expiry"))
        when = None if never else until or self.tailnet.now()
        return {"node": self._shown(self.tailnet.expire_node(number, when))}

    def _listed(self, node: Node) -> dict[str, Any]:
        """The list alone knows who is primary for which route, and the synthetic owner of tagged nodes."""
        exits = [route for route in node.advertised if route in node.approved and route in _EXITS]
        extra: dict[str, Any] = {"subnetRoutes": [*self.tailnet.serving(node), *exits]}
        return self._shown(node) | extra | ({"user": TAGGED_DEVICES} if node.tags else {})

    def _shown(self, node: Node) -> dict[str, Any]:
        key = self.tailnet.keys.get(node.key_number) if node.key_number is not None else None
        return {
            "id": node.id,
            "machineKey": node.machine_key,
            "nodeKey": node.node_key,
            "discoKey": "discokey:" + node.node_key.removeprefix("nodekey:")[::-1],
            "ipAddresses": list(node.addresses),
            "name": node.hostname,
            "user": show_user(node.user) if node.user else None,
            "lastSeen": stamp(node.last_seen),
            "expiry": stamp(node.expiry) if node.expiry else None,
            "preAuthKey": show_key(key) if key else None,
            "createdAt": stamp(node.created),
            "registerMethod": f"REGISTER_METHOD_{'CLI' if node.key_number is None else 'AUTH_KEY'}",
            "givenName": node.name,
            "online": node.online,
            "approvedRoutes": list(node.approved),
            "availableRoutes": list(node.advertised),
            "subnetRoutes": [],
            "tags": list(node.tags),
        }

    # API keys

    def list_api_keys(self, _ask: Ask) -> Mapping[str, Any]:
        return {"apiKeys": [show_api_key(key) for key in self.tailnet.api_keys.values()]}

    def create_api_key(self, ask: Ask) -> Mapping[str, Any]:
        return {"apiKey": self.tailnet.add_api_key(expires=self._body(ask).time("expiration")).secret}

    def expire_api_key(self, ask: Ask) -> Mapping[str, Any]:
        body = self._body(ask)
        prefix, number = body.text("prefix"), body.number("id")
        if prefix and number:
            raise self._no(Words(_INVALID, 400, "provide either id or prefix, not both"))
        if not prefix and not number:
            raise self._no(Words(_INVALID, 400, "must provide id or prefix"))
        key = self.tailnet.api_key(prefix=prefix) if prefix else self.tailnet.api_key(number=number)
        self.tailnet.expire_api_key(key)
        return {}

    def delete_api_key(self, ask: Ask) -> Mapping[str, Any]:
        del self.tailnet.api_keys[self.tailnet.api_key(prefix=ask.path["prefix"]).number]
        return {}

    # Policy

    def get_policy(self, _ask: Ask) -> Mapping[str, Any]:
        if self.tailnet.policy_text is None:
            missing = "acl policy not found"
            raise self._no(
                Words(_UNKNOWN, 500, missing if self.modern else f"loading ACL from database: {missing}")
            )
        updated = None if self.tailnet.policy_in_file else stamp(self.tailnet.policy_updated)
        return {"policy": self.tailnet.policy_text, "updatedAt": updated}

    def set_policy(self, ask: Ask) -> Mapping[str, Any]:
        self.tailnet.set_policy(self._body(ask).text("policy"))
        return self.get_policy(ask)

    def check_policy(self, ask: Ask) -> Mapping[str, Any]:
        try:
            policy.parse(self._body(ask).text("policy"), headscale=True)
        except ValueError as wrong:
            raise Refused(Why.POLICY_BAD, str(wrong)) from wrong
        return {}

    # Reading what was sent

    def _body(self, ask: Ask) -> protojson.Body:
        return protojson.Body(ask.document)

    def _path_number(self, ask: Ask, name: str = "node_id") -> int:
        return protojson.read_uint(ask.path["id"], f"type mismatch, parameter: {name}, error")
