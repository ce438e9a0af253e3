"""What `/sandbox/` on the API server serves: the hand of whoever runs the sandbox.

Place: beside `server`, which answers with it what is below the prefix and checks first that an administrator asks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from tailrace.errors import TailraceError
from tailrace.sandbox.kubernetes import status
from tailrace.sandbox.kubernetes.answers import encode
from tailrace.sandbox.kubernetes.exchange import Answer, Request
from tailrace.sandbox.kubernetes.storage import Doc

PREFIX = "/sandbox/"

type Verbs = Mapping[tuple[str, str], Callable[..., Any]]
"""What to do by method and path; `*` is a part of the path that is handed on, before the body. What is answered may take
time; None is a plain success."""

_SUCCESS = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}


async def answer(verbs: Verbs, request: Request) -> Answer:
    """Do what is asked. Raises 404 for what is no verb, 400 for what is wrong with the body."""
    act = find(verbs, request.method, request.path.rstrip("/").removeprefix(PREFIX).split("/"))
    if act is None:
        raise status.no_such_resource()
    try:
        done = act(request.document("") if request.body.strip() else {})
        told = await done if isinstance(done, Awaitable) else done
    except (ValueError, KeyError, TypeError, OSError, TailraceError) as wrong:
        raise status.bad_request(str(wrong)) from None
    return Answer(encode(_SUCCESS if told is None else told))


def find(verbs: Verbs, method: str, asked: list[str]) -> Callable[[Doc], Any] | None:
    """The verb of a path, with the parts of it that it takes."""
    for (known, template), act in verbs.items():
        parts = template.split("/")
        if known == method and len(parts) == len(asked):
            pairs = list(zip(parts, asked, strict=True))
            if all(part in ("*", given) for part, given in pairs):
                return partial(act, *(given for part, given in pairs if part == "*"))
    return None
