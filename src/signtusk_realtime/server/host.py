"""Whether the server that runs us as an application is about to stop.

Owns: the look at it, and ending event streams then.   Not: our own listener (server.py).
Why: uvicorn waits for every response to end before it tells the application that it stops, and an event stream has no end of its own; it
would wait until its operator asks a second time.   Rule: one timer for all streams, and none while there is no stream.
"""

from __future__ import annotations

import asyncio
import signal
from typing import Final

from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.protocol import codes

LOOK_S: Final = 0.25


def is_leaving() -> bool:
    """Say whether a uvicorn that handles this process' signals was asked to stop; of other servers nothing is known, and False said."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return getattr(server, "should_exit", False) is True


class HostWatch:
    """See the module. Streams are added when they are open, and discarded when their call ends."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._streams: set[Connection] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, stream: Connection) -> None:
        """Look after a stream."""
        self._streams.add(stream)
        if self._timer is None:
            self._plan()

    def discard(self, stream: Connection) -> None:
        """Look after it no more."""
        self._streams.discard(stream)
        if not self._streams and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _plan(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def _look(self) -> None:
        self._plan()
        if is_leaving():
            for stream in self._streams:
                self._hub.end(stream, codes.CLOSE_RESTARTING)
