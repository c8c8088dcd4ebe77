"""What is said of listeners that cannot be: half of TLS, files that are none, and a door left open."""

from __future__ import annotations

from pathlib import Path

import pytest

from signtusk_realtime.config import InvalidSettings, Settings, TlsSettings, check, load
from tests.support.certificates import make_certificate


def test_tls_is_configured_by_two_files(tmp_path: Path) -> None:
    """Their names are what is kept; the server reads them."""
    files = make_certificate(tmp_path)
    options = {"tls_certificate": str(files.certificate), "tls_key": str(files.key)}
    assert load(options, {}, None).settings.tls == TlsSettings(certificate=str(files.certificate), key=str(files.key))


@pytest.mark.parametrize(
    ("tls", "fault"),
    [
        (TlsSettings(certificate="server.crt"), "tls.certificate: is given without tls.key; TLS needs both"),
        (TlsSettings(key="server.key"), "tls.key: is given without tls.certificate; TLS needs both"),
        (
            TlsSettings(certificate="gone.crt", key="gone.key"),
            "tls.certificate: cannot read 'gone.crt': No such file or directory; tls.key: cannot read 'gone.key': No such file or directory",
        ),
    ],
)
def test_tls_needs_two_files_that_are_there(tls: TlsSettings, fault: str) -> None:
    """Told before anything is bound."""
    with pytest.raises(InvalidSettings) as caught:
        check(Settings(tls=tls))
    assert caught.value.faults == (fault,)


def test_the_listener_for_operators_is_loopback_in_development() -> None:
    """Development lets everybody in; so nobody else may reach it there either."""
    with pytest.raises(InvalidSettings) as caught:
        load({"admin_port": "0", "admin_host": "0.0.0.0"}, {}, None)
    (fault,) = caught.value.faults
    assert fault.startswith("admin_host: development authentication lets everybody in and is refused on '0.0.0.0'")
    assert load({"admin_port": "0", "admin_host": "::1"}, {}, None).settings.admin_port == 0


def test_without_a_port_the_address_for_operators_is_of_no_account() -> None:
    """Nothing listens on it."""
    assert load({"admin_host": "0.0.0.0"}, {}, None).settings.admin_port is None
