"""TLS of our own listeners.

Owns: certificate and key from PEM files, which versions are spoken, and what browsers are told about it.   Not: sockets (server.py), TLS towards
others.
Rule 1: a fault names the setting and says what is wrong with the file; nothing of a key is repeated.
Rule 2: files that cannot be used change nothing: until they can, connections get the certificate that was there before.
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Final, Never

from signtusk_realtime.errors import ConfigurationError

log = logging.getLogger(__name__)

HSTS: Final = (b"Strict-Transport-Security", b"max-age=31536000")
"""RFC 6797: for a year a browser asks this host by TLS only, whatever a link or a page says."""

_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"
_KEY: Final = b"PRIVATE KEY-----"


class Tls:
    """A certificate, with the chain that proves it, and its key. Raises: ConfigurationError, with a line for each file at fault."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        self.context = _context(certificate, key)
        """For all listeners; what `reload` reads counts from the next handshake on."""

    def reload(self) -> None:
        """Read the files again, for who renewed them; those that cannot be used are logged and left."""
        try:
            # Ordering: proven in a context of its own first; half a change would end every handshake.
            _context(self._certificate, self._key)
            self.context.load_cert_chain(self._certificate, self._key, password=_no_password)
        except (ConfigurationError, OSError) as error:
            log.error("certificate not reloaded", extra={"reason": str(error)})  # noqa: TRY400 - the reason says it all
        else:
            log.info("certificate reloaded", extra={"certificate": str(self._certificate)})


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    faults = [
        *_file_faults("tls.certificate", certificate, _CERTIFICATE, "certificate"),
        *_file_faults("tls.key", key, _KEY, "private key"),
    ]
    if faults:
        raise ConfigurationError("; ".join(faults))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A client could make us work without end by asking for new keys again and again.
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except _Encrypted:
        raise ConfigurationError(f"tls.key: the key in {str(key)!r} is encrypted; give it without a password") from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            fault = f"tls.key: the key in {str(key)!r} is not that of the certificate in {str(certificate)!r}"
        else:
            fault = f"tls.certificate: {str(certificate)!r} and {str(key)!r} cannot be used: {error.reason or 'they are not PEM'}"
        raise ConfigurationError(fault) from None
    return context


def _file_faults(setting: str, file: Path, mark: bytes, what: str) -> list[str]:
    try:
        text = file.read_bytes()
    except OSError as error:
        return [f"{setting}: cannot read {str(file)!r}: {error.strerror}"]
    return [] if mark in text else [f"{setting}: {str(file)!r} holds no {what} in PEM form"]


class _Encrypted(Exception):
    pass


def _no_password() -> Never:
    """Stand in for OpenSSL's own question, which it would ask on the terminal."""
    raise _Encrypted
