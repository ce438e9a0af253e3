"""The hand of whoever runs the sandbox, over HTTP: devices moved behind the operator's back, faults switched.

On the control plane's own listener under `/sandbox/`, JSON in and out, guarded by a bearer token of its own.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tailrace.sandbox.controlplane import web
from tailrace.sandbox.controlplane.faults import ADMIN_PREFIX
from tailrace.sandbox.controlplane.records import Node, Refused, Why

if TYPE_CHECKING:
    from tailrace.sandbox.controlplane.control import ControlPlane


def routes(plane: ControlPlane) -> list[Route]:
    """GET devices, calls; DELETE or PATCH a device; PUT faults; POST credentials/revoke or credentials/rotate."""
    tailnet, faults = plane.tailnet, plane.faults

    def list_devices(_request: Request, _body: Mapping[str, Any]) -> Any:
        return {"devices": [show(node) for node in tailnet.nodes.all()]}

    def delete_device(request: Request, _body: Mapping[str, Any]) -> Any:
        tailnet.delete_node(request.path_params["id"])
        return {}

    def change_device(request: Request, body: Mapping[str, Any]) -> Any:
        node = tailnet.node(request.path_params["id"])
        if "name" in body:
            node = tailnet.rename_node(node.id, body["name"])
        if "tags" in body:
            node = tailnet.tag_node(node.id, body["tags"])
        return show(node)

    def set_faults(_request: Request, body: Mapping[str, Any]) -> Any:
        """What is not named is off."""
        faults.set(body)
        return dict(body)

    def count_calls(_request: Request, _body: Mapping[str, Any]) -> Any:
        calls = {f"{method} {template}": times for (method, template), times in faults.calls.items()}
        return {"calls": calls, "turnedAway": faults.turned_away}

    def revoke(_request: Request, _body: Mapping[str, Any]) -> Any:
        plane.revoke_credentials()
        return {}

    def rotate(_request: Request, _body: Mapping[str, Any]) -> Any:
        return {"credentials": plane.rotate_credentials()}

    def route(method: str, path: str, act: Callable[[Request, Mapping[str, Any]], Any]) -> Route:
        return Route(ADMIN_PREFIX + path, _guarded(plane.admin_token, act), methods=[method])

    return [
        route("GET", "devices", list_devices),
        route("DELETE", "devices/{id}", delete_device),
        route("PATCH", "devices/{id}", change_device),
        route("PUT", "faults", set_faults),
        route("GET", "calls", count_calls),
        route("POST", "credentials/revoke", revoke),
        route("POST", "credentials/rotate", rotate),
    ]


def show(node: Node) -> dict[str, Any]:
    return {
        "id": node.id,
        "name": node.name,
        "fqdn": node.fqdn,
        "hostname": node.hostname,
        "addresses": list(node.addresses),
        "advertisedRoutes": list(node.advertised),
        "approvedRoutes": list(node.approved),
        "appConnector": node.app_connector,
        "tags": list(node.tags),
        "online": node.online,
    }


def _guarded(
    token: str, act: Callable[[Request, Mapping[str, Any]], Any]
) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        given = web.credential_of(request.headers.get("authorization", "")) or ""
        if not hmac.compare_digest(given.encode(), token.encode()):
            return JSONResponse({"message": "the admin token is missing or wrong"}, 401)
        try:
            raw = await request.body()
            body = json.loads(raw) if raw.strip() else {}
            return JSONResponse(act(request, body))
        except Refused as refused:
            return JSONResponse({"message": str(refused)}, 404 if refused.why is Why.UNKNOWN_NODE else 409)
        except ValueError as wrong:
            return JSONResponse({"message": str(wrong)}, 400)

    return answer
