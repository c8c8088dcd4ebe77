"""The client's reader of event streams, against an independent one and byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from signtusk_realtime.client import stream_parser
from signtusk_realtime.client.failures import Refused
from signtusk_realtime.client.stream_parser import StreamBlock, StreamParser
from tests.support.wire import EventStream, StreamEvent, cut, every_single_cut

pieces = st.sampled_from(
    [b"data", b"event", b"id", b"retry", b":", b": ", b"\n", b"\r", b"\r\n", b"\n\n", b"x", b" ", b"7", b"\0", b"\xef\xbb\xbf", b"\xff", "é".encode()]
)  # fmt: skip


@given(st.lists(pieces, max_size=40).map(b"".join), st.lists(st.integers(0, 200), max_size=6))
@example(b"data: a\r", [8])
@example(b"\xef\xbb\xbfdata: a\n\n", [1])
@example(b"id: 1\n\nid\n\ndata\n\n", [])
def test_any_bytes_in_any_cuts_mean_what_the_standard_says(data: bytes, places: list[int]) -> None:
    """Events, resume point and retry time are those of a reader written from the standard alone."""
    data += b"\n:"  # the other reader waits for the byte behind a CR
    reference, parser = EventStream(), StreamParser()
    expected = reference.feed(data)
    found = [block for chunk in cut(data, places) for block in parser.feed(chunk)]
    assert [
        StreamEvent(b.event or "message", b.data.decode("utf-8", "replace"), b.last_event_id)
        for b in found
        if b.data is not None
    ] == expected
    assert (parser.last_event_id, parser.retry_ms) == (reference.last_event_id, reference.retry)


def test_a_block_comes_out_whole_however_it_is_cut() -> None:
    """Event, keep-alive, message: the same blocks for every cut, with each end of line."""
    for end in (b"\n", b"\r", b"\r\n"):
        data = end.join([b"id: c1", b"event: e", b"data: {}", b"", b"id: c2", b"", b": hush", b"data:m", b"", b""])
        for chunks in every_single_cut(data):
            parser = StreamParser()
            assert [block for chunk in chunks for block in parser.feed(chunk)] == [
                StreamBlock("e", b"{}", "c1"),
                StreamBlock("", None, "c2"),
                StreamBlock("", b"m", "c2"),
            ]


def test_a_repeated_resume_point_is_no_news() -> None:
    """A block without data and without a new cursor gives nothing."""
    parser = StreamParser("c1")
    assert parser.feed(b"id: c1\n\nevent: e\n\n\n: x\n\n") == []
    assert parser.feed(b"data: x\n\n") == [StreamBlock("", b"x", "c1")]


@pytest.mark.parametrize("endless", [b"data: aaaa", b"data: a\n"])
def test_an_endless_block_is_given_up(endless: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a line nor the lines of a block grow without bound."""
    monkeypatch.setattr(stream_parser, "MAX_BLOCK_BYTES", 1000)
    parser = StreamParser()
    with pytest.raises(Refused, match="more than 1000 bytes"):
        for _ in range(1000):
            parser.feed(endless)
