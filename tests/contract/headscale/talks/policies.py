"""The policy: kept as it was written, refused when it is broken."""

from __future__ import annotations

import json

from tests.contract.headscale.talk import POLICY, Talk

ACLS = [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]
BROKEN = {
    "no HuJSON": "{",
    "no object": "[]",
    "a word": "nonsense",
    "a text": '"text"',
    "an unknown field": {"nothing": {}},
    "an unknown field beside known ones": {"acls": ACLS, "postures": {}},
    "a tag without its prefix": {"tagOwners": {"k8s": []}},
    "an owner without @": {"tagOwners": {"tag:a": ["alice"]}},
    "an owner that is an unknown tag": {"tagOwners": {"tag:a": ["tag:b"]}},
    "an owner that is an unknown group": {"tagOwners": {"tag:a": ["group:b"]}},
    "owners that are no list": {"tagOwners": {"tag:a": "alice@"}},
    "a source that is an unknown tag": {"acls": [{"action": "accept", "src": ["tag:b"], "dst": ["*:*"]}]},
    "an unknown action": {"acls": [{"action": "allow", "src": ["*"], "dst": ["*:*"]}]},
    "a destination without a port": {"acls": [{"action": "accept", "src": ["*"], "dst": ["*"]}]},
    "acls that are no list": {"acls": {}},
    "a route that is none": {
        "autoApprovers": {"routes": {"10.0.0.0": ["tag:a"]}},
        "tagOwners": {"tag:a": []},
    },
    "an approver that is an unknown tag": {"autoApprovers": {"routes": {"10.0.0.0/8": ["tag:b"]}}},
}
FINE = {
    "nothing": "",
    "an empty object": "{}",
    "an owner who is nobody here": {"tagOwners": {"tag:a": ["nobody@example.com"]}, "acls": ACLS},
    "a group": {"groups": {"group:a": ["alice@"]}, "tagOwners": {"tag:a": ["group:a"]}, "acls": ACLS},
    "approvers": {
        "tagOwners": {"tag:a": []},
        "autoApprovers": {"routes": {"10.0.0.0/8": ["tag:a"]}, "exitNode": ["tag:a"]},
        "acls": ACLS,
    },
}


def is_kept_as_it_was_written(talk: Talk) -> None:
    talk.get("policy")
    for name, text in FINE.items():
        talk.put("policy", {"policy": _text(text)}, note=name)
    talk.get("policy")
    talk.put("policy", {"policy": POLICY})


def that_is_broken_changes_nothing(talk: Talk) -> None:
    for name, text in BROKEN.items():
        talk.put("policy", {"policy": _text(text)}, note=name)
    talk.put("policy", {"policy": {"acls": ACLS}}, note="an object in place of its text")
    talk.get("policy")


def is_checked_without_being_stored(talk: Talk) -> None:
    """Since 0.29."""
    for name in ("approvers", "no HuJSON", "an unknown field", "a tag without its prefix"):
        talk.post("policy/check", {"policy": _text((FINE | BROKEN)[name])}, note=name)
    talk.get("policy")


def is_nowhere_at_first(talk: Talk) -> None:
    talk.get("policy")


def is_in_a_file(talk: Talk) -> None:
    """Then it is read, and checked, and never written."""
    talk.get("policy")
    talk.put("policy", {"policy": POLICY})
    talk.put("policy", {"policy": "{"})
    talk.post("policy/check", {"policy": "{}"})


def _text(policy: object) -> str:
    return policy if isinstance(policy, str) else json.dumps(policy)
