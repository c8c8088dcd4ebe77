"""The other end of a connection, byte by byte: a peer that reads, stalls, reads a little, or is cut in the middle of a frame.

Owns: an outlet with a bound, what its peer has read of it, as messages.   Not: what the messages must be (judge.py), real sockets.
Rule 1: as with a socket, what is written waits until the peer takes it; above the bound delivery is told to pause, and to go on when it drained.
Rule 2: of what a cut leaves behind the peer knows only whole messages.
"""

from __future__ import annotations

import asyncio
import json
from typing import Final

from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.hub import Hub
from tests.support.outlets import Message
from tests.support.wire import EventStream, ServerFrames, StreamEvent

HIGH_BYTES: Final = 2000
"""The bound of the outlet: more than this waiting and delivery is told to stop."""
LOW_BYTES: Final = 500
PING, TEXT = 9, 1


class _Blocks(EventStream):
    """An event stream as messages: blocks with nothing but an id are cursors."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[Message] = []

    def _dispatch(self) -> StreamEvent | None:
        before = self.last_event_id
        event = super()._dispatch()
        if event is None:
            if self.last_event_id != before:
                self.messages.append({"type": "cursor", "cursor": self.last_event_id})
        elif event.type == "message":
            self.messages.append(json.loads(event.data))
        else:
            self.messages.append({"type": "event", "cursor": event.last_event_id, "event": json.loads(event.data)})
        return event


class Peer:
    """An outlet (delivery's port) and who reads from it."""

    def __init__(self, hub: Hub, form: str) -> None:
        self.hub = hub
        self.form = form
        self.connection: Connection | None = None
        self.is_stalled = False
        self.is_cut = False
        """Whether the line is dead, whoever knows of it."""
        self.is_over = False
        """Whether delivery has let go of it: nothing may be written any more."""
        self.close_code: int | None = None
        self.most = 0
        """The most that ever waited."""
        self.answers = 0
        """How many answers the peer may have asked for while it did not read."""
        self._bytes = bytearray()
        self._texts: list[str] = []
        self._frames = ServerFrames()
        self._blocks = _Blocks()
        self._messages: list[Message] = []
        self._is_full = False
        self._reading: asyncio.Handle | None = None

    # ---- the outlet

    def write(self, joined: bytes | list[str], /) -> None:
        assert joined, "a write of nothing costs a system call and says nothing"
        assert not self.is_over, "nothing is written after the end"
        if isinstance(joined, list):
            assert self.form == "texts"
            self._texts += joined
        else:
            self._bytes += joined
        self.most = max(self.most, self.unsent())
        if self.unsent() > HIGH_BYTES and not self._is_full:
            self._is_full = True
            asyncio.get_running_loop().call_soon(self._tell)
        self._wake()

    def unsent(self) -> int:
        return len(self._bytes) + sum(len(text) for text in self._texts)

    def withdraw(self) -> None:
        self._texts.clear()
        self._bytes = self._bytes[:0]

    def close(self, code: int, reason: str, /) -> None:
        self.is_over = True
        self.close_code = code
        self._wake()

    # ---- the peer

    @property
    def has_everything(self) -> bool:
        """Whether nothing waits for it."""
        return not self.unsent()

    def stall(self) -> None:
        """Read nothing from now on, but by `read`."""
        self.is_stalled = True

    def go_on(self) -> None:
        """Read whatever comes."""
        self.is_stalled = False
        self._wake()

    def read(self, size: int) -> None:
        """Take so many bytes, or texts that begin within them."""
        chunk, self._bytes = bytes(self._bytes[:size]), self._bytes[size:]
        if self.form == "frames":
            for frame in self._frames.feed(chunk):
                if frame.opcode == PING:
                    self._hear()
                    self._messages.append({"type": "ping"})
                else:
                    assert frame.opcode == TEXT
                    self._messages.append(json.loads(frame.payload))
        elif self.form == "stream":
            self._blocks.feed(chunk)
            self._messages += self._blocks.messages
            self._blocks.messages = []
        while self._texts and size > 0:
            size -= len(self._texts[0])
            self._messages.append(json.loads(self._texts.pop(0)))
        if self._is_full and self.unsent() <= LOW_BYTES:
            self._is_full = False
            asyncio.get_running_loop().call_soon(self._tell)

    def take(self) -> list[Message]:
        """Give the messages that were read since the last call."""
        messages, self._messages = self._messages, []
        return messages

    def cut(self, size: int) -> None:
        """Let the line die after so many bytes more. The node learns of it by `notice`."""
        self.read(size)
        self.is_cut = self.is_stalled = True

    def notice(self) -> None:
        """Let the node see that the line is dead."""
        self.is_over = True
        if self.connection is not None:
            self.hub.lost(self.connection)

    # ---- between the two

    def _wake(self) -> None:
        if not self.is_stalled and self._reading is None:
            self._reading = asyncio.get_running_loop().call_soon(self._read_all)

    def _read_all(self) -> None:
        self._reading = None
        if not self.is_stalled:
            self.read(self.unsent())

    def _tell(self) -> None:
        # Whatever is true by the time it is told, as a transport does.
        if self.connection is None or self.is_over:
            return
        if self._is_full:
            self.hub.paused(self.connection)
        else:
            self.hub.drained(self.connection)

    def _hear(self) -> None:
        if self.connection is not None and not self.is_over:
            self.hub.heard(self.connection)
