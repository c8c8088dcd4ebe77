"""Framing: what goes out byte for byte, what comes in, and how each violation is named."""

from __future__ import annotations

import gc
import sys

import pytest

from signtusk_realtime.protocol.deflate import deflate
from signtusk_realtime.protocol.frames import (
    FRAGMENTS_COUNTED,
    FRAMES_AT_ONCE,
    LAST_FRAMES,
    Binary,
    Closed,
    Fragments,
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
from signtusk_realtime.protocol.heads import TEXT, frame_header
from tests.support.reading import read_all, steps
from tests.support.wire import ServerFrame, ServerFrames, client_frame

LIMITS = FrameLimits(max_message_bytes=1_000, max_fragments=8)


def reader(limits: FrameLimits = LIMITS) -> FrameReader:
    return FrameReader(limits)


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65_535, 65_536, 70_000])
def test_a_text_frame_is_header_and_payload(length: int) -> None:
    """A message is one unmasked frame with the shortest length, and the header can be made without the payload."""
    payload = b"x" * length
    frame = encode_text(payload)
    assert frame == frame_header(TEXT, length) + payload
    assert ServerFrames().feed(frame) == [ServerFrame(1, payload, final=True)]


def test_frames_may_be_joined() -> None:
    """Frames written as one chunk are read as the frames they are."""
    joined = encode_text(b"a") + encode_ping(b"p") + encode_pong() + encode_binary(b"\xff") + encode_close(1001, "bye")
    assert [frame.opcode for frame in ServerFrames().feed(joined)] == [1, 9, 10, 2, 8]


def test_a_close_reason_is_cut_between_characters() -> None:
    """A close frame has at most 125 bytes, and its reason stays UTF-8."""
    (frame,) = ServerFrames().feed(encode_close(4400, "é" * 100))
    assert frame.payload == (4400).to_bytes(2, "big") + ("é" * 61).encode()


def test_a_close_without_a_code_is_empty() -> None:
    """The answer to a close without a code needs none."""
    assert encode_close() == b"\x88\x00"


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 70_000])
def test_codes_that_mean_an_absence_are_never_sent(code: int) -> None:
    """1005, 1006 and 1015 describe what was not said; what the registry leaves undefined is not ours to use."""
    with pytest.raises(ValueError, match="must not be sent"):
        encode_close(code)


def test_a_control_frame_out_is_short() -> None:
    """A ping above 125 bytes is a defect of the caller."""
    with pytest.raises(ValueError, match="126"):
        encode_ping(b"x" * 126)


def test_messages_and_control_frames_come_out_in_order() -> None:
    """A control frame between fragments comes before the message they make."""
    sent = (
        client_frame(1, b"one")
        + client_frame(1, b"t", final=False)
        + client_frame(9, b"p")
        + client_frame(10)
        + client_frame(0, b"wo")
        + client_frame(8, (4000).to_bytes(2, "big") + b"fertig")
    )
    assert list(reader().feed(sent)) == [Text(b"one"), Ping(b"p"), Pong(b""), Text(b"two"), Closed(4000, "fertig")]


@pytest.mark.parametrize("payload", [b"", b"x", b"x" * 125, "ß".encode() * 62])
def test_the_fast_path_gives_what_the_slow_one_gives(payload: bytes) -> None:
    """One frame in one chunk and the same frame in two make the same message."""
    frame = client_frame(1, payload)
    slow = reader()
    assert [*slow.feed(frame[:3]), *slow.feed(frame[3:])] == list(reader().feed(frame)) == [Text(payload)]


VIOLATIONS = {
    "unmasked": (client_frame(1, b"x", mask=None), 1002, "not masked"),
    "unmasked and empty": (client_frame(1, b"", mask=None), 1002, "not masked"),
    "rsv1": (client_frame(1, b"x", rsv=4), 1002, "reserved bit"),
    "rsv2": (client_frame(1, b"x", rsv=2), 1002, "reserved bit"),
    "rsv3": (client_frame(1, b"x", rsv=1), 1002, "reserved bit"),
    "reserved data opcode": (client_frame(3, b"x"), 1002, "opcode 3"),
    "reserved control opcode": (client_frame(11, b"x"), 1002, "opcode 11"),
    "fragmented ping": (client_frame(9, b"x", final=False), 1002, "fragmented"),
    "ping of 126 bytes": (client_frame(9, b"x" * 126), 1002, "longer than 125"),
    "long close": (client_frame(8, b"\x03\xe8" + b"x" * 124), 1002, "longer than 125"),
    "half a close code": (client_frame(8, b"\x03"), 1002, "half a code"),
    "close code 1005": (client_frame(8, b"\x03\xed"), 1002, "1005"),
    "close reason not UTF-8": (client_frame(8, b"\x03\xe8\xff"), 1007, "not UTF-8"),
    "text not UTF-8": (client_frame(1, b"\xff"), 1007, "not UTF-8"),
    "text is a surrogate": (client_frame(1, b"\xed\xa0\x80"), 1007, "not UTF-8"),
    "text ends inside a character": (client_frame(1, b"ok \xc3"), 1007, "not UTF-8"),
    "last fragment empty, character open": (
        client_frame(1, b"\xc3", final=False) + client_frame(0, b""),
        1007,
        "not UTF-8",
    ),
    "binary": (client_frame(2, b"x"), 1003, "binary"),
    "too long": (client_frame(1, b"x" * 1_001), 1009, "1000 bytes"),
    "too long, header only": (client_frame(1, announced=1_001)[:4], 1009, "1000 bytes"),
    "too long in fragments": (
        client_frame(1, b"x" * 600, final=False) + client_frame(0, b"x" * 401),
        1009,
        "1000 bytes",
    ),
    "too many fragments": (
        client_frame(1, b"", final=False) + client_frame(0, b"", final=False) * 8,
        1009,
        "8 fragments",
    ),
    "continuation of nothing": (client_frame(0, b"x"), 1002, "continuation"),
    "message inside a message": (client_frame(1, b"x", final=False) + client_frame(1, b"y"), 1002, "inside"),
    "16-bit length for 125": (client_frame(1, b"x" * 125, length_bytes=2), 1002, "shortest"),
    "64-bit length for 65535": (client_frame(1, announced=65_535, length_bytes=8), 1002, "shortest"),
    "length with its highest bit": (client_frame(1, announced=1 << 63, length_bytes=8), 1002, "highest bit"),
}


@pytest.mark.parametrize("sent,code,reason", VIOLATIONS.values(), ids=VIOLATIONS.keys())
def test_each_violation_is_named_and_ends_the_reading(sent: bytes, code: int, reason: str) -> None:
    """A violation comes after what was whole before it, carries its close code, and nothing follows it."""
    frames = reader()
    first, violation = frames.feed(client_frame(1, b"before") + sent + client_frame(1, b"after"))
    assert first == Text(b"before")
    assert isinstance(violation, ProtocolViolation)
    assert violation.code == code
    assert reason in violation.reason
    assert frames.is_closed
    assert not frames.feed(client_frame(1, b"later"))


def test_a_text_fails_at_its_first_wrong_byte() -> None:
    """A frame need not be whole to be refused: nobody waits for the rest of a text that cannot become UTF-8."""
    whole = client_frame(1, b"abc\xf4\x90rest of the text")
    frames = reader()
    assert not frames.feed(whole[: 6 + 4])
    (violation,) = frames.feed(whole[6 + 4 : 6 + 5])
    assert isinstance(violation, ProtocolViolation)
    assert violation.code == 1007


def test_binary_messages_come_where_the_limits_allow_them() -> None:
    """The policy on binary messages is the caller's."""
    assert list(reader(FrameLimits(binary=True)).feed(client_frame(2, b"\xff"))) == [Binary(b"\xff")]


def test_the_longest_message_passes() -> None:
    """The limit itself is allowed, whole and in as many fragments as are allowed."""
    assert list(reader().feed(client_frame(1, b"x" * 1_000))) == [Text(b"x" * 1_000)]
    pieces = client_frame(1, b"x" * 125, final=False) + client_frame(0, b"x" * 125, final=False) * 6
    assert list(reader().feed(pieces + client_frame(0, b"x" * 125))) == [Text(b"x" * 1_000)]


def test_a_limit_below_125_holds_on_the_fast_path() -> None:
    """Short messages are measured too."""
    (violation,) = reader(FrameLimits(max_message_bytes=3)).feed(client_frame(1, b"four"))
    assert isinstance(violation, ProtocolViolation)
    assert violation.code == 1009


def test_nothing_follows_a_close() -> None:
    """What stands behind a close in the same chunk, or comes later, is not delivered."""
    frames = reader()
    assert list(frames.feed(client_frame(8) + client_frame(1, b"late"))) == [Closed(None, "")]
    assert not frames.feed(client_frame(9, b"late"))


def test_after_our_close_only_the_peers_close_counts() -> None:
    """Messages that were under way when we closed are dropped, and the closing handshake still completes."""
    frames = reader()
    frames.feed(client_frame(1, b"a", final=False))
    frames.stop()
    assert not frames.feed(client_frame(0, b"b") + client_frame(1, b"c") + client_frame(9))
    assert not frames.feed(client_frame(1, b"d"))
    assert list(frames.feed(client_frame(1, b"e") + client_frame(8, b"\x03\xe8"))) == [Closed(1000, "")]
    assert frames.is_closed


def test_after_our_close_a_violation_still_counts() -> None:
    """A peer that answers our close with garbage is told from one that still talks."""
    frames = reader()
    frames.stop()
    (violation,) = frames.feed(client_frame(1, b"a") + b"\xff\xff")
    assert isinstance(violation, ProtocolViolation)


def test_a_step_reads_so_many_frames_at_most() -> None:
    """Whatever came at once, and whether frames complete anything: a step is bounded, and all of them give everything."""
    pongs = steps(reader(), client_frame(10, b"p") * (FRAMES_AT_ONCE * 2 + 1))
    assert [len(step) for step in pongs] == [FRAMES_AT_ONCE, FRAMES_AT_ONCE, 1]
    message = client_frame(1, b"a", final=False) + client_frame(0, final=False) * 3 + client_frame(0, b"b")
    texts = steps(reader(), message * FRAMES_AT_ONCE)
    assert [len(step) for step in texts] == [12, 13, 13, 13, 13]
    assert {event for step in texts for event in step} == {Text(b"ab")}


def test_what_comes_while_others_wait_is_behind_them() -> None:
    """Bytes fed between steps are read in their turn, also where a frame is cut there."""
    frames = reader()
    data = b"".join(client_frame(1, b"%d" % number) for number in range(FRAMES_AT_ONCE + 2))
    first = frames.feed(data[:-3])
    assert frames.has_more
    assert not frames.feed(data[-3:])
    events = [*first, *frames.more()]
    assert events == [Text(b"%d" % number) for number in range(FRAMES_AT_ONCE + 2)]
    assert not frames.has_more


def test_fragments_are_told_before_their_message_is_whole() -> None:
    """Pieces cost like messages, so that a caller can count them; however they come in."""
    message = client_frame(1, b"a", final=False) + client_frame(0, final=False) * (2 * FRAGMENTS_COUNTED - 1)
    frames = reader(FrameLimits())
    slowly = [event for at in range(0, len(message), 5) for event in frames.feed(message[at : at + 5])]
    at_once = [event for step in steps(reader(FrameLimits()), message) for event in step]
    assert slowly == at_once == [Fragments()] * 2


def test_who_goes_on_behind_our_close_is_not_read_for_ever() -> None:
    """What may have been under way is passed over; a frame more is a violation, and nothing follows it."""
    frames = reader()
    frames.stop()
    under_way = client_frame(1, b"x") * (LAST_FRAMES - 1)
    assert not [event for step in steps(frames, under_way) for event in step]
    (closed,) = steps(frames, client_frame(8))
    assert closed == [Closed(None, "")]
    frames = reader()
    frames.stop()
    *_, last = steps(frames, client_frame(10) * (LAST_FRAMES + 1000))
    assert [type(event) for event in last] == [ProtocolViolation]
    assert frames.is_closed


def test_an_idle_reader_is_one_small_object() -> None:
    """Between messages nothing is kept: ten thousand idle connections must not pay for a buffer each."""
    frames = reader()
    frames.feed(client_frame(1, b"x" * 500)[:300])
    frames.feed(client_frame(1, b"x" * 500)[300:])
    frames.feed(client_frame(1, b"y", final=False))
    frames.feed(client_frame(0, b"y"))
    assert not hasattr(frames, "__dict__")
    assert [getattr(frames, slot) for slot in FrameReader.__slots__] == [LAST_FRAMES, LIMITS, None, 0]
    assert sys.getsizeof(frames) <= 64


HELLO = bytes.fromhex("f248cdc9c90700")
"""RFC 7692 §7.2.3.1."""


def gc_referents(reader: FrameReader) -> set[int]:
    return {id(value) for value in gc.get_referents(reader)}


def deflating_reader() -> FrameReader:
    return FrameReader(FrameLimits(max_message_bytes=1_000, max_fragments=8, deflate=True))


def test_a_message_is_inflated_when_the_one_before_was_taken() -> None:
    """Many small messages that came at once and are long when inflated are never all in memory."""
    sent = client_frame(1, deflate(b" " * 1_000, 12), rsv=4)
    taken = steps(deflating_reader(), sent * 5 + client_frame(1, b"plain") * 2)
    assert taken == [[Text(b" " * 1_000)]] * 5 + [[Text(b"plain")] * 2]


def test_nothing_is_inflated_behind_our_close() -> None:
    """What nobody will see is not worth the work, and is not judged either."""
    frames = deflating_reader()
    frames.stop()
    bomb = client_frame(1, deflate(b" " * 100_000, 12), rsv=4)
    assert not frames.feed(bomb)
    assert not frames.is_closed


@pytest.mark.parametrize(
    "sent",
    [
        client_frame(1, HELLO, rsv=4),
        client_frame(1, HELLO[:3], final=False, rsv=4) + client_frame(0, HELLO[3:]),
        client_frame(1, HELLO[:3], final=False, rsv=4) + client_frame(9) + client_frame(0, HELLO[3:]),
    ],
)
def test_a_compressed_message_is_inflated_when_it_is_whole(sent: bytes) -> None:
    """Whole or in fragments, of which only the first says that it is compressed; the next message is judged by itself."""
    events = read_all(deflating_reader(), [sent + client_frame(1, b"plain")])
    assert [event for event in events if not isinstance(event, Ping)] == [Text(b"Hello"), Text(b"plain")]


@pytest.mark.parametrize(
    ("sent", "code", "reason"),
    [
        (client_frame(1, b"plain", final=False) + client_frame(0, HELLO, rsv=4), 1002, "only the first frame"),
        (
            client_frame(1, HELLO[:3], final=False, rsv=4) + client_frame(0, HELLO[3:], rsv=4),
            1002,
            "only the first frame",
        ),
        (client_frame(9, b"x", rsv=4), 1002, "only the first frame"),
        (client_frame(8, b"\x03\xe8", rsv=4), 1002, "only the first frame"),
        (client_frame(1, HELLO, rsv=6), 1002, "reserved bit"),
        (client_frame(1, HELLO, rsv=1), 1002, "reserved bit"),
        (client_frame(1, deflate(b"x" * 1_001, 12), rsv=4), 1009, "1000 bytes"),
        (client_frame(1, announced=1_001, rsv=4)[:4], 1009, "1000 bytes"),
        (client_frame(1, deflate(b"\xc3", 12), rsv=4), 1007, "not UTF-8"),
        (client_frame(1, b"\xff" * 9, rsv=4), 1007, "DEFLATE"),
        (client_frame(2, HELLO, rsv=4), 1003, "binary"),
    ],
)
def test_compressed_messages_keep_the_rules(sent: bytes, code: int, reason: str) -> None:
    """RFC 7692 §6: where the bit may stand; limits and UTF-8 hold for the message as it was before it was compressed."""
    (violation,) = deflating_reader().feed(sent)
    assert isinstance(violation, ProtocolViolation)
    assert violation.code == code
    assert reason in violation.reason


def test_an_idle_reader_holds_nothing_after_a_compressed_message() -> None:
    """What was needed to inflate is gone with the message."""
    one = deflating_reader()
    before = gc_referents(one)
    assert len(one.feed(client_frame(1, HELLO, rsv=4))) == 1
    assert gc_referents(one) == before
