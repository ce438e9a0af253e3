"""Answers that mean failure, as the errors of the engine."""

from __future__ import annotations

import pytest

from tailrace import errors
from tailrace.kube import status

FORBIDDEN = (
    'secrets is forbidden: User "system:serviceaccount:tailscale:operator" cannot list resource "secrets"'
)
STARTING = f'{FORBIDDEN}: RBAC: [clusterrole.rbac.authorization.k8s.io "tailrace" not found, role.rbac.authorization.k8s.io "x" not found]'


@pytest.mark.parametrize(
    "code, message, kind",
    [
        (401, "Unauthorized", errors.Denied),
        (403, FORBIDDEN, errors.Denied),
        (403, STARTING, errors.Transient),
        (403, f'{FORBIDDEN}: RBAC: role.rbac.authorization.k8s.io "tailrace" not found', errors.Transient),
        (404, "not found", errors.NotFound),
        (408, "slow", errors.Transient),
        (409, "modified", errors.Conflict),
        (410, "too old", errors.Expired),
        (422, "invalid", errors.Terminal),
        (429, "slow down", errors.RateLimited),
        (500, "etcdserver: request timed out", errors.Transient),
        (503, "", errors.Transient),
    ],
)
def test_each_answer_has_its_error(code: int, message: str, kind: type[errors.TailraceError]) -> None:
    """A role that is not found yet is a server that has just started: it passes by itself."""
    error = status.build_error(code, status.Status(code=code, message=message), request="list Secret")
    assert type(error) is kind


def test_an_answer_without_words_says_what_was_asked() -> None:
    assert "list Secret" in str(status.build_error(503, status.Status(), request="list Secret"))


def test_retry_after_is_read_from_header_and_body() -> None:
    told = status.Status(details=status.StatusDetails(retryAfterSeconds=7))
    for error in (
        status.build_error(503, status.Status(), request="x", retry_after="7"),
        status.build_error(429, told, request="x"),
    ):
        assert isinstance(error, errors.RateLimited)
        assert error.after == 7.0
