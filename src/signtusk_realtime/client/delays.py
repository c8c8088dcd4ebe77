"""How long to wait before the next try: longer each time, and never the same for two clients.

Owns: the growth and the spread.   Not: whether to try again (failures.py, feed.py).
Rule: a restart that was announced is over soon, so that tries come quickly at first. Quick tries are counted for a row as a whole: a service
that announces one restart after the other is asked ever less often too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

FIRST_S: Final = 0.5
LONGEST_S: Final = 30.0
LEAST_PART: Final = 0.2
"""A delay is between this part of its step and the whole of it."""
SOON_S: Final = (0.2, 0.5)
"""Between which two a delay is while a service restarts."""
RESTART_S: Final = 5.0
"""How long all of these delays may be together; then they grow as ever."""


class Delays:
    """Delays of one row of tries. `random()` gives numbers from 0 to 1."""

    def __init__(self, random: Callable[[], float], *, first_s: float = FIRST_S, longest_s: float = LONGEST_S) -> None:
        self._random = random
        self._first_s = first_s
        self._longest_s = longest_s
        self._step_s = first_s
        self._is_restarting = False
        self._soon_s = RESTART_S

    def next(self) -> float:
        """Give the next delay in seconds."""
        if self._is_restarting and self._soon_s > 0:
            least_s, most_s = SOON_S
            delay_s = least_s + (most_s - least_s) * self._random()
            self._soon_s -= delay_s
            return delay_s
        step_s = self._step_s
        self._step_s = min(2 * step_s, self._longest_s)
        return step_s * (LEAST_PART + (1 - LEAST_PART) * self._random())

    def expect_restart(self) -> None:
        """Note that the service announced to be back soon."""
        self._is_restarting = True

    def reset(self) -> None:
        """Begin anew: the last try succeeded."""
        self._step_s = self._first_s
        self._is_restarting = False
        self._soon_s = RESTART_S
