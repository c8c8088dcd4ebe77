"""Query parameters and credentials of a request."""

from __future__ import annotations

import pytest

from signtusk_realtime.errors import InvalidInput, Unauthenticated
from signtusk_realtime.server.request import (
    IDENTITY_PARAMETERS,
    credentials_of,
    parse_query,
    settle_head,
    single_header,
    target_of,
)


def test_parameters_are_decoded() -> None:
    """Percent escapes are UTF-8, a plus is a space, an empty value stays."""
    query = parse_query(b"userId=J%C3%B6rg+A&teams=&_=17", IDENTITY_PARAMETERS)
    assert query == {"userId": "Jörg A", "teams": ""}


@pytest.mark.parametrize(
    ("query", "name"),
    [
        (b"userid=a", "userid"),
        (b"userId=a&userId=a", "userId"),
        (b"unknown", "unknown"),
    ],
)
def test_what_is_not_clear_is_refused(query: bytes, name: str) -> None:
    """Unknown names and repetitions are told by name."""
    with pytest.raises(InvalidInput) as refusal:
        parse_query(query, IDENTITY_PARAMETERS)
    assert refusal.value.code == "invalid_parameter"
    assert refusal.value.path == (name,)


@pytest.mark.parametrize("query", [b"userId=%ff", b"userId=\xff", b"&".join(b"a%d=1" % n for n in range(101))])
def test_garbage_is_refused(query: bytes) -> None:
    """What is not UTF-8, and a hundred and one parameters, are refused without a name."""
    with pytest.raises(InvalidInput) as refusal:
        parse_query(query, IDENTITY_PARAMETERS)
    assert refusal.value.code == "invalid_parameter"


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/ws?userId=a%20b", "/ws", b"userId=a%20b"),
        (b"/w%73", "/ws", b""),
        (b"http://realtime.example:8080/ws?a=/?", "/ws", b"a=/?"),
        (b"http://realtime.example?a=1#part", "/", b"a=1"),
        (b"HTTPS://realtime.example", "/", b""),
        (b"*", "*", b""),
    ],
)
def test_a_target_is_a_path_and_a_query(target: bytes, path: str, query: bytes) -> None:
    """Also in absolute form; the path is decoded, the query is left as it was sent."""
    assert target_of(target) == (path, query)


def test_unknown_parameters_pass_where_they_may() -> None:
    """A WebSocket's URL may carry what is not ours; it is passed over, but ours still stand once."""
    assert parse_query(b"v=1&userId=a", IDENTITY_PARAMETERS, refuse_unknown=False) == {"userId": "a"}
    with pytest.raises(InvalidInput):
        parse_query(b"userId=a&userId=b", IDENTITY_PARAMETERS, refuse_unknown=False)


def test_credentials_come_from_header_subprotocol_and_query() -> None:
    """A bearer token by either way, and what the query claims."""
    query = {"userId": "u", "organizationId": "o", "teams": "a,,b"}
    found = credentials_of("connect", [(b"authorization", b"bearer  u@o")], query)
    assert (found.bearer, found.user_id, found.organization_id, found.teams) == ("u@o", "u", "o", ("a", "b"))
    assert credentials_of("connect", [], {}, offered="u@o").bearer == "u@o"
    assert credentials_of("read", [], {}).bearer is None


@pytest.mark.parametrize(
    ("authorization", "offered"),
    [(b"Basic dTpw", None), (b"Bearer", None), (b"Bearer ", None), (b"Bearer \xff", None), (b"Bearer a@o", "b@o")],
)
def test_doubtful_credentials_are_none(authorization: bytes, offered: str | None) -> None:
    """Another scheme, no token, or two that differ: unauthenticated, whatever the query says."""
    with pytest.raises(Unauthenticated):
        credentials_of("connect", [(b"authorization", authorization)], {"userId": "u"}, offered=offered)


def test_a_header_that_makes_sense_once_comes_once() -> None:
    """Two lines of one such header are a malformed request."""
    with pytest.raises(InvalidInput) as refusal:
        single_header([(b"authorization", b"a"), (b"authorization", b"a")], b"authorization")
    assert refusal.value.code == "invalid_request"


@pytest.mark.parametrize(
    "codings",
    [
        [b"identity, chunked"],
        [b"chunked, identity"],
        [b"chunked", b"chunked"],
        [b"identity", b"chunked"],
        [b"gzip, chunked"],
        [b"xchunked"],
        [b"\x0bchunked"],
        [b'"chunked"'],
        [b""],
    ],
)
def test_a_body_is_chunked_once_or_not_at_all(codings: list[bytes]) -> None:
    """Two parsers may go by different codings of several: whoever sends anything but `chunked`, once, is refused."""
    with pytest.raises(InvalidInput) as refusal:
        settle_head(b"/", [(b"host", b"h"), *((b"transfer-encoding", coding) for coding in codings)], "1.1")
    assert refusal.value.code == "invalid_request"


def test_chunked_may_be_written_in_any_case() -> None:
    """Names of codings have no case (RFC 9110 section 10.1.4), and white space around them says nothing."""
    settle_head(b"/", [(b"host", b"h"), (b"transfer-encoding", b"\tChunked ")], "1.1")
