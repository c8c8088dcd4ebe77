"""permessage-deflate without context takeover, server side, without I/O (RFC 7692).

Owns: which of a client's offers is taken, and messages in and out of DEFLATE.   Not: frames (frames.py), which messages are worth it
(delivery/formats.py).
Rule 1: nothing is remembered from one message to the next, in either direction: compressed bytes may be shared among connections, and an
idle connection costs nothing.
Rule 2: what comes in is inflated to at most the limit of a message, whatever it claims to be.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from signtusk_realtime.protocol.codes import CLOSE_INVALID_UTF8, CLOSE_MESSAGE_TOO_LARGE
from signtusk_realtime.protocol.heads import DEFLATED, TEXT, Violation, frame_header

WINDOW_BITS: Final = 12
SMALL_WINDOW_BITS: Final = 9
"""For clients that ask for less than the usual; the smallest that zlib can write."""

_EXTENSION: Final = b"permessage-deflate"
_BITS: Final = re.compile(rb'"?([89]|1[0-5])"?')
# Measured (benchmarks/results/deflate.md): of 2 KB of JSON this makes 7 % more than zlib's own choice, in less than a third of the time; of
# 64 KB 18 % more, in a quarter. It is the loop's time that is spent.
_LEVEL: Final = 1
_MEMORY_LEVEL: Final = 5
_TAIL: Final = b"\x00\x00\xff\xff"
"""Ends every compressed message; not sent (RFC 7692 §7.2.1)."""
_EMPTY_BLOCK: Final = b"\x00"
_INFLATE_BITS: Final = -zlib.MAX_WBITS
"""Reads every window that a client may choose."""


class Agreement(Struct, frozen=True):
    """That messages may be compressed, ours with a window of `window_bits`. `header` answers the client's offer."""

    window_bits: int
    header: bytes


def _agreement(window_bits: int, *, is_told: bool) -> Agreement:
    header = _EXTENSION + b"; server_no_context_takeover; client_no_context_takeover"
    return Agreement(window_bits, header + (b"; server_max_window_bits=%d" % window_bits if is_told else b""))


_UNTOLD: Final = _agreement(WINDOW_BITS, is_told=False)
_TOLD: Final = _agreement(WINDOW_BITS, is_told=True)
_SMALL: Final = _agreement(SMALL_WINDOW_BITS, is_told=True)


def agree(values: Iterable[bytes]) -> Agreement | None:
    """Take the first offer that can be taken of a request's `Sec-WebSocket-Extensions`, one value a line of its head; None if there is none.

    An offer that RFC 7692 does not allow is declined like one of an extension that we do not speak, and the next one looked at.
    """
    for value in values:
        for offer in value.split(b","):
            agreement = _taken(offer)
            if agreement is not None:
                return agreement
    return None


def _taken(offer: bytes) -> Agreement | None:
    name, *parameters = [part.strip(b" \t") for part in offer.split(b";")]
    if name != _EXTENSION:
        return None
    seen: set[bytes] = set()
    agreement = _UNTOLD
    for parameter in parameters:
        key, equals, value = parameter.partition(b"=")
        bits = _BITS.fullmatch(value)
        if key in seen:
            return None
        seen.add(key)
        match key:
            case b"server_no_context_takeover" | b"client_no_context_takeover" if not equals:
                pass
            case b"client_max_window_bits" if bits or not equals:
                # How far back a client may refer is left to it: whatever window it chooses is read.
                pass
            case b"server_max_window_bits" if bits:
                asked = int(bits[1])
                if asked < SMALL_WINDOW_BITS:
                    return None
                agreement = _TOLD if asked >= WINDOW_BITS else _SMALL
            case _:
                return None
    return agreement


def deflate(payload: bytes, window_bits: int) -> bytes:
    """Compress a message by itself."""
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -window_bits, _MEMORY_LEVEL)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(_TAIL)


def inflate(payload: bytes, max_bytes: int) -> bytes:
    """Give back what a client compressed.

    Raises: Violation if that is longer than `max_bytes`, before more than this is made of it, or if it is not DEFLATE.
    """
    inflater = zlib.decompressobj(_INFLATE_BITS)
    try:
        plain = inflater.decompress(payload + _TAIL, max_bytes + 1)
    except zlib.error:
        raise Violation("message is not compressed by DEFLATE", CLOSE_INVALID_UTF8.number) from None
    if len(plain) > max_bytes:
        raise Violation(f"message is longer than {max_bytes} bytes", CLOSE_MESSAGE_TOO_LARGE.number)
    # RFC 7692 §7.2.3.4: who ends a message by a final block puts an empty one behind it.
    if inflater.eof and inflater.unused_data not in (_TAIL, _EMPTY_BLOCK + _TAIL):
        raise Violation("message goes on behind its final block", CLOSE_INVALID_UTF8.number)
    return plain


def encode_deflated(payload: bytes, window_bits: int, opcode: int = TEXT) -> bytes:
    """Give a message as one compressed frame."""
    compressed = deflate(payload, window_bits)
    return frame_header(opcode, len(compressed), DEFLATED) + compressed
