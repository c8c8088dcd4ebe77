"""Heads of WebSocket frames, both ways, without I/O (RFC 6455 §5.2).

Owns: opcodes, lengths, and what a head tells of its frame alone.   Not: payloads and messages (frames.py), compression (deflate.py).
Rule: a head is refused by its first wrong byte, whatever follows or is still to come.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from signtusk_realtime.protocol.codes import CLOSE_FRAMING_ERROR

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

MAX_CONTROL_BYTES: Final = 125
FINAL: Final = 0x80
MASKED: Final = 0x80
_RESERVED: Final = 0x70
DEFLATED: Final = 0x40
"""RSV1: with permessage-deflate, that the message is compressed (RFC 7692 §6)."""
_OPCODE: Final = 0x0F
CONTROL: Final = 0x08
_MESSAGES: Final = frozenset((TEXT, BINARY))
_KNOWN: Final = frozenset((CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG))
SMALL: Final = 125
"""The longest payload whose length fits the second byte."""
_LENGTH_16: Final = 126
_LENGTH_64: Final = 127


def frame_header(opcode: int, length: int, bits: int = 0) -> bytes:
    """Give the header of an unfragmented, unmasked frame; the payload follows it as it is. `bits`: DEFLATED or none."""
    opcode |= bits
    if length <= SMALL:
        return bytes((FINAL | opcode, length))
    if length <= 0xFFFF:
        return bytes((FINAL | opcode, _LENGTH_16)) + length.to_bytes(2, "big")
    return bytes((FINAL | opcode, _LENGTH_64)) + length.to_bytes(8, "big")


class Violation(Exception):
    """The peer broke the protocol. Raised and caught within this room; `code` is that of the close to send."""

    def __init__(self, reason: str, code: int = CLOSE_FRAMING_ERROR.number) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Head(NamedTuple):
    """What the first bytes of a frame say."""

    opcode: int
    is_final: bool
    is_deflated: bool
    length: int
    end: int
    """Where the mask begins."""


def read_head(data: bytes, position: int, *, deflate: bool) -> Head | None:
    """Read a frame's head up to its mask and check what it tells of the frame alone (RFC 6455 §5.2); None if it is not whole.

    `deflate`: whether permessage-deflate was agreed on. Raises: Violation.
    """
    available = len(data) - position
    if available < 2:
        return None
    first, second = data[position], data[position + 1]
    opcode, is_final = first & _OPCODE, bool(first & FINAL)
    _check_bits(first, second, deflate=deflate)
    length, end = second & ~MASKED, position + 2
    if length == _LENGTH_16:
        if available < 4:
            return None
        end = position + 4
        length = int.from_bytes(data[position + 2 : end], "big")
        if length <= SMALL:
            raise Violation("length is not in its shortest form")
    elif length == _LENGTH_64:
        if available < 10:
            return None
        end = position + 10
        length = int.from_bytes(data[position + 2 : end], "big")
        if length >> 63:
            raise Violation("length has its highest bit set")
        if length <= 0xFFFF:
            raise Violation("length is not in its shortest form")
    return Head(opcode, is_final, bool(first & DEFLATED), length, end)


def _check_bits(first: int, second: int, *, deflate: bool) -> None:
    opcode = first & _OPCODE
    if first & _RESERVED:
        if first & _RESERVED & ~DEFLATED or not deflate:
            raise Violation("reserved bit is set without an extension")
        if opcode not in _MESSAGES:
            # RFC 7692 §6.1: it stands in the first frame of a message, and in no other.
            raise Violation("only the first frame of a message says that it is compressed")
    if opcode not in _KNOWN:
        raise Violation(f"opcode {opcode} is reserved")
    if not second & MASKED:
        raise Violation("frame of a client is not masked")
    if opcode & CONTROL:
        # RFC 6455 §5.5: whole, and short enough for the second byte.
        if not first & FINAL:
            raise Violation("control frame is fragmented")
        if second & ~MASKED > MAX_CONTROL_BYTES:
            raise Violation(f"control frame is longer than {MAX_CONTROL_BYTES} bytes")
