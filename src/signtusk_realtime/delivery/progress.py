"""Whether peers that have something unsent still take any of it.

Owns: the look at connections with unsent bytes.   Not: peers that have taken everything: they answer pings (wheel.py).
Rule 1: one timer for all, and none while nobody is watched.
Rule 2: any change of what is unsent is progress: nothing is written to a full outlet, so it can only shrink, and what is still written to
one that is not full shows that the peer was read from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from signtusk_realtime.delivery.connection import Connection

LOOKS_PER_TIMEOUT = 8


class Progress:
    """See the module. `stalled` is called for a connection that made no progress for `timeout_s`."""

    def __init__(self, timeout_s: float, stalled: Callable[[Connection], None]) -> None:
        self._timeout_s = timeout_s
        self._stalled = stalled
        self._watched: dict[Connection, tuple[int, float]] = {}
        """What was unsent at the last change, and when that was."""
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, connection: Connection) -> None:
        """Look at this connection from now on, until it has nothing unsent or is closed."""
        if connection not in self._watched:
            self._watched[connection] = (connection.outlet.unsent(), asyncio.get_running_loop().time())
            self._plan()

    def forget(self, connection: Connection) -> None:
        """Look at it no more: it is closed."""
        self._watched.pop(connection, None)

    def stop(self) -> None:
        """Let go of everything."""
        self._watched.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _plan(self) -> None:
        if self._timer is None and self._watched:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._timeout_s / LOOKS_PER_TIMEOUT, self._look)

    def _look(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for connection, (last, since) in list(self._watched.items()):
            unsent = connection.outlet.unsent()
            if not unsent and not connection.is_paused:
                del self._watched[connection]
            elif unsent != last:
                self._watched[connection] = (unsent, now)
            elif now - since >= self._timeout_s:
                del self._watched[connection]
                self._stalled(connection)
        self._plan()
