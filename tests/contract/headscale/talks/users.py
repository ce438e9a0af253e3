"""Users: made, found, renamed, deleted."""

from __future__ import annotations

from tests.contract.headscale.talk import LATER, Talk


def is_made_listed_renamed_and_deleted(talk: Talk) -> None:
    word = talk.word
    made = talk.post("user", {"name": word}).id("user")
    talk.get("user")
    talk.post("user/{user}/rename/" + word + "-b", user=made)
    talk.get("user?name=" + word + "-b")
    talk.delete("user/{user}", user=made)
    talk.get("user")


def says_who_it_is(talk: Talk) -> None:
    whole = {"name": talk.word, "displayName": "A B", "email": f"{talk.word}@example.com"}
    made = talk.post("user", whole | {"pictureUrl": "https://example.com/a.png"}).id("user")
    talk.get(f"user?email={talk.word}@example.com")
    talk.get("user?id={user}", user=made)
    talk.get(f"user?name={talk.word}&id=999999")
    talk.get("user?name=nobody")
    talk.get("user?id=999999")
    talk.get("user?id=abc")


def is_made_only_once(talk: Talk) -> None:
    talk.user()
    talk.post("user", {"name": talk.word})
    talk.get("user")


def may_have_odd_names(talk: Talk) -> None:
    """Few are refused when a user is made, more when one is renamed."""
    word = talk.word
    for name in (" B", "ü@example.com", "_.x"):
        talk.post("user", {"name": word + name})
    made = talk.user()
    for name in ("-Upper", "_x", "@at@twice", "-" + "x" * 70):
        talk.post("user/{user}/rename/" + word + name, user=made)
    talk.post("user/{user}/rename/1" + word, user=made)
    talk.post("user/{user}/rename/x", user=made)


def has_a_name_of_its_own(talk: Talk) -> None:
    talk.user()
    other = talk.user("-b")
    talk.post("user/{user}/rename/" + talk.word, user=other)


def that_is_unknown(talk: Talk) -> None:
    talk.delete("user/999999")
    talk.post("user/999999/rename/other")
    talk.delete("user/abc")
    talk.post("user/abc/rename/other")


def with_nodes_stays(talk: Talk) -> None:
    user = talk.user()
    node = talk.node()
    talk.delete("user/{user}", user=user)
    talk.delete("node/{node}", node=node)
    talk.delete("user/{user}", user=user)


def takes_its_keys_along(talk: Talk) -> None:
    user = talk.user()
    talk.post("preauthkey", {"user": "{user}", "expiration": LATER}, user=user)
    talk.delete("user/{user}", user=user)
    talk.get("preauthkey")


def is_read_from_json(talk: Talk) -> None:
    """Fields that nobody knows are dropped; known ones of another type are refused."""
    talk.post("user", {"name": talk.word, "nobody": 1})
    talk.post("user", {"name": 1})
    talk.post("user", {"name": talk.word + "-c", "display_name": "by its other name"})
    talk.post("user", {"name": None, "displayName": []})


def without_a_name_is_called_by_its_address(talk: Talk) -> None:
    talk.post("user", {"email": f"{talk.word}@example.com"})
