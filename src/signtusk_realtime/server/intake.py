"""How much of a connection's HTTP is taken in at once, and what waits meanwhile.

Owns: pausing and resuming to read, the bytes that wait for answers.   Not: what the bytes say (front.py).
Rule 1: while requests wait for the answers before theirs nothing more is read, whoever wants to resume; what was read already waits as bytes.
Rule 2: so whoever sends requests without end costs as much memory as a slice of them can make, and is served as fast as the answers are taken.
Why slices: the parser cannot be stopped between two requests of one piece, and a request that waits costs two hundred times its bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sized
from typing import Final

from uvicorn.protocols.http.flow_control import FlowControl

SLICE_BYTES: Final = 1024
"""Handed to the parser at once: most heads whole, and some forty requests at most."""


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
