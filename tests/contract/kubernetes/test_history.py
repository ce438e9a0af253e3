"""History that is forgotten. Only the sandbox is asked: a real server forgets after five minutes at the earliest."""

from __future__ import annotations

from tests.contract.kubernetes.talk import Api, Talk
from tests.contract.kubernetes.talks.documents import configmap


def _forget(api: Api) -> None:
    assert api.compact is not None
    api.compact()


def test_a_page_that_is_too_old_is_gone(sandbox_api: Api) -> None:
    """410 with a token for an inconsistent rest, which then works."""
    talk = Talk(sandbox_api)
    for name in ("a", "b", "c"):
        talk.post("configmaps", configmap(name))
    token = talk.get("configmaps", limit="1").body["metadata"]["continue"]
    talk.post("configmaps", configmap("bb"))
    _forget(sandbox_api)
    gone = talk.ask("GET", "configmaps", **{"continue": token})
    assert (gone.code, gone.body["reason"]) == (410, "Expired")
    rest = talk.ask("GET", "configmaps", **{"continue": gone.body["metadata"]["continue"]})
    assert [item["metadata"]["name"] for item in rest.body["items"]] == ["b", "bb", "c"]


def test_a_watch_from_a_forgotten_version_ends_with_an_error(sandbox_api: Api) -> None:
    talk = Talk(sandbox_api)
    since = talk.post("configmaps", configmap("a")).version
    talk.patch("configmaps/a", {"data": {"k": "v"}})
    _forget(sandbox_api)
    with talk.watch("configmaps", resourceVersion=since) as events:
        found = list(events)
    assert [event["type"] for event in found] == ["ERROR"]
    assert (found[0]["object"]["code"], found[0]["object"]["reason"]) == (410, "Expired")


def test_a_list_of_a_forgotten_version_is_gone(sandbox_api: Api) -> None:
    talk = Talk(sandbox_api)
    since = talk.post("configmaps", configmap("a")).version
    talk.patch("configmaps/a", {"data": {"k": "v"}})
    _forget(sandbox_api)
    gone = talk.get("configmaps", resourceVersion=since, resourceVersionMatch="Exact")
    assert (gone.code, gone.body["reason"]) == (410, "Expired")
