"""permessage-deflate: which offers are taken, and what is made of compressed messages."""

from __future__ import annotations

import tracemalloc
import zlib

import pytest

from signtusk_realtime.protocol.deflate import SMALL_WINDOW_BITS, WINDOW_BITS, agree, deflate, encode_deflated, inflate
from signtusk_realtime.protocol.heads import Violation

BOTH = b"permessage-deflate; server_no_context_takeover; client_no_context_takeover"

TAKEN = [
    (b"permessage-deflate", WINDOW_BITS, BOTH),
    (b"permessage-deflate; client_max_window_bits", WINDOW_BITS, BOTH),
    (b"permessage-deflate; client_max_window_bits=8", WINDOW_BITS, BOTH),
    (b'permessage-deflate;client_max_window_bits="15"', WINDOW_BITS, BOTH),
    (b"permessage-deflate; server_no_context_takeover", WINDOW_BITS, BOTH),
    (b"permessage-deflate ; client_no_context_takeover\t; server_no_context_takeover", WINDOW_BITS, BOTH),
    (b"permessage-deflate; server_max_window_bits=15", WINDOW_BITS, BOTH + b"; server_max_window_bits=12"),
    (b"permessage-deflate; server_max_window_bits=12", WINDOW_BITS, BOTH + b"; server_max_window_bits=12"),
    (b"permessage-deflate; server_max_window_bits=11", SMALL_WINDOW_BITS, BOTH + b"; server_max_window_bits=9"),
    (b"permessage-deflate; server_max_window_bits=9", SMALL_WINDOW_BITS, BOTH + b"; server_max_window_bits=9"),
    (b"x-webkit-deflate-frame, permessage-deflate", WINDOW_BITS, BOTH),
    (b"permessage-deflate; server_max_window_bits=8, permessage-deflate", WINDOW_BITS, BOTH),
    (b"permessage-deflate; mode=fast, permessage-deflate; client_max_window_bits", WINDOW_BITS, BOTH),
]
DECLINED = [
    b"",
    b",;,",
    b"permessage-bzip2",
    b"permessage-deflate; mode",
    b"permessage-deflate; ",
    b"permessage-deflate; server_no_context_takeover=1",
    b"permessage-deflate; client_no_context_takeover=",
    b"permessage-deflate; server_no_context_takeover; server_no_context_takeover",
    b"permessage-deflate; client_max_window_bits; client_max_window_bits=10",
    b"permessage-deflate; client_max_window_bits=",
    b"permessage-deflate; client_max_window_bits=7",
    b"permessage-deflate; client_max_window_bits=16",
    b"permessage-deflate; client_max_window_bits=010",
    b"permessage-deflate; client_max_window_bits = 10",
    b"permessage-deflate; server_max_window_bits",
    b"permessage-deflate; server_max_window_bits=8",
    b"permessage-deflate; server_max_window_bits=+9",
    b"permessage-deflate; server_max_window_bits=\xb2",
    b"permessage-deflate; server_max_window_bits=1000000000000000000000",
]


@pytest.mark.parametrize("offer,window_bits,header", TAKEN)
def test_an_offer_is_answered_by_what_was_agreed_on(offer: bytes, window_bits: int, header: bytes) -> None:
    """The first offer that can be taken is; nobody keeps a context, and a window is named where one was asked for."""
    agreement = agree([offer])
    assert agreement is not None
    assert (agreement.window_bits, agreement.header) == (window_bits, header)


@pytest.mark.parametrize("offer", DECLINED)
def test_what_the_standard_does_not_allow_is_declined(offer: bytes) -> None:
    """Unknown, doubled and malformed parameters, and windows that cannot be had, make an offer one that was not made."""
    assert agree([offer]) is None
    assert agree([offer, b"permessage-deflate"]) == agree([b"permessage-deflate"])


def test_nothing_is_agreed_on_without_an_offer() -> None:
    """A server never begins with an extension."""
    assert agree([]) is None


def peer_deflate(payload: bytes, *, window_bits: int = 15, end: int = zlib.Z_SYNC_FLUSH) -> bytes:
    compressor = zlib.compressobj(wbits=-window_bits)
    return compressor.compress(payload) + compressor.flush(end)


TEXT = b'{"type":"ping"}' * 40


@pytest.mark.parametrize("window_bits", range(9, 16))
def test_every_window_of_a_client_is_read(window_bits: int) -> None:
    """A client chooses its own."""
    text = bytes(range(256)) * 300
    assert inflate(peer_deflate(text, window_bits=window_bits)[:-4], len(text)) == text


@pytest.mark.parametrize(
    "compressed",
    [
        peer_deflate(TEXT)[:-4],
        peer_deflate(TEXT) + peer_deflate(b"")[:-4],
        peer_deflate(TEXT, end=zlib.Z_FULL_FLUSH)[:-4],
        peer_deflate(TEXT, end=zlib.Z_FINISH) + b"\x00",
        peer_deflate(TEXT, end=zlib.Z_FINISH),
    ],
    ids=["as usual", "in two blocks", "full flush", "final block", "final block alone"],
)
def test_whatever_way_a_message_ends_it_is_read(compressed: bytes) -> None:
    """RFC 7692 §7.2.3: blocks of any kind, and a final one."""
    assert inflate(compressed, 1000) == TEXT


def test_the_examples_of_the_standard_are_read() -> None:
    """RFC 7692 §7.2.3.1, .3, .4, .5 and .6."""
    for compressed, text in [
        ("f248cdc9c90700", b"Hello"),
        ("000500faff48656c6c6f00", b"Hello"),
        ("f348cdc9c9070000", b"Hello"),
        ("f248050000 00ffffcac9c90700".replace(" ", ""), b"Hello"),
        ("00", b""),
    ]:
        assert inflate(bytes.fromhex(compressed), 100) == text


@pytest.mark.parametrize(
    "compressed",
    [b"\x07", b"\xff" * 20, b"\x06\x00\x00", peer_deflate(TEXT, end=zlib.Z_FINISH) + peer_deflate(TEXT)[:-4]],
    ids=["reserved block", "garbage", "bad codes", "more behind the final block"],
)
def test_what_is_no_deflate_is_refused(compressed: bytes) -> None:
    """It ends the connection as text that is no text does."""
    with pytest.raises(Violation) as caught:
        inflate(compressed, 1000)
    assert caught.value.code == 1007


def test_the_limit_is_that_of_the_message_as_it_was() -> None:
    """A message of exactly the limit passes, one byte more does not."""
    assert inflate(peer_deflate(b"x" * 1000)[:-4], 1000) == b"x" * 1000
    with pytest.raises(Violation, match="longer than 999 bytes") as caught:
        inflate(peer_deflate(b"x" * 1000)[:-4], 999)
    assert caught.value.code == 1009


def test_a_bomb_makes_no_more_than_the_limit() -> None:
    """1000 to 1: 64 KiB that would be 64 MiB cost what 64 KiB cost."""
    bomb = peer_deflate(b"\x00" * (64 << 20))
    assert len(bomb) < 70_000
    inflate(peer_deflate(TEXT)[:-4], 1000)
    tracemalloc.start()
    try:
        with pytest.raises(Violation):
            inflate(bomb, 65_536)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 512 << 10


@pytest.mark.parametrize("window_bits", [SMALL_WINDOW_BITS, WINDOW_BITS])
def test_what_we_compress_fits_the_window_that_was_agreed_on(window_bits: int) -> None:
    """A client with no more memory than it asked for can read it."""
    text = b"".join(b'{"documentId":"doc%d","title":"Agreement %d"}' % (n % 97, n) for n in range(2000))
    compressed = deflate(text, window_bits)
    assert len(compressed) < len(text) / 3
    assert zlib.decompressobj(-window_bits).decompress(compressed + b"\x00\x00\xff\xff") == text


def test_a_compressed_frame_says_so() -> None:
    """FIN, RSV1 and the opcode; the length is that of what is sent."""
    frame = encode_deflated(TEXT, WINDOW_BITS)
    assert frame[0] == 0xC1
    assert frame[1] == len(frame) - 2
    assert inflate(frame[2:], 1000) == TEXT
