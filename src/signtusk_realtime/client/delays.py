"""How long to wait before the next try: longer each time, and never the same for two clients.

Owns: the growth and the spread.   Not: whether to try again (failures.py, feed.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

FIRST_S: Final = 0.5
LONGEST_S: Final = 30.0
LEAST_PART: Final = 0.2
"""A delay is between this part of its step and the whole of it."""


class Delays:
    """Delays of one row of tries. `random()` gives numbers from 0 to 1."""

    def __init__(self, random: Callable[[], float], *, first_s: float = FIRST_S, longest_s: float = LONGEST_S) -> None:
        self._random = random
        self._first_s = first_s
        self._longest_s = longest_s
        self._step_s = first_s

    def next(self) -> float:
        """Give the next delay in seconds."""
        step_s = self._step_s
        self._step_s = min(2 * step_s, self._longest_s)
        return step_s * (LEAST_PART + (1 - LEAST_PART) * self._random())

    def reset(self) -> None:
        """Begin anew: the last try succeeded."""
        self._step_s = self._first_s
