"""Framing over any bytes and any cuts."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from signtusk_realtime.protocol.frames import (
    Binary,
    Closed,
    FrameEvent,
    FrameReader,
    Ping,
    Pong,
    ProtocolViolation,
    Text,
    encode_binary,
    encode_close,
    encode_ping,
    encode_pong,
    encode_text,
)
from signtusk_realtime.protocol.halfway import FrameLimits
from tests.support.reading import read_all, steps
from tests.support.wire import ServerFrame, ServerFrames, client_frame, cut, every_single_cut

LIMITS = FrameLimits(max_message_bytes=400, max_fragments=5, binary=True)

masks = st.binary(min_size=4, max_size=4)
texts = st.text(max_size=150).map(str.encode)
close_codes = st.one_of(st.sampled_from([1000, 1001, 1002, 1003, *range(1007, 1015)]), st.integers(3000, 4999))


def read(chunks: list[bytes]) -> list[FrameEvent]:
    return read_all(FrameReader(LIMITS), chunks)


@st.composite
def messages(draw: st.DrawFn) -> tuple[bytes, list[FrameEvent]]:
    """A message in fragments with control frames between them, and the events it makes."""
    is_text = draw(st.booleans())
    payload = draw(texts if is_text else st.binary(max_size=300))[:400]
    if is_text:
        payload = payload.decode("utf-8", "ignore").encode()
    pieces = cut(payload, draw(st.lists(st.integers(0, 400), max_size=3)))
    sent, events = b"", []
    for index, piece in enumerate(pieces):
        opcode = (1 if is_text else 2) if index == 0 else 0
        if index and draw(st.booleans()):
            ping = draw(st.binary(max_size=125))
            control = draw(st.sampled_from([9, 10]))
            sent += client_frame(control, ping, mask=draw(masks))
            events.append(Ping(ping) if control == 9 else Pong(ping))
        sent += client_frame(opcode, piece, final=index == len(pieces) - 1, mask=draw(masks))
    return sent, [*events, Text(payload) if is_text else Binary(payload)]


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bytes, list[FrameEvent]]:
    parts = draw(st.lists(messages(), max_size=4))
    return b"".join(sent for sent, _ in parts), [event for _, events in parts for event in events]


@given(conversations(), st.lists(st.integers(0, 5_000), max_size=12))
def test_what_a_client_sends_comes_out_whatever_the_cuts(
    conversation: tuple[bytes, list[FrameEvent]], places: list[int]
) -> None:
    """Every message and control frame is delivered once, in order, for any split of the bytes into chunks."""
    sent, expected = conversation
    assert read(cut(sent, places)) == expected
    assert read([sent]) == expected
    assert read([sent[at : at + 1] for at in range(len(sent))]) == expected


@given(conversations(), st.integers(1, 200), st.lists(st.integers(0, 30_000), max_size=12))
def test_what_comes_in_between_steps_changes_nothing(
    conversation: tuple[bytes, list[FrameEvent]], times: int, places: list[int]
) -> None:
    """Every event is given once, in order, also if chunks come in while others wait for their steps."""
    sent, expected = conversation
    frames = FrameReader(LIMITS)
    events: list[FrameEvent] = []
    for chunk in cut(sent * times, places):
        events += frames.feed(chunk)
    for step in steps(frames, b""):
        events += step
    assert events == expected * times


almost_frames = st.lists(
    st.one_of(
        st.binary(max_size=20),
        messages().map(lambda message: message[0]),
        st.builds(
            client_frame,
            st.integers(0, 15),
            st.binary(max_size=130),
            final=st.booleans(),
            rsv=st.sampled_from([0, 0, 0, 1, 2, 4]),
            mask=st.one_of(masks, st.none()),
            length_bytes=st.sampled_from([None, None, 2, 8]),
        ),
    ),
    max_size=6,
).map(b"".join)


@given(almost_frames, st.lists(st.integers(0, 2_000), max_size=8))
@example(b"\x81\x84\x00\x00\x00\x00ab\xf4\x90", [])
def test_only_events_and_one_violation_come_from_any_bytes(sent: bytes, places: list[int]) -> None:
    """Nothing is raised, a violation or close is the last event, and the cuts change nothing about it."""
    events = read([sent])
    assert read(cut(sent, places)) == events
    assert all(not isinstance(event, Closed | ProtocolViolation) for event in events[:-1])
    assert all(event.payload.decode() is not None for event in events if isinstance(event, Text))
    assert all(event.code in {1002, 1003, 1007, 1009} for event in events if isinstance(event, ProtocolViolation))
    assert all(len(event.payload) <= 400 for event in events if isinstance(event, Text | Binary))


@given(texts, st.binary(max_size=125), close_codes, st.text(max_size=200))
def test_what_we_send_is_read_by_a_reader_of_the_standard(text: bytes, payload: bytes, code: int, reason: str) -> None:
    """Each encoder makes one whole frame, also cut anywhere, and a cut reason is a beginning of the reason."""
    sent = encode_text(text) + encode_ping(payload) + encode_pong(payload) + encode_binary(payload)
    sent += encode_close(code, reason)
    for chunks in [[sent], [sent[at : at + 1] for at in range(len(sent))]]:
        frames = ServerFrames()
        *messages_, close = [frame for chunk in chunks for frame in frames.feed(chunk)]
        assert messages_ == [
            ServerFrame(1, text, final=True),
            ServerFrame(9, payload, final=True),
            ServerFrame(10, payload, final=True),
            ServerFrame(2, payload, final=True),
        ]
        assert not frames.rest
        assert close.payload[:2] == code.to_bytes(2, "big")
        assert reason.startswith(close.payload[2:].decode())
        assert len(close.payload) <= 125


def test_every_single_cut_of_one_conversation_gives_the_same() -> None:
    """Cut at each place in turn: headers, masks, lengths of two and eight bytes, characters, a close."""
    sent = (
        client_frame(1, "ä€😀".encode(), final=False)
        + client_frame(9, b"ping")
        + client_frame(0, "ä€😀".encode() * 10)
        + client_frame(2, b"\x00" * 130)
        + client_frame(8, b"\x0f\xa0bye")
    )
    expected = read([sent])
    assert [type(event) for event in expected] == [Ping, Text, Binary, Closed]
    for chunks in every_single_cut(sent):
        assert read(list(chunks)) == expected
