"""Event-stream blocks against an independent reader, over any Unicode and any cuts."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from signtusk_realtime.protocol.json import encode
from signtusk_realtime.protocol.stream import event_block, keepalive_block, message_block, retry_block
from tests.support.wire import EventStream, StreamEvent, cut

texts = st.text(max_size=60) | st.text("\r\n\0:\u0085\u2028\u2029\ufeff data", max_size=20)
names = st.from_regex(r"[a-z_]{1,40}", fullmatch=True)
cursors = st.from_regex(r"[A-Za-z0-9._~-]{1,160}", fullmatch=True)
steps = st.one_of(
    st.tuples(st.just("event"), names, texts, cursors),
    st.tuples(st.just("message"), st.just("message"), texts, st.none() | cursors),
    st.tuples(st.just("keepalive"), st.just(""), st.just(""), cursors),
    st.tuples(st.just("retry"), st.just(""), st.just(""), st.none()),
)


@given(st.lists(steps, max_size=8), st.lists(st.integers(0, 3_000), max_size=8))
def test_an_event_source_gets_exactly_what_was_sent(
    sent: list[tuple[str, str, str, str | None]], places: list[int]
) -> None:
    """Every event with its type, its value and its resume point, nothing else, for any split of the bytes."""
    stream, blocks, expected, last = b"", [], [], ""
    for kind, name, text, cursor in sent:
        data = encode({"text": text})
        last = cursor if cursor is not None else last
        match kind:
            case "event":
                blocks.append(event_block(name, data, cursor or ""))
                expected.append(StreamEvent(name, data.decode(), last))
            case "message":
                blocks.append(message_block(data, cursor))
                expected.append(StreamEvent("message", data.decode(), last))
            case "keepalive":
                blocks.append(keepalive_block(cursor or ""))
            case _:
                blocks.append(retry_block(3_000))
    stream = b"".join(blocks)
    for chunks in ([stream], [stream[at : at + 1] for at in range(len(stream))], cut(stream, places)):
        reader = EventStream()
        received = [event for chunk in chunks for event in reader.feed(chunk)]
        assert received == expected
        assert reader.last_event_id == last
        assert reader.unknown_fields == []
    assert [json.loads(event.data)["text"] for event in expected] == [
        s[2] for s in sent if s[0] in ("event", "message")
    ]


@given(st.text(max_size=40), st.binary(max_size=40), st.text(max_size=40))
def test_no_argument_can_add_a_field(name: str, data: bytes, cursor: str) -> None:
    """Whatever is passed, the outcome is one event with exactly these arguments, or a refusal before any byte."""
    try:
        block = event_block(name, data, cursor)
    except ValueError:
        return
    reader = EventStream()
    assert reader.feed(block + b"\n") == [StreamEvent(name, data.decode("utf-8", "replace"), cursor)]
    assert reader.unknown_fields == []
