"""A conversation with an API server, written down so that two servers can be compared.

A `Talk` has an own namespace and an own random word for whatever is cluster-wide. What a server makes up (versions,
uids, times, addresses, tokens) is written down as a name that says which one it is: `v1`, `v2`, `u1`. So a version
that should not have changed shows, and one that should have.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2

Doc = dict[str, Any]
PATIENCE = 30.0  # seconds for what a controller does in the background

JSON, YAML = "application/json", "application/yaml"
PATCHES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
_GROUPS = ("apps", "batch", "policy", "autoscaling")
_UID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_TIME = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_NODE_PORT = re.compile(r"\b3\d{4}: provided")
_ADDRESS = re.compile(r"\b(?:10|127)\.96\.\d+\.\d+\b(?!/)")
_VERSION_IN_TEXT = re.compile(r"(ResourceVersion in record \(|current: |version: )\d+")
_PARSER = re.compile(
    r"(Object 'Kind' is missing in |continue key is not valid: |json parse error: |\byaml: |error decoding patch: |error decoding YAML: ).*"
)
_RESULT = re.compile(r'(Invalid value: )"(?:\{\\"|map\[).*?(?:\}|\])": ')
_JWT = re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]+")


def _are_conflicts(causes: list[Any]) -> bool:
    return all(isinstance(cause, dict) and cause.get("reason") == "FieldManagerConflict" for cause in causes)


@dataclass(frozen=True)
class Api:
    """One server. `compact` makes it forget its history; None where that cannot be asked."""

    name: str
    url: str
    token: str = field(repr=False)
    http: httpx2.Client = field(repr=False)
    compact: Callable[[], None] | None = None


@dataclass(frozen=True)
class Answer:
    code: int
    body: Any
    headers: httpx2.Headers

    @property
    def version(self) -> str:
        return str(self.body["metadata"]["resourceVersion"])

    @property
    def uid(self) -> str:
        return str(self.body["metadata"]["uid"])


class Talk:
    """`post`, `get`, … ask and write down; `ask` with `quiet` asks only. Paths: see `path`."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.word = "w" + secrets.token_hex(4)
        self.namespace = f"ns-{self.word}"
        self.written: list[Doc] = []
        self._names: dict[str, dict[str, str]] = {}
        made = self.ask("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}}, quiet=True)
        assert made.code == 201, made

    def path(self, path: str) -> str:
        """`configmaps/a` is in this talk's namespace, `apps/v1/deployments` too; what begins with `/` is itself."""
        if path.startswith("/"):
            return path
        group, _, rest = path.partition("/")
        if group in _GROUPS or "." in group:
            version, _, rest = rest.partition("/")
            return f"/apis/{group}/{version}/namespaces/{self.namespace}/{rest}"
        return f"/api/v1/namespaces/{self.namespace}/{path}"

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
        show: Iterable[str] | None = None,
        quiet: bool = False,
        note: str = "",
        **query: str,
    ) -> Answer:
        """One request. `show`: which fields of the answer are written down (`metadata.generation`); all by default."""
        sent = {"Authorization": f"Bearer {self.api.token if token is None else token}"}
        if token == "":
            del sent["Authorization"]
        content = None
        if body is not None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            sent["Content-Type"] = JSON
        sent |= headers or {}
        answer = self.api.http.request(
            method, self.path(path), params=query or None, content=content, headers=sent
        )
        found = Answer(answer.status_code, _parse(answer), answer.headers)
        if not quiet:
            self._write(method, path, query, found, show, note)
        return found

    def get(self, path: str, **more: Any) -> Answer:
        return self.ask("GET", path, **more)

    def post(self, path: str, body: Any, **more: Any) -> Answer:
        return self.ask("POST", path, body, **more)

    def put(self, path: str, body: Any, **more: Any) -> Answer:
        return self.ask("PUT", path, body, **more)

    def patch(self, path: str, body: Any, kind: str = "merge", **more: Any) -> Answer:
        headers = {"Content-Type": PATCHES.get(kind, kind)} | more.pop("headers", {})
        return self.ask("PATCH", path, body, headers=headers, **more)

    def apply(self, path: str, body: Any, manager: str = "one", **more: Any) -> Answer:
        return self.patch(path, body, "apply", fieldManager=manager, **more)

    def delete(self, path: str, body: Any = None, **more: Any) -> Answer:
        return self.ask("DELETE", path, body, **more)

    def wait(
        self, path: str, until: Callable[[Answer], bool], method: str = "GET", body: Any = None
    ) -> Answer:
        """Ask quietly until it is so."""
        end = time.monotonic() + PATIENCE
        while not until(answer := self.ask(method, path, body, quiet=True)):
            assert time.monotonic() < end, f"{path} stays {answer}"
            time.sleep(0.03)
        return answer

    def wait_gone(self, path: str) -> None:
        self.wait(path, lambda answer: answer.code == 404)

    def note(self, **facts: Any) -> None:
        """Write down something else that was seen."""
        self.written.append(self._name(facts))

    @contextmanager
    def watch(self, path: str, *, accept: str = JSON, **query: str) -> Iterator[Iterator[Doc]]:
        """Events as they come. They are not written down: `note` what matters, or `events`."""
        sent = {"Authorization": f"Bearer {self.api.token}", "Accept": accept}
        params = {"watch": "1", "timeoutSeconds": "20"} | query
        with self.api.http.stream("GET", self.path(path), params=params, headers=sent) as answer:
            if answer.status_code != 200:
                answer.read()
            assert answer.status_code == 200, answer.text
            yield (json.loads(line) for line in answer.iter_lines())

    def events(self, path: str, count: int, *, show: Iterable[str] | None = None, **query: str) -> list[Doc]:
        """Write down the first `count` events of a watch."""
        with self.watch(path, **query) as events:
            found = [next(events) for _ in range(count)]
        self.tell(found, show)
        return found

    def tell(self, events: list[Doc], show: Iterable[str] | None = None) -> None:
        """Write down events that were seen."""
        told = [{"type": event["type"], "object": _shown(event["object"], show)} for event in events]
        self.written.append({"events": self._name(told)})

    def _write(
        self, method: str, path: str, query: Doc, answer: Answer, show: Iterable[str] | None, note: str
    ) -> None:
        asked = f"{method} {path}" + "".join(f" {key}={value}" for key, value in query.items())
        entry: Doc = {"ask": asked + (f" ({note})" if note else ""), "code": answer.code}
        if warnings := answer.headers.get_list("warning"):
            entry["warnings"] = warnings
        body = answer.body if answer.code >= 300 else _shown(answer.body, show)
        self.written.append(self._name(entry | {"body": body}))

    # What a server makes up --------------------------------------------------------------------------------------

    def _name(self, node: Any, key: str = "", inside: str = "") -> Any:
        if isinstance(node, dict):
            return {self._text(k): self._name(v, k, key) for k, v in node.items()}
        if isinstance(node, list):
            found = [self._name(item, key, inside) for item in node]
            # The server finds an apply's conflicts in a Go map: in another order each time.
            return sorted(found, key=str) if key == "causes" and _are_conflicts(node) else found
        key = key.rpartition(".")[2]
        if key == "resourceVersion" and isinstance(node, str):
            return self._numbered("v", node)
        if key == "nodePort" and isinstance(node, int):
            return self._numbered("port", str(node))
        if key in ("continue", "token"):
            return "TOKEN" if node else node
        if key == "remainingItemCount":
            return node
        return self._text(node) if isinstance(node, str) else node

    def _text(self, text: str) -> str:
        text = text.replace(self.api.token, "TOKEN").replace(self.word, "WORD")
        text = _UID.sub(lambda found: self._numbered("u", found[0]), _TIME.sub("TIME", _JWT.sub("JWT", text)))
        text = _NODE_PORT.sub("PORT: provided", text)
        text = text.replace(" at TIME", "")  # a conflict tells when, but not every time
        text = _ADDRESS.sub(lambda found: self._numbered("ip", found[0]), text)
        text = _RESULT.sub(r"\1RESULT: ", _PARSER.sub(r"\1…", text))
        return _VERSION_IN_TEXT.sub(r"\1N", text)

    def _numbered(self, letter: str, value: str) -> str:
        known = self._names.setdefault(letter, {})
        return known.setdefault(value, f"{letter}{len(known) + 1}")


def _parse(answer: httpx2.Response) -> Any:
    if "json" in answer.headers.get("content-type", "") and answer.content:
        return answer.json()
    return answer.text


def _shown(body: Any, show: Iterable[str] | None) -> Any:
    if not isinstance(body, dict):
        return body
    if show is None:
        return _without_owners(body)
    return {path: _read(body, path.split(".")) for path in show}


def _without_owners(node: Any) -> Any:
    """Whose fields they are is only told where a talk asks for the metadata."""
    if isinstance(node, list):
        return [_without_owners(item) for item in node]
    if isinstance(node, dict):
        return {key: _without_owners(value) for key, value in node.items() if key != "managedFields"}
    return node


def _read(node: Any, path: list[str]) -> Any:
    if not path:
        return node
    if isinstance(node, list):
        return [_read(item, path) for item in node]
    return _read(node[path[0]], path[1:]) if isinstance(node, dict) and path[0] in node else None
