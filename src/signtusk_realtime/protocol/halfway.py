"""What of a client's frames has arrived halfway.

Owns: the message in progress, its bounds and its text, as its payload comes in.   Not: where frames begin (heads.py), their order and what becomes of
them (frames.py).
Rule 1: a message is refused as soon as it cannot become one: by its announced length, its number of fragments, its first wrong byte.
Rule 2: a compressed message is kept as it came until somebody wants it.
"""

from __future__ import annotations

from codecs import utf_8_decode

import msgspec

from signtusk_realtime.protocol.codes import CLOSE_INVALID_UTF8, CLOSE_MESSAGE_TOO_LARGE, CLOSE_UNSUPPORTED_DATA
from signtusk_realtime.protocol.deflate import inflate
from signtusk_realtime.protocol.heads import BINARY, CONTINUATION, TEXT, Head, Violation


class FrameLimits(msgspec.Struct, frozen=True):
    """What a reader accepts; one value shared by all readers of a server.

    `binary`: deliver binary messages instead of refusing them. `deflate`: permessage-deflate was agreed on, so that messages may come
    compressed; `max_message_bytes` bounds them both ways, as they come and inflated.
    """

    max_message_bytes: int = 65_536
    max_fragments: int = 4_096
    binary: bool = False
    deflate: bool = False


class Partial:
    """What has arrived halfway: the start of a frame, and the message it belongs to. Made when needed, dropped when done."""

    __slots__ = (
        "fragments",
        "has_more",
        "is_deflated",
        "is_final",
        "mask",
        "opcode",
        "payload",
        "position",
        "remaining",
        "rest",
        "undecided",
    )

    def __init__(self) -> None:
        self.rest = b""
        """Bytes not read yet, from `position` on: of a header, or of a control frame, that is not whole yet; or whatever waits for a step."""
        self.position = 0
        self.has_more = False
        """Whether they wait for a step, and not for further bytes."""
        self.opcode = CONTINUATION
        """Of the message in progress; CONTINUATION while there is none."""
        self.payload = bytearray()
        self.is_deflated = False
        """Whether the message is compressed; then it is looked at when it is whole."""
        self.fragments = 0
        self.undecided = b""
        """The last bytes of a text that do not make a whole character yet."""
        self.mask = b""
        """Of the data frame in progress, turned so that it begins at the next byte; empty between frames."""
        self.remaining = 0
        self.is_final = False

    @property
    def is_open(self) -> bool:
        """Whether anything here has still to be kept."""
        return bool(self.rest or self.mask or self.opcode)

    def expect(self, opcode: int, length: int, limits: FrameLimits) -> None:
        """Check a data frame's header against the message in progress, before its payload is waited for."""
        if opcode == CONTINUATION:
            if not self.opcode:
                raise Violation("continuation of no message")
        elif self.opcode:
            raise Violation("new message inside a fragmented one")
        elif opcode == BINARY and not limits.binary:
            raise Violation("binary messages are not accepted", CLOSE_UNSUPPORTED_DATA.number)
        if len(self.payload) + length > limits.max_message_bytes:
            reason = f"message is longer than {limits.max_message_bytes} bytes"
            raise Violation(reason, CLOSE_MESSAGE_TOO_LARGE.number)
        if self.fragments >= limits.max_fragments:
            reason = f"message has more than {limits.max_fragments} fragments"
            raise Violation(reason, CLOSE_MESSAGE_TOO_LARGE.number)

    def begin(self, head: Head, mask: bytes) -> None:
        """Enter a data frame whose head was checked."""
        if head.opcode != CONTINUATION:
            self.opcode = head.opcode
            self.is_deflated = head.is_deflated
        self.fragments += 1
        self.remaining = head.length
        self.mask = mask
        self.is_final = head.is_final

    def take(self, chunk: bytes) -> int:
        """Add masked bytes of the frame in progress, all it still lacks or fewer; give their number."""
        size = len(chunk)
        plain = unmask(chunk, self.mask)
        self.remaining -= size
        turn = size % 4
        if turn:
            self.mask = self.mask[turn:] + self.mask[:turn]
        if self.opcode == TEXT and not self.is_deflated and (self.undecided or not plain.isascii()):
            # RFC 6455 §8.1 lets us fail as soon as the text cannot become UTF-8; the decoder sees that within a character.
            text = self.undecided + plain
            try:
                _, decided = utf_8_decode(text, "strict", self.is_final and not self.remaining)
            except UnicodeDecodeError:
                raise Violation("text is not UTF-8", CLOSE_INVALID_UTF8.number) from None
            self.undecided = text[decided:]
        self.payload += plain
        return size

    def message(self, max_bytes: int) -> bytes:
        """Give the payload of the message that its final frame has completed, inflated to `max_bytes` at most."""
        payload = bytes(self.payload)
        if self.is_deflated:
            payload = inflate(payload, max_bytes)
            if self.opcode == TEXT and not payload.isascii():
                _check_utf8(payload)
        return payload


def _check_utf8(text: bytes) -> None:
    try:
        utf_8_decode(text, "strict", True)
    except UnicodeDecodeError:
        raise Violation("text is not UTF-8", CLOSE_INVALID_UTF8.number) from None


def unmask(data: bytes, mask: bytes) -> bytes:
    """Give a payload as it was before a client masked it (RFC 6455 §5.3)."""
    size = len(data)
    keys = (mask * ((size + 3) // 4))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(keys, "little")).to_bytes(size, "little")
