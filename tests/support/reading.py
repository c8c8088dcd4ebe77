"""Reading frames to their end, for tests: every step that a reader wants to take.

Owns: the loop that a caller of FrameReader has.   Not: how long a caller waits between steps (server/websocket.py).
"""

from __future__ import annotations

from collections.abc import Iterable

from signtusk_realtime.protocol.frames import FrameEvent, FrameReader


def steps(reader: FrameReader, data: bytes) -> list[list[FrameEvent]]:
    """Feed, and take all further steps; give what each gave."""
    taken = [list(reader.feed(data))]
    while reader.has_more:
        taken.append(list(reader.more()))
    return taken


def read_all(reader: FrameReader, chunks: Iterable[bytes]) -> list[FrameEvent]:
    """Give what comes of these chunks."""
    return [event for chunk in chunks for step in steps(reader, chunk) for event in step]
