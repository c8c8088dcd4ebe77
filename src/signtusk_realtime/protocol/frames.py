"""WebSocket framing, server side, without I/O (RFC 6455).

Owns: frames out as bytes; bytes in as messages, control frames or a violation.   Not: answering pings and closes, counting messages and
control frames against a rate (sessions), the handshake (handshake.py).
Rule 1: after a close frame or a violation came in nothing more comes out; after we sent a close (`stop`) only the peer's close does.
Rule 2: how the bytes are split into chunks changes nothing about what comes out.
Rule 3: an idle reader holds no buffer; what arrives halfway is bounded by the message limit.

Text that is not compressed is checked as it comes, so that a message which cannot become UTF-8 is refused at its first wrong byte, and delivered as bytes:
whoever decodes JSON wants bytes, and need not look again.
"""

from __future__ import annotations

from codecs import utf_8_decode
from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

from signtusk_realtime.protocol.codes import (
    CLOSE_INVALID_UTF8,
    CLOSE_MESSAGE_TOO_LARGE,
    CLOSE_UNSUPPORTED_DATA,
)
from signtusk_realtime.protocol.deflate import inflate
from signtusk_realtime.protocol.heads import (
    BINARY,
    CLOSE,
    CONTINUATION,
    CONTROL,
    FINAL,
    MASKED,
    MAX_CONTROL_BYTES,
    PING,
    PONG,
    SMALL,
    TEXT,
    Head,
    Violation,
    frame_header,
    read_head,
)

_FINAL_TEXT: Final = FINAL | TEXT


# --- out ----------------------------------------------------------------------------------


def encode_text(payload: bytes) -> bytes:
    """Give a text message as one frame. `payload` must be UTF-8, which JSON of our making is."""
    return frame_header(TEXT, len(payload)) + payload


def encode_binary(payload: bytes) -> bytes:
    """Give a binary message as one frame."""
    return frame_header(BINARY, len(payload)) + payload


def encode_ping(payload: bytes = b"") -> bytes:
    """Give a ping. Raises: ValueError above 125 bytes."""
    return _control(PING, payload)


def encode_pong(payload: bytes = b"") -> bytes:
    """Give a pong, with the payload of the ping it answers. Raises: ValueError above 125 bytes."""
    return _control(PONG, payload)


def encode_close(code: int | None = None, reason: str = "") -> bytes:
    """Give a close frame; without a code it is empty. A reason beyond 123 bytes is cut between characters.

    To answer a peer's close, pass its code. Call `FrameReader.stop` with it.
    Raises: ValueError for codes that may not be sent (1005, 1006, 1015 and all that RFC 6455 §7.4 leaves undefined).
    """
    if code is None:
        return _control(CLOSE, b"")
    if not _is_sendable(code):
        raise ValueError(f"close code {code} must not be sent")
    text = reason.encode("utf-8", "replace")[: MAX_CONTROL_BYTES - 2].decode("utf-8", "ignore")
    return _control(CLOSE, code.to_bytes(2, "big") + text.encode())


def _control(opcode: int, payload: bytes) -> bytes:
    if len(payload) > MAX_CONTROL_BYTES:
        raise ValueError(f"a control frame's payload has {len(payload)} bytes; at most {MAX_CONTROL_BYTES} are allowed")
    return frame_header(opcode, len(payload)) + payload


def _is_sendable(code: int) -> bool:
    # RFC 6455 §7.4.1, 1012 to 1014 by the IANA registry; 3000 to 4999 are for libraries and applications.
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


# --- in -----------------------------------------------------------------------------------


class Text(msgspec.Struct, frozen=True, gc=False):
    """A whole text message; the payload is UTF-8."""

    payload: bytes


class Binary(msgspec.Struct, frozen=True, gc=False):
    """A whole binary message; only from readers whose limits allow it."""

    payload: bytes


class Ping(msgspec.Struct, frozen=True, gc=False):
    """To be answered with a pong of the same payload."""

    payload: bytes


class Pong(msgspec.Struct, frozen=True, gc=False):
    """An answer to a ping, or a sign of life without one."""

    payload: bytes


class Closed(msgspec.Struct, frozen=True, gc=False):
    """The peer's close, to be answered with its code unless we closed first. `code` is None if it gave none."""

    code: int | None
    reason: str


class ProtocolViolation(msgspec.Struct, frozen=True, gc=False):
    """The peer broke the protocol: send a close with this code and end the connection."""

    code: int
    reason: str


FrameEvent: TypeAlias = Text | Binary | Ping | Pong | Closed | ProtocolViolation


class FrameLimits(msgspec.Struct, frozen=True):
    """What a reader accepts; one value shared by all readers of a server.

    `binary`: deliver binary messages instead of refusing them. `deflate`: permessage-deflate was agreed on, so that messages may come
    compressed; `max_message_bytes` bounds them both ways, as they come and inflated.
    """

    max_message_bytes: int = 65_536
    max_fragments: int = 4_096
    binary: bool = False
    deflate: bool = False


_OPEN: Final = 0
_CLOSING: Final = 1
_CLOSED: Final = 2


class FrameReader:
    """Reads the frames of one client. Feed it every chunk in order; act on every event in order.

    Control frames are delivered as they come, also between the fragments of a message, and are not limited in number here.
    """

    __slots__ = ("_limits", "_partial", "_state")

    def __init__(self, limits: FrameLimits) -> None:
        self._limits = limits
        self._partial: _Partial | None = None
        self._state = _OPEN

    def stop(self) -> None:
        """Deliver no further messages, for a close was sent: only the peer's close, or its violation, still counts."""
        if self._state == _OPEN:
            self._state = _CLOSING

    @property
    def is_closed(self) -> bool:
        """Whether a close or a violation came in, after which nothing is read."""
        return self._state == _CLOSED

    def feed(self, data: bytes) -> Sequence[FrameEvent]:
        """Take the next bytes and give what they completed. Raises nothing: a violation is the last event there is."""
        # The fast path: a chunk that is exactly one small text frame, which is nearly every chunk a browser sends.
        if self._partial is None and self._state == _OPEN:
            length = len(data) - 6
            if (
                0 <= length <= SMALL
                and data[0] == _FINAL_TEXT
                and data[1] == MASKED | length
                and length <= self._limits.max_message_bytes
            ):
                payload = _unmask(data[6:], data[2:6])
                if payload.isascii():
                    return (Text(payload),)
        elif self._state == _CLOSED:
            return ()
        events: list[FrameEvent] = []
        is_closing = self._state == _CLOSING
        try:
            self._read(data, events)
        except Violation as violation:
            events.append(ProtocolViolation(violation.code, violation.reason))
            self._state = _CLOSED
            self._partial = None
        if is_closing:
            return [event for event in events if isinstance(event, Closed | ProtocolViolation)]
        return events

    def _read(self, data: bytes, events: list[FrameEvent]) -> None:
        limits = self._limits
        partial = self._partial or _Partial()
        if partial.head:
            data = partial.head + data
            partial.head = b""
        position, size = 0, len(data)
        while True:
            if partial.mask:
                position += partial.take(data[position : position + partial.remaining])
                if partial.remaining:
                    break
                partial.mask = b""
                if partial.is_final:
                    events.append(partial.message(limits))
                    partial = _Partial()
            head = read_head(data, position, deflate=limits.deflate)
            if head is None:
                break
            is_control = head.opcode & CONTROL
            if not is_control:
                partial.expect(head.opcode, head.length, limits)
            start = head.end + 4
            # A control frame is taken whole; of a data frame the head is, and its payload as it comes.
            end = start + head.length if is_control else start
            if size < end:
                break
            position = end
            mask = data[head.end : start]
            if not is_control:
                partial.begin(head, mask)
                continue
            event = _control_event(head.opcode, _unmask(data[start:end], mask))
            events.append(event)
            if isinstance(event, Closed):
                self._state = _CLOSED
                self._partial = None
                return

        if position < size:
            partial.head = data[position:]
        self._partial = partial if partial.is_open else None


class _Partial:
    """What has arrived halfway: the start of a frame, and the message it belongs to. Made when needed, dropped when done."""

    __slots__ = ("fragments", "head", "is_deflated", "is_final", "mask", "opcode", "payload", "remaining", "undecided")

    def __init__(self) -> None:
        self.head = b""
        """Bytes of a header, or of a control frame, that is not whole yet."""
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
        return bool(self.head or self.mask or self.opcode)

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
        plain = _unmask(chunk, self.mask)
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

    def message(self, limits: FrameLimits) -> Text | Binary:
        """Give the message that its final frame has completed."""
        payload = bytes(self.payload)
        if self.is_deflated:
            payload = inflate(payload, limits.max_message_bytes)
            if self.opcode == TEXT and not payload.isascii():
                _check_utf8(payload)
        return Text(payload) if self.opcode == TEXT else Binary(payload)


def _check_utf8(text: bytes) -> None:
    try:
        utf_8_decode(text, "strict", True)
    except UnicodeDecodeError:
        raise Violation("text is not UTF-8", CLOSE_INVALID_UTF8.number) from None


def _unmask(data: bytes, mask: bytes) -> bytes:
    size = len(data)
    keys = (mask * ((size + 3) // 4))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(keys, "little")).to_bytes(size, "little")


def _control_event(opcode: int, payload: bytes) -> Ping | Pong | Closed:
    if opcode == PING:
        return Ping(payload)
    if opcode == PONG:
        return Pong(payload)
    if not payload:
        return Closed(None, "")
    if len(payload) == 1:
        raise Violation("close frame has half a code")
    code = int.from_bytes(payload[:2], "big")
    if not _is_sendable(code):
        raise Violation(f"close code {code} must not be sent")
    try:
        reason = payload[2:].decode()
    except UnicodeDecodeError:
        raise Violation("close reason is not UTF-8", CLOSE_INVALID_UTF8.number) from None
    return Closed(code, reason)
