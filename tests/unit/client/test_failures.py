"""What is tried again and what is not."""

from __future__ import annotations

import pytest

from signtusk_realtime.client.failures import (
    Lost,
    Refused,
    failure_of_answer,
    failure_of_close,
    failure_of_error,
)
from signtusk_realtime.client.messages import Message, read_message
from signtusk_realtime.errors import InvalidInput
from signtusk_realtime.protocol.codes import CODES, Code, Kind
from signtusk_realtime.server.problems import encode_body, problem_of


@pytest.mark.parametrize("row", [code for code in CODES if code.kind is Kind.CLOSE], ids=lambda code: code.name)
def test_the_table_of_close_codes_decides(row: Code) -> None:
    """Each close code is tried again exactly if its row says to come back; an announced end likewise."""
    failure = failure_of_close(row.number, "")
    assert isinstance(failure, Lost) == row.comes_back
    assert row.name in str(failure)
    assert isinstance(failure_of_error(row.name, "…"), Lost) == row.comes_back
    assert getattr(failure, "is_restart", False) == (row.number == 1012), "one number alone promises a quick return"


@pytest.mark.parametrize(
    ("status", "retry_after", "not_before_s"),
    [
        (503, "7", 7.0),
        (429, None, 0.0),
        (502, "Wed, 21 Oct 2026 07:28:00 GMT", 0.0),
        (504, "-1", 0.0),
        (503, "99999999999", 3600.0),
        (500, "", 0.0),
    ],
)
def test_what_may_pass_waits_as_long_as_was_asked(status: int, retry_after: str | None, not_before_s: float) -> None:
    """Retry-After in seconds is kept to; what is not understood, or absurd, does no harm."""
    failure = failure_of_answer(status, retry_after, b"<html>")
    assert isinstance(failure, Lost)
    assert failure.not_before_s == not_before_s


@pytest.mark.parametrize(
    ("path", "events", "index", "pointer"),
    [
        (("3", "userId"), 10, 3, "/userId"),
        (("3",), 10, 3, ""),
        (("userId",), 1, 0, "/userId"),
        (("id",), 10, None, "/id"),
        (("12", "x"), 10, None, "/12/x"),
        ((), 10, None, ""),
        (("userId",), 0, None, "/userId"),
    ],
)
def test_a_refusal_names_the_event_and_the_place_in_it(
    path: tuple[str, ...], events: int, index: int | None, pointer: str
) -> None:
    """A pointer into a batch is parted into the event's number and what lies within it; of a single event it is the latter."""
    body = encode_body(problem_of(InvalidInput("bad", code="invalid_event", path=path)))
    failure = failure_of_answer(422, None, body, events=events)
    assert isinstance(failure, Refused)
    assert (failure.code, failure.status, failure.index, failure.pointer) == ("invalid_event", 422, index, pointer)
    assert failure.message == "bad"


def test_an_answer_of_something_else_is_told_by_its_status() -> None:
    """What is not our service is recognisable by its code."""
    failure = failure_of_answer(404, None, b"<html>not here</html>")
    assert isinstance(failure, Refused)
    assert (failure.code, failure.message) == ("http_404", "the answer was HTTP 404")


def test_a_newer_service_is_understood() -> None:
    """Unknown members and unknown messages are passed over, whatever form they have."""
    assert read_message(b'{"type":"cursor","cursor":"c","more":[1]}').message == Message(type="cursor", cursor="c")
    assert read_message(b'{"type":"hologram","cursor":{"x":1}}').message == Message(type="hologram")


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"type":7}', b'{"type":"event","cursor":1}', b"[" * 100_000])
def test_what_is_no_message_is_refused(text: bytes) -> None:
    """A message that a client would have to act on is not guessed at."""
    with pytest.raises(Refused) as refused:
        read_message(text)
    assert refused.value.code == "protocol_violation"
