"""The other side of the wire, for tests: a client's frames, a strict event-stream reader, cuts of bytes into chunks.

Written from the standards, not from our encoders, so that both sides cannot share a mistake.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

MASK = b"\x37\xfa\x21\x3d"


def client_frame(
    opcode: int,
    payload: bytes = b"",
    *,
    final: bool = True,
    rsv: int = 0,
    mask: bytes | None = MASK,
    length_bytes: int | None = None,
    announced: int | None = None,
) -> bytes:
    """Give a client's frame, well-formed by default.

    `mask` None sends it unmasked; `length_bytes` 2 or 8 forces a longer length than needed; `announced` lies about the length.
    """
    length = len(payload) if announced is None else announced
    if length_bytes is None:
        length_bytes = 0 if length < 126 else 2 if length < 65_536 else 8
    marker = length if length_bytes == 0 else 126 if length_bytes == 2 else 127
    head = bytes([(0x80 if final else 0) | rsv << 4 | opcode, (0x80 if mask is not None else 0) | marker])
    head += length.to_bytes(length_bytes, "big") if length_bytes else b""
    if mask is None:
        return head + payload
    return head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


class ServerFrame(NamedTuple):
    """A frame a server sent."""

    opcode: int
    payload: bytes
    final: bool


class ServerFrames:
    """Reads a server's frames from chunks; asserts what RFC 6455 demands of a server that negotiated no extension.

    `window_bits`: it negotiated permessage-deflate without context takeover, with this window; payloads are given inflated.
    """

    def __init__(self, window_bits: int = 0) -> None:
        self._buffer = b""
        self._window_bits = window_bits
        self.deflated: list[int] = []
        """Sizes of the compressed payloads, as they were sent."""

    def feed(self, data: bytes) -> list[ServerFrame]:
        """Take bytes, give the frames they complete."""
        self._buffer += data
        frames = []
        while (frame := self._next()) is not None:
            frames.append(frame)
        return frames

    @property
    def rest(self) -> bytes:
        """Bytes of a frame that is not whole yet."""
        return self._buffer

    def _next(self) -> ServerFrame | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        is_deflated = bool(self._window_bits and buffer[0] & 0x40)
        assert not buffer[0] & (0x30 if is_deflated else 0x70), "a server sets no bit that it did not negotiate"
        assert not is_deflated or buffer[0] & 0x0F in (1, 2), "only a message's first frame says that it is compressed"
        assert not buffer[1] & 0x80, "a server masks nothing"
        opcode, length, start = buffer[0] & 0x0F, buffer[1], 2
        assert opcode in (0, 1, 2, 8, 9, 10)
        if length >= 126:
            start = 4 if length == 126 else 10
            if len(buffer) < start:
                return None
            length = int.from_bytes(buffer[2:start], "big")
            assert length > (125 if start == 4 else 65_535), "lengths are in their shortest form"
        assert opcode < 8 or length <= 125, "control frames are short"
        if len(buffer) < start + length:
            return None
        self._buffer = buffer[start + length :]
        payload = buffer[start : start + length]
        if is_deflated:
            self.deflated.append(length)
            # Made anew for each: nothing may refer back to a message before.
            payload = zlib.decompressobj(-self._window_bits).decompress(payload + b"\x00\x00\xff\xff")
        return ServerFrame(opcode, payload, bool(buffer[0] & 0x80))


class StreamEvent(NamedTuple):
    """What an EventSource dispatches."""

    type: str
    data: str
    last_event_id: str


class EventStream:
    """A reader of event streams as WHATWG HTML §9.2.6 words it: bytes in, dispatched events and the resume point out."""

    def __init__(self) -> None:
        self.last_event_id = ""
        self.retry: int | None = None
        self.unknown_fields: list[str] = []
        self._buffer = b""
        self._is_started = False
        self._type = ""
        self._data: list[str] = []
        self._id = ""

    def feed(self, data: bytes) -> list[StreamEvent]:
        """Take bytes, give the events they complete. Lines end with CR LF, LF or CR."""
        self._buffer += data
        events = []
        for line in self._lines():
            event = self._line(line)
            if event is not None:
                events.append(event)
        return events

    def _lines(self) -> Iterator[str]:
        while True:
            ends = [at for at in (self._buffer.find(b"\n"), self._buffer.find(b"\r")) if at >= 0]
            if not ends:
                return
            end = min(ends)
            if self._buffer[end : end + 1] == b"\r" and end + 1 == len(self._buffer):
                return  # whether a LF belongs to it shows with the next byte
            after = end + (2 if self._buffer[end : end + 2] == b"\r\n" else 1)
            line, self._buffer = self._buffer[:end], self._buffer[after:]
            if not self._is_started:
                line = line.removeprefix(b"\xef\xbb\xbf")
                self._is_started = True
            yield line.decode("utf-8", "replace")

    def _line(self, line: str) -> StreamEvent | None:
        if not line:
            return self._dispatch()
        if line.startswith(":"):
            return None
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            self._type = value
        elif field == "data":
            self._data.append(value)
        elif field == "id":
            if "\0" not in value:
                self._id = value
        elif field == "retry":
            if value.isascii() and value.isdigit():
                self.retry = int(value)
        else:
            self.unknown_fields.append(field)
        return None

    def _dispatch(self) -> StreamEvent | None:
        self.last_event_id = self._id
        data, event_type = self._data, self._type
        self._data, self._type = [], ""
        if not data:
            return None
        return StreamEvent(event_type or "message", "\n".join(data), self.last_event_id)


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """Cut bytes at the given places (taken modulo the length); the chunks joined are the bytes."""
    at = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(at)] or [b""]


def every_single_cut(data: bytes) -> Iterator[Sequence[bytes]]:
    """Give the bytes whole, byte by byte, and cut once at every place."""
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]
    for at in range(1, len(data)):
        yield [data[:at], data[at:]]
