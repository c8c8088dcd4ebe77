"""How fast one client may send: token buckets for messages and for bytes.

Owns: the counting.   Not: what is done about it (operations/receive.py), clocks.
Rule: what exceeds a rate takes nothing from a bucket: who slows down is served at once.
Why one number a bucket: ten thousand clients have one each. A bucket is told by the moment at which it will be full again (the generic cell rate
algorithm, ITU-T I.371): taking from it moves that moment on, and it is empty while the moment is a whole filling away.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

REFUSED_AT_MOST: Final = 200
REFUSED_WITHIN_S: Final = 10.0


class RateLimits(Struct, frozen=True, kw_only=True):
    """How much a client may send a second, and how much at once after it was quiet."""

    messages_per_second: float = 50.0
    message_burst: float = 100.0
    bytes_per_second: float = 262_144.0
    byte_burst: float = 262_144.0


def take(full_at: float, now: float, amount: float, *, per_second: float, burst: float) -> float | None:
    """Take an amount from the bucket that is full again at `full_at` (seconds, as `now`).

    Give when it is full then, or None if it does not hold so much.
    """
    after = max(full_at, now) + amount / per_second
    return after if after - now <= burst / per_second else None
