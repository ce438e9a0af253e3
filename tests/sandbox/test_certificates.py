"""The throw-away authority: clients that verify accept it, and nobody else reads the key."""

from __future__ import annotations

import asyncio
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509

from tailrace.sandbox import certificates


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "kubernetes.default.svc"])
async def test_a_strict_client_accepts_it(tmp_path: Path, host: str) -> None:
    """Python's own defaults, which refuse a chain without key identifiers, under every name."""
    made = certificates.issue(tmp_path)
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(made.cert, made.key)
    trusting = ssl.create_default_context(cadata=made.ca_pem)
    assert trusting.verify_flags & ssl.VERIFY_X509_STRICT

    def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0, ssl=serving) as server:
        address = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(*address, ssl=trusting, server_hostname=host)
        assert await reader.read() == b"hello"
        writer.close()
        await writer.wait_closed()


def test_the_key_is_private_also_where_one_was(tmp_path: Path) -> None:
    """A folder that is used again: a new key, of the right mode whatever the old one had."""
    old = certificates.issue(tmp_path)
    before = old.key.read_bytes()
    old.key.chmod(0o644)
    made = certificates.issue(tmp_path)
    assert made.key.read_bytes() != before
    assert stat.S_IMODE(made.key.stat().st_mode) == 0o600
    assert "PRIVATE" not in made.ca_pem + made.cert.read_text()


def test_two_authorities_do_not_trust_each_other(tmp_path: Path) -> None:
    """Each sandbox has its own; the serving certificate names its issuer's key."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, two = certificates.issue(tmp_path / "a"), certificates.issue(tmp_path / "b")
    served = x509.load_pem_x509_certificate(one.cert.read_bytes())
    authority, other = (x509.load_pem_x509_certificate(pem.encode()) for pem in (one.ca_pem, two.ca_pem))
    served.verify_directly_issued_by(authority)
    named = served.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    for ca, same in ((authority, True), (other, False)):
        own = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.key_identifier
        assert (own == named) is same
