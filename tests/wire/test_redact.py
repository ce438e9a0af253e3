"""No secret gets through, whatever surrounds it."""

from __future__ import annotations

import json
import string

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tailrace.wire import redact

SECRET = st.text(string.ascii_letters + string.digits, min_size=16, max_size=64)
AROUND = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40)
FORMS = [
    "tskey-auth-kAbC-{}",
    "tskey-client-kAbC-{}",
    "tskey-api-kAbC-{}",
    "hskey-api-abcdefabcdef-{}",
    "hskey-auth-abcdefabcdef-{}",
    "hskey-oauthtok-{}",
    "Authorization: Bearer {}",
    "Basic {}==",
    '"authKey": "{}"',
    '{{\\"AuthKey\\":\\"{}\\"}}',
    "client_secret={}",
    "client_id=k&client_secret={}&grant_type=x",
    '"access_token":"{}"',
    "https://{}@hs.example.com/",
    "privkey:{}",
]


def shown(secret: str, form: str) -> str:
    return secret.encode().hex() if form.startswith("privkey") else secret


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=25)
@given(before=AROUND, secret=SECRET, after=AROUND)
def test_never_lets_a_secret_through(form: str, before: str, secret: str, after: str) -> None:
    """Each way a secret is written, in any surroundings, whole and as an excerpt."""
    value = shown(secret, form)
    text = f"{before} {form.format(value)} {after}"
    assume(value not in before + after)
    assert value not in redact.redact(text)
    assert value not in redact.excerpt(text, 300)


@given(secret=SECRET, limit=st.integers(20, 100))
def test_cutting_never_saves_part_of_a_secret(secret: str, limit: int) -> None:
    """The cut comes after the redaction."""
    assert secret[:12] not in redact.excerpt("x" * (limit - 30) + " tskey-auth-k1-" + secret, limit)


def test_json_documents_lose_their_named_secrets() -> None:
    """A field named like a secret is blanked whatever it holds; the others stay."""
    body = json.dumps({"key": "hskey-auth-0123-abcdef", "password": 'a"b c', "message": "node not found"})
    assert redact.redact(body) == '{"key": "hskey-auth-***", "password": "***", "message": "node not found"}'


def test_an_excerpt_is_one_bounded_line() -> None:
    """Newlines go, length is bounded."""
    assert redact.excerpt("a\n b\t\tc") == "a b c"
    assert len(redact.excerpt("y" * 10_000)) == redact.EXCERPT
