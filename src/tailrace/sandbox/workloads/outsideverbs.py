"""The world outside the cluster, for whoever runs the sandbox: its part of `/sandbox/` on the API server, JSON in and out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tailrace.sandbox.controlplane import admin
from tailrace.sandbox.workloads.outside import Device, Outside
from tailrace.sandbox.workloads.paths import INTERNET

Body = Mapping[str, Any]
_JOIN = {"hostname", "tags", "routes", "exitNode", "lan", "http", "udp"}
_CHANGE = {"online", "routes", "acceptRoutes", "useExitNode"}
_HOST = {"ip", "lan", "name", "http", "udp"}
_FETCH = {"host", "port", "path"}


def build(outside: Outside) -> dict[tuple[str, str], Callable[..., Any]]:
    """Verbs by method and path, as `ApiServer.admin` has them. What is wrong with a body is a ValueError."""

    def join(body: Body) -> Body:
        _check(body, _JOIN, "hostname")
        device = outside.join(
            body["hostname"],
            tags=body.get("tags", ()),
            routes=body.get("routes", ()),
            exit_node=bool(body.get("exitNode")),
            lan=body.get("lan", ""),
            http=body.get("http", (80,)),
            udp=body.get("udp", ()),
        )
        return show(device)

    def change(name: str, body: Body) -> Body:
        _check(body, _CHANGE)
        device = outside.get(name)
        if (online := body.get("online")) is not None:
            device.connect() if online else device.disconnect()
        if (routes := body.get("routes")) is not None:
            device.advertise(routes)
        device.accept_routes = bool(body.get("acceptRoutes", device.accept_routes))
        device.exit_node = body.get("useExitNode", device.exit_node)
        return show(device)

    def remove(name: str, _body: Body) -> None:
        outside.get(name).remove()

    async def fetch(name: str, body: Body) -> Body:
        _check(body, _FETCH, "host")
        code, text = await outside.get(name).fetch(body["host"], body.get("port", 80), body.get("path", "/"))
        return {"status": code, "body": text.decode(errors="replace")}

    def host(body: Body) -> None:
        _check(body, _HOST, "ip")
        outside.host(
            body["ip"],
            lan=body.get("lan", INTERNET),
            name=body.get("name", ""),
            http=body.get("http", (80,)),
            udp=body.get("udp", ()),
        )

    return {
        ("POST", "devices"): join,
        ("PUT", "devices/*"): change,
        ("DELETE", "devices/*"): remove,
        ("POST", "devices/*/fetch"): fetch,
        ("POST", "hosts"): host,
    }


def show(device: Device) -> dict[str, Any]:
    settings = {"acceptRoutes": device.accept_routes, "useExitNode": device.exit_node}
    return admin.show(device.node) | settings


def _check(body: Body, known: set[str], needed: str = "") -> None:
    if unknown := sorted(body.keys() - known):
        raise ValueError(f"unknown field {unknown[0]}")
    if needed and not body.get(needed):
        raise ValueError(f"{needed} is missing")
