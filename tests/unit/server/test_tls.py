"""Certificate and key: what can be used, what is said of the rest, and reading them again."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

import pytest

from signtusk_realtime.errors import ConfigurationError
from signtusk_realtime.server.tls import Tls
from tests.support.certificates import make_certificate


def shown_by(context: ssl.SSLContext, folder: Path, *names: str) -> str:
    """Give the name of the certificate that a handshake shows, in memory."""
    trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for name in names:
        trusted.load_verify_locations(folder / f"{name}.crt")
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    client = trusted.wrap_bio(to_client, to_server, server_hostname="localhost")
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    subject = (client.getpeercert() or {})["subject"]
    assert isinstance(subject, tuple)
    return dict(part[0] for part in subject)["commonName"]


def test_old_versions_are_not_spoken(tmp_path: Path) -> None:
    """TLS 1.2 at least, and HTTP/1.1 on it."""
    files = make_certificate(tmp_path)
    context = Tls(files.certificate, files.key).context
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("no certificate", r"tls\.certificate: cannot read '.*gone': No such file or directory$"),
        ("no key", r"tls\.key: cannot read '.*gone': No such file or directory$"),
        (
            "exchanged",
            r"tls\.certificate: '.*server\.key' holds no certificate in PEM form; tls\.key: .* no private key in PEM form$",
        ),
        ("another key", r"tls\.key: the key in '.*other\.key' is not that of the certificate in '.*server\.crt'$"),
        ("encrypted", r"tls\.key: the key in '.*locked\.key' is encrypted; give it without a password$"),
        ("cut", r"tls\.certificate: '.*cut' and '.*server\.key' cannot be used: "),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, fault: str, told: str) -> None:
    """Setting, file and reason; never the content, and never a question on the terminal."""
    files, other = make_certificate(tmp_path), make_certificate(tmp_path, "other")
    locked = make_certificate(tmp_path, "locked", password=b"secret")
    cut, gone = tmp_path / "cut", tmp_path / "gone"
    cut.write_bytes(files.certificate.read_bytes()[:200])
    certificate, key = {
        "no certificate": (gone, files.key),
        "no key": (files.certificate, gone),
        "exchanged": (files.key, files.certificate),
        "another key": (files.certificate, other.key),
        "encrypted": (locked.certificate, locked.key),
        "cut": (cut, files.key),
    }[fault]
    with pytest.raises(ConfigurationError, match=told):
        Tls(certificate, key)


def test_a_renewed_certificate_is_shown_from_the_next_handshake_on(tmp_path: Path) -> None:
    """The files stay where they are; their content is read again."""
    files, other = make_certificate(tmp_path), make_certificate(tmp_path, "other")
    (tmp_path / "first.crt").write_bytes(files.certificate.read_bytes())
    tls = Tls(files.certificate, files.key)
    assert shown_by(tls.context, tmp_path, "first", "other") == "server"
    files.certificate.write_bytes(other.certificate.read_bytes())
    files.key.write_bytes(other.key.read_bytes())
    assert shown_by(tls.context, tmp_path, "first", "other") == "server"
    tls.reload()
    assert shown_by(tls.context, tmp_path, "first", "other") == "other"


def test_half_a_renewal_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A certificate whose key is not there yet is told, and the old one goes on."""
    files, other = make_certificate(tmp_path), make_certificate(tmp_path, "other")
    (tmp_path / "first.crt").write_bytes(files.certificate.read_bytes())
    tls = Tls(files.certificate, files.key)
    files.certificate.write_bytes(other.certificate.read_bytes())
    with caplog.at_level(logging.INFO):
        tls.reload()
    assert [(record.levelname, record.message) for record in caplog.records] == [("ERROR", "certificate not reloaded")]
    assert shown_by(tls.context, tmp_path, "first", "other") == "server"
