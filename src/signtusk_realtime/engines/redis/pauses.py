"""How long to wait before connecting again.

Owns: growing pauses with jitter, so that a server that comes back is not met by all nodes at once.   Not: connecting (ear.py, primary.py).
"""

from __future__ import annotations

import asyncio
import random
from typing import Final

_FIRST_S: Final = 0.05
_LONGEST_S: Final = 1.0


class Pauses:
    """See the module."""

    def __init__(self) -> None:
        self._next_s = _FIRST_S

    def reset(self) -> None:
        """Begin with a short pause again: the connection was good."""
        self._next_s = _FIRST_S

    async def pause(self) -> None:
        """Wait, longer each time."""
        pause_s, self._next_s = self._next_s, min(self._next_s * 2, _LONGEST_S)
        await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
