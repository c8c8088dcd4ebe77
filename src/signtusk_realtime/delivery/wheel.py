"""Heartbeats of all connections on one timer.

Owns: when each connection is looked at.   Not: what a look does (hub.py).
Rule 1: one timer for all; a connection costs one place in a list.
Rule 2: connections are spread evenly over the wheel, so that one tick's work stays small however they arrived.
Rule 3: a loop that was held up heard nobody meanwhile, so that time does not count against the peers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from signtusk_realtime.delivery.connection import Connection

SLOTS: Final = 256


class Wheel:
    """Calls `beat` for every connection once an interval, and `silent` for those that were not heard within `grace_s` after it."""

    def __init__(
        self,
        *,
        interval_s: float,
        grace_s: float,
        beat: Callable[[Connection], None],
        silent: Callable[[Connection], None],
    ) -> None:
        self._tick_s = interval_s / SLOTS
        self._grace_s = grace_s
        self._grace_ticks = max(1, round(grace_s / self._tick_s))
        self._beat = beat
        self._silent = silent
        self._slots: list[list[Connection]] = [[] for _ in range(SLOTS)]
        self._next_slot = 0
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self.tick = 0

    def start(self) -> None:
        """Begin to turn, on the running loop."""
        loop = asyncio.get_running_loop()
        self._due = loop.time() + self._tick_s
        self._timer = loop.call_at(self._due, self._turn)

    def stop(self) -> None:
        """Stop, and let go of every connection."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for slot in self._slots:
            slot.clear()

    def add(self, connection: Connection) -> None:
        """Look at this connection from now on, until `remove`."""
        connection.heard_at = self.tick
        connection.slot = self._next_slot
        self._slots[self._next_slot].append(connection)
        self._next_slot = (self._next_slot + 1) % SLOTS

    def remove(self, connection: Connection) -> None:
        """Look at it no more: it is closed. Why not at its next beat: until then it would keep its transport in memory."""
        self._slots[connection.slot].remove(connection)

    def _turn(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        # A little late, it catches up tick by tick, so that no slot is passed over; half the grace is left for answers to arrive.
        self._due = max(self._due, now - self._grace_s / 2)
        while self._due <= now:
            self.tick += 1
            self._due += self._tick_s
            for connection in list(self._slots[self.tick % SLOTS]):
                self._beat(connection)
            # Strictly more: what is heard in the tick of the beat came after it, for beats are a tick's first work.
            for connection in list(self._slots[(self.tick - self._grace_ticks) % SLOTS]):
                if self.tick - connection.heard_at > self._grace_ticks:
                    self._silent(connection)
        self._timer = loop.call_at(self._due, self._turn)
