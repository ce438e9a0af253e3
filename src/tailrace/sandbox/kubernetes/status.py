"""Refusals as the real server words them: `ApiError` is a `Status` object that is raised.

The shapes come from `k8s.io/apimachinery/pkg/api/errors`: one function here for each constructor there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

Doc = dict[str, Any]


class Cause(Protocol):
    """What `validation.FieldError` offers: one reason for a refusal, at one path of the document."""

    @property
    def path(self) -> str: ...
    def cause(self) -> dict[str, str]: ...


class ApiError(Exception):
    """A `Status` answer. `str(error)` is its message; `headers` are HTTP headers that go with it.

    `plain`: what answers is no API, and says only the message. `details` may be empty, which is not the same as none.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        plain: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = None if details is None else dict(details)
        self.headers = dict(headers or {})
        self.metadata = dict(metadata or {})
        self.plain = plain

    def status(self) -> Doc:
        """The document that the server answers."""
        doc: Doc = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            doc["reason"] = self.reason
        if self.details is not None:
            doc["details"] = self.details
        doc["code"] = self.code
        return doc


def qualified(group: str, resource: str) -> str:
    """`deployments.apps`, or `pods` for the core group."""
    return f"{resource}.{group}" if group else resource


def _details(group: str, kind: str, name: str, **more: Any) -> Doc:
    details: Doc = {"name": name, "group": group, "kind": kind}
    return {k: v for k, v in (details | more).items() if v}


def not_found(group: str, resource: str, name: str) -> ApiError:
    message = f'{qualified(group, resource)} "{name}" not found'
    return ApiError(404, "NotFound", message, _details(group, resource, name))


def no_such_resource() -> ApiError:
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


def page_not_found() -> ApiError:
    """The answer to a path below which no API is served at all."""
    return ApiError(404, "NotFound", "404 page not found\n", plain=True)


def already_exists(group: str, resource: str, name: str, *, going: bool = False) -> ApiError:
    """`going`: what has the name is being deleted."""
    message = f'{qualified(group, resource)} "{name}" already exists'
    message = f"object is being deleted: {message}" if going else message
    return ApiError(409, "AlreadyExists", message, _details(group, resource, name))


def conflict(group: str, resource: str, name: str, why: str = "") -> ApiError:
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {qualified(group, resource)} "{name}": {why}'
    return ApiError(409, "Conflict", message, _details(group, resource, name))


def forbidden(group: str, resource: str, name: str, why: str, causes: list[Doc] | None = None) -> ApiError:
    what = f'{qualified(group, resource)} "{name}"' if name else qualified(group, resource)
    message = f"{what} is forbidden: {why}"
    return ApiError(403, "Forbidden", message, _details(group, resource, name, causes=causes))


def invalid(group: str, kind: str, name: str, errors: Iterable[Cause]) -> ApiError:
    """422 for field errors; `str` of one is its message."""
    found = list(errors)
    texts = list(dict.fromkeys(str(error) for error in found))
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    causes = [error.cause() for error in found]
    message = f'{qualified(group, kind)} "{name}" is invalid: {text}'
    return ApiError(422, "Invalid", message, _details(group, kind, name, causes=causes))


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", "Unauthorized")


def expired(message: str, **more: Any) -> ApiError:
    return ApiError(410, "Expired", message, **more)


def method_not_allowed() -> ApiError:
    message = "the server does not allow this method on the requested resource"
    return ApiError(405, "MethodNotAllowed", message, {})


def not_acceptable(served: Iterable[str]) -> ApiError:
    message = f"406: Not Acceptable\n\nAvailable representations: {', '.join(served)}"
    return ApiError(406, "NotAcceptable", message, {})


def too_large_version(asked: int, current: int) -> ApiError:
    causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    return ApiError(
        504, "Timeout", message, {"causes": causes, "retryAfterSeconds": 1}, headers={"Retry-After": "1"}
    )


def unsupported_media_type(accepted: Iterable[str]) -> ApiError:
    message = f"the body of the request was in an unknown format - accepted media types include: {', '.join(accepted)}"
    return ApiError(415, "UnsupportedMediaType", message)


def undecodable_patch(result: str, why: str) -> ApiError:
    """What a patch makes of an object cannot be read: `result` is that, as JSON."""
    text = f"Invalid value: {json.dumps(result, ensure_ascii=False)}: {why}"
    cause = {"reason": "FieldValueInvalid", "message": text, "field": "patch"}
    return ApiError(422, "Invalid", f' "" is invalid: patch: {text}', {"causes": [cause]})
