"""Whom we believe: a CA bundle from a file or from memory comes beside the system's roots."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from tailrace import errors
from tailrace.sandbox import certificates
from tailrace.wire import tls


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> str:
    return certificates.issue(tmp_path_factory.mktemp("authority")).ca_pem


def count(context: ssl.SSLContext) -> int:
    return context.cert_store_stats()["x509_ca"]


def test_a_bundle_is_added_to_the_roots(authority: str, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(authority)
    plain = count(tls.build_context())
    assert count(tls.build_context(ca_pem=authority)) == plain + 1
    assert count(tls.build_context(tmp_path / "ca.pem")) == plain + 1


@pytest.mark.parametrize(
    "text", ["hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "é"]
)
def test_what_is_no_bundle_is_told_and_not_shown(text: str) -> None:
    with pytest.raises(errors.Usage, match="not one or more certificates in PEM form") as caught:
        tls.check_pem(text)
    assert text not in str(caught.value)
    with pytest.raises(errors.Usage):
        tls.build_context(ca_pem=text)


def test_a_good_bundle_passes(authority: str) -> None:
    tls.check_pem(authority)
    tls.check_pem(f"# Autorité racine\n{authority}\n{authority}")
