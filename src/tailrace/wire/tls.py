"""Whom we believe: the public roots and, if there are any, private CA bundles beside them."""

from __future__ import annotations

import ssl
from pathlib import Path

from tailrace import errors


def build_context(ca_bundle: Path | None = None, *, ca_pem: str = "") -> ssl.SSLContext:
    """A verifying client context. `ca_bundle` (a PEM file) and `ca_pem` (its text) are added to the system's roots,
    they do not replace them.

    `SSL_CERT_FILE` and `SSL_CERT_DIR` are obeyed, as by every OpenSSL program.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_bundle is not None:
        try:
            context.load_verify_locations(cafile=str(ca_bundle))
        except (OSError, ssl.SSLError) as cause:
            raise errors.Usage(
                f"The CA bundle {ca_bundle} cannot be used: {cause.strerror or cause}.",
                hint="It must be a readable file with one or more certificates in PEM form.",
            ) from cause
    if ca_pem:
        _load(context, ca_pem)
    return context


def check_pem(ca_pem: str) -> None:
    """Whether the text is a CA bundle. Raises `Usage` when it is none."""
    _load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ca_pem)


def _load(context: ssl.SSLContext, ca_pem: str) -> None:
    # The names of authorities stand between the certificates, in any script.
    plain = ca_pem.encode("ascii", "replace").decode()
    try:
        context.load_verify_locations(cadata=plain)
    except (ssl.SSLError, ValueError) as cause:
        raise errors.Usage(
            "The CA bundle cannot be used: it is not one or more certificates in PEM form."
        ) from cause
