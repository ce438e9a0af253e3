"""Headscale's answers, oddities included, as they were seen on real servers."""

from __future__ import annotations

from typing import Any

import pytest

from tailrace.sandbox.controlplane.control import Options
from tailrace.sandbox.controlplane.records import LoginRefused
from tests.sandbox.controlplane.talk import Starter, Talk

pytestmark = pytest.mark.anyio

FUTURE = "2999-01-01T00:00:00Z"
KEY = {"aclTags": ["tag:k8s"], "expiration": FUTURE}
V2_KEYS = "/api/v2/tailnet/-/keys"

# method, path, body, then status and message of 0.29 and of 0.30 (None: success)
REFUSALS: list[tuple[str, str, Any, tuple[int, str | None], tuple[int, str | None]]] = [
    ("GET", "/node/99", None, (404, "node not found"), (404, "node not found")),
    ("DELETE", "/node/99", None, (404, "node not found"), (404, "node not found")),
    ("POST", "/node/99/tags", {"tags": ["tag:k8s"]}, (404, "node not found"), (404, "node not found")),
    ("POST", "/node/99/rename/x", None, (500, "no longer exists"), (404, "no longer exists")),
    ("POST", "/node/99/expire", None, (500, "no longer exists"), (404, "no longer exists")),
    ("POST", "/node/99/approve_routes", {"routes": []}, (400, "no longer exists"), (404, "no longer exists")),
    ("POST", "/node/99/approve_routes", {"routes": ["zz"]}, (500, "parsing route"), (400, "parsing route")),
    ("POST", "/node/99/tags", {"tags": []}, (400, "cannot remove all tags"), (400, "cannot remove all")),
    ("POST", "/node/99/tags", {"tags": ["nope"]}, (500, "must start with"), (400, "must start with")),
    ("POST", "/node/99/rename/Bad_Name", None, (500, "invalid character '_'"), (400, "invalid character")),
    ("GET", "/node/abc", None, (400, "type mismatch, parameter: node_id"), (422, "type mismatch")),
    ("GET", "/node?user=nobody", None, (500, "user not found"), (404, "user not found")),
    ("POST", "/preauthkey", {}, (500, "either tagged or owned by user"), (400, "either tagged or owned")),
    ("POST", "/preauthkey", {"user": "99"}, (500, "user not found"), (404, "user not found")),
    ("POST", "/preauthkey", {"aclTags": ["nope"]}, (400, "must start with 'tag:'"), (400, "must start")),
    ("POST", "/preauthkey", {"aclTags": ["tag:A"]}, (400, "should be lowercase"), (400, "lowercase")),
    ("POST", "/preauthkey", KEY | {"aclTags": ["tag:unheard-of"]}, (200, None), (200, None)),
    ("POST", "/preauthkey", KEY | {"bogus": 1}, (200, None), (422, "validation failed")),
    ("POST", "/preauthkey/expire", {"id": "77"}, (200, None), (404, "not found")),
    ("DELETE", "/preauthkey?id=77", None, (200, None), (404, "not found")),
    ("DELETE", "/user/77", None, (500, "user not found"), (404, "user not found")),
    ("POST", "/apikey/expire", {}, (400, "must provide id or prefix"), (400, "must provide id or prefix")),
    ("PUT", "/policy", {"policy": '{"postures":{}}'}, (500, "unknown field"), (400, "unknown field")),
    ("PUT", "/policy", {"policy": "{bad"}, (500, "parsing HuJSON"), (400, "parsing HuJSON")),
    ("POST", "/policy/check", {"policy": "{bad"}, (400, "parsing HuJSON"), (400, "parsing HuJSON")),
    ("POST", "/policy/check", {"policy": "{}"}, (200, None), (200, None)),
    ("GET", "/nothing", None, (404, "Not Found"), (404, "Not Found")),
]


@pytest.mark.parametrize("dialect", ["headscale-0.29", "headscale-0.30"])
async def test_v1_refuses_as_the_real_one(start: Starter, dialect: Any) -> None:
    """Status, message and form of each refusal: gRPC's on 0.29, problem documents on 0.30."""
    talk, modern = await start(dialect), dialect == "headscale-0.30"
    for method, path, body, old, new in REFUSALS:
        status, words = new if modern else old
        reply = await talk.ask(method, f"/api/v1{path}", body)
        assert reply.status_code == status, (method, path, reply.text)
        if words is not None:
            said = reply.json()
            words = words.replace("with 'tag:'", "with the string 'tag:'")
            assert words in (said["detail"] if modern else said["message"]), (method, path)
            expected = "application/problem+json" if modern else "application/json"
            assert reply.headers["content-type"] == expected
            assert set(said) >= ({"title", "status", "detail"} if modern else {"code", "message", "details"})


@pytest.mark.parametrize("credential", ["", "nope", "hskey-api-unknown"])
async def test_a_stranger_gets_401_as_plain_text_on_029(start: Starter, credential: str) -> None:
    talk = await start("headscale-0.29")
    headers = {"authorization": f"Bearer {credential}"} if credential else {}
    reply = await talk.http.get("/api/v1/node", headers=headers)
    assert (reply.status_code, reply.text) == (401, "Unauthorized")
    assert reply.headers["content-type"].startswith("text/plain")


async def test_a_stranger_gets_a_problem_on_030(start: Starter) -> None:
    talk = await start("headscale-0.30")
    v1 = await talk.http.get("/api/v1/node")
    assert (v1.status_code, v1.json()["detail"]) == (401, "Unauthorized")
    v2 = await talk.http.get("/api/v2/tailnet/-/devices")
    assert (v2.status_code, v2.json()) == (401, {"message": "unauthorized", "status": 401})


@pytest.mark.parametrize("dialect", ["headscale-0.29", "headscale-0.30"])
async def test_a_key_shows_its_secret_once_and_ids_are_text(start: Starter, dialect: Any) -> None:
    talk = await start(dialect)
    made = (await talk.ask("POST", "/api/v1/preauthkey", KEY)).json()["preAuthKey"]
    assert made["id"] == "1"
    assert made["key"].startswith("hskey-auth-")
    assert len(made["key"]) == len("hskey-auth-") + 12 + 1 + 64
    listed = (await talk.ask("GET", "/api/v1/preauthkey")).json()["preAuthKeys"][0]
    assert listed["key"] == made["key"][: len("hskey-auth-") + 12] + "-***"
    assert listed["user"] is None


@pytest.mark.parametrize("dialect", ["headscale-0.29", "headscale-0.30"])
async def test_a_key_without_expiration_is_dead_on_arrival(start: Starter, dialect: Any) -> None:
    talk = await start(dialect)
    made = (await talk.ask("POST", "/api/v1/preauthkey", {"aclTags": ["tag:k8s"]})).json()["preAuthKey"]
    assert made["expiration"] == "0001-01-01T00:00:00Z"
    with pytest.raises(LoginRefused, match=r"^authkey expired$"):
        talk.plane.tailnet.nodes.login(auth_key=made["key"], hostname="app", machine_key="m")


async def test_029_takes_the_other_spelling_of_tags_and_drops_the_wrong_one(start: Starter) -> None:
    talk = await start("headscale-0.29")
    body = {"acl_tags": ["tag:k8s"], "expiration": FUTURE}
    assert (await talk.ask("POST", "/api/v1/preauthkey", body)).json()["preAuthKey"]["aclTags"] == ["tag:k8s"]
    body = {"tags": ["tag:k8s"], "expiration": FUTURE}
    assert (await talk.ask("POST", "/api/v1/preauthkey", body)).status_code == 500


async def test_the_list_knows_more_than_the_get(start: Starter) -> None:
    """Serving routes and the owner of tagged nodes."""
    talk = await start("headscale-0.29")
    node = await talk.join("app", routes=["10.9.0.0/24", "0.0.0.0/0"])
    approved = {"routes": ["10.9.0.0/24", "0.0.0.0/0"]}
    reply = await talk.ask("POST", f"/api/v1/node/{node}/approve_routes", approved)
    assert reply.json()["node"]["subnetRoutes"] == ["10.9.0.0/24"]
    assert reply.json()["node"]["approvedRoutes"] == ["0.0.0.0/0", "10.9.0.0/24", "::/0"]
    got = (await talk.ask("GET", f"/api/v1/node/{node}")).json()["node"]
    listed = (await talk.ask("GET", "/api/v1/node")).json()["nodes"][0]
    assert (got["user"], got["subnetRoutes"]) == (None, [])
    assert (listed["user"]["id"], listed["user"]["name"]) == ("2147455555", "tagged-devices")
    assert listed["subnetRoutes"] == ["10.9.0.0/24", "0.0.0.0/0"]
    assert listed["preAuthKey"]["used"] is True


async def test_names_are_mangled_and_numbered(start: Starter) -> None:
    talk = await start("headscale-0.29")
    first, second = await talk.join("app"), await talk.join("app")
    await talk.join("service.example.com")
    nodes = (await talk.ask("GET", "/api/v1/node")).json()["nodes"]
    told = [(node["name"], node["givenName"]) for node in nodes]
    assert told == [("app", "app"), ("app", "app-1"), ("service.example.com", "service-example-com")]
    taken = await talk.ask("POST", f"/api/v1/node/{second}/rename/app")
    assert (taken.status_code, taken.json()["message"]) == (500, "node name is not unique: app")
    assert (await talk.ask("DELETE", f"/api/v1/node/{first}")).json() == {}
    renamed = await talk.ask("POST", f"/api/v1/node/{second}/rename/app")
    assert renamed.json()["node"]["givenName"] == "app"


@pytest.mark.parametrize(
    ("dialect", "read", "ignored"),
    [("headscale-0.29", "params", "json"), ("headscale-0.30", "json", "params")],
)
async def test_expire_reads_one_form_and_the_other_kills(
    start: Starter, dialect: Any, read: str, ignored: str
) -> None:
    """`disableExpiry` in the form that is not read expires the node at once."""
    talk = await start(dialect)
    path = f"/api/v1/node/{await talk.join('app')}/expire"
    forms: dict[str, Any] = {"params": {"disableExpiry": "true"}, "json": {"disableExpiry": True}}
    assert (await talk.ask("POST", path, **{ignored: forms[ignored]})).json()["node"]["expiry"] is not None
    assert (await talk.ask("POST", path, **{read: forms[read]})).json()["node"]["expiry"] is None
    assert (await talk.ask("POST", path, **forms)).json()["node"]["expiry"] is None


async def test_no_policy_is_an_error_in_v1_and_a_default_in_v2(start: Starter) -> None:
    old = await start("headscale-0.29", Options(policy_text=None))
    reply = await old.ask("GET", "/api/v1/policy")
    assert (reply.status_code, reply.json()["message"]) == (
        500,
        "loading ACL from database: acl policy not found",
    )
    new = await start("headscale-0.30", Options(policy_text=None))
    v1 = await new.ask("GET", "/api/v1/policy")
    assert (v1.status_code, v1.json()["detail"]) == (500, "acl policy not found")
    v2 = await new.ask("GET", "/api/v2/tailnet/-/acl")
    assert v2.json()["acls"][0]["dst"] == ["*:*"]
    assert v2.headers["etag"].startswith('"')


async def test_a_policy_keeps_its_comments_and_its_hash_guards_it(start: Starter) -> None:
    talk = await start("headscale-0.30")
    text = '// mine\n{"tagOwners": {"tag:k8s": [],},}'
    assert (await talk.ask("PUT", "/api/v1/policy", {"policy": text})).json()["policy"] == text
    read = await talk.ask("GET", "/api/v2/tailnet/-/acl", headers={"accept": "application/hujson"})
    assert read.text == text
    wrong = {"if-match": '"other"', "content-type": "application/hujson"}
    lost = await talk.ask("POST", "/api/v2/tailnet/-/acl", headers=wrong, content="{}")
    assert (lost.status_code, lost.json()["message"]) == (412, "precondition failed, invalid old hash")
    right = wrong | {"if-match": read.headers["etag"]}
    assert (await talk.ask("POST", "/api/v2/tailnet/-/acl", headers=right, content="{}")).status_code == 200
    assert (await talk.ask("POST", "/api/v2/tailnet/-/acl/validate", content="{}")).status_code == 404


async def test_029_has_no_v2_and_calls_itself_by_its_version(start: Starter) -> None:
    old, new = await start("headscale-0.29"), await start("headscale-0.30")
    reply = await old.ask("GET", "/api/v2/tailnet/-/devices")
    assert (reply.status_code, reply.text) == (404, "404 page not found\n")
    assert (await old.http.get("/version")).json()["version"] == "v0.29.3"
    assert (await new.http.get("/version")).json()["version"] == "dev"


async def test_a_client_of_030_is_a_stranger_to_v1(start: Starter) -> None:
    """And an API key is welcome in v2, as Bearer and as Basic's user name."""
    talk = await start("headscale-0.30")
    token = await talk.token()
    assert token.startswith("hskey-oauthtok-")
    assert (await talk.ask("GET", "/api/v1/node", credential=token)).status_code == 401
    assert (await talk.ask("GET", "/api/v2/tailnet/-/devices", credential=token)).status_code == 200
    key = talk.plane.credentials["api_key"]
    assert (await talk.http.get("/api/v2/tailnet/-/devices", auth=(key, ""))).status_code == 200


@pytest.mark.parametrize(
    "change,status,error",
    [
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"scope": "users"}, 400, "invalid_scope"),
        ({"tags": "tag:other"}, 400, "invalid_target"),
    ],
)
async def test_a_token_is_refused_in_the_words_of_oauth(
    start: Starter, change: dict[str, str], status: int, error: str
) -> None:
    talk = await start("headscale-0.30")
    form = {name: talk.plane.credentials[name] for name in ("client_id", "client_secret")}
    reply = await talk.http.post("/api/v2/oauth/token", data=form | change)
    assert (reply.status_code, reply.json()["error"]) == (status, error)


def v2_key(*tags: str, **more: Any) -> dict[str, Any]:
    create = {"reusable": False, "ephemeral": False, "preauthorized": True, "tags": list(tags)}
    return {"capabilities": {"devices": {"create": create}}} | more


async def test_v2_asks_for_every_field_and_knows_no_other(start: Starter) -> None:
    talk = await start("headscale-0.30")
    token = await talk.token()
    bare = {"capabilities": {"devices": {"create": {"reusable": False}}}}
    for body, named in [
        (bare, ["ephemeral", "preauthorized", "tags"]),
        (v2_key("tag:k8s", bogus=1), ["bogus"]),
        (v2_key("tag:k8s", description="x" * 51), ["description"]),
    ]:
        reply = await talk.ask("POST", V2_KEYS, body, credential=token)
        assert (reply.status_code, reply.json()["message"]) == (422, "validation failed")
        details = reply.json()["data"][0]["errors"]
        assert all(any(name in detail for detail in details) for name in named)


@pytest.mark.parametrize(
    "tags,status,message",
    [
        ((), 403, "an OAuth client must create tagged auth keys"),
        (("tag:other",), 400, "tag tag:other is not defined in policy"),
        (("tag:foreign",), 403, "token may not assign tag tag:foreign"),
    ],
)
async def test_v2_minds_who_may_give_a_tag(
    start: Starter, tags: tuple[str, ...], status: int, message: str
) -> None:
    rules = '{"tagOwners": {"tag:k8s-operator": [], "tag:k8s": ["tag:k8s-operator"], "tag:foreign": []}}'
    talk = await start("headscale-0.30", Options(policy_text=rules))
    reply = await talk.ask("POST", V2_KEYS, v2_key(*tags), credential=await talk.token())
    assert (reply.status_code, reply.json()["message"]) == (status, message)


async def test_a_deleted_key_stays_listed_in_v2(start: Starter) -> None:
    talk = await start("headscale-0.30")
    token = await talk.token()
    made = (await talk.ask("POST", V2_KEYS, v2_key("tag:k8s"), credential=token)).json()
    for _ in range(2):
        assert (await talk.ask("DELETE", f"{V2_KEYS}/{made['id']}", credential=token)).status_code == 200
    listed = (await talk.ask("GET", V2_KEYS, credential=token)).json()["keys"]
    assert [(key["id"], key["invalid"], "revoked" in key, "key" in key) for key in listed] == [
        (made["id"], True, True, False)
    ]
    assert (await talk.ask("DELETE", f"{V2_KEYS}/99", credential=token)).status_code == 404


async def test_a_v2_device_has_a_bare_name_and_no_online_flag(start: Starter) -> None:
    talk = await start("headscale-0.30")
    await talk.join("app")
    node = await talk.join("app", routes=["10.9.0.0/24"])
    [_, device] = (await talk.ask("GET", "/api/v2/tailnet/-/devices")).json()["devices"]
    assert (device["id"], device["nodeId"], device["name"], device["hostname"]) == (
        node,
        node,
        "app-1",
        "app",
    )
    assert not {"lastSeen", "connectedToControl", "advertisedRoutes"} & device.keys()
    talk.plane.tailnet.nodes.set_connected(node, False)
    gone = (await talk.ask("GET", f"/api/v2/device/{node}?fields=all")).json()
    assert gone["advertisedRoutes"] == ["10.9.0.0/24"]
    assert {"lastSeen"} <= gone.keys()


@pytest.mark.parametrize(
    "method,path,body,status,message",
    [
        ("GET", "/tailnet/example.com/devices", None, 404, "tailnet not found"),
        ("GET", "/device/99", None, 404, "device not found"),
        ("DELETE", "/device/99", None, 404, "device not found"),
        ("GET", "/device/99/routes", None, 403, "token is missing the required scope devices:routes:read"),
        (
            "POST",
            "/device/99/routes",
            {"routes": []},
            403,
            "token is missing the required scope devices:routes",
        ),
    ],
)
async def test_v2_refusals_name_what_is_missing(
    start: Starter, method: str, path: str, body: Any, status: int, message: str
) -> None:
    talk = await start("headscale-0.30", Options(scopes=("devices:core", "auth_keys")))
    reply = await talk.ask(method, f"/api/v2{path}", body, credential=await talk.token())
    assert (reply.status_code, reply.json()) == (status, {"message": message, "status": status})


async def test_v2_has_neither_services_nor_dns(start: Starter) -> None:
    talk: Talk = await start("headscale-0.30")
    for path in ("vip-services", "dns/nameservers"):
        reply = await talk.ask("GET", f"/api/v2/tailnet/-/{path}")
        assert (reply.status_code, reply.text) == (404, "404 page not found\n")
