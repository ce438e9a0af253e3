"""A conversation with a Headscale over its REST API, written down so that servers can be compared.

A `Talk` has a random word of its own that is part of each name in it, and sees of lists only what holds that word.
What a server makes up (ids, times, keys, addresses) is written down as a name.
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import httpx2

from tests.rig import tailnet

Doc = dict[str, Any]
Setup = Literal["database", "empty", "file"]
"""Where the policy is: stored, nowhere yet, or in a file that the API cannot write."""

POLICY = """{
  // Comments and trailing commas are welcome.
  "tagOwners": {"tag:k8s": [], "tag:other": [],},
  "acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}],
}"""
LATER = "2099-01-02T03:04:05Z"

_KINDS = {"user": "user", "node": "node", "preAuthKey": "key", "apiKey": "apikey"}
_NOW = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
_MADE_UP = (
    (re.compile(r"\b(mkey|nodekey|discokey):[0-9a-f]{64}"), r"\1:HEX"),
    (re.compile(r"\bhskey-(auth|api)-[\w-]{12}-[\w-]{64}"), r"hskey-\1-PREFIX-SECRET"),
    (re.compile(r"\bhskey-(auth|api)-[\w-]{12}-\*\*\*"), r"hskey-\1-PREFIX-***"),
    (re.compile(r"\b(?:hskey-authreq-)?[0-9a-f]{24}\b"), "REQUEST"),
    (re.compile(r"\b[0-9a-f]{48}\b"), "KEY"),
    (re.compile(r"^[\w-]{7}\.[\w-]{32}$"), "PREFIX.SECRET"),
    (re.compile(r"\binvalid-[0-9a-z]{8}\b"), "invalid-CHANCE"),
    (re.compile(r"\bjson: (?:cannot|unable to) unmarshal"), "json: cannot unmarshal"),  # Go's own dice
    (re.compile(r"\b(?:100|127)\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.\d+\.\d+\b"), "IPV4"),
    (re.compile(r"\bfd7a:115c:a1e0:[0-9a-f:]+"), "IPV6"),
    (re.compile(r"\(line \d+:\d+\)"), "(line N)"),
    (
        re.compile(
            r"(?<!contains )\b(?:unexpected EOF|invalid character |invalid body: |parsing HuJSON: ).*"
        ),
        "…",
    ),
)


@dataclass(frozen=True)
class Server:
    """One server. `release` is its minor version."""

    name: str
    release: str
    setup: Setup
    api_key: str = field(repr=False)
    http: httpx2.Client = field(repr=False)


@dataclass(frozen=True)
class Answer:
    code: int
    body: Any

    def id(self, kind: str) -> str:
        """Of the object that the answer is about."""
        return str(self.body[kind]["id"])


class Talk:
    """`get`, `post`, … ask and write down. `user` is `/api/v1/user`, `/health` is itself; `{name}` in a path or body
    stands for what `name=` says, and is written down as it stands."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.word = "w" + secrets.token_hex(4)
        self.mine = {self.word}
        self.written: list[Doc] = []
        self._ids: dict[str, dict[str, str]] = {}

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: dict[str, str] | None = None,
        quiet: bool = False,
        note: str = "",
        **names: str,
    ) -> Answer:
        """One request. `body`: JSON, or bytes as they are. `token`: another one than the server's; "" is none."""
        bearer = self.server.api_key if token is None else token
        sent = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        content = None
        if body is not None:
            content = body if isinstance(body, bytes) else _fill(json.dumps(body), names).encode()
            sent["Content-Type"] = "application/json"
        where = path if path.startswith("/") else f"/api/v1/{path}"
        reply = self.server.http.request(
            method, _fill(where, names), content=content, headers=sent | (headers or {})
        )
        kind = reply.headers.get("content-type", "").partition(";")[0]
        answer = Answer(reply.status_code, reply.json() if kind == "application/json" else reply.text)
        if not quiet:
            self._write(f"{method} {path}", body, answer, kind, note)
        return answer

    def get(self, path: str, **more: Any) -> Answer:
        return self.ask("GET", path, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> Answer:
        return self.ask("POST", path, body, **more)

    def put(self, path: str, body: Any, **more: Any) -> Answer:
        return self.ask("PUT", path, body, **more)

    def delete(self, path: str, **more: Any) -> Answer:
        return self.ask("DELETE", path, **more)

    def note(self, **facts: str) -> None:
        """Write down something else that was seen."""
        self.written.append(self._name(facts))

    # What talks begin with, unwritten ---------------------------------------------------------------------------

    def user(self, name: str = "") -> str:
        """A user's id; its name is the word, or `name` after it."""
        return self.ask("POST", "user", {"name": self.word + name}, quiet=True).id("user")

    def request(self) -> str:
        """What may stand for a login that waits for somebody's yes."""
        return tailnet.make_request(self.server.release)

    def node(self, hostname: str | None = None, *, quiet: bool = True) -> str:
        """A node's id, pretended for the talk's user, which must be there."""
        request = self.request()
        pretended = {"user": self.word, "key": request, "name": hostname or self.word, "routes": []}
        self.ask("POST", "debug/node", pretended, quiet=quiet)
        path = f"node/register?user={self.word}&key={request}"
        return self.ask("POST", path, quiet=quiet).id("node")

    # What a server makes up --------------------------------------------------------------------------------------

    def _write(self, asked: str, body: Any, answer: Answer, kind: str, note: str) -> None:
        entry: Doc = {"ask": self._text(asked) + (f" ({note})" if note else "")}
        if body is not None:
            entry["body"] = body.decode() if isinstance(body, bytes) else self._name(body)
        if kind != "application/json":
            entry["type"] = kind
        self.written.append(entry | {"code": answer.code, "answer": self._name(self._mine(answer.body))})

    def _mine(self, body: Any) -> Any:
        """Of a list only what belongs to this talk."""
        if not isinstance(body, dict) or len(body) != 1:
            return body
        ((key, items),) = body.items()
        if not isinstance(items, list):
            return body
        return {key: [item for item in items if any(word in json.dumps(item) for word in self.mine)]}

    def _name(self, node: Any, inside: str = "", key: str = "") -> Any:
        if isinstance(node, dict):
            return {name: self._name(value, key or inside, name) for name, value in node.items()}
        if isinstance(node, list):
            return [self._name(item, key.removesuffix("s")) for item in node]
        if key == "id" and isinstance(node, str) and inside in _KINDS and node != "2147455555":
            known = self._ids.setdefault(inside, {})
            return known.setdefault(node, f"{_KINDS[inside]}{len(known) + 1}")
        return self._text(node) if isinstance(node, str) else node

    def _text(self, text: str) -> str:
        text = text.replace("\N{NO-BREAK SPACE}", " ").replace(self.word, "WORD")
        for prefix in self.mine - {self.word}:
            text = re.sub(rf"(?<![\w-]){re.escape(prefix)}(?![\w-])", "PREFIX", text)
        for pattern, name in _MADE_UP:
            text = pattern.sub(name, text)
        return _NOW.sub(_time, text)


def _fill(text: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _time(found: re.Match[str]) -> str:
    when = datetime.fromisoformat(found[0])
    return "NOW" if abs(datetime.now(UTC) - when) < timedelta(days=1) else found[0]
