"""What is said to everybody, and to requests that are none."""

from __future__ import annotations

from tests.contract.headscale.talk import Talk


def about_health_need_no_key(talk: Talk) -> None:
    talk.get("/health", token="")
    talk.get("health")
    talk.get("health", token="")
    told = talk.get("/version", token="", quiet=True)
    talk.written.append({"version": told.code, "fields": sorted(told.body) if told.code == 200 else []})


def of_broken_json_are_refused(talk: Talk) -> None:
    for body in (b"{", b"[]", b'"x"', b"1", b"null", b"{'a': 1}", b"nothing", b'{"name": "a",}'):
        talk.post("user", body)
    talk.post("preauthkey/expire", b"")


def with_another_type_are_read_all_the_same(talk: Talk) -> None:
    body = f'{{"name": "{talk.word}"}}'.encode()
    made = talk.ask("POST", "user", body, headers={"Content-Type": "text/plain"}, quiet=True)
    talk.written.append({"code": made.code})
    talk.get("user?name=nobody", headers={"Accept": "text/html"})


def by_a_wrong_method_are_refused(talk: Talk) -> None:
    for method, path in (
        ("PUT", "user"),
        ("DELETE", "user"),
        ("PATCH", "user"),
        ("GET", "user/1/rename/b"),
        ("PUT", "node/1"),
        ("POST", "policy"),
        ("GET", "preauthkey/expire"),
    ):
        talk.ask(method, path)


def to_nowhere_are_not_found(talk: Talk) -> None:
    for path in ("nothing", "user/1/nothing", "", "user/", "node/1/"):
        talk.get(path)
    talk.get("/api/v1")
    talk.get("/api/v2/tailnet/-/keys")
    talk.get("/nothing")
    talk.post("nothing", {})


def with_odd_queries_are_answered(talk: Talk) -> None:
    talk.get("user?name=nobody&unknown=1")
    talk.get("user?name=&id=999999")
    talk.get("user?name=no%20body&email=x")
