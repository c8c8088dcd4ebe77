"""The opening handshake: what is taken, what is refused and how, which token was offered."""

from __future__ import annotations

import pytest

from signtusk_realtime.protocol.codes import problem_status
from signtusk_realtime.protocol.handshake import Offer, Refusal, Upgrade, negotiate, parse_offer

GOOD: dict[bytes, bytes | None] = {
    b"host": b"localhost",
    b"upgrade": b"websocket",
    b"connection": b"Upgrade",
    b"sec-websocket-version": b"13",
    b"sec-websocket-key": b"dGhlIHNhbXBsZSBub25jZQ==",
}


def headers(changes: dict[bytes, bytes | None] | None = None) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in {**GOOD, **(changes or {})}.items() if value is not None]


def upgrade(extra: list[tuple[bytes, bytes]]) -> Upgrade:
    answer = negotiate(b"GET", "1.1", [*headers(), *extra])
    assert isinstance(answer, Upgrade)
    return answer


def test_the_example_of_the_standard() -> None:
    """RFC 6455 §1.3: this key has this answer."""
    answer = negotiate(b"GET", "1.1", headers())
    assert isinstance(answer, Upgrade)
    assert answer.response() == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {b"upgrade": b"WebSocket"},
        {b"upgrade": b"h2c, websocket"},
        {b"connection": b"keep-alive, Upgrade"},
        {b"connection": b"UPGRADE"},
        {b"sec-websocket-version": b" 13 "},
        {b"content-length": b"0"},
        {b"sec-websocket-extensions": b"permessage-deflate"},
        {b"origin": b"null"},
    ],
)
def test_what_browsers_and_proxies_write_is_taken(changes: dict[bytes, bytes | None]) -> None:
    """Lists, cases and extensions we do not speak are no fault."""
    assert isinstance(negotiate(b"GET", "1.1", headers(changes)), Upgrade)


REFUSED = [
    (405, b"POST", "1.1", headers()),
    (405, b"HEAD", "1.1", headers()),
    (426, b"GET", "1.1", [(b"host", b"localhost")]),
    (426, b"GET", "1.0", headers()),
    (426, b"GET", "1.1", headers({b"upgrade": None})),
    (426, b"GET", "1.1", headers({b"upgrade": b"h2c"})),
    (426, b"GET", "1.1", headers({b"connection": b"keep-alive"})),
    (426, b"GET", "1.1", headers({b"sec-websocket-version": None})),
    (426, b"GET", "1.1", headers({b"sec-websocket-version": b"8"})),
    (426, b"GET", "1.1", headers({b"sec-websocket-version": b"13, 8"})),
    (426, b"GET", "1.1", [*headers(), (b"sec-websocket-version", b"13")]),
    (400, b"GET", "1.1", headers({b"host": None})),
    (400, b"GET", "1.1", [*headers(), (b"host", b"other")]),
    (400, b"GET", "1.1", headers({b"sec-websocket-key": None})),
    (400, b"GET", "1.1", headers({b"sec-websocket-key": b""})),
    (400, b"GET", "1.1", headers({b"sec-websocket-key": b"dGhlIHNhbXBsZSBub25jZQ"})),
    (400, b"GET", "1.1", headers({b"sec-websocket-key": b"dGhlIHNhbXBsZSBub25j"})),
    (400, b"GET", "1.1", headers({b"sec-websocket-key": b"dGhlIHNhbXBsZSBub25j!Q=="})),
    (400, b"GET", "1.1", headers({b"sec-websocket-key": b"\xff" * 24})),
    (400, b"GET", "1.1", [*headers(), (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==")]),
    (400, b"GET", "1.1", headers({b"content-length": b"5"})),
    (400, b"GET", "1.1", headers({b"transfer-encoding": b"chunked"})),
    (400, b"GET", "1.1", headers({b"sec-websocket-protocol": b"bearer.a, bearer.b"})),
]


@pytest.mark.parametrize("status,method,version,sent", REFUSED)
def test_what_is_no_handshake_is_refused(
    status: int, method: bytes, version: str, sent: list[tuple[bytes, bytes]]
) -> None:
    """With the status of the protocol, whose code is in the table."""
    answer = negotiate(method, version, sent)
    assert isinstance(answer, Refusal)
    assert answer.status == status == problem_status(answer.code)
    if status == 426:
        assert {(b"Upgrade", b"websocket"), (b"Sec-WebSocket-Version", b"13")} <= set(answer.headers)
    if status == 405:
        assert answer.headers == ((b"Allow", b"GET"),)


PROTOCOL = b"sec-websocket-protocol"


@pytest.mark.parametrize(
    "values,offer",
    [
        ([], Offer()),
        ([b"signtusk.v1"], Offer(subprotocol=True)),
        ([b"signtusk.v1, bearer.abc.def-_~"], Offer(subprotocol=True, bearer="abc.def-_~")),
        ([b"signtusk.v1", b"bearer.abc"], Offer(subprotocol=True, bearer="abc")),
        ([b" bearer.abc ,\tsigntusk.v1"], Offer(subprotocol=True, bearer="abc")),
        ([b"bearer.user@org"], Offer(bearer="user@org")),
        ([b"bearer.a, bearer.a"], Offer(bearer="a")),
        ([b"bearer."], Offer()),
        ([b"Signtusk.v1, signtusk.v2, Bearer.x"], Offer()),
        ([b"\xff\xfe\x80, signtusk.v1, bearer.\xc3\xa9"], Offer(subprotocol=True)),
        ([b",,, ,"], Offer()),
    ],
)
def test_offers_are_read(values: list[bytes], offer: Offer) -> None:
    """Over several headers and lists; what is garbage or another's is passed over."""
    assert parse_offer([(PROTOCOL, value) for value in values]) == offer


def test_the_subprotocol_is_selected_when_it_was_offered() -> None:
    """Not offered, none is selected; the token is never repeated."""
    with_offer = upgrade([(PROTOCOL, b"bearer.secret, signtusk.v1")]).response()
    assert b"\r\nSec-WebSocket-Protocol: signtusk.v1\r\n" in with_offer
    assert b"secret" not in with_offer
    assert b"Protocol:" not in upgrade([(PROTOCOL, b"graphql-ws")]).response()


def test_extra_headers_are_written_and_cannot_add_lines() -> None:
    """A value with a line break is a defect of the caller, told before a byte is sent."""
    response = upgrade([]).response([(b"X-Node", b"n1")])
    assert response.endswith(b"\r\nX-Node: n1\r\n\r\n")
    for name, value in [
        (b"X", b"a\r\nB: c"),
        (b"X", b"a\n"),
        (b"X: y", b"z"),
        (b"", b"x"),
        (b"X\r\n", b"x"),
        (b"X", b"\0"),
    ]:
        with pytest.raises(ValueError, match="malformed header"):
            upgrade([]).response([(name, value)])


OFFER = {b"sec-websocket-extensions": b"permessage-deflate; client_max_window_bits"}


def test_compression_is_agreed_on_where_it_is_allowed() -> None:
    """The answer names the extension as it will be used, on a line of its own."""
    answer = negotiate(b"GET", "1.1", headers(OFFER), compression=True)
    assert isinstance(answer, Upgrade)
    assert answer.deflate is not None
    assert (
        b"\r\nSec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n"
        in answer.response()
    )


@pytest.mark.parametrize(("changes", "compression"), [(OFFER, False), ({}, True)])
def test_no_extension_is_selected_otherwise(changes: dict[bytes, bytes | None], compression: bool) -> None:
    """Neither where it is switched off nor where it was not offered."""
    answer = negotiate(b"GET", "1.1", headers(changes), compression=compression)
    assert isinstance(answer, Upgrade)
    assert answer.deflate is None
    assert b"extensions" not in answer.response().lower()


def test_offers_may_stand_on_several_lines() -> None:
    """RFC 6455 §9.1: the lines are one list."""
    offers = [(b"sec-websocket-extensions", b"x-other"), (b"sec-websocket-extensions", b"permessage-deflate")]
    answer = negotiate(b"GET", "1.1", [*headers(), *offers], compression=True)
    assert isinstance(answer, Upgrade)
    assert answer.deflate is not None
