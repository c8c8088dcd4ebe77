"""Whose word is taken for where a request comes from."""

from __future__ import annotations

import pytest

from signtusk_realtime.errors import ConfigurationError
from signtusk_realtime.server.proxies import NO_PROXIES, Proxies

OURS = Proxies(["10.0.0.0/8", "fd00::/8", "192.0.2.7"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("198.51.100.1", ["203.0.113.9"], "198.51.100.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["1.2.3.4, 203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["1.2.3.4, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", ["1.2.3.4", "203.0.113.9, 192.0.2.7"], "203.0.113.9"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("::ffff:10.0.0.1", ["203.0.113.9:4711"], "203.0.113.9"),
        ("fd00::1", ["[2001:db8::9]:4711"], "2001:db8::9"),
        ("10.0.0.1", ["2001:db8::9"], "2001:db8::9"),
        ("10.0.0.1", ["unknown"], "unknown"),
        ("/run/socket", ["203.0.113.9"], "/run/socket"),
    ],
)
def test_the_client_behind_proxies(peer: str, forwarded: list[str], client: str) -> None:
    """What trusted proxies wrote counts, from the end; what a client wrote itself does not."""
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    assert OURS.client_of(peer, headers) == client
    assert NO_PROXIES.client_of(peer, headers) == peer


def test_a_name_is_no_proxy() -> None:
    """Only addresses and networks are taken."""
    with pytest.raises(ConfigurationError, match="trusted_proxies"):
        Proxies(["proxy.example"])
