"""How much of a connection's HTTP is taken in at once, and what waits meanwhile.

Owns: pausing and resuming to read, the bytes that wait for answers, whose turn it is.   Not: what the bytes say (front.py).
Rule 1: while requests wait for the answers before theirs nothing more is read, whoever wants to resume; what was read already waits as bytes.
Rule 2: so whoever sends requests without end costs as much memory as a slice of them can make, and is served as fast as the answers are taken.
Rule 3: of all connections whose requests wait, one reads on at a time, and the next PAUSE_S later: many are no more of a burden to others than
one, and between two of them the loop and the database's threads have time for everybody else.
Why slices: the parser cannot be stopped between two requests of one piece, and a request that waits costs two hundred times its bytes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sized
from typing import Final

from uvicorn.protocols.http.flow_control import FlowControl

SLICE_BYTES: Final = 1024
"""Handed to the parser at once: most heads whole, and some forty requests at most."""

HEAD_END: Final = b"\r\n\r\n"
"""What a head ends with, and mostly so does what is handed to the parser with it: then no request behind it is made before its turn."""


PAUSE_S: Final = 0.001
"""Measured: without it a client that pipelines without end made others' events 300 times as late (3 → 960 ms). The loop, which lets go of the
interpreter for a moment between two turns and takes it again, kept the database's thread from ever getting it."""


class Turnstile:
    """Calls those who enter, one after the other, in order, with a pause between two."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()

    def enter(self, proceed: Callable[[], None]) -> None:
        """Have `proceed` called in a later turn of the loop."""
        self._waiting.append(proceed)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        proceed = self._waiting[0]
        try:
            proceed()
        finally:
            self._waiting.popleft()
            if self._waiting:
                asyncio.get_running_loop().call_later(PAUSE_S, self._turn)


class Intake(FlowControl):
    """See the module. `pipeline`: the requests that wait, as the connection keeps them."""

    def __init__(self, transport: asyncio.Transport, pipeline: Sized) -> None:
        super().__init__(transport)
        self._pipeline = pipeline
        self._waiting = b""

    @property
    def is_held(self) -> bool:
        """Whether something waits, so that nothing may be read."""
        return bool(self._pipeline or self._waiting)

    def resume_reading(self) -> None:
        """Read again, unless something waits. The base class's answers ask for that whenever they are asked for a body."""
        if not self.is_held:
            super().resume_reading()

    def hold(self, data: bytes) -> None:
        """Let these bytes wait, behind those that do already."""
        self._waiting += data
        self.pause_reading()

    def release(self) -> bytes:
        """Give what waited; reading goes on unless requests still wait."""
        data, self._waiting = self._waiting, b""
        self.resume_reading()
        return data
