"""The lease of a correction: one user may edit a document that was sent, for a while.

Owns: how long it lasts and what prolongs it.   Not: storing it (its record's version is its fencing token), going back to sent (operations).
Rule 1: times are the engine's, in milliseconds; nothing here reads a clock.
Rule 2: it ends by leaving at once, 5 s after its holder's last connection is gone, or when it was not renewed for 60 s and the holder is nowhere.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

LEASE_MS: Final = 60_000
GONE_MS: Final = 5_000


class Lease(Struct, rename="camel", frozen=True, omit_defaults=True):
    """Who corrects a document, and until when. `gone_at`: since when the holder has no connection."""

    user_id: str
    expires_at: int
    gone_at: int | None = None

    @property
    def ends_at(self) -> int:
        """When it ends if nothing prolongs it."""
        return self.expires_at if self.gone_at is None else min(self.expires_at, self.gone_at + GONE_MS)

    def is_over(self, now: int) -> bool:
        """Say whether it has ended."""
        return now >= self.ends_at


def take(user_id: str, now: int) -> Lease:
    """Begin a correction."""
    return Lease(user_id, now + LEASE_MS)


def renew(lease: Lease, now: int) -> Lease:
    """Prolong it: the holder's edit was accepted, or his connection is open. One that is over stays over."""
    return lease if lease.is_over(now) else Lease(lease.user_id, now + LEASE_MS)


def keep(lease: Lease, now: int) -> Lease:
    """Go on with one that was over, though its holder is there: nobody was left who had renewed it."""
    return Lease(lease.user_id, now + LEASE_MS)


def leave(lease: Lease, now: int) -> Lease:
    """End it: its holder said goodbye."""
    return replace(lease, expires_at=min(lease.expires_at, now))


def lose_connection(lease: Lease, now: int) -> Lease:
    """Note that the holder's last connection broke."""
    return lease if lease.gone_at is not None else replace(lease, gone_at=now)
