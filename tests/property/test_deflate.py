"""Compressed messages over any bytes and any cuts."""

from __future__ import annotations

import zlib

from hypothesis import example, given
from hypothesis import strategies as st

from signtusk_realtime.protocol.deflate import SMALL_WINDOW_BITS, WINDOW_BITS, agree, deflate, inflate
from signtusk_realtime.protocol.frames import (
    Binary,
    Closed,
    FrameEvent,
    FrameReader,
    ProtocolViolation,
    Text,
)
from signtusk_realtime.protocol.halfway import FrameLimits
from signtusk_realtime.protocol.heads import Violation
from tests.support.reading import read_all
from tests.support.wire import client_frame, cut

LIMITS = FrameLimits(max_message_bytes=400, max_fragments=5, binary=True, deflate=True)

# Repetitions, so that there is something to refer back to, also beyond a small window.
payloads = st.one_of(
    st.binary(max_size=300),
    st.lists(st.sampled_from([b"signature", b"document", bytes(range(200)), b"\x00" * 50]), max_size=40).map(b"".join),
)


def read(chunks: list[bytes]) -> list[FrameEvent]:
    return read_all(FrameReader(LIMITS), chunks)


def in_chunks(payload: bytes, window_bits: int, ends: list[int]) -> bytes:
    """Compress as any client may: in blocks of several kinds."""
    compressor = zlib.compressobj(wbits=-window_bits)
    compressed = b""
    for piece, end in zip(cut(payload, list(range(0, len(payload), 60))), ends, strict=False):
        compressed += compressor.compress(piece) + compressor.flush(end)
        payload = payload[len(piece) :]
    return (compressed + compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(
        b"\0\0\xff\xff"
    )


@given(payloads, st.sampled_from([SMALL_WINDOW_BITS, WINDOW_BITS]))
def test_what_we_compress_is_what_a_client_inflates(payload: bytes, window_bits: int) -> None:
    """For every payload, read with exactly the window that was agreed on, and nothing from before."""
    inflater = zlib.decompressobj(-window_bits)
    assert inflater.decompress(deflate(payload, window_bits) + b"\x00\x00\xff\xff") == payload


@given(
    payloads,
    st.integers(9, 15),
    st.lists(
        st.sampled_from([zlib.Z_NO_FLUSH, zlib.Z_PARTIAL_FLUSH, zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH]), max_size=4
    ),
)
def test_what_a_client_compresses_is_what_we_inflate(payload: bytes, window_bits: int, ends: list[int]) -> None:
    """Whatever its window and blocks."""
    assert inflate(in_chunks(payload, window_bits, ends), len(payload)) == payload


@given(st.one_of(st.binary(max_size=300), payloads.map(lambda payload: deflate(payload, 12))), st.integers(0, 500))
@example(deflate(b"\x00" * 100_000, 12), 400)
def test_nothing_but_a_violation_comes_from_any_bytes(compressed: bytes, limit: int) -> None:
    """What is inflated is within the limit, or refused as too long or as no DEFLATE."""
    code = 0
    try:
        assert len(inflate(compressed, limit)) <= limit
    except Violation as violation:
        code = violation.code
    assert code in {0, 1007, 1009}


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """A message in fragments, compressed or not, rightly marked or not."""
    is_text, is_compressed = draw(st.booleans()), draw(st.booleans())
    payload = draw(st.one_of(st.text(max_size=150).map(str.encode), payloads))
    sent = deflate(payload, 12) if is_compressed else payload
    pieces = cut(sent, draw(st.lists(st.integers(0, 400), max_size=3)))
    frames = b""
    for index, piece in enumerate(pieces):
        opcode = (1 if is_text else 2) if index == 0 else 0
        rsv = (
            draw(st.sampled_from([0] * 9 + [4]))
            if index
            else 4 * (is_compressed ^ draw(st.sampled_from([False] * 9 + [True])))
        )
        frames += client_frame(opcode, piece, final=index == len(pieces) - 1, rsv=rsv)
    return frames


@given(st.lists(messages(), max_size=4).map(b"".join), st.lists(st.integers(0, 2_000), max_size=8))
def test_cuts_change_nothing(sent: bytes, places: list[int]) -> None:
    """Messages and the violation are the same for any split of the bytes into chunks, and within the limit."""
    events = read([sent])
    assert read(cut(sent, places)) == events
    assert read([sent[at : at + 1] for at in range(len(sent))]) == events
    assert all(not isinstance(event, Closed | ProtocolViolation) for event in events[:-1])
    assert all(len(event.payload) <= 400 for event in events if isinstance(event, Text | Binary))
    assert all(event.payload.decode() is not None for event in events if isinstance(event, Text))


@given(st.lists(st.tuples(payloads, st.booleans()), max_size=6), st.lists(st.integers(0, 2_000), max_size=8))
def test_messages_do_not_depend_on_those_before(sent: list[tuple[bytes, bool]], places: list[int]) -> None:
    """Compressed and plain ones in any order, each by itself."""
    short = [(payload[:400], is_compressed) for payload, is_compressed in sent]
    frames = b"".join(
        client_frame(2, deflate(payload, 12), rsv=4) if is_compressed else client_frame(2, payload)
        for payload, is_compressed in short
        if len(deflate(payload, 12)) <= 400
    )
    expected = [Binary(payload) for payload, _ in short if len(deflate(payload, 12)) <= 400]
    assert read(cut(frames, places)) == expected


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.sampled_from(
                [
                    b"permessage-deflate",
                    b"; server_max_window_bits=",
                    b"10",
                    b"; client_max_window_bits",
                    b",",
                    b"; server_no_context_takeover",
                ]
            ),
        ),
        max_size=8,
    ).map(b"".join)
)
def test_whatever_is_offered_the_answer_is_a_header(offer: bytes) -> None:
    """Nothing is raised, and nothing of the client's is repeated but a number."""
    agreement = agree([offer])
    if agreement is not None:
        assert agreement.header.startswith(
            b"permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        )
        assert agreement.window_bits in {9, 12}
