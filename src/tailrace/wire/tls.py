"""Whom we believe: the public roots and, if there is one, a private CA bundle beside them."""

from __future__ import annotations

import ssl
from pathlib import Path

from tailrace import errors


def build_context(ca_bundle: Path | None = None) -> ssl.SSLContext:
    """A verifying client context. `ca_bundle` (PEM) is added to the system's roots, it does not replace them.

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
    return context
