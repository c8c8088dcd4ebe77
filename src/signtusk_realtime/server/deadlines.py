"""Many deadlines of one length on one timer.

Owns: who has to be done until when.   Not: what happens to those who are late.
Rule 1: one timer for all, and none while nobody waits; adding and taking out cost a place in a dict.
Rule 2: what is late is told once, and is then no longer watched.
Rule 3: thousands that are late at once are told some a turn of the loop, so that nobody else waits for all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

MOST_A_TURN: Final = 16
"""How many are told before others have their turn."""

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Watches for `seconds` each; calls `late` with those that were not taken out in time."""

    def __init__(self, seconds: float, late: Callable[[T], None]) -> None:
        self._seconds = seconds
        self._late = late
        # All wait equally long, so the order of insertion is the order in which they are due.
        self._due: dict[T, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._due)

    def __iter__(self) -> Iterator[T]:
        """Go through those watched now, also while they are taken out."""
        return iter(list(self._due))

    def add(self, one: T) -> None:
        """Watch, from now on; a new deadline replaces the old one."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._seconds
        self._due.pop(one, None)
        self._due[one] = due
        if self._timer is None:
            self._timer = loop.call_at(due, self._turn)

    def watch(self, one: T) -> None:
        """Watch, unless that is done already."""
        if one not in self._due:
            self.add(one)

    def discard(self, one: T) -> None:
        """Watch no longer."""
        self._due.pop(one, None)

    def close(self) -> None:
        """Forget everybody, and the timer."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _turn(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        # A timer may fire a little early, by the resolution of the clock; without slack it would be set again for nothing.
        now = loop.time() + 0.001
        late: list[T] = []
        for one, due in self._due.items():
            if due > now or len(late) == MOST_A_TURN:
                break
            late.append(one)
        for one in late:
            # Telling one may have taken out another.
            if self._due.pop(one, None) is not None:
                self._late(one)
        if self._due and self._timer is None:
            self._timer = loop.call_at(next(iter(self._due.values())), self._turn)
