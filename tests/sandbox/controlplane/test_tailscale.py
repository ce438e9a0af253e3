"""Tailscale's API v2 as emulated: tokens, scopes, tags, devices, policy, services."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tailrace.sandbox.controlplane import tokens
from tailrace.sandbox.controlplane.control import Options
from tailrace.sandbox.controlplane.records import Federated, LoginRefused
from tests.sandbox.controlplane.talk import Starter

pytestmark = pytest.mark.anyio

KEYS = "/api/v2/tailnet/-/keys"
NO_RIGHT = "calling actor does not have enough permissions to perform this function"


def key(*tags: str, **more: Any) -> dict[str, Any]:
    create = {"reusable": False, "ephemeral": False, "preauthorized": True, "tags": list(tags)}
    return {"keyType": "auth", "capabilities": {"devices": {"create": create}}} | more


async def test_a_token_lives_for_an_hour(start: Starter) -> None:
    clock = [datetime(2026, 1, 1, tzinfo=UTC)]
    talk = await start("tailscale", Options(now=lambda: clock[0]))
    token = await talk.token()
    assert (await talk.ask("GET", KEYS, credential=token)).status_code == 200
    clock[0] += timedelta(hours=1)
    reply = await talk.ask("GET", KEYS, credential=token)
    assert (reply.status_code, reply.json()) == (401, {"message": "API token invalid"})


async def test_a_wrong_secret_and_a_revoked_client_are_refused(start: Starter) -> None:
    talk = await start("tailscale")
    token = await talk.token()
    wrong = {"client_id": talk.plane.credentials["client_id"], "client_secret": "tskey-client-x"}
    reply = await talk.http.post("/api/v2/oauth/token", data=wrong)
    assert (reply.status_code, reply.json()["message"]) == (401, "API token invalid")
    talk.plane.revoke_credentials()
    assert (await talk.ask("GET", KEYS, credential=token)).status_code == 401


@pytest.mark.parametrize(
    "method,path,body",
    [
        ("POST", KEYS, key("tag:k8s")),
        ("GET", "/api/v2/tailnet/-/devices", None),
        ("DELETE", "/api/v2/device/x", None),
        ("GET", "/api/v2/tailnet/-/vip-services", None),
        ("POST", "/api/v2/tailnet/-/acl", {}),
        ("POST", "/api/v2/tailnet/-/dns/nameservers", {"dns": []}),
    ],
)
async def test_every_call_needs_its_scope(start: Starter, method: str, path: str, body: Any) -> None:
    talk = await start("tailscale", Options(scopes=("dns:read",)))
    reply = await talk.ask(method, path, body, credential=await talk.token())
    assert (reply.status_code, reply.json()["message"]) == (403, NO_RIGHT)


async def test_a_write_scope_reads_too_and_a_read_scope_only_reads(start: Starter) -> None:
    talk = await start("tailscale", Options(scopes=("auth_keys", "devices:core:read")))
    token = await talk.token()
    device = f"/api/v2/device/{await talk.join('app')}"
    assert (await talk.ask("GET", KEYS, credential=token)).status_code == 200
    assert (await talk.ask("GET", device, credential=token)).status_code == 200
    assert (await talk.ask("DELETE", device, credential=token)).status_code == 403


@pytest.mark.parametrize(
    "tags,status", [(("tag:k8s",), 200), (("tag:k8s-operator",), 200), (("tag:x",), 400)]
)
async def test_a_client_gives_out_its_own_tags_and_what_they_own(
    start: Starter, tags: tuple[str, ...], status: int
) -> None:
    talk = await start("tailscale")
    reply = await talk.ask("POST", KEYS, key(*tags), credential=await talk.token())
    assert reply.status_code == status
    if status == 400:
        assert reply.json()["message"] == "requested tags [tag:x] are invalid or not permitted"


async def test_a_key_is_single_use_and_its_secret_shows_once(start: Starter) -> None:
    talk = await start("tailscale")
    token = await talk.token()
    made = (await talk.ask("POST", KEYS, key("tag:k8s", expirySeconds=600), credential=token)).json()
    assert made["key"].startswith(f"tskey-auth-{made['id']}-")
    nodes = talk.plane.tailnet.nodes
    nodes.login(auth_key=made["key"], hostname="app", machine_key="one")
    with pytest.raises(LoginRefused, match=f"API key {made['id']} not valid"):
        nodes.login(auth_key=made["key"], hostname="app", machine_key="two")
    shown = (await talk.ask("GET", f"{KEYS}/{made['id']}", credential=token)).json()
    assert shown["invalid"] is True
    assert "key" not in shown
    assert (await talk.ask("DELETE", f"{KEYS}/{made['id']}", credential=token)).status_code == 200
    assert (await talk.ask("GET", KEYS, credential=token)).json() == {"keys": []}


async def test_a_device_has_a_whole_name_two_ids_and_says_whether_it_is_there(start: Starter) -> None:
    talk = await start("tailscale")
    token = await talk.token()
    node = await talk.join("My App")
    device = (await talk.ask("GET", f"/api/v2/device/{node}", credential=token)).json()
    assert device["name"] == f"my-app.{talk.plane.tailnet.base_domain}"
    assert node.startswith("n")
    assert node.endswith("CNTRL")
    assert device["id"].isdecimal()
    assert (device["connectedToControl"], "lastSeen" in device) == (True, False)
    by_legacy = await talk.ask("GET", f"/api/v2/device/{device['id']}", credential=token)
    assert by_legacy.json()["nodeId"] == node
    talk.plane.tailnet.nodes.set_connected(node, False)
    gone = (await talk.ask("GET", f"/api/v2/device/{node}", credential=token)).json()
    assert (gone["connectedToControl"], "lastSeen" in gone) == (False, True)


async def test_a_policy_is_validated_with_200_either_way(start: Starter) -> None:
    talk = await start("tailscale", Options(scopes=("policy_file",)))
    token = await talk.token()
    good = await talk.ask("POST", "/api/v2/tailnet/-/acl/validate", credential=token, content="{}")
    bad = await talk.ask("POST", "/api/v2/tailnet/-/acl/validate", credential=token, content="{bad")
    assert (good.status_code, good.json()) == (200, {})
    assert bad.status_code == 200
    assert bad.json()["message"]


async def test_a_service_is_made_kept_and_removed(start: Starter) -> None:
    talk = await start("tailscale")
    token = await talk.token()
    path = "/api/v2/tailnet/-/vip-services/svc:web"
    assert (await talk.ask("GET", path, credential=token)).status_code == 404
    asked = {"name": "svc:web", "tags": ["tag:k8s"], "ports": ["tcp:443"], "annotations": {"owner": "us"}}
    made = (await talk.ask("PUT", path, asked, credential=token)).json()
    assert len(made["addrs"]) == 2
    assert (await talk.ask("PUT", path, asked, credential=token)).status_code == 400
    assert (
        await talk.ask("PUT", path, asked | {"addrs": made["addrs"]}, credential=token)
    ).status_code == 200
    assert (await talk.ask("DELETE", path, credential=token)).status_code == 200
    assert (await talk.ask("DELETE", path, credential=token)).status_code == 404


@pytest.mark.parametrize(
    "change,status",
    [
        ({}, 200),
        ({"sub": "system:serviceaccount:other:operator"}, 401),
        ({"iss": "https://elsewhere.example"}, 401),
        ({"aud": ["other"]}, 401),
        ({"exp": 1}, 401),
        ({"exp": None}, 401),
    ],
)
async def test_a_workload_identity_is_exchanged_for_a_token(
    start: Starter, change: dict[str, Any], status: int
) -> None:
    """Issuer, subject, audience, expiry and signature all have to fit."""
    talk = await start("tailscale")
    trusted = Federated(
        issuer="https://cluster.example",
        subject="system:serviceaccount:tailscale:*",
        audience="api.tailscale.com/x",
        verify=tokens.hs256(b"shared"),
    )
    client = talk.plane.tailnet.add_client(scopes=("auth_keys",), tags=("tag:k8s",), federated=trusted)
    claims = {
        "iss": "https://cluster.example",
        "sub": "system:serviceaccount:tailscale:operator",
        "aud": ["api.tailscale.com/x"],
        "exp": 32503680000,
    } | change
    for secret, expected in ((b"shared", status), (b"forged", 401)):
        form = {"client_id": client.id, "jwt": tokens.sign_hs256(secret, claims)}
        reply = await talk.http.post("/api/v2/oauth/token-exchange", data=form)
        assert reply.status_code == expected


async def test_dns_is_told_in_parts_and_as_a_whole(start: Starter) -> None:
    talk = await start("tailscale", Options(scopes=("dns",)))
    token, path = await talk.token(), "/api/v2/tailnet/-/dns"
    await talk.ask("POST", f"{path}/nameservers", {"dns": ["10.1.0.53"]}, credential=token)
    split = {"corp.test": ["10.1.0.54"], "gone.test": None}
    put = await talk.ask("PUT", f"{path}/split-dns", split, credential=token)
    assert put.json() == {"corp.test": ["10.1.0.54"]}
    assert (await talk.ask("GET", f"{path}/nameservers", credential=token)).json() == {"dns": ["10.1.0.53"]}
    whole = (await talk.ask("GET", f"{path}/configuration", credential=token)).json()
    assert [found["address"] for found in whole["nameservers"]] == ["10.1.0.53"]
    assert whole["splitDNS"] == {"corp.test": [{"address": "10.1.0.54", "useWithExitNode": False}]}
