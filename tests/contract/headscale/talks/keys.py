"""Preauth keys. A body says all that any version reads (`id`, or `user` and `key`); the rest is dropped."""

from __future__ import annotations

from tests.contract.headscale.talk import LATER, Doc, Talk

OWNED = {"user": "{user}", "expiration": LATER}


def is_made_for_a_user(talk: Talk) -> None:
    user = talk.user()
    talk.post("preauthkey", OWNED, user=user)
    talk.post("preauthkey", OWNED | {"reusable": True}, user=user)
    talk.post("preauthkey", OWNED | {"ephemeral": True, "reusable": True}, user=user)
    talk.get("preauthkey?user={user}", user=user)
    talk.get("preauthkey")
    talk.get("preauthkey?user=999999")


def is_made_with_tags(talk: Talk) -> None:
    """Alone where a version allows it, and for a user; the policy is not asked."""
    user = talk.user()
    talk.post("preauthkey", {"aclTags": ["tag:k8s"], "expiration": LATER})
    for tags in (["tag:k8s"], ["tag:other", "tag:k8s", "tag:other"], ["tag:nobody-knows"]):
        talk.post("preauthkey", OWNED | {"aclTags": tags}, user=user)
    talk.post("preauthkey", OWNED | {"acl_tags": ["tag:k8s"]}, user=user)
    talk.post("preauthkey", OWNED | {"tags": ["tag:k8s"]}, user=user)
    talk.get("preauthkey?user={user}", user=user)


def needs_an_owner_or_a_tag(talk: Talk) -> None:
    talk.post("preauthkey", {"expiration": LATER})
    talk.post("preauthkey", {"user": "0", "expiration": LATER})
    talk.post("preauthkey", {"user": "999999", "expiration": LATER})


def has_tags_of_the_right_shape(talk: Talk) -> None:
    user = talk.user()
    for tag in ("nope", "tag:", "tag:Upper", "tag:a b", "tag:ü", "", " tag:x"):
        talk.post("preauthkey", OWNED | {"aclTags": [tag]}, user=user)


def without_an_end_is_dead(talk: Talk) -> None:
    user = talk.user()
    talk.post("preauthkey", {"user": "{user}"}, user=user)
    talk.post("preauthkey", OWNED | {"expiration": None}, user=user)
    talk.post("preauthkey", OWNED | {"expiration": "2001-01-01T00:00:00Z"}, user=user)
    talk.post("preauthkey", OWNED | {"expiration": "2099-01-01T02:00:00+02:00"}, user=user)
    talk.post("preauthkey", OWNED | {"expiration": "2099-01-01T00:00:00.123456Z"}, user=user)


def is_read_from_json(talk: Talk) -> None:
    user = talk.user()
    talk.post("preauthkey", f'{{"user": {user}, "expiration": "{LATER}"}}'.encode(), quiet=True)
    talk.get("preauthkey?user={user}", user=user)
    wrongs: tuple[Doc, ...] = (
        {"reusable": "yes"},
        {"ephemeral": 1},
        {"aclTags": "tag:x"},
        {"aclTags": [1]},
        {"expiration": "tomorrow"},
        {"expiration": "2099-01-01"},
        {"expiration": 1},
        {"user": "abc"},
        {"user": "-1"},
        {"user": 1.5},
        {"user": True},
        {"user": {}},
    )
    for wrong in wrongs:
        talk.post("preauthkey", OWNED | wrong, user=user)


def is_expired(talk: Talk) -> None:
    user = talk.user()
    key = talk.post("preauthkey", OWNED, user=user)
    body = {"user": "{user}", "id": "{id}", "key": "{key}"}
    names = {"user": user, "id": key.id("preAuthKey"), "key": key.body["preAuthKey"]["key"]}
    for _ in range(2):
        talk.post("preauthkey/expire", body, **names)
        talk.get("preauthkey?user={user}", user=user)


def that_is_unknown_is_expired(talk: Talk) -> None:
    user = talk.user()
    talk.post("preauthkey/expire", {"user": "{user}", "id": "999999", "key": "none"}, user=user)
    talk.post("preauthkey/expire", {})
    talk.post("preauthkey/expire", {"id": "abc"})


def is_deleted(talk: Talk) -> None:
    user = talk.user()
    key = talk.post("preauthkey", OWNED, user=user).id("preAuthKey")
    for _ in range(2):
        talk.delete("preauthkey?id={key}", key=key)
        talk.get("preauthkey?user={user}", user=user)
    talk.delete("preauthkey?id=999999")
    talk.delete("preauthkey?id=abc")
    talk.delete("preauthkey")
