"""Wait for what a process of its own does by and by, and says nobody.

Owns: asking again until it is so, or until a deadline.   Not: what can be awaited (a message, a log line): await that.
Rule: who uses it is marked `real_time`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

EVERY_S: Final = 0.1


async def until(is_so: Callable[[], Awaitable[bool]], *, within_s: float, every_s: float = EVERY_S) -> float:
    """Ask until it is so; give the seconds that took. Fails after `within_s`. `every_s`: how exactly they are wanted."""
    clock = asyncio.get_running_loop().time
    began_at = clock()
    while not await is_so():
        assert clock() - began_at < within_s, f"not within {within_s} s"
        await asyncio.sleep(every_s)
    return clock() - began_at
