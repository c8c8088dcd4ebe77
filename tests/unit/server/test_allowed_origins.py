"""Which pages may talk to a service with authentication: exactly those that are named, and its own."""

from __future__ import annotations

import pytest

from signtusk_realtime.config.access import is_origin
from signtusk_realtime.errors import Forbidden
from signtusk_realtime.server.origins import (
    VARY,
    AllowedOrigins,
    LoopbackPolicy,
    OperatorsPolicy,
    OriginPolicy,
    origin_of,
)

ALLOWED = ("https://app.example.com", "https://xn--bcher-kva.example:8443", "http://localhost:3000")
POLICY = AllowedOrigins(ALLOWED)
HOST = (b"host", b"rt.example.com:8080")


def is_refused(origin: str, policy: OriginPolicy = POLICY, host: tuple[bytes, bytes] = HOST) -> bool:
    try:
        policy.allow([host, (b"origin", origin.encode("latin-1"))])
    except Forbidden as error:
        return error.code == "origin_not_allowed"
    return False


@pytest.mark.parametrize("origin", ALLOWED)
def test_a_page_that_is_named_is_welcome(origin: str) -> None:
    """It is told its own origin, and that credentials may come along; never `*`."""
    assert POLICY.allow([HOST, (b"origin", origin.encode())]) == (
        (b"Access-Control-Allow-Origin", origin.encode()),
        (b"Access-Control-Allow-Credentials", b"true"),
        (b"Access-Control-Expose-Headers", b"Retry-After"),
        VARY,
    )


def test_who_is_no_page_passes() -> None:
    """Without an Origin there is nothing to add but Vary; whatever the Host."""
    assert POLICY.allow([HOST]) == (VARY,)
    assert POLICY.allow([]) == (VARY,)


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "*",
        "https://example.com",
        "https://evil.example",
        "https://app.example.com.evil.example",
        "https://evilapp.example.com",
        "https://sub.app.example.com",
        "https://app.example.com:443",
        "https://app.example.com:8443",
        "https://app.example.com/",
        "https://app.example.com.",
        "https://APP.example.com",
        "HTTPS://app.example.com",
        "http://app.example.com",
        "https://app.example.com@evil.example",
        "https://evil.example#https://app.example.com",
        "https://evil.example, https://app.example.com",
        "https://app.example.com https://evil.example",
        " https://app.example.com",
        "https://xn--bcher-kva.example",
        "https://b\u00fccher.example:8443",
        "http://localhost",
        "http://localhost:30000",
        "file://",
        "chrome-extension://abcdef",
        "ws://app.example.com",
    ],
)
def test_every_other_page_is_refused(origin: str) -> None:
    """Suffixes, prefixes, ports, case, schemes, user names, other spellings, `null`: none is the same origin."""
    assert is_refused(origin)


def test_several_origins_are_none() -> None:
    """A browser sends one."""
    with pytest.raises(Forbidden):
        POLICY.allow([HOST, *[(b"origin", ALLOWED[0].encode())] * 2])


def test_our_own_pages_pass() -> None:
    """By the name and port that were asked for; another port or scheme is another origin."""
    assert not is_refused("http://rt.example.com:8080")
    assert is_refused("http://rt.example.com")
    assert is_refused("https://rt.example.com:8080")
    assert not is_refused("http://rt.example.com", host=(b"host", b"RT.example.com:80"))
    assert is_refused("http://", host=(b"host", b""))


def test_a_public_address_says_what_our_own_origin_is() -> None:
    """Behind a proxy that speaks TLS the name that was asked for is not all of it; then the configured one is, and alone."""
    policy = AllowedOrigins((), "https://rt.example.com/realtime")
    assert not is_refused("https://rt.example.com", policy)
    assert is_refused("http://rt.example.com:8080", policy)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://RT.example.com", b"https://rt.example.com"),
        ("https://rt.example.com:443/x?y", b"https://rt.example.com"),
        ("http://rt.example.com:80", b"http://rt.example.com"),
        ("http://rt.example.com:443", b"http://rt.example.com:443"),
        ("https://[::1]:8443/", b"https://[::1]:8443"),
    ],
)
def test_the_origin_of_an_address(url: str, origin: bytes) -> None:
    """As a browser writes it."""
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        *((origin, True) for origin in ALLOWED),
        ("http://[::1]:3000", True),
        ("https://a", True),
        ("https://a.b-c.example", True),
        ("https://app.example.com:443", False),
        ("http://app.example.com:80", False),
        ("http://app.example.com:443", True),
        ("https://app.example.com/", False),
        ("https://App.example.com", False),
        ("https://*.example.com", False),
        ("https://app.example.com:0", False),
        ("https://app.example.com:65536", False),
        ("https://b\u00fccher.example", False),
        ("app.example.com", False),
        ("null", False),
        ("*", False),
        ("ws://app.example.com", False),
        ("https://user@app.example.com", False),
    ],
)
def test_only_what_a_browser_would_send_can_be_allowed(text: str, is_one: bool) -> None:
    """A setting that no Origin could ever equal is told, rather than waited for in vain."""
    assert is_origin(text) is is_one


def test_our_own_origin_is_https_where_we_speak_tls() -> None:
    """With a certificate of our own and no public_url, the page that we were asked for by https is ours, and the one by http is not."""
    policy = AllowedOrigins((), is_tls=True)
    host = (b"host", b"rt.example.com:443")
    assert not is_refused("https://rt.example.com", policy, host)
    assert is_refused("http://rt.example.com", policy, host)
    assert is_refused("https://rt.example.com:8443", policy, host)


def test_with_cookies_a_name_alone_is_nobodys_own() -> None:
    """A cookie may belong to all names of a domain: one of them that points to us is not our page for that. An address is, and what was named."""
    policy = AllowedOrigins(ALLOWED, has_cookies=True)
    for host in ("evil.example.com", "rt.example.com:8080", "localhost.example.com", "rt"):
        assert is_refused(f"http://{host}", policy, (b"host", host.encode()))
    for host in ("127.0.0.1:8080", "[2001:db8::1]", "10.1.2.3", "localhost:8080"):
        assert not is_refused(f"http://{host}", policy, (b"host", host.encode()))
    assert is_refused("http://127.0.0.1:8080", policy, (b"host", b"127.0.0.1:9090"))
    assert not is_refused(ALLOWED[0], policy, (b"host", b"evil.example.com"))
    named = AllowedOrigins(ALLOWED, "https://rt.example.com", has_cookies=True)
    assert not is_refused("https://rt.example.com", named)
    assert is_refused("http://127.0.0.1:8080", named, (b"host", b"127.0.0.1:8080"))


OPERATORS = OperatorsPolicy(AllowedOrigins(ALLOWED), ("ops.example.com", "0.0.0.0"))


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:9090", "[::1]:9090", "10.0.0.7", "localhost", "realtime:9090", "Ops.Example.com:9090", "a.b.svc",
     "rt.prod.svc.cluster.local:9090", "rt.internal."],
)  # fmt: skip
def test_operators_come_by_names_that_no_stranger_can_give(host: str) -> None:
    """Addresses, this machine, one word, private domains, and the names they chose themselves; a page of that very name is our own."""
    assert OPERATORS.allow([(b"host", host.encode())]) == (VARY,)
    assert not is_refused(f"http://{host.lower()}", OPERATORS, (b"host", host.encode()))
    assert is_refused("https://evil.example", OPERATORS, (b"host", host.encode()))


@pytest.mark.parametrize(
    "host",
    [
        "evil.com",
        "127.0.0.1.evil.com",
        "ops.example.com.evil.com",
        "internal.evil.com:9090",
        "svc.example.com",
        "",
        "a b",
    ],
)
def test_operators_do_not_come_by_a_strangers_name(host: str) -> None:
    """A page whose own name was pointed to their listener is of the same origin, and is told nothing."""
    for headers in ([(b"host", host.encode())], [(b"host", host.encode()), (b"origin", f"http://{host}".encode())], []):
        with pytest.raises(Forbidden) as refusal:
            OPERATORS.allow(headers)
        assert refusal.value.code == "host_not_allowed"
    with pytest.raises(Forbidden):
        OPERATORS.allow([(b"host", b"127.0.0.1"), (b"host", host.encode())])


@pytest.mark.parametrize(
    ("name", "value", "is_served"),
    [
        ("x-forwarded-for", "203.0.113.9", False),
        ("x-forwarded-for", "127.0.0.1, 203.0.113.9", False),
        ("x-forwarded-for", "2001:db8::1", False),
        ("x-forwarded-for", "unknown", False),
        ("x-real-ip", "203.0.113.9", False),
        ("x-forwarded-host", "sign.bank.example", False),
        ("forwarded", 'for=127.0.0.1;host="sign.bank.example"', False),
        ("forwarded", 'proto=https; For="[2001:db8::1]:4711"', False),
        ("forwarded", "for=127.0.0.1, for=203.0.113.9", False),
        ("forwarded", "for=_hidden", False),
        ("x-forwarded-for", "127.0.0.1", True),
        ("x-forwarded-for", "::1, 127.0.0.1", True),
        ("x-forwarded-host", "localhost:5173", True),
        ("forwarded", 'for="[::1]:4711";proto=http;by=203.0.113.43;host=localhost', True),
        ("forwarded", "", True),
    ],
)
def test_development_serves_nobody_for_whom_a_proxy_asks(name: str, value: str, is_served: bool) -> None:
    """Behind a proxy everybody comes from this machine; a developer's own proxy says that he does."""
    headers = [(b"host", b"localhost:8080"), (name.encode(), value.encode())]
    if is_served:
        assert LoopbackPolicy().allow(headers) == (VARY,)
    else:
        with pytest.raises(Forbidden) as refusal:
            LoopbackPolicy().allow(headers)
        assert refusal.value.code == "host_not_allowed"
