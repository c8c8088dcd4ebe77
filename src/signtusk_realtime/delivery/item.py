"""One event on its way to an organization's connections.

Owns: its encoded forms, each made once, when first needed.   Not: who gets it (index.py, audience.py).
Rule: a cursor names the organization's position and the system position as they were when the event was appended (I0).
"""

from __future__ import annotations

from signtusk_realtime.delivery.formats import Chunk, Format
from signtusk_realtime.delivery.place import Place
from signtusk_realtime.events.event import guest_body
from signtusk_realtime.events.log import Entry


class Item:
    """An entry with its place in both logs. Lives until the last audience that wants it is flushed."""

    __slots__ = ("_chunks", "accepted_at", "cursor", "entry", "place")

    def __init__(self, entry: Entry, cursor: str, place: Place, accepted_at: float | None = None) -> None:
        self.entry = entry
        self.cursor = cursor
        """The same for every live connection of the organization."""
        self.place = place
        """What the cursor says."""
        self.accepted_at = accepted_at
        """When it was accepted for publication here, for the measure of latency; None elsewhere, and when read from the log."""
        self._chunks: dict[tuple[str, bool], Chunk] = {}

    def chunk(self, form: Format, whole: bool) -> Chunk:
        """Give the event as `form` carries it; `whole` is False for guests, who see less of it."""
        key = (form.name, whole)
        chunk = self._chunks.get(key)
        if chunk is None:
            body = self.entry.body if whole else guest_body(self.entry.body)
            chunk = self._chunks[key] = form.event(self.cursor, self.entry.keys[0], body)
        return chunk
