"""A throw-away authority and a serving certificate for loopback: kubectl sends no token without TLS."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFE = timedelta(days=30)
_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificate:
    """Where the serving pair lies, and the authority that clients trust."""

    cert: Path
    key: Path
    ca_pem: str


def issue(folder: Path) -> Certificate:
    """Make both anew; only the owner reads the key. Python refuses a chain without key identifiers.

    Raises:
        OSError: the folder cannot be written.
    """
    authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tailrace-sandbox-ca")])
    start = datetime.now(UTC) - timedelta(minutes=5)
    public = authority_key.public_key()
    authority = (
        x509.CertificateBuilder(name, name, public, x509.random_serial_number(), start, start + _LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(_usage(signs=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")])
    places = [*map(x509.DNSName, _NAMES), x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))]
    server = (
        x509.CertificateBuilder(
            name, subject, server_key.public_key(), x509.random_serial_number(), start, start + _LIFE
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(places), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(server_key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .add_extension(_usage(signs=False), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    key = server_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    made = Certificate(
        cert=folder / "apiserver.crt",
        key=folder / "apiserver.key",
        ca_pem=authority.public_bytes(pem).decode(),
    )
    made.cert.write_bytes(server.public_bytes(pem))
    made.key.unlink(missing_ok=True)  # one that is there keeps its mode
    made.key.touch(0o600)
    made.key.write_bytes(key)
    return made


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
