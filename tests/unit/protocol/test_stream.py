"""Event-stream blocks byte for byte, and what may not get into them."""

from __future__ import annotations

import pytest

from signtusk_realtime.protocol.stream import (
    ID,
    event_block,
    event_tail,
    keepalive_block,
    message_block,
    message_tail,
    retry_block,
)
from tests.support.wire import EventStream, StreamEvent


def test_blocks_are_what_the_standard_says() -> None:
    """Each form, byte for byte."""
    assert event_block("notification", b'{"a":1}', "cur-1") == b'id: cur-1\nevent: notification\ndata: {"a":1}\n\n'
    assert message_block(b"{}") == b"data: {}\n\n"
    assert message_block(b"{}", "cur-1") == b"id: cur-1\ndata: {}\n\n"
    assert keepalive_block("cur-1") == b"id: cur-1\n\n"
    assert retry_block(3_000) == b"retry: 3000\n\n"


def test_a_block_can_be_spliced_around_its_cursor() -> None:
    """The tail is written once per event, the cursor once per organization."""
    assert ID + b"c" + event_tail("team_update", b"{}") == event_block("team_update", b"{}", "c")
    assert ID + b"c" + message_tail(b"{}") == message_block(b"{}", "c")


def test_an_event_source_sees_what_was_meant() -> None:
    """Named and unnamed events, and a keep-alive that moves the resume point and dispatches nothing."""
    stream = EventStream()
    sent = retry_block(5) + message_block(b"hello") + event_block("user_presence", b"{}", "c1") + keepalive_block("c2")
    assert stream.feed(sent) == [StreamEvent("message", "hello", ""), StreamEvent("user_presence", "{}", "c1")]
    assert (stream.last_event_id, stream.retry, stream.unknown_fields) == ("c2", 5, [])
    assert stream.feed(message_block(b"x")) == [StreamEvent("message", "x", "c2")]


@pytest.mark.parametrize("evil", ["\n", "\r", "\r\n", "\0", "x\ndata: y", "x\n\ndata: y\n\n", "", "é", "a b", "\u2028"])
def test_names_and_cursors_add_no_fields(evil: str) -> None:
    """A line break or NUL in a name or cursor is a defect of the caller, told before a byte is sent."""
    for block in (
        lambda: event_block(evil, b"{}", "c"),
        lambda: event_tail(evil, b"{}"),
        lambda: event_block("notification", b"{}", evil),
        lambda: message_block(b"{}", evil),
        lambda: keepalive_block(evil),
    ):
        with pytest.raises(ValueError):
            block()


@pytest.mark.parametrize("evil", [b"\n", b"\r", b"{}\n\ndata: 2", b"\x00"])
def test_data_adds_no_fields(evil: bytes) -> None:
    """Data is one line."""
    for block in (
        lambda: event_block("notification", evil, "c"),
        lambda: message_block(evil),
        lambda: message_block(evil, "c"),
        lambda: message_tail(evil),
    ):
        with pytest.raises(ValueError, match="line break"):
            block()


def test_a_retry_time_is_not_negative() -> None:
    """The standard's field has digits only."""
    with pytest.raises(ValueError):
        retry_block(-1)


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_the_tests_own_reader_knows_all_three_line_ends(end: bytes) -> None:
    """The reader that judges our blocks reads the standard's examples, whole and byte by byte."""
    lines = [b"\xef\xbb\xbf: comment", b"", b"data", b"", b"data", b"data", b"", b"data:", b"", b"id: 1\0", b"data:  x"]
    lines += [b"event", b"", b"id", b"nonsense: 1", b"data: y", b"retry: 1x", b"", b"event: e", b"", b"data: cut"]
    sent = b"".join(line + end for line in lines)
    expected = [("", ""), ("\n", ""), ("", ""), (" x", ""), ("y", "")]
    for chunks in ([sent], [sent[at : at + 1] for at in range(len(sent))]):
        stream = EventStream()
        events = [event for chunk in chunks for event in stream.feed(chunk)]
        assert [(event.data, event.last_event_id) for event in events] == expected
        assert {event.type for event in events} == {"message"}
        assert (stream.unknown_fields, stream.retry) == (["nonsense"], None)
