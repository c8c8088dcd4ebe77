"""How fast one client may send: token buckets for messages and for bytes.

Owns: the counting.   Not: what is done about it (operations/receive.py), clocks.
Rule: what exceeds a rate takes nothing from a bucket: who slows down is served at once.
Why one number a bucket: ten thousand clients have one each. A bucket is told by the moment at which it will be full again (the generic cell rate
algorithm, ITU-T I.371): taking from it moves that moment on, and it is empty while the moment is a whole filling away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from signtusk_realtime.sessions.identity import Identity

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


class RateOfEach:
    """How fast each user may do something; those are remembered who did lately. `monotonic_s`: a clock that never goes back."""

    def __init__(self, monotonic_s: Callable[[], float], per_second: float, burst: float) -> None:
        self._monotonic_s = monotonic_s
        self._per_second = per_second
        self._burst = burst
        self.full_at: dict[tuple[str, str], float] = {}
        """When each user's rate is whole again, the last who did something last."""

    def take(self, identity: Identity) -> bool:
        """Count one more; say whether that is allowed."""
        now, full_at = self._monotonic_s(), self.full_at
        while full_at and next(iter(full_at.values())) <= now:
            del full_at[next(iter(full_at))]
        key = identity.organization_id, identity.user_id
        whole_at = take(full_at.get(key, 0.0), now, 1.0, per_second=self._per_second, burst=self._burst)
        if whole_at is None:
            return False
        # Ordering: taken out first, so that who did something last stands last.
        full_at.pop(key, None)
        full_at[key] = whole_at
        return True
