"""From errors to RFC 9457 problems."""

from __future__ import annotations

import json

import pytest

from signtusk_realtime import errors
from signtusk_realtime.protocol import codes
from signtusk_realtime.protocol.codes import Kind
from signtusk_realtime.server.problems import encode_body, encode_response, internal_problem, problem, problem_of


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.InvalidInput("x", code="invalid_json"), 400, "invalid_json"),
        (errors.InvalidInput("x", code="too_deep"), 400, "invalid_json"),
        (errors.InvalidInput("x", code="invalid_event"), 422, "invalid_event"),
        (errors.InvalidInput("x", code="mixed_organizations"), 422, "mixed_organizations"),
        (errors.InvalidInput("x"), 400, "invalid_message"),
        (errors.InvalidInput("x", code="cursor_not_first"), 400, "invalid_request"),
        (errors.Unauthenticated("x"), 401, "unauthenticated"),
        (errors.Forbidden("x"), 403, "forbidden"),
        (errors.Forbidden("x", code="origin_not_allowed"), 403, "origin_not_allowed"),
        (errors.LimitExceeded("x", code="payload_too_large"), 413, "payload_too_large"),
        (errors.LimitExceeded("x", code="batch_too_large"), 413, "batch_too_large"),
        (errors.LimitExceeded("x"), 429, "rate_limited"),
        (errors.LimitExceeded("x", code="overloaded"), 503, "overloaded"),
        (errors.EventIdReused(("e",)), 409, "event_id_reused"),
        (errors.CursorExpired("epoch", "c"), 410, "cursor_expired"),
        (errors.Unavailable("x"), 503, "unavailable"),
        (errors.RealtimeError("x"), 500, "internal"),
    ],
)
def test_every_error_has_its_status_and_code(error: errors.RealtimeError, status: int, code: str) -> None:
    """Status and code are those of the table, for every family of errors."""
    body = json.loads(encode_body(problem_of(error)))
    assert (body["status"], body["code"]) == (status, code)
    assert body["type"].endswith(code)
    assert body["title"]
    assert body["detail"] == error.message


def test_every_code_of_the_table_can_be_told() -> None:
    """A problem can be made of each row, and says to come back later where its status means that."""
    for row in codes.of_kind(Kind.PROBLEM):
        found = problem(row.name, "detail")
        names = [name for name, _ in found.headers]
        assert found.status == row.number
        assert (b"Retry-After" in names) == (row.number in (429, 503))
        assert (b"WWW-Authenticate" in names) == (row.number == 401)


@pytest.mark.parametrize(
    ("code", "path", "pointer"),
    [
        ("invalid_event", ("3", "userId"), "/3/userId"),
        ("invalid_event", (), ""),
        ("invalid_event", ("payload", "a/b~c"), "/payload/a~1b~0c"),
        ("invalid_parameter", ("limit",), "?limit"),
        ("invalid_parameter", ("subscriptions", "0", "type"), "?subscriptions/0/type"),
    ],
)
def test_a_fault_has_its_place(code: str, path: tuple[str, ...], pointer: str) -> None:
    """A path becomes an RFC 6901 pointer into the body, or names the query parameter."""
    body = json.loads(encode_body(problem_of(errors.InvalidInput("wrong", code=code, path=path))))
    assert body["errors"] == [{"pointer": pointer, "detail": "wrong"}]


def test_an_expired_cursor_comes_with_the_way_on() -> None:
    """`reason` and the top's cursor are members of the problem."""
    body = json.loads(encode_body(problem_of(errors.CursorExpired("expired", "top"))))
    assert (body["reason"], body["cursor"]) == ("expired", "top")


def test_a_limit_says_when_to_come_back() -> None:
    """The error's own time beats the default."""
    found = problem_of(errors.LimitExceeded("slowly", retry_after_s=17))
    assert (b"Retry-After", b"17") in found.headers


def test_our_own_defects_tell_nothing() -> None:
    """An internal problem has no place for what went wrong."""
    assert set(json.loads(encode_body(internal_problem()))) == {"type", "title", "status", "detail", "code"}


def test_a_raw_response_is_whole_and_ends_the_connection() -> None:
    """Length, type and `Connection` are there; an upgrade header keeps its place beside `close`."""
    raw = encode_response(problem("upgrade_required", "ask", headers=((b"Connection", b"Upgrade"), (b"X-A", b"b"))))
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 426 Upgrade Required"
    assert b"Connection: Upgrade, close" in lines
    assert b"X-A: b" in lines
    assert b"Content-Length: %d" % len(body) in lines
    assert b"Content-Type: application/problem+json" in lines
