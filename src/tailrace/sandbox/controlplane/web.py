"""What the dialects share of HTTP: a table of endpoints, and one path that each request takes through it.

Read a credential, check it, check the scope, read the body, call the handler, translate what it raises. A dialect is a
table and the words for its refusals; handlers are plain functions from an `Ask` to something that JSON can say.
"""

from __future__ import annotations

import abc
import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, override

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tailrace.sandbox.controlplane.faults import Faults
from tailrace.sandbox.controlplane.model import Tailnet
from tailrace.sandbox.controlplane.records import ZERO, Access, Refused

NOBODY = Access(scopes=(), tags=(), client=None)


class Refusal(Exception):
    """A handler says no, in its dialect's words. `errors` are the details that some dialects list."""

    def __init__(self, status: int, message: str, *, errors: Sequence[Any] = (), code: int | str = 0) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.errors = tuple(errors)
        self.code = code


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """One request, read."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    raw: bytes
    access: Access

    @property
    def document(self) -> dict[str, Any]:
        """The body as a JSON object. Raises ValueError for anything else; nothing at all counts as `{}`."""
        if not self.raw.strip():
            return {}
        read = json.loads(self.raw)
        if not isinstance(read, dict):
            raise ValueError("the body is no JSON object")
        return read


type Handler = Callable[[Ask], Response | Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    method: str
    template: str
    handler: Handler
    scope: str | None = None  # that an access token must hold
    public: bool = False  # answers without a credential
    fields: frozenset[str] = field(default=frozenset())  # of the body, where a dialect refuses others


class Dialect(abc.ABC):
    """A control plane's HTTP face. Subclasses give the table and their words."""

    def __init__(self, tailnet: Tailnet, faults: Faults) -> None:
        self.tailnet = tailnet
        self.faults = faults

    @abc.abstractmethod
    def endpoints(self) -> Sequence[Endpoint]: ...

    @abc.abstractmethod
    def admit(self, credential: str | None) -> Access:
        """What the caller may do. Raises Refusal (401)."""

    @abc.abstractmethod
    def refuse(self, refusal: Refusal) -> Response:
        """A refusal as this server writes it."""

    @abc.abstractmethod
    def explain(self, refused: Refused, endpoint: Endpoint) -> Refusal:
        """The model's no in this server's words."""

    @abc.abstractmethod
    def check_scope(self, access: Access, endpoint: Endpoint) -> None:
        """Raises Refusal (403)."""

    @abc.abstractmethod
    def check_body(self, endpoint: Endpoint, ask: Ask) -> None:
        """Raises Refusal for a body that the server would not read."""

    def call(self, endpoint: Endpoint, ask: Ask) -> Response | Mapping[str, Any]:
        return endpoint.handler(ask)

    def read_credential(self, headers: Mapping[str, str]) -> str | None:
        return credential_of(headers.get("authorization", ""))

    def routes(self) -> list[Route]:
        """One route for a path, all its methods in it, as a path that is known answers differently from one that is not."""
        paths: dict[str, dict[str, Endpoint]] = {}
        for endpoint in self.endpoints():
            paths.setdefault(endpoint.template, {})[endpoint.method] = endpoint
        return [
            Route(template, self._answerer(methods), methods=list(methods))
            for template, methods in paths.items()
        ]

    def _answerer(self, methods: Mapping[str, Endpoint]) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            endpoint = methods["GET" if request.method == "HEAD" else request.method]
            self.faults.count(endpoint.method, endpoint.template)
            await self.faults.linger(endpoint.method, endpoint.template)
            raw = await request.body()
            try:
                return self._handle(endpoint, request, raw)
            except Refusal as refusal:
                return self.refuse(refusal)

        return answer

    def _handle(self, endpoint: Endpoint, request: Request, raw: bytes) -> Response:
        access = NOBODY if endpoint.public else self.admit(self.read_credential(request.headers))
        self.check_scope(access, endpoint)
        ask = Ask(
            path=request.path_params,
            query=request.query_params,
            headers=request.headers,
            raw=raw,
            access=access,
        )
        self.check_body(endpoint, ask)
        try:
            said = self.call(endpoint, ask)
        except Refused as refused:
            raise self.explain(refused, endpoint) from refused
        return said if isinstance(said, Response) else Compact(said)


class Compact(JSONResponse):
    """JSON without blanks, as Go and protojson write it."""

    @override
    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def page_not_found(_request: Request) -> Response:
    """What Go's server says of a path that it does not know."""
    return PlainTextResponse("404 page not found\n", 404)


def credential_of(authorization: str) -> str | None:
    """Of `Bearer credential` or `Basic base64(credential:)`."""
    kind, _, rest = authorization.partition(" ")
    if kind.lower() == "bearer":
        return rest.strip() or None
    pair = basic_of(authorization)
    return pair[0] if pair else None


def basic_of(authorization: str) -> tuple[str, str] | None:
    kind, _, rest = authorization.partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(rest, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return user, password


def stamp(when: datetime | None) -> str:
    """RFC 3339 in UTC, with as many digits as there are. None is Go's zero time, as `ZERO` is."""
    if when is None or when == ZERO:
        return "0001-01-01T00:00:00Z"
    micro = f".{when.microsecond:06d}" if when.microsecond else ""
    return f"{when:%Y-%m-%dT%H:%M:%S}{micro}Z"


def second(when: datetime) -> str:
    """RFC 3339 in UTC, whole seconds."""
    return f"{when:%Y-%m-%dT%H:%M:%SZ}"
