"""What retention has taken out of the logs, learnt often enough that tails do not show it.

Owns: asking for floors, and cutting tails down to them.   Not: retention itself (engines), tails (tail.py).
Rule: whoever reads from a tail, or takes a cursor's place from one, asks first; a floor counts as known for `KNOWN_S`, so that retention
bites in memory as soon as it has to in the log.
"""

from __future__ import annotations

import asyncio
from typing import Final

from signtusk_realtime.delivery.tail import Tails
from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.events.log import LogName

KNOWN_S: Final = 2.0


class Floors:
    """See the module."""

    def __init__(self, engine: Engine, tails: Tails) -> None:
        self._engine = engine
        self._tails = tails
        self._asked_at: dict[str, float] = {}
        self._asking: dict[str, asyncio.Future[None]] = {}

    def is_known(self, name: str) -> bool:
        """Say whether a log's tail holds nothing that retention took."""
        asked_at = self._asked_at.get(name)
        return asked_at is not None and asyncio.get_running_loop().time() - asked_at < KNOWN_S

    async def learn(self, name: LogName) -> None:
        """Make a log's floor known, with one question for all who ask at once. Raises: Unavailable.

        However long the answer takes, one that was asked for after the call began is enough.
        """
        came_at = asyncio.get_running_loop().time()
        while not self.is_known(name) and self._asked_at.get(name, -1.0) < came_at:
            asking = self._asking.get(name)
            if asking is not None:
                await asyncio.shield(asking)
                continue
            done = self._asking[name] = asyncio.get_running_loop().create_future()
            try:
                asked_at = asyncio.get_running_loop().time()
                page = await self._engine.read(name, 0, 1)
                self._tails.trim(name, page.top.floor_offset)
                self._asked_at[name] = asked_at
            finally:
                del self._asking[name]
                done.set_result(None)

    def forget(self, name: str) -> None:
        """Forget a log that is no longer followed."""
        self._asked_at.pop(name, None)
