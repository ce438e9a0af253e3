"""One HTTP exchange: the request with what was read from it once, the answer, and how either travels over ASGI."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import Receive, Scope, Send

from tailrace.sandbox.kubernetes.answers import encode
from tailrace.sandbox.kubernetes.core import Call
from tailrace.sandbox.kubernetes.documents import duplicates, protobuf
from tailrace.sandbox.kubernetes.requests import PROTOBUF, YAML, Query, read_document
from tailrace.sandbox.kubernetes.status import ApiError
from tailrace.sandbox.kubernetes.storage import Doc

MAX_BODY = 3 * 1024 * 1024


class Request:
    """One request, with what was read from it once."""

    def __init__(self, scope: Scope, body: bytes) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query = Query(scope["query_string"])
        self.body = body
        self.headers: Mapping[bytes, bytes] = dict(scope["headers"])
        self.all_headers: list[tuple[bytes, bytes]] = scope["headers"]

    def header(self, name: bytes) -> str:
        return self.headers.get(name, b"").decode("latin-1")

    @property
    def content_type(self) -> str:
        return self.header(b"content-type")

    def document(self, kind: str, call: Call | None = None) -> Doc:
        """The body. Of `call`, which writes it, the duplicates are noted."""
        if self.content_type.startswith(PROTOBUF):
            return protobuf.decode(self.body)
        doc = read_document(self.body, self.content_type, kind)
        if call is not None and call.field_validation != "Ignore" and self.body.strip():
            yaml = self.content_type.startswith(YAML)
            call.duplicates.extend((duplicates.in_yaml if yaml else duplicates.in_json)(self.body))
        return doc


class Answer:
    def __init__(self, body: bytes, code: int = 200, media: str = "application/json") -> None:
        self.body = body
        self.code = code
        self.headers: list[tuple[bytes, bytes]] = [(b"content-type", media.encode())]

    def add(self, name: str, value: str) -> None:
        self.headers.append((name.encode(), value.encode("utf-8")))


def build_failure(code: int, retry_after: float | None) -> ApiError:
    """An error as the real server or what stands before it would give."""
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
    details = {} if retry_after is None else {"retryAfterSeconds": int(retry_after)}
    reason, message = {
        409: (
            "Conflict",
            "the object has been modified; please apply your changes to the latest version and try again",
        ),
        410: ("Expired", "too old resource version"),
        429: ("TooManyRequests", "Too many requests, please try again later."),
        500: ("InternalError", "Internal error occurred: etcdserver: request timed out"),
        503: ("ServiceUnavailable", "the server is currently unable to handle the request"),
        504: ("Timeout", "Timeout: request did not complete within the allowed duration"),
    }.get(code, ("", "the sandbox was told to refuse this"))
    return ApiError(code, reason, message, details, headers=headers)


def refuse(error: ApiError) -> Answer:
    if error.plain:
        return Answer(error.message.encode(), error.code, "text/plain; charset=utf-8")
    answer = Answer(encode(error.status()), error.code)
    for name, value in error.headers.items():
        answer.add(name.lower(), value)
    return answer


async def read_all(receive: Receive) -> bytes:
    """The whole body. Raises 413, 499 when the client went."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ApiError(499, "", "the client went away")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > MAX_BODY:
            text = f"Request entity too large: limit is {MAX_BODY}"
            raise ApiError(413, "RequestEntityTooLarge", text)
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)


async def send_answer(send: Send, answer: Answer) -> None:
    headers = [*answer.headers, (b"content-length", str(len(answer.body)).encode())]
    await send({"type": "http.response.start", "status": answer.code, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
