"""Outlets that record, and readers of what was written to them.

Owns: a fake that fulfils the port of delivery/outlet.py, and one reading of all three formats.   Not: real sockets.
Rule: what is read back is decoded by the other side's readers (wire.py), never by our own encoders.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from signtusk_realtime.delivery.outlet import PatientOutlet
from tests.support.wire import EventStream, ServerFrames

TEXT, PING = 1, 9
Message = dict[str, Any]
"""A message as a client of any format would report it. Frames' pings are `{"type": "ping"}`; a block with nothing but an id is a `cursor`."""


class Outlet:
    """Takes everything and keeps it. Fails on what the port forbids its caller: writing nothing, or after the end."""

    def __init__(self) -> None:
        self.writes: list[bytes | list[str]] = []
        self.closed: tuple[int, str] | None = None
        self.backlog = 0
        """What its peer has yet to take."""
        self._read = 0
        self._frames = ServerFrames()
        self._stream = EventStream()

    def write(self, joined: bytes | list[str], /) -> None:
        assert joined, "a write of nothing costs a system call and says nothing"
        assert self.closed is None, "nothing is written after the end"
        self.writes.append(list(joined) if isinstance(joined, list) else joined)

    def unsent(self) -> int:
        return self.backlog

    def withdraw(self) -> None:
        self.backlog = 0

    def close(self, code: int, reason: str, /) -> None:
        self.closed = self.closed or (code, reason)

    def messages(self, form: str) -> list[Message]:
        """Give what was written since the last call, as messages."""
        fresh, self._read = self.writes[self._read :], len(self.writes)
        return [message for joined in fresh for message in self._messages(form, joined)]

    def _messages(self, form: str, joined: bytes | list[str]) -> list[Message]:
        if isinstance(joined, list):
            assert form == "texts"
            return [json.loads(text) for text in joined]
        if form == "frames":
            return [_of_frame(frame.opcode, frame.payload) for frame in self._frames.feed(joined)]
        assert form == "stream"
        return self._of_blocks(joined)

    def _of_blocks(self, joined: bytes) -> list[Message]:
        found: list[Message] = []
        for block in joined.split(b"\n\n")[:-1]:
            resume_point = self._stream.last_event_id
            dispatched = self._stream.feed(block + b"\n\n")
            if not dispatched and self._stream.last_event_id != resume_point:
                found.append({"type": "cursor", "cursor": self._stream.last_event_id})
            for event in dispatched:
                data = json.loads(event.data)
                if event.type == "message":
                    found.append(data)
                else:
                    assert event.type == data["type"]
                    found.append({"type": "event", "cursor": event.last_event_id, "event": data})
        return found


class Patient(Outlet, PatientOutlet):
    """An outlet that counts for itself: `events` has an entry for each event, in order; when it was accepted, and whether it came from the log."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[float | None, bool]] = []

    def write_events(
        self, joined: bytes | list[str], accepted_at: Sequence[float | None], /, *, is_from_log: bool = False
    ) -> None:
        self.write(joined)
        self.events += [(at, is_from_log) for at in accepted_at]


def _of_frame(opcode: int, payload: bytes) -> Message:
    if opcode == PING:
        return {"type": "ping"}
    assert opcode == TEXT
    message: Message = json.loads(payload)
    return message


class Sink:
    """An outlet for measuring and counting: keeps a number."""

    def __init__(self) -> None:
        self.count = 0

    def write(self, joined: bytes | list[str], /) -> None:
        self.count += 1

    def close(self, code: int, reason: str, /) -> None:
        self.count += 1
