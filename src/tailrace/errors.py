"""What can go wrong, named by what the engine must do about it.

Every driver translates at its edge into one of these and chains the cause; nobody above an edge looks at a
status code. Messages are for people: one sentence, never a secret, never a whole response body.
"""

from __future__ import annotations


class TailraceError(Exception):
    """Base of all errors that Tailrace raises on purpose. `str(error)` is one sentence for a person."""


class Transient(TailraceError):
    """It may work next time (time-out, 5xx, a connection cut): back off and try again."""


class RateLimited(Transient):
    """The server asked us to wait (429, or 503 with Retry-After): try again after `after` seconds."""

    def __init__(self, message: str, *, after: float) -> None:
        super().__init__(message)
        self.after = after


class Conflict(TailraceError):
    """Somebody wrote in between (409): read again and decide again, now."""


class NotFound(TailraceError):
    """The object, device or key is not there. For a deletion that is success."""


class Expired(TailraceError):
    """The resourceVersion or continue token is too old (410): list again."""


class Waiting(TailraceError):
    """No fault: something named by `on` has to happen first. A condition tells it, a watch ends it."""

    def __init__(self, message: str, *, on: str) -> None:
        super().__init__(message)
        self.on = on


class Terminal(TailraceError):
    """Trying again is useless until the object changes. `reason` is a word from `api.conditions.Reason`."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class Denied(TailraceError):
    """Credentials are missing, wrong, revoked or too narrow. `missing` names the scope or tag where known."""

    def __init__(self, message: str, *, missing: str | None = None) -> None:
        super().__init__(message)
        self.missing = missing


class Bug(TailraceError):
    """A state that our own code must never reach: counted, logged, backed off, reported on the object."""


class Usage(TailraceError):
    """A person typed something wrong: `str(error)` says what, `hint` how to type it right. Exit code 2."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
