"""What the base class's answers are written to: the head goes with the first piece of the body, in one call of the kernel.

Owns: holding a head until then.   Not: making heads and bodies (uvicorn, http/), what is no answer of the application's (front.py).
Rule: what is written first is a head, whose body follows, be it empty; but for `100 Continue`, which the peer waits for before it goes on.
Why: a publication is answered in a hundred bytes. Two writes are two calls, and two packets that wake the peer twice.
"""

from __future__ import annotations

import asyncio
from typing import Final

_CONTINUE: Final = b"HTTP/1.1 100 "


class Answer:
    """See the module. As much of a transport as an answer uses; one an answer."""

    __slots__ = ("_has_begun", "_head", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""
        self._has_begun = False

    def write(self, data: bytes) -> None:
        """Write a piece, or keep it for the next. Of several pipelined answers the base class tells only the last that the peer is gone."""
        if self._transport.is_closing():
            return
        if self._head:
            self._transport.write(self._head + data)
            self._head = b""
        elif self._has_begun or data.startswith(_CONTINUE):
            self._transport.write(data)
        else:
            self._has_begun = True
            self._head = data

    def is_closing(self) -> bool:
        """Say whether the connection ends."""
        return self._transport.is_closing()

    def close(self) -> None:
        """End the connection behind what was written."""
        if self._head:
            self._transport.write(self._head)
            self._head = b""
        self._transport.close()
