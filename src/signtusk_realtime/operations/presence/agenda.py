"""Things to do later, on one timer.

Owns: when each is done.   Not: what is done.
Why: everybody who leaves is looked at again a while later, and every organization is told at its own pace; a timer each would be thousands.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from itertools import count
from typing import Final

ACTS_A_TURN: Final = 128
"""Done before the loop gets its turn: thousands may have left in the same moment."""


class Agenda:
    """See the module. Times are the loop's, in seconds."""

    def __init__(self) -> None:
        self._acts: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._timer: asyncio.Handle | None = None
        self._planned_at = 0.0
        """When the timer ends. Its handle does not say: uvloop gives one without a time for what is due at once."""
        self._is_closed = False

    def after(self, wait_s: float, act: Callable[[], None]) -> None:
        """Do something once so many seconds have passed."""
        if self._is_closed:
            return
        loop = asyncio.get_running_loop()
        at = loop.time() + wait_s
        heapq.heappush(self._acts, (at, next(self._numbers), act))
        if self._timer is None or at < self._planned_at:
            self._plan(loop)

    def close(self) -> None:
        """Do nothing more."""
        self._is_closed = True
        self._acts.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _plan(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if self._acts:
            self._planned_at = self._acts[0][0]
            self._timer = loop.call_at(self._planned_at, self._turn, loop)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        try:
            for _ in range(ACTS_A_TURN):
                if not self._acts or self._acts[0][0] > now:
                    break
                heapq.heappop(self._acts)[2]()
        finally:
            if not self._is_closed:
                self._plan(loop)
