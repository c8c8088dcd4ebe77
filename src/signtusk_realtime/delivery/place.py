"""How far a connection has got, in both logs.

Owns: the pair of positions.   Not: its text form (protocol/cursor.py), what moves it (organization.py, catch_up.py).
"""

from __future__ import annotations

from typing import NamedTuple

from signtusk_realtime.events.log import Position


class Place(NamedTuple):
    """Everything up to here was handed to a connection, or is not for it. Places of one organization are ordered by `offsets`."""

    organization: Position
    system: Position

    @property
    def offsets(self) -> int:
        """The sum of both offsets: it rises with either, and never falls along what one connection is handed."""
        return self.organization.offset + self.system.offset
