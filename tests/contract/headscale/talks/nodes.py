"""Nodes, as they come without a client: pretended, then registered for a user."""

from __future__ import annotations

from tests.contract.headscale.talk import LATER, Talk

GONE = "999999"


def comes_and_goes(talk: Talk) -> None:
    talk.user()
    node = talk.node(quiet=False)
    talk.get("node/{node}", node=node)
    talk.get("node")
    talk.delete("node/{node}", node=node)
    talk.get("node/{node}", node=node)
    talk.delete("node/{node}", node=node)
    talk.get("node")


def is_registered_for_somebody(talk: Talk) -> None:
    request = {"user": "nobody", "key": talk.request(), "name": talk.word}
    talk.post("debug/node", request)
    talk.user()
    talk.post("debug/node", request | {"user": talk.word, "key": "short"})
    talk.post("debug/node", request | {"user": talk.word, "routes": ["10.0.0.0"]})
    talk.post("node/register?user={user}&key=" + talk.request(), user=talk.word)
    talk.post("node/register?user=nobody&key=" + talk.request())
    talk.post("node/register?user={user}&key=short", user=talk.word)


def is_listed_by_its_user(talk: Talk) -> None:
    talk.user()
    node = talk.node()
    talk.node(talk.word + "-b")
    talk.get("node?user={user}", user=talk.word)
    talk.post("node/{node}/tags", {"tags": ["tag:k8s"]}, node=node)
    talk.get("node?user={user}", user=talk.word)
    talk.get("node?user=nobody")


def gets_a_name_that_is_free(talk: Talk) -> None:
    """What happens to a taken one depends on the version, and may be left to chance."""
    talk.user()
    talk.node()
    taken = talk.node()
    known = talk.get("node/{node}", node=taken, quiet=True).body["node"]["givenName"]
    talk.note(taken=known if known.endswith("-1") else "a name by chance")


def gets_a_label_of_its_hostname(talk: Talk) -> None:
    talk.user()
    for hostname in ("_UPPER.example.com", "- -x", "ü", "-" + "x" * 70):
        node = talk.node(talk.word + hostname)
        shown = talk.get("node/{node}", node=node, quiet=True).body["node"]
        talk.note(hostname=hostname, name=shown["name"], given=shown["givenName"])


def is_renamed(talk: Talk) -> None:
    talk.user()
    node, other = talk.node(), talk.node(talk.word + "-b")
    for name in ("-c", "-Upper", "-c", "-b"):
        talk.post("node/{node}/rename/" + talk.word + name, node=node)
    talk.get("node/{node}", node=node)
    talk.delete("node/{node}", node=other)
    talk.post("node/{node}/rename/" + talk.word + "-b", node=node)


def is_renamed_to_a_label(talk: Talk) -> None:
    talk.user()
    node = talk.node()
    for name in ("Bad_Name", "-x", "x-", "a%20b", "x" * 63, "x" * 64, "ü", "1"):
        talk.post("node/{node}/rename/" + name, node=node)


def has_tags(talk: Talk) -> None:
    talk.user()
    node = talk.node()
    talk.post("node/{node}/tags", {"tags": []}, node=node)
    talk.post("node/{node}/tags", {"tags": ["tag:other", "tag:k8s", "tag:other"]}, node=node)
    talk.get("node/{node}", node=node)
    talk.get("node")
    talk.post("node/{node}/tags", {"tags": ["tag:k8s"]}, node=node)
    talk.post("node/{node}/tags", {"tags": []}, node=node)


def has_tags_of_the_right_shape(talk: Talk) -> None:
    talk.user()
    node = talk.node()
    for tag in ("nope", "tag:", "tag:Upper", "tag:a b", "tag:nobody-knows", ""):
        talk.post("node/{node}/tags", {"tags": ["tag:k8s", tag]}, node=node)
    talk.post("node/{node}/tags", {"tags": "tag:k8s"}, node=node)
    talk.get("node/{node}", node=node)


def has_routes(talk: Talk) -> None:
    """The approved ones are replaced as a whole, also before they are offered."""
    talk.user()
    node = talk.node()
    for routes in (["10.2.0.0/24", "10.1.0.0/24", "10.2.0.0/24"], ["fd00::/64"], ["0.0.0.0/0"], ["::/0"], []):
        talk.post("node/{node}/approve_routes", {"routes": routes}, node=node)
    talk.get("node/{node}", node=node)
    talk.get("node")


def has_routes_that_are_prefixes(talk: Talk) -> None:
    talk.user()
    node = talk.node()
    for route in ("10.0.0.0", "10.0.0.5/24", "10.0.0.0/33", "10.0.0/24", "x/24", "", "::/129", "10.0.0.0/x"):
        talk.post("node/{node}/approve_routes", {"routes": [route]}, node=node)
    talk.post("node/{node}/approve_routes", {"routes": "10.0.0.0/24"}, node=node)


def expires(talk: Talk) -> None:
    """Now, at a time, never."""
    talk.user()
    node = talk.node()
    talk.post("node/{node}/expire", node=node)
    talk.post("node/{node}/expire?expiry=" + LATER, node=node)
    talk.get("node/{node}", node=node)
    talk.post("node/{node}/expire?expiry=tomorrow", node=node)
    talk.post("node/{node}/expire?disableExpiry=maybe", node=node)
    talk.get("node/{node}", node=node)


def never_expires(talk: Talk) -> None:
    """The query is read, a body is not."""
    talk.user()
    node = talk.node()
    talk.post("node/{node}/expire?disableExpiry=true", node=node)
    talk.post("node/{node}/expire?disable_expiry=true", node=node)
    talk.post("node/{node}/expire?disableExpiry=true&expiry=" + LATER, node=node)
    talk.post("node/{node}/expire", {"disableExpiry": True}, node=node)
    talk.post("node/{node}/tags", {"tags": ["tag:k8s"]}, node=node)
    talk.post("node/{node}/expire", node=node)


def that_is_unknown(talk: Talk) -> None:
    talk.get("node/" + GONE)
    talk.delete("node/" + GONE)
    talk.post(f"node/{GONE}/rename/other")
    talk.post(f"node/{GONE}/rename/Bad_Name")
    talk.post(f"node/{GONE}/tags", {"tags": ["tag:k8s"]})
    talk.post(f"node/{GONE}/tags", {"tags": []})
    talk.post(f"node/{GONE}/approve_routes", {"routes": ["10.0.0.0/24"]})
    talk.post(f"node/{GONE}/expire")
    for number in ("abc", "-1", "18446744073709551616"):
        talk.get("node/" + number)
    talk.post("node/abc/tags", {"tags": []})


def is_moved_to_another_user(talk: Talk) -> None:
    """Only by 0.27; later versions do not know the call."""
    talk.user()
    other = talk.user("-b")
    node = talk.node()
    talk.post("node/{node}/user", {"user": "{user}"}, node=node, user=other)
    talk.post("node/{node}/user", {"user": "999999"}, node=node)
    talk.get("node/{node}", node=node)
