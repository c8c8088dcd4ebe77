"""When the right of each connection to be there ends.

Owns: telling a connection that its token is about to end, and when it has.   Not: what is told and done then (operations/connect.py).
Rule 1: one timer for all, and none while no token ends; a connection costs a place in a set.
Rule 2: the wall clock counts, for tokens name its times: it is looked at again after LOOK_S at the latest, so that a machine that slept, or whose
clock was set, is late by no more than that.
Rule 3: never early, and late by a tick at most.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Final

from signtusk_realtime.delivery.connection import Connection

WARN_MS: Final = 60_000
"""How long before the end a connection is told of it; at once if there is less."""
TICK_MS: Final = 100
LOOK_S: Final = 5.0


class Lifetimes:
    """See the module. `now_ms`: wall clock. `expiring` and `expired` are called with open connections only."""

    def __init__(
        self,
        *,
        now_ms: Callable[[], int],
        expiring: Callable[[Connection], None],
        expired: Callable[[Connection], None],
    ) -> None:
        self._now_ms = now_ms
        self._expiring = expiring
        self._expired = expired
        self._due: dict[int, set[Connection]] = {}
        """Connections by the tick at which each is looked at next, which it knows itself."""
        self._ticks: list[int] = []
        """A heap of the ticks at which anybody is due, and of some at which nobody is any more."""
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, connection: Connection) -> None:
        """Look after a connection from now on, by its identity's `expires_at`; in place of what was known of it before.

        One whose token ends within WARN_MS is told at once.
        """
        self.forget(connection)
        ends_at = connection.session.identity.expires_at
        if ends_at is None or not connection.is_open:
            return
        if ends_at - WARN_MS > self._now_ms():
            self._put(connection, ends_at - WARN_MS)
        else:
            self._put(connection, ends_at)
            self._expiring(connection)

    def forget(self, connection: Connection) -> None:
        """Look after it no more: it is closed."""
        tick, connection.due = connection.due, 0
        due = self._due.get(tick)
        if due is None:
            return
        due.discard(connection)
        if not due:
            del self._due[tick]
        if not self._due:
            self._ticks.clear()
            self._plan()

    def _put(self, connection: Connection, at_ms: int) -> None:
        tick = -(-at_ms // TICK_MS)
        connection.due = tick
        if tick not in self._due:
            self._due[tick] = set()
            heapq.heappush(self._ticks, tick)
            if self._ticks[0] == tick:
                self._plan()
        self._due[tick].add(connection)

    def _plan(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._ticks:
            wait_s = (self._ticks[0] * TICK_MS - self._now_ms()) / 1000
            # A millisecond more: a timer may fire early by the resolution of the clock.
            self._timer = asyncio.get_running_loop().call_later(min(LOOK_S, max(0.0, wait_s) + 0.001), self._look)

    def _look(self) -> None:
        now_ms = self._now_ms()
        while self._ticks and self._ticks[0] * TICK_MS <= now_ms:
            for connection in self._due.pop(heapq.heappop(self._ticks), ()):
                self._act(connection, now_ms)
        self._plan()

    def _act(self, connection: Connection, now_ms: int) -> None:
        connection.due = 0
        ends_at = connection.session.identity.expires_at
        if ends_at is None or not connection.is_open:
            return
        if ends_at <= now_ms:
            self._expired(connection)
        else:
            self._put(connection, ends_at)
            self._expiring(connection)
