"""How servers behind `rediss://` are proven, and how this node proves itself to them.

Owns: the TLS context of all connections.   Not: connecting (link.py).
Rule: a fault names the setting and the file, and repeats nothing that is in it.
"""

from __future__ import annotations

import ssl
from typing import Never

from signtusk_realtime.errors import ConfigurationError


def trusting(ca: str | None, certificate: str | None, key: str | None) -> ssl.SSLContext:
    """Trust who is proven by `ca`, or by what the system trusts; show `certificate` if there is one. Raises: ConfigurationError."""
    if (certificate is None) != (key is None):
        given, missing = ("redis_certificate", "redis_key") if key is None else ("redis_key", "redis_certificate")
        raise ConfigurationError(f"{given}: is given without {missing}; a node that proves itself needs both")
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise ConfigurationError(f"redis_ca: {ca!r} cannot be used: {_why(error)}") from None
    if certificate is not None:
        try:
            context.load_cert_chain(certificate, key, password=_no_password)
        except OSError as error:
            raise ConfigurationError(
                f"redis_certificate: {certificate!r} and {key!r} cannot be used: {_why(error)}"
            ) from None
    return context


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "it is not PEM"
    return error.strerror or str(error)


def _no_password() -> Never:
    """Stand in for OpenSSL's own question, which it would ask on the terminal."""
    raise OSError("it is encrypted; give it without a password")
