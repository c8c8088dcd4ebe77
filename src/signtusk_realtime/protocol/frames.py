"""WebSocket framing, server side, without I/O (RFC 6455).

Owns: frames out as bytes; bytes in as messages, control frames or a violation.   Not: answering pings and closes, counting messages and
control frames against a rate (sessions), the handshake (handshake.py).
Rule 1: after a close frame or a violation came in nothing more comes out; after we sent a close (`stop`) only the peer's close does.
Rule 2: how the bytes are split into chunks changes nothing about what comes out.
Rule 3: an idle reader holds no buffer; what arrives halfway is bounded by the message limit.
Rule 4: a step of reading is bounded, however many frames came at once and whatever they inflate to; the caller says when the next one is taken.

Text that is not compressed is checked as it comes, so that a message which cannot become UTF-8 is refused at its first wrong byte, and delivered as bytes:
whoever decodes JSON wants bytes, and need not look again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

from signtusk_realtime.protocol.codes import (
    CLOSE_INVALID_UTF8,
)
from signtusk_realtime.protocol.halfway import FrameLimits, Partial, unmask
from signtusk_realtime.protocol.heads import (
    BINARY,
    CLOSE,
    CONTROL,
    FINAL,
    MASKED,
    MAX_CONTROL_BYTES,
    PING,
    PONG,
    SMALL,
    TEXT,
    Violation,
    frame_header,
    read_head,
)

_FINAL_TEXT: Final = FINAL | TEXT

FRAMES_AT_ONCE: Final = 64
"""Read in one step; about a fifth of a millisecond."""
FRAGMENTS_COUNTED: Final = 64
LAST_FRAMES: Final = 256
"""What a peer may have under way when we close. Who sends more without a close of its own is not going to close."""


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


class Fragments(msgspec.Struct, frozen=True, gc=False):
    """A message that is not whole yet has come in `FRAGMENTS_COUNTED` more fragments: they cost as much to read as messages, so count them."""


class Closed(msgspec.Struct, frozen=True, gc=False):
    """The peer's close, to be answered with its code unless we closed first. `code` is None if it gave none."""

    code: int | None
    reason: str


class ProtocolViolation(msgspec.Struct, frozen=True, gc=False):
    """The peer broke the protocol: send a close with this code and end the connection."""

    code: int
    reason: str


FrameEvent: TypeAlias = Text | Binary | Ping | Pong | Fragments | Closed | ProtocolViolation


_OPEN: Final = 0
_CLOSING: Final = 1
_CLOSED: Final = 2


class FrameReader:
    """Reads the frames of one client. Feed it every chunk in order; act on every event in order; while it `has_more`, take further steps.

    A step reads `FRAMES_AT_ONCE` frames at most, and ends behind a message that it inflated: the next one is inflated when this one was acted on.
    Control frames are delivered as they come, also between the fragments of a message, and are not limited in number here.
    """

    __slots__ = ("_last_frames", "_limits", "_partial", "_state")

    def __init__(self, limits: FrameLimits) -> None:
        self._limits = limits
        self._partial: Partial | None = None
        self._state = _OPEN
        self._last_frames = LAST_FRAMES

    def stop(self) -> None:
        """Deliver no further messages, for a close was sent: only the peer's close, or its violation, still counts."""
        if self._state == _OPEN:
            self._state = _CLOSING

    @property
    def is_closed(self) -> bool:
        """Whether a close or a violation came in, after which nothing is read."""
        return self._state == _CLOSED

    @property
    def has_more(self) -> bool:
        """Whether bytes that came in wait for another step (`more`)."""
        return self._partial is not None and self._partial.has_more

    def feed(self, data: bytes) -> Sequence[FrameEvent]:
        """Take the next bytes and give what a first step over them completed; while others wait, they only wait with them.

        Raises nothing: a violation is the last event there is.
        """
        # The fast path: a chunk that is exactly one small text frame, which is nearly every chunk a browser sends.
        if self._partial is None and self._state == _OPEN:
            length = len(data) - 6
            if (
                0 <= length <= SMALL
                and data[0] == _FINAL_TEXT
                and data[1] == MASKED | length
                and length <= self._limits.max_message_bytes
            ):
                payload = unmask(data[6:], data[2:6])
                if payload.isascii():
                    return (Text(payload),)
        elif self.has_more:
            assert self._partial is not None
            self._partial.rest += data
            return ()
        return self._step(data)

    def more(self) -> Sequence[FrameEvent]:
        """Take another step over what waits, and give what it completed."""
        return self._step(b"")

    def _step(self, data: bytes) -> Sequence[FrameEvent]:
        if self._state == _CLOSED:
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
        partial = self._partial or Partial()
        position, frames = partial.position, FRAMES_AT_ONCE
        if partial.rest:
            data = partial.rest + data
            partial.rest, partial.position, partial.has_more = b"", 0, False
        size = len(data)
        while self._state != _CLOSED:
            if partial.mask:
                position += partial.take(data[position : position + partial.remaining])
                if partial.remaining:
                    break
                partial.mask = b""
                if partial.is_final:
                    if self._take(partial, events):
                        frames = 0
                    partial = Partial()
            if not frames:
                partial.has_more = position < size
                break
            end = self._enter(partial, data, position, events)
            if end == position:
                break
            position = end
            frames -= 1

        if self._state == _CLOSED:
            self._partial = None
            return
        if partial.has_more:
            partial.rest, partial.position = data, position
        elif position < size:
            partial.rest = data[position:]
        self._partial = partial if partial.is_open else None

    def _take(self, whole: Partial, events: list[FrameEvent]) -> bool:
        """Deliver a message that is whole, unless we have closed; say whether it had to be inflated."""
        if self._state != _OPEN:
            return False
        payload = whole.message(self._limits.max_message_bytes)
        events.append(Text(payload) if whole.opcode == TEXT else Binary(payload))
        return whole.is_deflated

    def _enter(self, partial: Partial, data: bytes, position: int, events: list[FrameEvent]) -> int:
        """Read a frame's head, and a control frame whole; give where the next bytes stand, or the same place if more are needed."""
        head = read_head(data, position, deflate=self._limits.deflate)
        if head is None:
            return position
        is_control = head.opcode & CONTROL
        if not is_control:
            partial.expect(head.opcode, head.length, self._limits)
        start = head.end + 4
        # A control frame is taken whole; of a data frame the head is, and its payload as it comes.
        end = start + head.length if is_control else start
        if len(data) < end:
            return position
        if self._state == _CLOSING:
            self._count_last()
        mask = data[head.end : start]
        if not is_control:
            partial.begin(head, mask)
            if not partial.fragments % FRAGMENTS_COUNTED:
                events.append(Fragments())
            return end
        event = _control_event(head.opcode, unmask(data[start:end], mask))
        events.append(event)
        if isinstance(event, Closed):
            self._state = _CLOSED
        return end

    def _count_last(self) -> None:
        if not self._last_frames:
            raise Violation(f"more than {LAST_FRAMES} frames behind a close")
        self._last_frames -= 1


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
