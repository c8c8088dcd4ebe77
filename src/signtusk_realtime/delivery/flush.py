"""When pending items are written: at the end of the turn, in slices, round robin.

Owns: who is next, and for how long.   Not: what is written (audience.py).
Rule 1: everything that came in during one turn of the loop is joined; nobody waits for more.
Rule 2: after a slice the loop gets its turn, so that 5000 writes to one organization (25 ms) are not everybody's p99.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

SLICE_S: Final = 0.002


class Flushable(Protocol):
    """Something with pending writes. `is_awake` belongs to the flusher."""

    is_awake: bool

    @property
    def pending(self) -> int:
        """How many events wait here. Asked for now and then, for the metrics."""

    def flush(self, clock: Callable[[], float], deadline: float) -> bool:
        """Write until `deadline` (seconds by `clock`); say whether nothing is left."""


class Flusher:
    """See the module. `call_soon` runs a function in the loop's next turn; `clock` is monotonic, in seconds."""

    __slots__ = ("_call_soon", "_clock", "_is_scheduled", "_waiting")

    def __init__(self, call_soon: Callable[[Callable[[], None]], object], clock: Callable[[], float]) -> None:
        self._call_soon = call_soon
        self._clock = clock
        self._waiting: deque[Flushable] = deque()
        self._is_scheduled = False

    @property
    def pending(self) -> int:
        """How many events wait to be written."""
        return sum(flushable.pending for flushable in self._waiting)

    def wake(self, flushable: Flushable) -> None:
        """Have it flushed at the end of this turn. Cheap to call again."""
        if not flushable.is_awake:
            flushable.is_awake = True
            self._waiting.append(flushable)
            self._schedule()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._call_soon(self._turn)

    def _turn(self) -> None:
        self._is_scheduled = False
        clock = self._clock
        deadline = clock() + SLICE_S
        waiting = self._waiting
        try:
            # Each once a turn: what a write said about its outlet is heard between two turns.
            for _ in range(len(waiting)):
                flushable = waiting.popleft()
                flushable.is_awake = False
                if not flushable.flush(clock, deadline) and not flushable.is_awake:
                    flushable.is_awake = True
                    waiting.append(flushable)
                if clock() >= deadline:
                    break
        finally:
            # Also where one raised: the others do not wait for the next event.
            if waiting:
                self._schedule()
