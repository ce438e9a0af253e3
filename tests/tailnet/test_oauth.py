"""The token flow, without sockets: its calls are looked at and its replies are made up."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace import errors
from tailrace.tailnet import credentials, oauth
from tailrace.wire import call as calls

CLIENT = credentials.OAuthClient(id="kAB", secret="hush")


class Source:
    where = "a test"

    def __init__(self, credential: credentials.Credential) -> None:
        self.credential = credential

    async def prepare(self) -> None:
        """Nothing to wait for."""

    def read(self) -> credentials.Credential:
        return self.credential


def token(value: str, lifetime: int = 3600) -> calls.Reply:
    body = {
        "access_token": value,
        "token_type": "Bearer",
        "expires_in": lifetime,
        "scope": "auth_keys devices:core",
    }
    return calls.Reply(status=200, body=json.dumps(body).encode())


def finish(
    flow: calls.Flow, reply: calls.Reply | errors.TailraceError | None = None
) -> tuple[str, calls.Call | None]:
    """Run a flow to its end with one reply; its value and what it asked."""
    asked = None
    try:
        asked = next(flow)
        assert reply is not None, "it asked, and was not expected to"
        if isinstance(reply, calls.Reply):
            flow.send(reply)
        else:
            flow.throw(reply)
    except StopIteration as done:
        return done.value, asked
    raise AssertionError("the flow wants more")


def test_a_token_is_asked_once_and_renewed_ahead_of_its_end() -> None:
    """One request, then reuse; a new one some minutes before the hour is over."""
    auth = oauth.CredentialAuthorizer(Source(CLIENT))
    value, asked = finish(auth.authorize(now=0), token("t1"))
    assert value == "Bearer t1"
    assert asked is not None
    assert asked.route == "/api/v2/oauth/token"
    assert asked.form == {"grant_type": "client_credentials", "client_id": "kAB", "client_secret": "hush"}
    assert auth.granted == frozenset({"auth_keys", "devices:core"})
    assert finish(auth.authorize(now=3000)) == ("Bearer t1", None)
    assert finish(auth.authorize(now=3300), token("t2"))[0] == "Bearer t2"


def test_a_refused_token_is_replaced_but_not_one_that_is_newer_already() -> None:
    """Who comes second with the same refused token gets the first one's new token."""
    auth = oauth.CredentialAuthorizer(Source(CLIENT))
    finish(auth.authorize(now=0), token("t1"))
    assert finish(auth.authorize(now=1, refused="Bearer t1"), token("t2"))[0] == "Bearer t2"
    assert finish(auth.authorize(now=2, refused="Bearer t1")) == ("Bearer t2", None)


def test_a_rotated_secret_is_used_at_once() -> None:
    """The token of the old credential is dropped."""
    source = Source(CLIENT)
    auth = oauth.CredentialAuthorizer(source)
    finish(auth.authorize(now=0), token("t1"))
    source.credential = credentials.OAuthClient(id="kAB", secret="newer")
    assert finish(auth.authorize(now=1), token("t2"))[0] == "Bearer t2"
    source.credential = credentials.ApiKey(value="tskey-api-k-v")
    assert finish(auth.authorize(now=2)) == ("Bearer tskey-api-k-v", None)
    assert auth.granted is None


@pytest.mark.parametrize("trouble", [errors.Transient("down"), calls.Reply(status=503)])
def test_a_failed_renewal_is_no_fault_while_the_old_token_lives(
    trouble: calls.Reply | errors.TailraceError,
) -> None:
    """Renewed early enough to survive an outage of minutes."""
    auth = oauth.CredentialAuthorizer(Source(CLIENT))
    finish(auth.authorize(now=0), token("t1"))
    assert finish(auth.authorize(now=3500), trouble)[0] == "Bearer t1"
    with pytest.raises(errors.Transient):
        finish(auth.authorize(now=3601), trouble)


def test_workload_identity_exchanges_its_token() -> None:
    """Another path, another form, the same life."""
    auth = oauth.CredentialAuthorizer(Source(credentials.WorkloadIdentity(id="kW", token="jwt")))
    value, asked = finish(auth.authorize(now=0), token("t1"))
    assert value == "Bearer t1"
    assert asked is not None
    assert (asked.route, asked.form) == ("/api/v2/oauth/token-exchange", {"client_id": "kW", "jwt": "jwt"})


@pytest.mark.parametrize(
    "reply, error, words",
    [
        (calls.Reply(status=401, body=b'{"error":"invalid_client"}'), errors.Denied, "invalid_client"),
        (calls.Reply(status=400, body=b'{"error":"invalid_scope"}'), errors.Denied, "invalid_scope"),
        (calls.Reply(status=404, body=b"404 page not found"), errors.Denied, "give it an API key"),
        (calls.Reply(status=429), errors.RateLimited, "too many"),
        (calls.Reply(status=502, body=b"<html>"), errors.Transient, "502"),
    ],
)
def test_refusals_say_whose_fault_it_is(reply: calls.Reply, error: type[Exception], words: str) -> None:
    """RFC 6749 errors, a Headscale without OAuth, a proxy's page."""
    auth = oauth.CredentialAuthorizer(Source(CLIENT))
    with pytest.raises(error, match=words):
        finish(auth.authorize(now=0), reply)


@given(st.floats(0, 1e6))
def test_the_renewal_lies_within_the_life(lifetime: float) -> None:
    """Ahead of the end, never before half of it."""
    assert lifetime / 2 <= oauth.renewal(lifetime) <= lifetime
