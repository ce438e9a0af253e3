"""API keys, and what is said to callers without one."""

from __future__ import annotations

from tests.contract.headscale.talk import LATER, Answer, Talk


def is_made_listed_and_deleted(talk: Talk) -> None:
    made = talk.post("apikey", {"expiration": LATER})
    prefix = _own(talk, made)
    talk.get("apikey")
    talk.get("user?name=nobody", token=str(made.body["apiKey"]))
    talk.delete("apikey/{prefix}", prefix=prefix)
    talk.get("user?name=nobody", token=str(made.body["apiKey"]))
    talk.delete("apikey/{prefix}", prefix=prefix)
    talk.get("apikey")


def is_expired_by_its_prefix(talk: Talk) -> None:
    made = talk.post("apikey", {"expiration": LATER})
    prefix = _own(talk, made)
    talk.post("apikey/expire", {"prefix": "{prefix}"}, prefix=prefix)
    talk.get("apikey")
    talk.get("user?name=nobody", token=str(made.body["apiKey"]))


def is_expired_by_its_number(talk: Talk) -> None:
    _own(talk, talk.post("apikey", {"expiration": LATER}))
    listed = talk.get("apikey", quiet=True).body["apiKeys"]
    talk.post("apikey/expire", {"id": "{id}"}, id=listed[-1]["id"])
    talk.get("apikey")


def without_an_end_is_dead(talk: Talk) -> None:
    made = talk.post("apikey", {})
    _own(talk, made)
    talk.get("apikey")
    talk.get("user?name=nobody", token=str(made.body["apiKey"]))


def that_is_unknown(talk: Talk) -> None:
    talk.post("apikey/expire", {"prefix": "none"})
    talk.post("apikey/expire", {"id": "999999"})
    talk.post("apikey/expire", {"prefix": "none", "id": "1"})
    talk.post("apikey/expire", {})
    talk.delete("apikey/none")
    talk.post("apikey", {"expiration": "tomorrow"})


def is_needed(talk: Talk) -> None:
    strangers = ("", "wrong", "hskey-api-abcdefghijkl-" + "x" * 64, "abcdefghij.klmnop", "hskey-auth-x")
    for number, token in enumerate(strangers):
        talk.get("user", token=token, note=f"stranger {number}")
    for scheme in ("Basic ", "bearer ", ""):
        said = {"Authorization": scheme + talk.server.api_key}
        talk.get("user?name=nobody", token="", headers=said, note=f"{scheme or 'bare '}key")
    talk.get("nothing", token="wrong")
    talk.post("user", b"{", token="wrong")


def _own(talk: Talk, made: Answer) -> str:
    """The prefix of a new key, which belongs to this talk."""
    key = str(made.body["apiKey"])
    prefix = key[10:22] if key.startswith("hskey-api-") else key.partition(".")[0]
    talk.mine.add(prefix)
    return prefix
