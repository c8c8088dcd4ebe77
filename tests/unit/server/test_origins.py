"""The development guard: this machine's names, this machine's pages."""

from __future__ import annotations

import pytest

from signtusk_realtime.errors import Forbidden, InvalidInput
from signtusk_realtime.server.origins import VARY, LoopbackPolicy, is_preflight

POLICY = LoopbackPolicy()


@pytest.mark.parametrize(
    "host",
    ["localhost", "LocalHost:8080", "127.0.0.1", "127.0.0.1:1", "127.9.8.7:65535", "[::1]", "[::1]:8080"],
)
def test_loopback_names_pass(host: str) -> None:
    """localhost, 127.0.0.0/8 and [::1], with any port; without an Origin there is nothing to add but Vary."""
    assert POLICY.allow([(b"host", host.encode())]) == (VARY,)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "example.org",
        "localhost.example.org",
        "example.org:8080",
        "127.0.0.1.example.org",
        "128.0.0.1",
        "0.0.0.0",
        "[::]",
        "[::2]:80",
        "::1",
        "localhost:port",
        "user@localhost",
        "local host",
        "l\u00f6calhost",
        "2130706433",
    ],
)
def test_other_names_are_refused(host: str) -> None:
    """A name that a foreign page could have pointed at us gets 403 host_not_allowed."""
    with pytest.raises(Forbidden) as refusal:
        POLICY.allow([(b"host", host.encode())])
    assert refusal.value.code == "host_not_allowed"


def test_there_is_one_host() -> None:
    """No Host is none of ours; two are a malformed request."""
    with pytest.raises(Forbidden):
        POLICY.allow([])
    with pytest.raises(InvalidInput):
        POLICY.allow([(b"host", b"localhost"), (b"host", b"localhost")])


@pytest.mark.parametrize("origin", ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:5173"])
def test_loopback_pages_pass_and_are_named(origin: str) -> None:
    """The exact origin is echoed, with credentials and Vary; never a star."""
    headers = dict(POLICY.allow([(b"host", b"localhost"), (b"origin", origin.encode())]))
    assert headers[b"Access-Control-Allow-Origin"] == origin.encode()
    assert headers[b"Access-Control-Allow-Credentials"] == b"true"
    assert headers[b"Vary"] == b"Origin"


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "http://example.org",
        "http://localhost.example.org",
        "http://localhost/path",
        "file://localhost",
        "*",
    ],
)
def test_other_pages_are_refused(origin: str) -> None:
    """Any other origin, `null` included, gets 403 origin_not_allowed."""
    with pytest.raises(Forbidden) as refusal:
        POLICY.allow([(b"host", b"localhost"), (b"origin", origin.encode())])
    assert refusal.value.code == "origin_not_allowed"


def test_a_preflight_is_known_by_its_headers() -> None:
    """OPTIONS with an origin and the method it asks for."""
    asking = [(b"origin", b"http://localhost"), (b"access-control-request-method", b"POST")]
    assert is_preflight("OPTIONS", asking)
    assert not is_preflight("GET", asking)
    assert not is_preflight("OPTIONS", asking[:1])
