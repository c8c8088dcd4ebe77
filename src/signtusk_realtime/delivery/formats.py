"""How messages look on each kind of transport: WebSocket frames, event-stream blocks, single texts.

Owns: splicing a cursor's head and an event's body into one chunk, and joining chunks.   Not: framing itself (protocol).
Rule 1: a body is encoded once per event and view; here bytes are only put together.
Rule 2: one format object per kind, shared by all connections of it; it keeps no state.
Rule 3: only events are compressed, for their chunks are shared (item.py): it costs an event once, whatever the number of connections, also
when all of them come back and read the same log. Answers belong to one connection, and are short.
"""

from __future__ import annotations

from typing import Final, Protocol, cast

from signtusk_realtime.protocol import frames, stream
from signtusk_realtime.protocol.deflate import SMALL_WINDOW_BITS, WINDOW_BITS, Agreement, encode_deflated

Chunk = bytes | str


class Format(Protocol):
    """What a kind of transport carries."""

    @property
    def name(self) -> str: ...

    @property
    def answers_heartbeats(self) -> bool:
        """Whether a living peer must answer `heartbeat`; others live as long as their bytes make progress."""

    def event(self, cursor: str, event_type: str, body: bytes) -> Chunk:
        """Give one event with the cursor that covers it."""

    def message(self, payload: bytes, cursor: str | None = None) -> Chunk:
        """Give any other message. `cursor`: where a stream puts it as the block's id; in `payload` it stands anyway."""

    def join(self, chunks: list[Chunk]) -> bytes | list[str]:
        """Put chunks together for one write."""

    def heartbeat(self, cursor: str | None) -> Chunk | None:
        """Give what keeps a quiet peer alive, and moves its resume point if `cursor` is given; None if there is nothing to say."""


def _event_message(cursor: str, body: bytes) -> bytes:
    return b'{"type":"event","cursor":"%b","event":%b}' % (cursor.encode("ascii"), body)


def _cursor_message(cursor: str) -> bytes:
    return b'{"type":"cursor","cursor":"%b"}' % cursor.encode("ascii")


def _joined(chunks: list[Chunk]) -> bytes:
    only_bytes = cast("list[bytes]", chunks)
    return only_bytes[0] if len(only_bytes) == 1 else b"".join(only_bytes)


class Frames:
    """Native WebSocket: each message a text frame."""

    answers_heartbeats: Final = True

    def __init__(self, name: str = "frames") -> None:
        self.name = name

    def event(self, cursor: str, event_type: str, body: bytes) -> bytes:
        return frames.encode_text(_event_message(cursor, body))

    def message(self, payload: bytes, cursor: str | None = None) -> bytes:
        return frames.encode_text(payload)

    def join(self, chunks: list[Chunk]) -> bytes:
        return _joined(chunks)

    def heartbeat(self, cursor: str | None) -> bytes:
        if cursor is None:
            return PING
        return frames.encode_text(_cursor_message(cursor)) + PING


class DeflatedFrames(Frames):
    """Native WebSocket with permessage-deflate: events that are worth it compressed with this window, all else as it is."""

    def __init__(self, window_bits: int) -> None:
        super().__init__(f"frames deflated {window_bits}")
        self._window_bits = window_bits

    def event(self, cursor: str, event_type: str, body: bytes) -> bytes:
        message = _event_message(cursor, body)
        if len(message) >= WORTH_DEFLATING_BYTES:
            deflated = encode_deflated(message, self._window_bits)
            if len(deflated) < len(message):
                return deflated
        return frames.encode_text(message)


class Stream:
    """Event stream: events are named blocks with an id, everything else unnamed ones."""

    name: Final = "stream"
    answers_heartbeats: Final = False

    def event(self, cursor: str, event_type: str, body: bytes) -> bytes:
        return stream.event_block(event_type, body, cursor)

    def message(self, payload: bytes, cursor: str | None = None) -> bytes:
        return stream.message_block(payload, cursor)

    def join(self, chunks: list[Chunk]) -> bytes:
        return _joined(chunks)

    def heartbeat(self, cursor: str | None) -> bytes:
        return COMMENT if cursor is None else stream.keepalive_block(cursor)


class Texts:
    """Messages one by one, for WebSocket objects that do their own framing."""

    name: Final = "texts"
    answers_heartbeats: Final = False

    def event(self, cursor: str, event_type: str, body: bytes) -> str:
        return _event_message(cursor, body).decode()

    def message(self, payload: bytes, cursor: str | None = None) -> str:
        return payload.decode()

    def join(self, chunks: list[Chunk]) -> list[str]:
        return cast("list[str]", chunks)

    def heartbeat(self, cursor: str | None) -> str | None:
        return None if cursor is None else _cursor_message(cursor).decode()


PING: Final = frames.encode_ping()
COMMENT: Final = b":\n\n"
"""An event-stream comment: keeps proxies awake where there is no position to tell."""
WORTH_DEFLATING_BYTES: Final = 1024
"""A smaller message is one packet either way, and compressing it takes longer than sending it."""
FRAMES: Final = Frames()
_DEFLATED: Final = {bits: DeflatedFrames(bits) for bits in (WINDOW_BITS, SMALL_WINDOW_BITS)}
STREAM: Final = Stream()
TEXTS: Final = Texts()


def frames_for(agreement: Agreement | None) -> Frames:
    """Give the format of a WebSocket by what was agreed on about compression."""
    return FRAMES if agreement is None else _DEFLATED[agreement.window_bits]
