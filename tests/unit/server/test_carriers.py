"""Tokens in a cookie and in the query: only where they are allowed, and never beside another."""

from __future__ import annotations

import pytest

from signtusk_realtime.errors import Forbidden, Unauthenticated
from signtusk_realtime.protocol.handshake import Headers
from signtusk_realtime.server.carriers import HEADER_ONLY, Carriers

ORIGIN = (b"origin", b"https://app.example.com")
COOKIE = (b"cookie", b"theme=dark; session=ey.J.w; other=1")
BEARER = (b"authorization", b"Bearer header")
COOKIES = Carriers(cookie="session")
QUERY = Carriers(query_token=True)


def bearers(carriers: Carriers, *headers: tuple[bytes, bytes], query: bytes = b"", opens: bool = True) -> list[bytes]:
    found, _ = carriers.settle(list(headers), query, opens=opens)
    return [value for name, value in found if name == b"authorization"]


def test_neither_counts_unless_it_is_allowed() -> None:
    """By default only headers carry tokens; a parameter of that name stays an unknown one."""
    headers: Headers = [ORIGIN, COOKIE]
    assert HEADER_ONLY.settle(headers, b"token=a", opens=True) == (headers, b"token=a")


def test_a_cookie_of_an_allowed_page_counts() -> None:
    """Wherever it stands among others, in quotes or not, on any request."""
    assert bearers(COOKIES, ORIGIN, COOKIE) == [b"Bearer ey.J.w"]
    assert bearers(COOKIES, ORIGIN, COOKIE, opens=False) == [b"Bearer ey.J.w"]
    assert bearers(COOKIES, ORIGIN, (b"cookie", b'a="b";session="ey.J.w"')) == [b"Bearer ey.J.w"]
    assert bearers(COOKIES, ORIGIN, (b"cookie", b"a=b"), (b"cookie", b"session=ey.J.w")) == [b"Bearer ey.J.w"]


@pytest.mark.parametrize("cookie", [b"", b"session", b"xsession=a", b"session2=a", b"Session=a", b"a=session=b"])
def test_another_cookie_is_none(cookie: bytes) -> None:
    """Names are compared whole, and a name without a value is an empty one."""
    found = bearers(COOKIES, ORIGIN, (b"cookie", cookie))
    assert found in ([], [b"Bearer "])


def test_a_cookie_without_an_origin_is_refused() -> None:
    """A request that no page vouches for is not believed to be its user's wish."""
    with pytest.raises(Forbidden) as caught:
        bearers(COOKIES, COOKIE)
    assert caught.value.code == "origin_not_allowed"


def test_whatever_else_says_who_asks_counts_before_a_cookie() -> None:
    """A header, a subprotocol, a ticket, a query's token: then the cookie is not even looked at, nor is its Origin missed."""
    assert bearers(COOKIES, COOKIE, BEARER) == [b"Bearer header"]
    assert bearers(COOKIES, COOKIE, query=b"a=b&ticket=tkt_x") == []
    assert bearers(COOKIES, COOKIE, (b"sec-websocket-protocol", b"signtusk.v1, bearer.x")) == []
    both = Carriers(cookie="session", query_token=True)
    assert bearers(both, COOKIE, query=b"token=q") == [b"Bearer q"]


def test_two_cookies_that_differ_are_refused() -> None:
    """One of them may have been set by somebody else, from a sibling domain."""
    with pytest.raises(Unauthenticated):
        bearers(COOKIES, ORIGIN, (b"cookie", b"session=a; session=b"))
    with pytest.raises(Unauthenticated):
        bearers(COOKIES, ORIGIN, (b"cookie", b"session=a"), (b"cookie", b"session=b"))
    assert bearers(COOKIES, ORIGIN, (b"cookie", b"session=a; session=a")) == [b"Bearer a"]


def test_a_token_in_the_query_is_taken_out_of_it() -> None:
    """What follows sees a header, and a query without a secret."""
    headers, query = QUERY.settle([], b"types=a&token=ey.J-w_&documentId=d%201", opens=True)
    assert (headers, query) == ([(b"authorization", b"Bearer ey.J-w_")], b"types=a&documentId=d%201")
    assert bearers(QUERY, query=b"token=user%40org") == [b"Bearer user@org"]


def test_a_token_in_the_query_opens_connections_only() -> None:
    """Every other call can send a header."""
    assert bearers(QUERY, query=b"token=a", opens=False) == []


def test_a_token_in_the_query_stands_alone() -> None:
    """Twice, or beside a header, nobody knows who is meant."""
    with pytest.raises(Unauthenticated):
        bearers(QUERY, query=b"token=a&token=b")
    with pytest.raises(Unauthenticated):
        bearers(QUERY, BEARER, query=b"token=a")
