"""Outages, limits, revoked credentials, counters, and the administrator's hand over HTTP."""

from __future__ import annotations

import asyncio

import httpx2
import pytest

from tailrace.sandbox.controlplane.control import ControlPlane, Options
from tailrace.sandbox.controlplane.faults import Faults
from tests.sandbox.controlplane.talk import Starter, Talk

pytestmark = pytest.mark.anyio

NODES = "/api/v1/node"


def admin(talk: Talk) -> dict[str, str]:
    return {"authorization": f"Bearer {talk.plane.admin_token}"}


async def test_it_refuses_connections_and_comes_back_on_its_port(start: Starter) -> None:
    talk = await start("headscale-0.29")
    node, url = await talk.join("app"), talk.plane.url
    await talk.plane.refuse_connections()
    with pytest.raises(httpx2.TransportError):
        await talk.ask("GET", NODES)
    await talk.plane.accept_connections()
    assert talk.plane.url == url
    assert (await talk.ask("GET", NODES)).json()["nodes"][0]["id"] == node


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_it_answers_a_status_to_everything_until_cleared(start: Starter, status: int) -> None:
    talk = await start("headscale-0.30")
    talk.plane.faults.status, talk.plane.faults.retry_after = status, 7
    reply = await talk.ask("GET", NODES)
    assert (reply.status_code, reply.headers["retry-after"]) == (status, "7")
    talk.plane.faults.clear()
    assert (await talk.ask("GET", NODES)).status_code == 200


async def test_the_next_calls_fail_and_then_no_more(start: Starter) -> None:
    talk = await start("headscale-0.29")
    talk.plane.faults.fail_next(500, times=2)
    assert [(await talk.ask("GET", NODES)).status_code for _ in range(3)] == [500, 500, 200]
    assert talk.plane.faults.turned_away == 2


def test_a_limit_lets_a_burst_through_and_then_so_many_a_second() -> None:
    now = [0.0]
    faults = Faults(rate=2, burst=3, clock=lambda: now[0])
    assert [faults.verdict() for _ in range(4)] == [None, None, None, (429, 1)]
    now[0] = 0.5
    assert [faults.verdict() for _ in range(2)] == [None, (429, 1)]


async def test_calls_are_counted_by_method_and_template(start: Starter) -> None:
    talk = await start("headscale-0.29")
    for id_ in ("1", "2"):
        await talk.ask("GET", f"{NODES}/{id_}")
    await talk.ask("GET", NODES)
    assert talk.plane.faults.calls == {("GET", "/api/v1/node/{id}"): 2, ("GET", NODES): 1}


async def test_minting_is_refused_for_one_tag(start: Starter) -> None:
    talk = await start("headscale-0.29")
    talk.plane.tailnet.refused_tags.add("tag:k8s")
    body = {"aclTags": ["tag:k8s"], "expiration": "2999-01-01T00:00:00Z"}
    reply = await talk.ask("POST", "/api/v1/preauthkey", body)
    assert (reply.status_code, reply.json()["code"]) == (400, 3)


async def test_credentials_are_revoked_and_rotated(start: Starter) -> None:
    talk = await start("headscale-0.30")
    old = talk.plane.credentials["api_key"]
    fresh = talk.plane.rotate_credentials()
    assert (await talk.ask("GET", NODES, credential=old)).status_code == 401
    assert (await talk.ask("GET", NODES, credential=fresh["api_key"])).status_code == 200
    assert await talk.token()


@pytest.mark.parametrize(
    "dialect,names",
    [
        ("tailscale", {"client_id", "client_secret"}),
        ("headscale-0.29", {"api_key"}),
        ("headscale-0.30", {"client_id", "client_secret", "api_key"}),
    ],
)
def test_the_address_book_holds_what_its_dialect_takes(dialect: str, names: set[str]) -> None:
    book = ControlPlane(dialect).address_book()  # type: ignore[arg-type]
    assert set(book["credentials"]) == names  # type: ignore[call-overload]


async def test_an_administrator_moves_devices_and_switches_faults(start: Starter) -> None:
    """The faults do not touch the admin surface itself."""
    talk = await start("tailscale", Options())
    node = await talk.join("app")
    path = f"/sandbox/devices/{node}"
    changed = await talk.http.patch(path, json={"name": "web"}, headers=admin(talk))
    assert changed.json()["name"] == "web"
    await talk.http.put("/sandbox/faults", json={"status": 503}, headers=admin(talk))
    assert (await talk.http.post("/api/v2/oauth/token")).status_code == 503
    listed = (await talk.http.get("/sandbox/devices", headers=admin(talk))).json()["devices"]
    assert [(device["id"], device["online"]) for device in listed] == [(node, True)]
    assert (await talk.http.get("/sandbox/calls", headers=admin(talk))).json()["turnedAway"] == 1
    await talk.http.put("/sandbox/faults", json={}, headers=admin(talk))
    await talk.http.post("/sandbox/credentials/revoke", headers=admin(talk))
    assert (await talk.http.post("/api/v2/oauth/token")).status_code == 401
    fresh = (await talk.http.post("/sandbox/credentials/rotate", headers=admin(talk))).json()["credentials"]
    assert (await talk.http.post("/api/v2/oauth/token", data=fresh)).status_code == 200
    assert (await talk.http.delete(path, headers=admin(talk))).status_code == 200
    assert (await talk.http.delete(path, headers=admin(talk))).status_code == 404


@pytest.mark.parametrize(
    "method,path,body,status",
    [
        ("PUT", "faults", {"no": 1}, 400),
        ("PUT", "faults", "{", 400),
        ("PATCH", "devices/x", {"name": "a"}, 404),
    ],
)
async def test_an_administrator_is_told_what_is_wrong(
    start: Starter, method: str, path: str, body: object, status: int
) -> None:
    talk = await start("tailscale")
    sent = {"content": body} if isinstance(body, str) else {"json": body}
    reply = await talk.http.request(method, f"/sandbox/{path}", headers=admin(talk), **sent)
    assert reply.status_code == status
    assert reply.json()["message"]


async def test_nobody_else_is_an_administrator(start: Starter) -> None:
    talk = await start("headscale-0.29")
    assert (await talk.ask("GET", "/sandbox/devices")).status_code == 401
    assert (await talk.http.get("/sandbox/devices")).status_code == 401


async def test_it_stops_although_a_call_is_under_way(start: Starter) -> None:
    """The caller is cut off; nothing stays behind."""
    talk = await start("headscale-0.29")
    talk.plane.faults.delay = 60
    call = asyncio.create_task(talk.ask("GET", NODES))
    while not talk.plane.faults.calls:
        await asyncio.sleep(0.01)
    await talk.plane.stop()
    with pytest.raises(httpx2.TransportError):
        await call
